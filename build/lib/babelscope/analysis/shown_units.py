"""Which units are looked at closely: those that a study names, the best, and those with a life line.

Names of shapes: ``C`` concepts, ``L`` languages.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.analysis.overlap import ALL
from babelscope.analysis.ranking import BestFile
from babelscope.units import UnitPlace, place_of

logger = logging.getLogger(__name__)

_UNIT = ["layer", "site", "unit"]


def last_sound_step(audit: pd.DataFrame, steps: Collection[int]) -> int:
    """The last step that the audit does not flag, or the last if it flags all.

    Args:
        audit: The table of :func:`babelscope.analysis.audit.judge.collect_audit` of one model.
        steps: Steps to choose from.
    """
    sound = set(audit.loc[~audit["flag"].astype(bool), "step"]) & set(steps)
    if not sound:
        logger.warning("the audit flags every step; the last one is taken")
    return int(max(sound or steps))


def units_on_show(
    lines: pd.DataFrame,
    reliability: pd.DataFrame,
    best: Mapping[str, BestFile],
    *,
    step: int,
    named: Sequence[str],
    max_units: int,
) -> pd.DataFrame:
    """The units that are traced, at most so many.

    First come those that the study names, then of every concept the one that is best in its worst language,
    then those with a life line, the best in their worst language at this step first, then of every concept
    the one that is best in the mean.

    Args:
        lines: The table of :func:`babelscope.analysis.lifelines.trace_units`.
        reliability: The tables of :func:`babelscope.analysis.reliability.reliability_table` with ``step``.
        best: Per language the best units at the step.
        step: The step.
        named: Names of units; those that the model does not have are left out.
        max_units: Most units.

    Returns:
        Columns ``layer, site, unit, concept``, in unit order. The concept is the first, in the order above
        and then by name, that the unit is taken for; of one that is only named it is that which it predicts
        best in the mean over languages, or nothing if it is among the best of none.
    """
    first = next(iter(best.values()))
    there = {(layer, site): width for layer, site, width in first.units.sites}
    own = [place for place in map(place_of, named) if place[2] < there.get(place[:2], 0)]
    found = reliability[
        (reliability["kind"] == "best_unit") & (reliability["concept"] != ALL) & (reliability["step"] == step)
    ]
    by_metric = {metric: _pairs(rows.sort_values("concept")) for metric, rows in found.groupby("metric")}
    pairs = [*by_metric.get("worst_ap", ()), *_by_worst_language(lines, step), *by_metric.get("mean_ap", ())]
    taken = list(dict.fromkeys([*own, *(place for place, _ in pairs)]))[:max_units]
    concept_of = dict(reversed(pairs))  # the first of a unit stays
    rows = [(*place, concept_of.get(place) or _best_concept(best, place)) for place in taken]
    table = pd.DataFrame(rows, columns=[*_UNIT, "concept"])
    order = np.argsort(first.units.numbers(table["layer"], table["site"], table["unit"]), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _pairs(rows: pd.DataFrame) -> list[tuple[UnitPlace, str]]:
    """Place and concept of each row of a table."""
    columns = [rows[name].tolist() for name in (*_UNIT, "concept")]
    return [
        ((int(layer), str(site), int(unit)), str(concept))
        for layer, site, unit, concept in zip(*columns, strict=True)
    ]


def _by_worst_language(lines: pd.DataFrame, step: int) -> list[tuple[UnitPlace, str]]:
    """The pairs that have a life line, those of the highest worst AP at a step first."""
    now = lines[lines["step"] == step]
    known = now.assign(ap=now["ap"].fillna(now["ap_below"]))
    worst = known.groupby([*_UNIT, "concept"])["ap"].min().reset_index()
    return _pairs(worst.sort_values("ap", ascending=False, kind="stable"))


def _best_concept(best: Mapping[str, BestFile], place: UnitPlace) -> str:
    """The concept that a unit predicts best in the mean over languages; 0 is where it is not kept."""
    first = next(iter(best.values()))
    number = first.units.numbers([place[0]], [place[1]], [place[2]])
    rows_C = np.arange(len(first.concepts))
    ap_LC = [file.ap(rows_C, np.repeat(number, len(rows_C)))[0] for file in best.values()]
    mean_C = np.nan_to_num(np.array(ap_LC)).mean(axis=0)
    return first.concepts[int(mean_C.argmax())] if mean_C.any() else ""
