"""Which windows stand in which batch: a function of the run's seed and the place alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class WindowOrder:
    """Which window of which language stands at each place of the training data.

    The languages are one stream of random draws. The n-th window of a language is the n-th of a
    random order of its windows, a new one in each epoch of that language. Both depend on the seed
    alone, and a language's order not on the other languages.

    Args:
        n_windows: Windows of each language.
        shares: Probability of each language; normalised to sum to 1.
        seed: Of the run.
    """

    def __init__(self, n_windows: Mapping[str, int], shares: Mapping[str, float], seed: int) -> None:
        self.languages = sorted(lang for lang, share in shares.items() if share > 0)
        self._sizes = [n_windows[lang] for lang in self.languages]
        weights = np.array([shares[lang] for lang in self.languages], dtype=np.float64)
        self._edges = np.cumsum(weights / weights.sum())[:-1]
        self._seed = seed
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._place = -1
        self.seek(0)

    def seek(self, place: int) -> None:
        """Go to a place, counted in windows from the start of training."""
        if place == self._place:
            return
        self._rng = np.random.default_rng([self._seed, 0xBABE1])
        self._counts = np.zeros(len(self.languages), dtype=np.int64)
        self._place = 0
        while self._place < place:
            self._draw(min(1 << 20, place - self._place))

    def _draw(self, n: int) -> NDArray[np.int64]:
        langs = np.searchsorted(self._edges, self._rng.random(n), side="right")
        self._counts += np.bincount(langs, minlength=len(self.languages))
        self._place += n
        return langs

    def take(self, n: int) -> list[tuple[str, int]]:
        """The next ``n`` windows: language, and row among the language's windows."""
        seen = self._counts.copy()
        windows = []
        for lang in self._draw(n):
            epoch, position = divmod(int(seen[lang]), self._sizes[lang])
            seen[lang] += 1
            windows.append((self.languages[lang], int(self._order(int(lang), epoch)[position])))
        return windows

    def _order(self, lang: int, epoch: int) -> NDArray[np.int64]:
        known = self._orders.get(lang)
        if known is None or known[0] != epoch:
            rng = np.random.default_rng([self._seed, 0x0EDE5, epoch, *self.languages[lang].encode()])
            known = self._orders[lang] = (epoch, rng.permutation(self._sizes[lang]))
        return known[1]
