"""Finding 3: single units become reliable predictors of a concept in many languages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from babelscope.report.findings.criteria import Finding, Quantity, Subject
from babelscope.report.summaries import ALL, best_unit
from babelscope.report.words import Statement


def judge(subject: Subject, finding: Finding) -> Finding:
    """Judge the finding by the table of reliability."""
    rows = subject.rows("reliability")
    if rows.empty:
        return finding.tell("no reliability")
    for metric, label in (("worst_ap", "worst"), ("mean_ap", "mean")):
        single = best_unit(rows, metric)
        single = single[single["concept"] != ALL]
        if not single.empty:
            told = _judge_metric(finding, single, label)
            finding.tell("best unit by mean" if finding.statements else "best unit", clause=told)
    if not finding.criteria:
        return finding.tell("no best units")
    shared = rows[(rows["kind"] == "shared_units") & (rows["m"] >= 3)]
    if not shared.empty:
        m = int(shared["m"].min())
        counts = shared[shared["m"] == m].groupby("step")[["value", "null"]].mean()
        first, last = counts.index[[0, -1]]
        (before, null_before), (after, null_after) = counts.to_numpy()[[0, -1]]
        given = {"m": m, "after": after, "null_after": null_after, "last": last}
        if first == last:
            finding.tell("shared units of a step", **given)
        else:
            finding.tell("shared units", before=before, null_before=null_before, first=first, **given)
    return finding


def _judge_metric(finding: Finding, single: pd.DataFrame, label: str) -> Statement:
    """Judge by one average over languages; returns what is told of it."""
    # Seeds of one model are averaged per concept: concepts are what is resampled.
    grid = single.groupby(["step", "concept"])[["value", "null"]].mean().unstack("concept")
    values, nulls = grid["value"], grid["null"]
    excess = values - nulls
    first, last = int(values.index[0]), int(values.index[-1])

    def at(step: int) -> Quantity:
        name, null = f"{label} AP of the best units at step {step}", float(nulls.loc[step].mean())
        return _over_concepts(values.loc[step], name, null=null, step=step)

    end, over = at(last), _over_concepts(excess.loc[last], f"{label} AP above the null", step=last)
    finding.quantities += [end, over]
    above = bool(over.low > 0) if np.isfinite(over.low) else None
    given: dict[str, Any] = {"label": label, "end": end, "n": int(end.n)}
    finding.ask("above permuted concepts", above, "extra", **given)
    if first == last:
        finding.ask("reliability grows at all", None, lacks="steps", **given)
        return Statement("reliability", given)
    # The excess over the null, since the untrained baseline of both may move.
    name = f"growth of the {label} AP above the null"
    growth = _over_concepts(excess.loc[last] - excess.loc[first], name, step=last)
    given |= {"start": at(first), "growth": growth}
    finding.quantities += [at(first), growth]
    met = bool(above and growth.low > 0) if np.isfinite(growth.low) else None
    finding.ask("reliability grows", met, **given)
    return Statement("growth of reliability", given)


def _over_concepts(values: pd.Series, name: str, *, null: float = np.nan, step: int = -1) -> Quantity:
    """Mean over concepts with its t interval, which stays honest where concepts are few."""
    array = values.dropna().to_numpy(dtype=float)
    mean = float(array.mean()) if array.size else np.nan
    if array.size < 3:
        return Quantity(name, mean, null=null, n=array.size, step=step)
    half = stats.t.ppf(0.975, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size)
    return Quantity(name, mean, float(mean - half), float(mean + half), null, array.size, step)
