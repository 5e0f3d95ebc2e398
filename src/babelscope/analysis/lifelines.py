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


def lifeline_summary(experts: Experts, scores: Mapping[Cell, ScoreFile]) -> pd.DataFrame:
    """How many units are shared at each step, how many come and go, and how long they stay.

    Counts all pairs of concept and unit, not only those that :func:`trace_units` follows.

    Args:
        experts: As for :func:`trace_units`.
        scores: Per (step, language) the scores; only their concepts and sites are read.

    Returns:
        One row per step and ``m`` from 2 to the number of languages, columns

        - ``model, step, m``;
        - ``n_units``: pairs shared by at least ``m`` languages;
        - ``births``: those that were not shared at the step before. At the first step all are born;
        - ``deaths``: pairs shared at the step before and no longer;
        - ``median_stay``: median over the births of the training steps until the pair is first seen no
          longer shared. NaN if there is no birth, or if more than half of them are still shared at the
          last step, so that the median is not known;
        - ``share_until_end``: share of the births that stay to the last step without a gap.
    """
    steps, langs = _axes(experts)
    index = _PairIndex.of_scores(scores)
    minimum = range(2, len(langs) + 1)
    shared: dict[int, list[NDArray[np.int64]]] = {m: [] for m in minimum}
    for step in steps:
        code, n_languages = np.unique(
            np.concatenate([index.codes(_chosen(experts[step, lang])) for lang in langs]),
            return_counts=True,
        )
        for m in minimum:
            shared[m].append(code[n_languages >= m])
    rows = []
    for m in minimum:
        for at, step in enumerate(steps):
            before = shared[m][at - 1] if at else np.empty(0, dtype=np.int64)
            born = np.setdiff1d(shared[m][at], before, assume_unique=True)
            stay = _stay(born, steps[at:], shared[m][at:])
            rows.append(
                {
                    "step": step,
                    "m": m,
                    "n_units": len(shared[m][at]),
                    "births": len(born),
                    "deaths": len(np.setdiff1d(before, shared[m][at], assume_unique=True)),
                    "median_stay": _median_of_censored(stay),
                    "share_until_end": float(np.isinf(stay).mean()) if len(stay) else np.nan,
                }
            )
    model = next(iter(scores.values())).provenance.model
    columns = ["step", "m", "n_units", "births", "deaths", "median_stay", "share_until_end"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "model", model)
    return table.sort_values(["step", "m"], kind="stable", ignore_index=True)


def _stay(born: NDArray[np.int64], steps: list[int], shared: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Training steps from birth, at ``steps[0]``, until first seen gone; infinite if never."""
    stay = np.full(len(born), np.inf)
    for step, there in zip(steps[1:], shared[1:], strict=True):
        gone = ~np.isin(born, there, assume_unique=True) & np.isinf(stay)
        stay[gone] = step - steps[0]
    return stay


def _median_of_censored(stay: NDArray[np.float64]) -> float:
    """Time after which half are gone (the Kaplan-Meier median, since all are followed equally long)."""
    if not len(stay):
        return float("nan")
    middle = float(np.sort(stay)[(len(stay) - 1) // 2])
    return middle if np.isfinite(middle) else float("nan")


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
