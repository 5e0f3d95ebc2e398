"""Finding 2: experts of one concept align across languages, and more than in a control model."""

from __future__ import annotations

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
from babelscope.report.summaries import SAME, over_seeds, overlap_totals, preferred_variant
from babelscope.report.words import Statement

KEY = "expert_overlap"

#: Overlap that covers less than this share of the way from null to ceiling holds only in part.
MIN_SHARE_OF_CEILING = 0.10

#: Significance level of tests taken from the tables (false discovery rate where there is one).
ALPHA = 0.05


def judge(subject: Subject) -> Finding:
    """Judge the finding by the table of overlap."""
    rows = subject.rows("overlap")
    if rows.empty:
        return subject.untested(KEY, "no overlap")
    variant = preferred_variant(rows)
    totals = overlap_totals(rows, variant)
    if totals.empty:
        return subject.untested(KEY, "no summary over pairs")
    first, last = int(totals["step"].min()), int(totals["step"].max())
    start, end = (_at(subject, totals, step) for step in (first, last))
    ceilings = over_seeds(overlap_totals(rows, pairs=SAME), subject.models, ["step"], "overlap")
    ceiling = quantity(ceilings[ceilings["step"] == last], "overlap", f"ceiling at step {last}", step=last)
    quantities = [start, end, ceiling] if first != last else [end, ceiling]
    above = _above_null(totals[totals["step"] == last], end)
    grown = _grown(start, end, above)
    criteria = [above, grown]
    share = np.nan
    if np.isfinite(ceiling.value) and ceiling.value > end.null:
        share = (end.value - end.null) / (ceiling.value - end.null)
        quantities.append(Quantity("share of the way from null to ceiling", share, step=last))
    known = bool(np.isfinite(share))
    given = {"share": share, "ceiling": ceiling, "least": MIN_SHARE_OF_CEILING}
    met = bool(share >= MIN_SHARE_OF_CEILING) if known else None
    criteria.append(Criterion("share of ceiling", met, given, "extra", "" if known else "ceiling"))
    if variant != "disjoint_lines":
        criteria.append(Criterion("disjoint sentences", None, part="extra"))
    shown = {"end": end, "ceiling": ceiling, "variant": variant, "n": int(end.n)}
    statements = [Statement("overlap and ceiling" if np.isfinite(ceiling.value) else "overlap", shown)]
    if first == last:
        statements.append(Statement("no growth with one step"))
    else:
        how = {True: "grew", False: "did not grow", None: "not known"}[grown.met]
        statements.append(Statement("growth", {"start": start, "how": how}))
        if first > 0:
            statements.append(Statement("no random weights", {"first": first}))
    if known:
        statements.append(Statement("way to the ceiling", {"share": share}))
    if subject.role == "main" and (controls := _controls(subject, variant, last)):
        statement, criterion = _contrast(end, controls)
        statements.append(statement)
        criteria.append(criterion)
        quantities += controls
    return subject.judged(KEY, criteria, quantities, statements)


def _at(subject: Subject, totals: pd.DataFrame, step: int) -> Quantity:
    """Overlap of all languages at a step."""
    rows = totals[totals["step"] == step]
    values = over_seeds(rows, subject.models, ["step"], "overlap")
    null = float(over_seeds(rows, subject.models, ["step"], "null")["null"].iloc[0])
    n = float(totals["n_concepts"].max())
    return quantity(values, "overlap", f"overlap at step {step}", null=null, n=n, step=step)


def _above_null(rows: pd.DataFrame, end: Quantity) -> Criterion:
    name = "q_value" if rows["q_value"].notna().any() else "p_value"
    p_value = float(rows[name].max())
    met = bool(end.low > end.null and not p_value > ALPHA) if np.isfinite(end.low) else None
    given = {"end": end, "letter": name[0], "p_value": p_value}
    return Criterion("above null", met, given, "extra", "" if np.isfinite(p_value) else "test")


def _grown(start: Quantity, end: Quantity, above: Criterion) -> Criterion:
    met = None
    if start.step != end.step and (further := below(start.excess, end.excess)) is not None:
        met = bool(above.met) and further
    lacks = "steps" if start.step == end.step else ""
    return Criterion("overlap grows", met, {"start": start, "end": end}, lacks=lacks)


def _controls(subject: Subject, variant: str, step: int) -> list[Quantity]:
    """Overlap of the control models at the same step."""
    found = []
    for control, role in subject.ids:
        totals = overlap_totals(subject.rows("overlap", control), variant)
        totals = totals[totals["step"] == step]
        if role == "control" and not totals.empty:
            null = float(totals["null"].mean())
            values = over_seeds(totals, subject.models, ["step"], "overlap")
            found.append(quantity(values, "overlap", f"overlap of control {control}", null=null, step=step))
    return found


def _contrast(end: Quantity, controls: list[Quantity]) -> tuple[Statement, Criterion]:
    """Compare the overlap above the null with that of the controls."""
    apart = [below(control.excess, end.excess) for control in controls]
    met = None if None in apart else all(apart)
    how = {True: "apart", False: "not apart", None: "no intervals"}[met]
    listed = tuple(Statement("control", {"control": control}) for control in controls)
    given = {"controls": listed, "how": how}
    return Statement("contrast", given), Criterion("more than in control", met, given, "shown")
