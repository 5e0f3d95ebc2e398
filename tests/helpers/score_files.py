"""Files of activations, scores and best units, made of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from babelscope.analysis.ranking import BestFile, best_files, rank_units
from babelscope.analysis.scores import OTHER_HALF, WORD_SUBSETS, ScoreFile, ScoreSettings, score_units
from babelscope.capture.store import LayerSite, Provenance, UnitFile, write_units
from babelscope.io.cells import Cell, cell_name
from babelscope.io.h5 import atomic_h5
from babelscope.units import UnitIndex

#: Two layers of a dozen units each.
SITES: dict[LayerSite, int] = {(1, "mlp_act"): 12, (2, "mlp_act"): 12}


def provenance(lang: str = "en", model: str = "m", step: int = 1, dtype: str = "float32") -> Provenance:
    """Where made-up numbers come from."""
    return Provenance(
        model=model, step=step, lang=lang, weights_hash="w", tokenizer_hash="t", corpus_hash="c",
        sites=("mlp_act",), pooling="max", dtype=dtype,
    )  # fmt: skip


def by_site(values_NU: np.ndarray, sites: Mapping[LayerSite, int] = SITES) -> dict[LayerSite, np.ndarray]:
    """Columns of units as a block of the store."""
    ends = np.cumsum([*sites.values()])[:-1]
    return dict(zip(sites, np.split(values_NU, ends, axis=1), strict=True))


def make_units(
    path: Path,
    values_NU: np.ndarray,
    ids: Sequence[str],
    sites: Mapping[LayerSite, int] = SITES,
    n_tokens: Sequence[int] | None = None,
    **of: Any,
) -> UnitFile:
    """A file of pooled activations with one cell; ``of`` says of what, see :func:`provenance`."""
    about = provenance(**of)
    cell = cell_name(about.step, about.lang)
    with atomic_h5(path, kind="units") as file:
        write_units(file.create_group(cell), about, ids, sites, [(0, by_site(values_NU, sites))], n_tokens)
    return UnitFile(path, cell)


def make_labels(ids: Sequence[str], concepts: Iterable[str]) -> pd.DataFrame:
    """A sentence expresses the concept that its id begins with."""
    return pd.DataFrame(
        [
            {"concept": concept, "sentence_id": name, "label": int(name.startswith(concept))}
            for concept in concepts
            for name in ids
        ]
    )


def score(path: Path, labels: pd.DataFrame, *units: UnitFile, **settings: Any) -> ScoreFile:
    """Scores of unit files, a group for each, in one file."""
    with atomic_h5(path, kind="scores") as file:
        for each in units:
            cell = cell_name(each.provenance.step, each.provenance.lang)
            score_units(each, labels, file.create_group(cell), ScoreSettings(**settings))
    return ScoreFile(path, cell)


class GivenScores(ScoreFile):
    """Scores that stand in memory.

    Args:
        ap: Per subset the average precision, ``(C, N)``; a missing half is that on all sentences.
        sites: Of the units.
        median_CN: Medians; by default the number of the unit.
        of: Of which cell, see :func:`provenance`.
    """

    def __init__(
        self,
        concepts: Sequence[str],
        ap: Mapping[str, np.ndarray],
        sites: Mapping[LayerSite, int] = SITES,
        median_CN: np.ndarray | None = None,
        **of: Any,
    ) -> None:
        self.concepts, self.provenance = list(concepts), provenance(**of)
        self.units = UnitIndex.of((*place, width) for place, width in sites.items())
        self.positive_rate = np.full(len(self.concepts), 1 / max(2, len(self.concepts)))
        self.chance_ap = self.positive_rate + 0.03
        self.length_ap = np.arange(1, len(self.concepts) + 1) / 10
        numbers = np.tile(np.arange(len(self.units)), (len(self.concepts), 1))
        self.arrays = {f"ap_{subset}": ap.get(subset, ap["all"]) for subset in ("all", *OTHER_HALF)}
        self.split_by_words = np.full(len(self.concepts), WORD_SUBSETS[0] in ap)
        self.arrays |= {f"ap_{subset}": ap[subset] for subset in WORD_SUBSETS if subset in ap}
        self.arrays["median"] = numbers if median_CN is None else median_CN

    def read(self, layer: int, site: str, what: str, columns: Any = slice(None)) -> np.ndarray:
        (part,) = (part for *place, part in self.units.parts() if place == [layer, site])
        return self.arrays[what].astype(np.float32)[:, part][:, columns]

    def at(self, lang: str, step: int) -> GivenScores:
        """The same of another cell."""
        other = GivenScores.__new__(GivenScores)
        other.__dict__.update(self.__dict__)
        other.provenance = dataclasses.replace(self.provenance, lang=lang, step=step)
        return other


def rank(path: Path, scores: Mapping[Cell, ScoreFile], *, kept: int) -> dict[Cell, BestFile]:
    """The best units of scores, step by step over all languages, in one file."""
    steps = dict.fromkeys(step for step, _ in scores)
    with atomic_h5(path, kind="best") as file:
        for step in steps:
            of_step = {lang: each for (at, lang), each in scores.items() if at == step}
            groups = {lang: file.create_group(cell_name(step, lang)) for lang in of_step}
            rank_units(of_step, groups, kept=kept)
    return best_files([path], list(scores))
