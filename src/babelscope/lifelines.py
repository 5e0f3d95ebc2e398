"""Life lines: in which languages a unit is an expert of a concept, from which step, for how long."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from babelscope.expertise import ScoreFile

Cell = tuple[int, str]
"""A step and a language."""
_UNIT = ["concept", "layer", "site", "unit"]


def trace_units(
    experts: Mapping[Cell, pd.DataFrame],
    scores: Mapping[Cell, ScoreFile],
    *,
    min_languages: int,
    max_units: int,
) -> pd.DataFrame:
    """Follow the units that are experts of one concept in several languages at any step.

    Args:
        experts: Per (step, language) the table of experts, all of one model.
        scores: Per (step, language) the scores.
        min_languages: Languages in which a unit must be an expert, at one step at least.
        max_units: Most units that are followed; those of the highest worst AP over languages at the
            last step come first.

    Returns:
        Columns ``model, concept, layer, site, unit, step, lang, is_expert, ap, n_total``; one row per
        followed unit, step and language. ``n_total`` is the number of units that qualify.
    """
    steps = sorted({step for step, _ in experts})
    langs = list(dict.fromkeys(lang for _, lang in experts))
    found = pd.concat(
        [
            table.loc[(table["scope"] == "model") & (table["subset"] == "all"), _UNIT].assign(
                step=step, lang=lang
            )
            for (step, lang), table in experts.items()
        ]
    )
    counts = found.groupby([*_UNIT, "step"]).size()
    shared = counts[counts >= min_languages].reset_index()[_UNIT].drop_duplicates()
    n_total = len(shared)
    model = next(iter(scores.values())).provenance.model
    columns = ["model", *_UNIT, "step", "lang", "is_expert", "ap", "n_total"]
    if not n_total:
        return pd.DataFrame(columns=columns)
    shared = shared.reset_index(drop=True)
    last = np.array([_own_ap(scores[steps[-1], lang], shared) for lang in langs])
    order = np.lexsort((shared.index, -last.min(axis=0)))[:max_units]
    chosen = shared.iloc[order].reset_index(drop=True)
    members = set(found.itertuples(index=False, name=None))
    parts = []
    for step in steps:
        for lang in langs:
            part = chosen.assign(step=step, lang=lang, ap=_own_ap(scores[step, lang], chosen))
            keys = part[[*_UNIT, "step", "lang"]].itertuples(index=False, name=None)
            part["is_expert"] = [key in members for key in keys]
            parts.append(part)
    table = pd.concat(parts, ignore_index=True).assign(model=model, n_total=n_total)
    return table[columns]


def _own_ap(scores: ScoreFile, units: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """AP of each unit for its own concept."""
    row_of = {concept: row for row, concept in enumerate(scores.concepts)}
    rows = units["concept"].map(row_of).to_numpy()
    return np.asarray(scores.gather(units, "ap_all")[rows, np.arange(len(units))])
