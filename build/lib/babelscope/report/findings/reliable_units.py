"""Finding 3: single units become reliable predictors of a concept in many languages.

They are judged against permuted concepts and against scores in random order: on parallel lines a unit that
knows nothing has the same values in all languages, and its worst average precision is then that of one
random unit, not the least of several, which is what permuted concepts give.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.report.findings.criteria import Finding, Quantity, Subject, contrast, over_runs_and_concepts
from babelscope.report.summaries import ALL, best_unit, run_names
from babelscope.report.words import Statement

Floats = NDArray[np.float64]

_COLUMNS = ("value", "null", "chance_ap")

#: By what the best unit is chosen and measured, and how it is called; the first leads.
_METRICS = {"worst_ap": "worst", "mean_ap": "mean"}


def judge(subject: Subject, finding: Finding) -> Finding:
    """Judge the finding by the table of reliability."""
    rows = subject.rows("reliability")
    if rows.empty:
        return finding.tell("no reliability")
    for metric, label in _METRICS.items():
        best = _Best.of(subject, subject.model, metric)
        if best is not None:
            told = _judge_metric(subject, finding, best, label)
            finding.tell("best unit by mean" if finding.statements else "best unit", clause=told)
    if not finding.criteria:
        return finding.tell("no best units")
    if subject.role == "main":
        _contrast(subject, finding)
    _tell_shared(finding, rows)
    return finding


class _Best(NamedTuple):
    """The best units of a model, by run and concept at each step."""

    runs: list[str]
    at: dict[int, dict[str, Floats]]
    """By step and column (``value``, ...) an array ``(R, C)``, NaN where one is missing."""
    concepts: list[str]

    @classmethod
    def of(cls, subject: Subject, model: str, metric: str) -> _Best | None:
        """Those of a model of the study; None if it has none."""
        rows = best_unit(subject.rows("reliability", model), metric)
        rows = rows[rows["concept"] != ALL] if len(rows) else rows
        if rows.empty:
            return None
        runs, concepts = run_names(rows, subject.models), list(dict.fromkeys(rows["concept"]))
        grids = rows.pivot(index=["step", "model"], columns="concept", values=list(_COLUMNS))
        at = {
            int(step): {
                column: grids.loc[step].reindex(runs)[column][concepts].to_numpy(float) for column in _COLUMNS
            }
            for step in sorted(set(rows["step"]))
        }
        return cls(runs, at, concepts)

    def above(self, step: int, column: str) -> Floats:
        """The value above another column, ``(R, C)``."""
        return self.at[step]["value"] - self.at[step][column]

    def quantity(self, step: int, name: str) -> Quantity:
        """The mean of the values at a step."""
        null = float(np.nanmean(self.at[step]["null"]))
        return over_runs_and_concepts(self.at[step]["value"], name, null=null, step=step)


def _judge_metric(subject: Subject, finding: Finding, best: _Best, label: str) -> Statement:
    """Judge by one average over languages; returns what is told of it."""
    first, last = min(best.at), max(best.at)
    end = best.quantity(last, f"{label} AP of the best units at step {last}")
    over = over_runs_and_concepts(best.above(last, "null"), f"{label} AP above the null", step=last)
    beyond = over_runs_and_concepts(
        best.above(last, "chance_ap"), f"{label} AP above that of random scores", step=last
    )
    finding.quantities += [end, over, beyond]
    chance = float(np.nanmean(best.at[last]["chance_ap"]))
    given: dict[str, Any] = {"label": label, "end": end, "n": int(end.n), "chance": chance}
    outcomes = []
    for key, excess in (("above permuted concepts", over), ("above random scores", beyond)):
        met = excess.low > 0 if excess.has_interval else None
        outcomes.append(met)
        finding.ask(key, met, "extra", excess=excess, **given)
    if label == _METRICS["worst_ap"]:
        finding.effect = replace(end, name="worst AP over languages of the best unit")
    if first == last:
        finding.ask("reliability grows at all", None, lacks="steps", **given)
        return Statement("reliability", given)
    # The excess over the null, since the untrained baseline of both may move.
    name = f"growth of the {label} AP above the null"
    start = best.quantity(first, f"{label} AP of the best units at step {first}")
    growth = over_runs_and_concepts(best.above(last, "null") - best.above(first, "null"), name, step=last)
    given |= {"start": start, "growth": growth}
    finding.quantities += [start, growth]
    met = bool(all(outcomes) and growth.low > 0) if growth.has_interval else None
    finding.ask("reliability grows", met, **given)
    return Statement("growth of reliability", given)


def _contrast(subject: Subject, finding: Finding) -> None:
    """Compare the worst AP above its null with that of each control, by run and concept, at the last step."""
    own = _Best.of(subject, subject.model, "worst_ap")
    if own is None:
        return
    last, label = max(own.at), "worst AP of the best units above the null"
    for control in subject.controls:
        other = _Best.of(subject, control, "worst_ap")
        if other is None or last not in other.at or other.concepts != own.concepts:
            continue
        n = min(len(own.runs), len(other.runs))
        ours_RC, theirs_RC = own.above(last, "null"), other.above(last, "null")
        contrast(
            finding, control, f"the {label}",
            own=over_runs_and_concepts(ours_RC, label, step=last),
            alone=over_runs_and_concepts(theirs_RC, f"{label}, control {control}", step=last),
            extra=over_runs_and_concepts(
                ours_RC[:n] - theirs_RC[:n], f"{label}, more than in control {control}", step=last
            ),
        )  # fmt: skip


def _tell_shared(finding: Finding, rows: pd.DataFrame) -> None:
    """How many units several languages share."""
    shared = rows[(rows["kind"] == "shared_units") & (rows["m"] >= 3)]
    if shared.empty:
        return
    m = int(shared["m"].min())
    counts = shared[shared["m"] == m].groupby("step")[["value", "null"]].mean()
    first, last = counts.index[[0, -1]]
    (before, null_before), (after, null_after) = counts.to_numpy()[[0, -1]]
    given = {"m": m, "after": after, "null_after": null_after, "last": last}
    if first == last:
        finding.tell("shared units of a step", **given)
    else:
        finding.tell("shared units", before=before, null_before=null_before, first=first, **given)
