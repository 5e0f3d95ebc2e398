"""Finding 3: single units become reliable predictors of a concept in many languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from babelscope.report.findings.criteria import Criterion, Finding, Quantity, Subject
from babelscope.report.summaries import ALL, best_unit
from babelscope.report.words import Statement

KEY = "reliable_units"


def judge(subject: Subject) -> Finding:
    """Judge the finding by the table of reliability."""
    rows = subject.rows("reliability")
    if rows.empty:
        return subject.untested(KEY, "no reliability")
    criteria: list[Criterion] = []
    quantities: list[Quantity] = []
    statements: list[Statement] = []
    for metric, label in (("worst_ap", "worst"), ("mean_ap", "mean")):
        single = best_unit(rows, metric)
        single = single[single["concept"] != ALL]
        if not single.empty:
            asked, found, told = _judge_metric(single, label)
            criteria, quantities = criteria + asked, quantities + found
            statements.append(Statement("same unit" if statements else "best unit", {"clause": told}))
    if not criteria:
        return subject.untested(KEY, "no best units")
    shared = rows[(rows["kind"] == "shared_units") & (rows["m"] >= 3)]
    if not shared.empty:
        m = int(shared["m"].min())
        counts = shared[shared["m"] == m].groupby("step")["value"].mean()
        given = {"m": m, "before": counts.iloc[0], "first": counts.index[0], "after": counts.iloc[-1],
                 "last": counts.index[-1]}  # fmt: skip
        statements.append(Statement("shared units", given))
    return subject.judged(KEY, criteria, quantities, statements)


def _judge_metric(single: pd.DataFrame, label: str) -> tuple[list[Criterion], list[Quantity], Statement]:
    """Criteria, quantities and what is told of one average over languages."""
    # Seeds of one model are averaged per concept: concepts are what is resampled.
    grid = single.groupby(["step", "concept"])[["value", "null"]].mean().unstack("concept")
    values, nulls = grid["value"], grid["null"]
    excess = values - nulls
    first, last = int(values.index[0]), int(values.index[-1])

    def at(step: int) -> Quantity:
        name, null = f"{label} AP of the best units at step {step}", float(nulls.loc[step].mean())
        return _over_concepts(values.loc[step], name, null=null, step=step)

    end, over = at(last), _over_concepts(excess.loc[last], f"{label} AP above the null", step=last)
    above = bool(over.low > 0) if np.isfinite(over.low) else None
    given = {"label": label, "end": end, "n": int(end.n)}
    criteria = [Criterion("above permuted concepts", above, given, "extra")]
    if first == last:
        criteria.append(Criterion("reliability grows at all", None, given, lacks="steps"))
        return criteria, [end, over], Statement("reliability", given)
    # The excess over the null, since the untrained baseline of both may move.
    name = f"growth of the {label} AP above the null"
    growth = _over_concepts(excess.loc[last] - excess.loc[first], name, step=last)
    start = at(first)
    given |= {"start": start, "growth": growth}
    met = bool(above and growth.low > 0) if np.isfinite(growth.low) else None
    criteria.append(Criterion("reliability grows", met, given))
    return criteria, [end, over, start, growth], Statement("growth of reliability", given)


def _over_concepts(values: pd.Series, name: str, *, null: float = np.nan, step: int = -1) -> Quantity:
    """Mean over concepts with its t interval, which stays honest where concepts are few."""
    array = values.dropna().to_numpy(dtype=float)
    if array.size < 3:
        mean = float(array.mean()) if array.size else np.nan
        return Quantity(name, mean, null=null, n=array.size, step=step)
    mean = float(array.mean())
    half = stats.t.ppf(0.975, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size)
    return Quantity(name, mean, float(mean - half), float(mean + half), null, array.size, step)
