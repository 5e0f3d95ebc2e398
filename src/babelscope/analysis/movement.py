"""Movement: whether a patch brings another concept into a sentence, and in which language, beside controls.

Names of shapes: ``L`` languages, ``P`` pairs of them, ``C`` pairs of concepts, each in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.language_pairs import ACROSS, UNKNOWN, PairRow, across_over_own, pair_rows

Floats = NDArray[np.float64]

#: What is patched: the experts of the target's language, or of the source's; random units, at their own
#: values or moved as far.
EXPERTS, SOURCE_EXPERTS, RANDOM, RANDOM_DOSE = "experts", "source_experts", "random", "random_dose"
#: The whole state at the end of a layer, by how deep it is.
DEPTHS = ("early", "middle", "late")
STATES = {depth: f"state_{depth}" for depth in DEPTHS}
PATCHES = (EXPERTS, SOURCE_EXPERTS, RANDOM, RANDOM_DOSE, *STATES.values())
#: Of each the same patch from a sentence of the target's own concept.
CONTROLS = {patch: f"{patch}_control" for patch in PATCHES}
CONDITIONS = (*PATCHES, *CONTROLS.values())

_COLUMNS = [
    "model", "step", "source", "target", "condition", "layer", "moved", "low", "high", "left", "left_low",
    "left_high", "gain", "gain_low", "gain_high", "relative", "relative_low", "relative_high",
    "before", "n_concepts", "n_sentences",
]  # fmt: skip
_TEXT = ("model", "source", "target", "condition")
_WHOLE = ("step", "layer", "n_concepts", "n_sentences")
_TYPES = {name: np.int64 if name in _WHOLE else np.float64 for name in _COLUMNS if name not in _TEXT}


def movement_table(patched: pd.DataFrame, *, langs: Sequence[str], bootstrap: int, seed: int) -> pd.DataFrame:
    """Movement by language of the source and of the target, mean over concepts.

    Pairs of concepts count that have a value in both directions in all pairs of languages.

    Args:
        patched: Tables of :func:`babelscope.analysis.patching.patch_step`.
        langs: Languages of the study.
        bootstrap: Resamples of the intervals.
        seed: Of the resamples.

    Returns:
        Columns ``model, step, source, target``: a pair of languages, or for both ``*``, the mean over
        different ones, or ``=``, over languages with themselves; ``condition``, one of :data:`CONDITIONS`;
        ``layer`` of a state, 0 of units; ``moved`` with ``low, high``: by how much the words of the source's
        concept gain on those of the target's, both in the target's language, in nats; ``left`` with
        ``left_low, left_high``: by how much the words of the source's concept gain in the source's language
        on those in the target's, NaN where the two are one or share all words; ``gain`` with ``gain_low,
        gain_high``: what moved less what did by the same patch from the target's own concept, paired, NaN of
        the latter; ``relative`` with ``relative_low, relative_high``, of rows over different languages: their
        gain over that within a language, NaN where the latter is not surely above 0; ``before``: by how much
        the words of the source's concept were likelier than those of the target's; ``n_concepts``;
        ``n_sentences``, over all. Intervals draw pairs of concepts anew, and languages in rows over several;
        NaN with one pair of concepts.
    """
    rows: list[tuple[object, ...]] = []
    for (model, step), found in patched.groupby(["model", "step"], sort=False):
        measured = _Measured.of(found, langs)
        if measured.n_pairs:
            rows += [(model, step, *row) for row in measured.rows(bootstrap, seed)]
    return pd.DataFrame(rows, columns=_COLUMNS).astype(_TYPES)


class _Measured(NamedTuple):
    """What was measured of one model and step, as planes over source, target and pair of concepts."""

    langs: list[str]
    n_pairs: int
    moved: Mapping[str, Floats]
    """By condition; ``(L, L, C)``."""
    left: Mapping[str, Floats]
    before: Floats
    sentences: Floats
    layers: Mapping[str, int]

    @classmethod
    def of(cls, found: pd.DataFrame, langs: Sequence[str]) -> _Measured:
        """The pairs of concepts that have a value of every condition, in both directions everywhere."""
        conditions = [name for name in CONDITIONS if (found["condition"] == name).any()]
        pair = ["–".join(sorted(both)) for both in zip(found["concept"], found["other"], strict=True)]
        found = found.assign(pair=pair)
        counts = found.groupby("pair", sort=False).size()
        whole = counts[counts == 2 * len(langs) ** 2 * len(conditions)].index.tolist()
        order = pd.MultiIndex.from_product([langs, langs, whole])

        def plane(rows: pd.DataFrame, column: str, how: str = "mean") -> Floats:
            both = rows.groupby(["source", "target", "pair"])[column].agg(how)
            values = both.reindex(order).to_numpy(dtype=np.float64)
            return values.reshape(len(langs), len(langs), len(whole))

        of = {name: found[found["condition"] == name] for name in conditions}
        first = of[conditions[0]]
        return cls(
            list(langs),
            len(whole),
            {name: plane(rows, "moved") for name, rows in of.items()},
            {name: plane(rows, "left") for name, rows in of.items()},
            plane(first, "before"),
            plane(first, "n_sentences", "sum"),
            {name: int(rows["layer"].iloc[0]) for name, rows in of.items()},
        )

    def rows(self, bootstrap: int, seed: int) -> list[tuple[object, ...]]:
        """Means over different languages and over languages with themselves, then every pair."""
        return [
            (row.source, row.target, *self._row(row, condition))
            for row in pair_rows(self.langs, self.n_pairs, bootstrap, seed)
            for condition in self.moved
        ]

    def _row(self, row: PairRow, condition: str) -> tuple[object, ...]:
        gain = relative = UNKNOWN
        if condition in CONTROLS:
            gain_LLC = self.moved[condition] - self.moved[CONTROLS[condition]]
            gain = _mean(gain_LLC, row)
            relative = across_over_own(gain_LLC, row.draws) if row.source == ACROSS else UNKNOWN
        moved, left = (_mean(of[condition], row) for of in (self.moved, self.left))
        about = float(row.at(self.before).mean()), 2 * self.n_pairs, int(row.at(self.sentences).sum())
        return condition, self.layers[condition], *moved, *left, *gain, *relative, *about


def _mean(values_LLC: Floats, row: PairRow) -> tuple[float, float, float]:
    """With its interval, over the pairs of concepts that have a value in all languages of a row."""
    values_PC = row.at(values_LLC)
    there_C: NDArray[np.bool_] = np.asarray(np.isfinite(values_PC).all(axis=0))
    if not there_C.any():
        return UNKNOWN
    values_PC = values_PC[:, there_C]
    return float(values_PC.mean()), *row.interval(values_PC, there_C)
