"""Damage: what ablation costs across languages and within one, beside its controls.

Names of shapes: ``L`` languages, ``P`` pairs of them, ``C`` concepts, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.language_pairs import ACROSS, UNKNOWN, PairRow, across_over_own, pair_rows

Floats = NDArray[np.float64]

#: Which units are ablated: the experts; as many random ones, at their means or moved as far; those of another
#: concept.
EXPERTS, RANDOM, RANDOM_DOSE, OTHER_CONCEPT = "experts", "random", "random_dose", "other_concept"
CONDITIONS = (EXPERTS, RANDOM, RANDOM_DOSE, OTHER_CONCEPT)

_COLUMNS = [
    "model", "step", "source", "target", "condition", "damage", "low", "high", "gain", "gain_low",
    "gain_high", "relative", "relative_low", "relative_high", "loss", "n_concepts", "n_sentences",
]  # fmt: skip
_TEXT, _WHOLE = ("model", "source", "target", "condition"), ("step", "n_concepts", "n_sentences")
_TYPES = {name: np.int64 if name in _WHOLE else np.float64 for name in _COLUMNS if name not in _TEXT}


def damage_table(losses: pd.DataFrame, *, langs: Sequence[str], bootstrap: int, seed: int) -> pd.DataFrame:
    """Damage by language of the experts and of the sentences, mean over concepts.

    Concepts count that have experts and sentences in every language.

    Args:
        losses: Tables of :func:`babelscope.analysis.ablation.ablate_step`.
        langs: Languages of the study.
        bootstrap: Resamples of the intervals.
        seed: Of the resamples.

    Returns:
        Columns ``model, step, source, target``: a pair of languages, or for both ``*``, the mean over
        different ones, or ``=``, over languages with themselves; ``condition``, one of :data:`CONDITIONS`;
        ``damage`` with ``low, high``, in nats per token; ``gain`` with ``gain_low, gain_high``, the damage
        of the experts less that of this condition, paired; ``relative`` with ``relative_low, relative_high``,
        of rows over different languages: their gain over that within a language (of the experts:
        damage over damage), NaN where the latter is not surely above 0; ``loss`` of the model as it is;
        ``n_concepts``; ``n_sentences``, over all. Intervals draw concepts anew, and languages in rows over
        several; NaN with one concept.
    """
    rows: list[tuple[object, ...]] = []
    for (model, step), found in losses.groupby(["model", "step"], sort=False):
        measured = _Measured.of(found, langs)
        if measured.concepts:
            rows += [(model, step, *row) for row in measured.rows(bootstrap, seed)]
    return pd.DataFrame(rows, columns=_COLUMNS).astype(_TYPES)


class _Measured(NamedTuple):
    """The losses of one model and step, as planes over source, target and concept."""

    langs: list[str]
    concepts: list[str]
    damage: Mapping[str, Floats]
    """By condition; ``(L, L, C)``."""
    loss: Floats
    sentences: Floats

    @classmethod
    def of(cls, found: pd.DataFrame, langs: Sequence[str]) -> _Measured:
        """The concepts that have a value of every condition in all pairs of languages."""
        conditions = [name for name in CONDITIONS if (found["condition"] == name).any()]
        counts = found.groupby("concept", sort=False).size()
        whole = counts[counts == len(langs) ** 2 * len(conditions)].index.tolist()

        def plane(rows: pd.DataFrame, column: str) -> Floats:
            wide = rows.set_index(["source", "target", "concept"])[column]
            order = pd.MultiIndex.from_product([langs, langs, whole])
            return wide.reindex(order).to_numpy(dtype=np.float64).reshape(len(langs), len(langs), len(whole))

        of = {name: found[found["condition"] == name] for name in conditions}
        damage = {name: plane(rows, "damage") for name, rows in of.items()}
        first = of[conditions[0]]
        return cls(list(langs), whole, damage, plane(first, "loss"), plane(first, "n_sentences"))

    def rows(self, bootstrap: int, seed: int) -> list[tuple[object, ...]]:
        """Means over different languages and over languages with themselves, then every pair."""
        return [
            (row.source, row.target, *self._row(row, condition))
            for row in pair_rows(self.langs, len(self.concepts), bootstrap, seed)
            for condition in self.damage
        ]

    def _row(self, row: PairRow, condition: str) -> tuple[object, ...]:
        damage_PC = row.at(self.damage[condition])
        gain = relative = UNKNOWN
        if condition != EXPERTS:
            gain_PC = row.at(self.damage[EXPERTS]) - damage_PC
            gain = float(gain_PC.mean()), *row.interval(gain_PC)
        if row.source == ACROSS:
            beyond: Any = self.damage[EXPERTS] - (0 if condition == EXPERTS else self.damage[condition])
            relative = across_over_own(beyond, row.draws)
        about = float(row.at(self.loss).mean()), len(self.concepts), int(row.at(self.sentences).sum())
        return condition, float(damage_PC.mean()), *row.interval(damage_PC), *gain, *relative, *about
