"""Units chosen in some languages, tested in the languages that were left out.

A unit that is among the best of a concept in several languages may be so because those were looked at. So one
unit of each concept is chosen by its average precision in some languages, on half of the sentences, and
scored in the others, on the other half: neither the languages nor what the sentences say had a part in the
choice. Names of shapes: ``L`` languages, ``C`` concepts, ``U`` units, ``P`` splits of the languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL
from babelscope.analysis.ranking import NOBODY, BestFile
from babelscope.analysis.scores import OTHER_HALF, check_alike
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import two_way_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: How a unit is chosen: by its least, or its mean, average precision over the languages that are looked at.
RULES = ("worst", "mean")
#: Splits of the languages of one size, at most; more are drawn from.
_MOST_SPLITS = 24
_COLUMNS = [
    "model", "step", "chosen_in", "rule", "lang", "concept", "ap", "low", "high", "ap_other_concepts",
    "ap_random_units", "chance_ap", "positive_rate", "worst_ap", "at_most", "n_splits",
]  # fmt: skip
#: Of columns that are no text, whatever was found.
_TYPES = {
    name: np.int64 if name in ("step", "chosen_in", "n_splits") else np.float64
    for name in _COLUMNS
    if name not in ("model", "rule", "lang", "concept")
}


def left_out_table(best: Mapping[str, BestFile], settings: AlignmentSettings) -> pd.DataFrame:
    """Average precision, in languages that were left out, of the unit of each concept chosen in the others.

    Args:
        best: Per language its best units, of one (model, step); three languages or more, else no rows.
        settings: Resamples of the intervals; their seed, and that of the splits.

    Returns:
        Columns ``model, step``; ``chosen_in``, the number of languages that chose (one, half of them, all but
        one); ``rule`` of :data:`RULES`; ``lang``, a language that was left out, or ``*``; ``concept`` or
        ``*``; ``ap``, mean over splits, halves and what the row is over; ``low``, ``high``, over concepts and
        languages; ``ap_other_concepts`` of the same units; ``ap_random_units``, mean of all units;
        ``chance_ap`` of scores in random order and ``positive_rate`` of a constant; ``worst_ap``, the least
        over the languages that were left out (of ``*``, mean over splits); ``at_most``, share of choices
        among units whose average precision in a language that chose was not kept and counts as the most that
        it can be; ``n_splits``.

    Raises:
        ValueError: If languages do not have the same concepts or units.
    """
    check_alike(best.values())
    best = dict(sorted(best.items()))
    langs, first = list(best), next(iter(best.values()))
    rows: list[tuple[object, ...]] = []
    if len(langs) >= 3:
        known = [_Known.of(best, half) for half in OTHER_HALF]
        for size in sorted({1, len(langs) // 2, len(langs) - 1}):
            splits_PL = splits(len(langs), size, settings.seed)
            for rule in RULES:
                at = first.provenance.model, first.provenance.step, size, rule
                tested = _Tested.mean([of.test(splits_PL, rule) for of in known])
                rows += [(*at, *row) for row in tested.rows(best, splits_PL, settings)]
    return pd.DataFrame(rows, columns=_COLUMNS).astype(_TYPES)


def splits(n_langs: int, size: int, seed: int) -> NDArray[np.bool_]:
    """Which languages choose, by split: all choices of so many, or some of them drawn at random. ``(P, L)``.

    As many are drawn that leave each language out, where not all are taken.
    """
    if comb(n_langs, size) <= _MOST_SPLITS:
        chosen = list(combinations(range(n_langs), size))
    else:  # circles of a random order, so that each language chooses as often
        rng = np.random.default_rng([seed, n_langs, size])
        orders = [rng.permutation(n_langs) for _ in range(max(1, _MOST_SPLITS // n_langs))]
        chosen = [tuple(np.roll(order, -start)[:size]) for order in orders for start in range(n_langs)]
    found = np.zeros((len(chosen), n_langs), dtype=bool)
    for row, members in zip(found, chosen, strict=True):
        row[list(members)] = True
    return found


class _Tested(NamedTuple):
    """Of the chosen units; NaN where a language chose itself. Each ``(P, L, C)``."""

    own: Floats
    other: Floats
    random_LC: Floats
    """Of all units, by language."""
    worst_PC: Floats
    """Least over the languages that were left out."""
    at_most_PC: Floats

    @classmethod
    def mean(cls, found: Sequence[_Tested]) -> _Tested:
        """Over halves."""
        return cls(*(np.mean([part[at] for part in found], axis=0) for at in range(len(cls._fields))))

    def rows(
        self, best: Mapping[str, BestFile], splits_PL: NDArray[np.bool_], settings: AlignmentSettings
    ) -> list[tuple[object, ...]]:
        """Of all languages and concepts, of each language, of each concept."""
        langs, concepts = list(best), next(iter(best.values())).concepts
        own_LC = np.nanmean(self.own, axis=0)
        other_LC = np.nanmean(self.other, axis=0) if len(concepts) > 1 else np.full(own_LC.shape, np.nan)
        chance_LC = np.array([file.chance_ap for file in best.values()])
        rate_LC = np.array([file.positive_rate for file in best.values()])
        planes = own_LC, other_LC, self.random_LC, chance_LC, rate_LC
        worst_C = self.worst_PC.mean(axis=0)
        pairs = [(at, at) for at in range(len(langs))]
        band = two_way_interval(own_LC, pairs, len(langs), settings.bootstrap, settings.seed)

        found: list[Any] = [(ALL, ALL, np.s_[:, :], *band, float(worst_C.mean()), self.at_most_PC.mean())]
        found += [
            (lang, ALL, np.s_[at], *[np.nan] * 3, self.at_most_PC.mean()) for at, lang in enumerate(langs)
        ]
        found += [
            (ALL, concept, np.s_[:, at], np.nan, np.nan, float(worst_C[at]), self.at_most_PC[:, at].mean())
            for at, concept in enumerate(concepts)
        ]
        rows: list[tuple[object, ...]] = []
        for lang, concept, where, low, high, worst, at_most in found:
            ap, *levels = (float(np.mean(plane[where])) for plane in planes)
            rows.append((lang, concept, ap, low, high, *levels, worst, float(at_most), len(splits_PL)))
        return rows


class _Known(NamedTuple):
    """What is known of the units that any language keeps as the best of a concept on one half."""

    unit: list[Ints]
    """By concept the numbers of the units, rising; ``(U,)``."""
    chosen: list[Floats]
    """By concept the AP on this half, in each language, or the most that it can be; ``(L, U)``."""
    is_kept: list[NDArray[np.bool_]]
    """Whether it is that."""
    tested: list[Floats]
    """By concept the AP on the other half, in each language; ``(L, U)``."""
    sums_LN: Floats
    """Sum over concepts of the AP of every unit on the other half."""

    @classmethod
    def of(cls, best: Mapping[str, BestFile], half: str) -> _Known:
        """Read it of one (model, step)."""
        found = [file.on_half(half) for file in best.values()]
        langs, first = list(best), next(iter(best.values()))
        # Languages of a study in the order of these files.
        order = [first.langs.index(lang) for lang in langs]
        abroad = [of.abroad[order] for of in found]
        sums_LN = np.array([of.sum_over_concepts for of in found])
        known = cls([], [], [], [], sums_LN)
        for c in range(len(first.concepts)):
            unit_U = np.unique(np.concatenate([of.unit[c] for of in found]))
            unit_U = unit_U[unit_U != NOBODY]
            shape = len(langs), len(unit_U)
            chosen_LU, kept_LU, tested_LU = np.empty(shape), np.zeros(shape, bool), np.empty(shape)
            for at, of in enumerate(found):
                there = of.unit[c] != NOBODY
                place = np.searchsorted(unit_U, of.unit[c][there])
                chosen_LU[at] = of.ap[c][there].min(initial=1.0)
                chosen_LU[at, place] = of.ap[c][there]
                kept_LU[at, place] = True
                tested_LU[:, place] = abroad[at][:, c][:, there]
            known.unit.append(unit_U)
            known.chosen.append(chosen_LU)
            known.is_kept.append(kept_LU)
            known.tested.append(tested_LU)
        return known

    def test(self, splits_PL: NDArray[np.bool_], rule: str) -> _Tested:
        """Choose a unit of every concept in the languages of each split, and score it in the others."""
        n_splits, n_langs = splits_PL.shape
        n_concepts, n_units = len(self.unit), self.sums_LN.shape[1]
        own, other = np.full((2, n_splits, n_langs, n_concepts), np.nan)
        at_most = np.zeros((n_splits, n_concepts))
        parts = zip(self.unit, self.chosen, self.is_kept, self.tested, strict=True)
        for c, (unit_U, chosen_LU, kept_LU, tested_LU) in enumerate(parts):
            at_P, n_kept_P = _choose(chosen_LU, kept_LU, splits_PL, rule)
            own_PL = tested_LU[:, at_P].T
            own[:, :, c] = np.where(splits_PL, np.nan, own_PL)
            if n_concepts > 1:
                others_PL = (self.sums_LN[:, unit_U[at_P]].T - own_PL) / (n_concepts - 1)
                other[:, :, c] = np.where(splits_PL, np.nan, others_PL)
            at_most[:, c] = n_kept_P < splits_PL.sum(axis=1)
        random_L = self.sums_LN.sum(axis=1) / (n_units * n_concepts)
        random_LC = np.repeat(random_L[:, None], n_concepts, axis=1)
        return _Tested(own, other, random_LC, np.nanmin(own, axis=1), at_most)


def _choose(
    chosen_LU: Floats, kept_LU: NDArray[np.bool_], splits_PL: NDArray[np.bool_], rule: str
) -> tuple[NDArray[np.intp], Ints]:
    """The best unit by split, and in how many of the languages that choose its score was kept.

    Of equal ones it is that which is kept in most, then the first.
    """
    if rule == "worst":
        score_PU = np.stack([chosen_LU[of_split_L].min(axis=0) for of_split_L in splits_PL])
    else:
        score_PU = splits_PL @ chosen_LU
    is_best_PU = score_PU >= score_PU.max(axis=1, keepdims=True)
    n_kept_PU = splits_PL.astype(np.int64) @ kept_LU
    at_P = np.where(is_best_PU, n_kept_PU, -1).argmax(axis=1)
    return at_P, n_kept_PU[np.arange(len(at_P)), at_P]
