"""Life lines: in which languages a unit is an expert of a concept, from which step, for how long.

A pair of a concept and a unit is *shared by m languages* at a step if the unit is among the experts of the
concept (whole model, all sentences) in at least ``m`` of them. Names of shapes: ``P`` pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from babelscope.analysis.scores import ScoreFile
from babelscope.io.tables import read_table

Cell = tuple[int, str]
"""A step and a language."""
Experts = Mapping[Cell, pd.DataFrame | Path]
"""Tables of experts of one model, or their files, which are then read one at a time."""

_UNIT = ["concept", "layer", "site", "unit"]


def trace_units(
    experts: Experts,
    scores: Mapping[Cell, ScoreFile],
    *,
    min_languages: int,
    max_units: int,
) -> pd.DataFrame:
    """Follow the units that are experts of one concept in several languages at any step.

    Args:
        experts: Per (step, language) the table of experts, or its file, all of one model. Files keep
            the memory small: 8 bytes per expert remain.
        scores: Per (step, language) the scores.
        min_languages: Languages in which a unit must be an expert, at one step at least.
        max_units: Most units that are followed; those of the highest worst AP over languages at the
            last step come first, equal ones by concept and unit order.

    Returns:
        Columns ``model, step, lang, concept, layer, site, unit, is_expert, ap, rank_worst_ap,
        rank_mean_ap, n_total``; one row per followed unit, step and language. The ranks (from 0) are
        those of the unit's worst and mean AP over languages at the last step, among the ``n_total``
        units that qualify.

    Raises:
        ValueError: If steps or languages were scored for different concepts or units.
    """
    steps, langs = _axes(experts)
    index = _PairIndex.of_scores(scores)
    members: dict[Cell, NDArray[np.int64]] = {}
    shared: list[NDArray[np.int64]] = []
    for step in steps:
        for lang in langs:
            members[step, lang] = index.codes(_chosen(experts[step, lang]))
        shared.append(_shared_by([members[step, lang] for lang in langs], min_languages))
    code_P = np.unique(np.concatenate(shared))
    columns = ["model", "step", "lang", *_UNIT, "is_expert", "ap", "rank_worst_ap", "rank_mean_ap", "n_total"]
    if not len(code_P):
        return pd.DataFrame(columns=columns)
    last_LP = np.array([index.own_ap(scores[steps[-1], lang], code_P) for lang in langs])
    by_worst_P = np.argsort(-last_LP.min(axis=0), kind="stable")
    by_mean_P = np.argsort(-last_LP.mean(axis=0), kind="stable")
    followed = by_worst_P[:max_units]
    chosen_P = code_P[followed]
    units = index.table(chosen_P).assign(
        rank_worst_ap=np.arange(len(followed)), rank_mean_ap=np.argsort(by_mean_P)[followed]
    )
    parts = [
        units.assign(
            step=step,
            lang=lang,
            is_expert=np.isin(chosen_P, members[step, lang]),
            ap=index.own_ap(scores[step, lang], chosen_P),
        )
        for step in steps
        for lang in langs
    ]
    model = next(iter(scores.values())).provenance.model
    return pd.concat(parts, ignore_index=True).assign(model=model, n_total=len(code_P))[columns]


def lifespans(experts: Experts, scores: Mapping[Cell, ScoreFile]) -> pd.DataFrame:
    """How long units stay shared, over all pairs of concept and unit, not only those that are followed.

    A spell begins at the step at which a pair is shared and was not at the step before, or at the first step,
    and ends at the step at which it is first seen no longer shared; a pair may have several. Those that go on
    at the last step are censored, and quartiles are those of the Kaplan-Meier curve. Spells that begin at the
    last step say nothing and are left out. Steps between checkpoints are not seen: a length is one between
    checkpoints, and spells from the first step may be older.

    Args:
        experts: As for :func:`trace_units`.
        scores: Per (step, language) the scores; only their concepts and sites are read.

    Returns:
        One row per ``m`` from 2 to the number of languages. Columns ``model, m``; ``n``: spells in which a
        pair is shared by at least ``m`` languages; ``censored``: their share that goes on at the last step;
        ``quartile_1, median, quartile_3``: their length in training steps, NaN where too few have ended.
    """
    steps, langs = _axes(experts)
    index = _PairIndex.of_scores(scores)
    found = [
        np.unique(
            np.concatenate([index.codes(_chosen(experts[step, lang])) for lang in langs]), return_counts=True
        )
        for step in steps
    ]
    rows = []
    for m in range(2, len(langs) + 1):
        length, censored = _spells(steps, [code[n_languages >= m] for code, n_languages in found])
        share = float(censored.mean()) if len(length) else np.nan
        rows.append((m, len(length), share, *_quartiles(length, censored)))
    table = pd.DataFrame(rows, columns=["m", "n", "censored", "quartile_1", "median", "quartile_3"])
    table.insert(0, "model", next(iter(scores.values())).provenance.model)
    return table


def _spells(
    steps: list[int], shared: list[NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Length of each spell in training steps, until it ends or the last step; whether it is censored."""
    lengths, censored = [np.empty(0)], [np.empty(0, dtype=bool)]
    before = np.empty(0, dtype=np.int64)
    for at, step in enumerate(steps[:-1]):
        born = np.setdiff1d(shared[at], before, assume_unique=True)
        end = np.full(len(born), np.inf)
        for later, there in zip(steps[at + 1 :], shared[at + 1 :], strict=True):
            end[np.isinf(end) & ~np.isin(born, there, assume_unique=True)] = later
        censored.append(np.isinf(end))
        lengths.append(np.minimum(end, steps[-1]) - step)
        before = shared[at]
    return np.concatenate(lengths), np.concatenate(censored)


