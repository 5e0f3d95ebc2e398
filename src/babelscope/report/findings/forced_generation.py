"""Finding 4: forced experts write their own language early, the pivot language late."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from babelscope.report.findings.criteria import (
    Criterion,
    Finding,
    Quantity,
    Subject,
    below,
    quantity,
)
from babelscope.report.summaries import ALL, SOURCE, generation_series, over_seeds
from babelscope.report.words import Statement

KEY = "forced_generation"

Get = Callable[[int, str, str, str], Quantity]
"""A value by step, condition, metric and target."""


def judge(subject: Subject) -> Finding:
    """Judge the finding by the table of generation."""
    rows = subject.rows("generation")
    if rows.empty:
        return subject.untested(KEY, "no texts")
    series = generation_series(rows, subject.pivot)
    get = _lookup(subject, series)
    steps = [int(step) for step in sorted(series["step"].unique())]
    rates = {
        step: (get(step, "forced", "hit_rate", ALL), get(step, "unforced", "hit_rate", ALL)) for step in steps
    }
    last = steps[-1]
    hits, base = rates[last]
    if not np.isfinite(hits.value):
        return subject.untested(KEY, "no forced texts")
    works = [step for step, (forced, unforced) in rates.items() if below(unforced, forced)]
    given = {"steps": tuple(works), "last": last, "hits": hits, "base": base}
    if not works:
        never = Criterion("forcing works at all", False, given)
        return subject.judged(KEY, [never], [hits, base], [Statement("never works", given)])
    criteria = [Criterion("forcing works", last in works, given, "extra")]
    quantities = [hits, base]
    statements = [Statement("forcing works", {**given, "early": works[0]})]
    for metric, label in (("text_share", "texts"), ("hit_share", "hits")):
        values = _shares(get, metric, works[0], last, subject.pivot)
        if np.isfinite(values["start"].value):
            quantities += [q for q in values.values() if np.isfinite(q.value)]
            shares = {**values, "label": label, "pivot": subject.pivot}
            criteria += _share_criteria(values, shares)
            statements.append(Statement("languages", shares))
    return subject.judged(KEY, criteria, quantities, statements)


def _lookup(subject: Subject, series: pd.DataFrame) -> Get:
    keys = ["step", "condition", "metric", "target"]
    values = over_seeds(series, subject.models, keys).set_index(keys)
    ns = series.groupby(keys)["n"].sum()

    def get(step: int, condition: str, metric: str, target: str) -> Quantity:
        wanted = (step, condition, metric, target)
        found = values.loc[[wanted]] if wanted in values.index else values.head(0)
        name = f"{metric}, {condition}" + ("" if target == ALL else f", {target}")
        return quantity(found, "value", name, n=float(ns.get(wanted, np.nan)), step=step)

    return get


def _shares(get: Get, metric: str, early: int, last: int, pivot: str) -> dict[str, Quantity]:
    """Shares of the source language where forcing first works and at the end, and of the pivot then."""
    return {
        "start": get(early, "forced", metric, SOURCE),
        "end": get(last, "forced", metric, SOURCE),
        "base_start": get(early, "unforced", metric, SOURCE),
        "base_end": get(last, "unforced", metric, SOURCE),
        "other": get(last, "forced", metric, pivot),
        "base_other": get(last, "unforced", metric, pivot),
    }


def _share_criteria(of: dict[str, Quantity], given: dict[str, object]) -> list[Criterion]:
    leans = below(of["base_start"], of["start"])
    falls = below(of["end"], of["start"]) if of["start"].step != of["end"].step else None
    return [
        Criterion("source first", leans, given, "extra"),
        Criterion("source falls", None if leans is None or falls is None else leans and falls, given),
        Criterion("pivot at the end", below(of["end"], of["other"]), given, "extra"),
        Criterion("pivot by forcing", below(of["base_other"], of["other"]), given, "shown"),
    ]
