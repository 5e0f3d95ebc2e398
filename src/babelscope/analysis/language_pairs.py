"""What is measured in every pair of languages: means across languages and within one, with intervals.

Names of shapes: ``L`` languages, ``P`` pairs of them, ``C`` concepts, or pairs of these, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from babelscope.stats import TwoWayDraws, interval

Floats = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]

#: Stand for both languages in rows over different ones, and over languages with themselves.
ACROSS, OWN = "*", "="
#: A value and its interval where there is none.
UNKNOWN = (float("nan"),) * 3


class PairRow(NamedTuple):
    """The languages of a row of a table."""

    source: str
    target: str
    pairs: Pairs
    """Numbers of the languages that it is the mean over."""
    draws: TwoWayDraws
    """Of concepts and, in rows over several languages, of these."""

    def at(self, values_LLC: Floats) -> Floats:
        """Values of the row, ``(P, C)``."""
        found: Floats = values_LLC[tuple(np.array(self.pairs).T)]
        return found

    def interval(self, values_PC: Floats, there_C: NDArray[np.bool_] | None = None) -> tuple[float, float]:
        """Of the mean, over the concepts that are there; NaN with one."""
        if values_PC.shape[1] < 2:
            return UNKNOWN[:2]
        of = self.pairs if len(self.pairs) > 1 else [(0, 1)]
        return interval(self.draws.means(values_PC, of, there_C))


def pair_rows(langs: Sequence[str], n_concepts: int, bootstrap: int, seed: int) -> Iterator[PairRow]:
    """Rows over different languages and over languages with themselves, then of every pair."""
    own, across = _own(len(langs)), _across(len(langs))
    both = TwoWayDraws(n_concepts, len(langs), bootstrap, seed)
    alone = TwoWayDraws(n_concepts, 2, bootstrap, seed)  # which draws concepts only
    yield PairRow(ACROSS, ACROSS, across, both)
    yield PairRow(OWN, OWN, own, both)
    for a, b in [*own, *across]:
        yield PairRow(langs[a], langs[b], [(a, b)], alone)


def across_over_own(values_LLC: Floats, draws: TwoWayDraws) -> tuple[float, float, float]:
    """The mean over different languages over that within a language, with its interval.

    NaN where the latter is not surely above 0, or of one concept.
    """
    n_langs, _, n_concepts = values_LLC.shape
    if n_concepts < 2:
        return UNKNOWN
    own, across = _own(n_langs), _across(n_langs)
    across_PC, own_PC = (values_LLC[tuple(np.array(pairs).T)] for pairs in (across, own))
    own_R = draws.means(own_PC, own)
    if not interval(own_R)[0] > 0:
        return UNKNOWN
    return float(across_PC.mean() / own_PC.mean()), *interval(draws.means(across_PC, across) / own_R)


def _own(n: int) -> Pairs:
    return [(a, a) for a in range(n)]


def _across(n: int) -> Pairs:
    return [(a, b) for a in range(n) for b in range(n) if a != b]