def _quartiles(length: NDArray[np.float64], censored: NDArray[np.bool_]) -> list[float]:
    """Lengths after which a quarter, half and three quarters of the spells are over; NaN if not known."""
    if not len(length):
        return [float("nan")] * 3
    left = stats.ecdf(stats.CensoredData.right_censored(length, censored)).sf
    reached = [left.quantiles[left.probabilities <= share + 1e-12] for share in (0.75, 0.5, 0.25)]
    return [float(lengths[0]) if len(lengths) else float("nan") for lengths in reached]


def _axes(experts: Experts) -> tuple[list[int], list[str]]:
    return sorted({step for step, _ in experts}), list(dict.fromkeys(lang for _, lang in experts))


def _chosen(table: pd.DataFrame | Path) -> pd.DataFrame:
    """Experts of the whole model on all sentences."""
    if isinstance(table, Path):
        table = read_table(table, columns=["scope", "subset", *_UNIT])
    return table[(table["scope"] == "model") & (table["subset"] == "all")]


def _shared_by(members: list[NDArray[np.int64]], min_languages: int) -> NDArray[np.int64]:
    """Codes that stand in at least so many of the lists; a list has each code once."""
    code, n_languages = np.unique(np.concatenate(members), return_counts=True)
    return code[n_languages >= min_languages]


class _PairIndex:
    """One integer for each pair of concept and unit: by concept, then by unit order."""

    def __init__(self, concepts: list[str], sites: list[tuple[int, str, int]]) -> None:
        self.concepts, self.sites = concepts, sites
        ends = np.cumsum([width for _, _, width in sites])
        self.n_units = int(ends[-1])
        self.starts = ends - np.array([width for _, _, width in sites])

    @classmethod
    def of_scores(cls, scores: Mapping[Cell, ScoreFile]) -> _PairIndex:
        (first_cell, first), *others = scores.items()
        for cell, file in others:
            if file.concepts != first.concepts or file.sites != first.sites:
                raise ValueError(
                    f"step {cell[0]}, {cell[1]} and step {first_cell[0]}, {first_cell[1]} were scored for "
                    f"other concepts or units: {len(file.concepts)} concepts x {file.n_units} units "
                    f"against {len(first.concepts)} x {first.n_units}"
                )
        return cls(first.concepts, first.sites)

    def codes(self, units: pd.DataFrame) -> NDArray[np.int64]:
        """Integers of the rows ``concept, layer, site, unit``, rising."""
        concept = pd.Index(self.concepts).get_indexer(pd.Index(units["concept"]))
        start = np.zeros(len(units), dtype=np.int64)
        layer, site = units["layer"].to_numpy(), units["site"].to_numpy()
        for (at, name, _), first in zip(self.sites, self.starts, strict=True):
            start[(layer == at) & (site == name)] = first
        return np.sort(concept * self.n_units + start + units["unit"].to_numpy())

    def _split(self, code_P: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Concept, number of the site and index of the unit."""
        concept_P, place_P = np.divmod(code_P, self.n_units)
        site_P = np.searchsorted(self.starts, place_P, side="right") - 1
        return concept_P, site_P, place_P - self.starts[site_P]

    def table(self, code_P: NDArray[np.int64]) -> pd.DataFrame:
        """Columns ``concept, layer, site, unit``."""
        concept_P, site_P, unit_P = self._split(code_P)
        return pd.DataFrame(
            {
                "concept": [self.concepts[c] for c in concept_P],
                "layer": [self.sites[s][0] for s in site_P],
                "site": [self.sites[s][1] for s in site_P],
                "unit": unit_P,
            }
        )

    def own_ap(self, scores: ScoreFile, code_P: NDArray[np.int64]) -> NDArray[np.float64]:
        """AP of each unit for its own concept, read site by site."""
        concept_P, site_P, unit_P = self._split(code_P)
        ap_P = np.empty(len(code_P))
        for number in np.unique(site_P):
            rows = np.flatnonzero(site_P == number)
            layer, site, _ = self.sites[number]
            wanted, back = np.unique(unit_P[rows], return_inverse=True)
            ap_P[rows] = scores.read(layer, site, "ap_all", wanted)[concept_P[rows], back]
        return ap_P
