"""Finding 2: experts of one concept align across languages, more than in a control model, and (2b) most in
the middle layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from babelscope.report.findings.criteria import Finding, Quantity, Subject, below
from babelscope.report.findings.language_identity import middle_layers
from babelscope.report.summaries import SAME, overlap_layers, overlap_totals, preferred_variant
from babelscope.report.words import Statement

#: Overlap that covers less than this share of the way from null to ceiling holds only in part.
MIN_SHARE_OF_CEILING = 0.10

#: Significance level of tests taken from the tables (false discovery rate where there is one).
ALPHA = 0.05


def judge(subject: Subject, finding: Finding) -> Finding:
    """Judge the finding by the table of overlap."""
    rows = subject.rows("overlap")
    if rows.empty:
        return finding.tell("no overlap")
    variant = preferred_variant(rows)
    totals = overlap_totals(rows, variant)
    if totals.empty:
        return finding.tell("no summary over pairs")
    first, last = int(totals["step"].min()), int(totals["step"].max())
    start, end = (_at(subject, totals, step) for step in (first, last))
    ceilings = overlap_totals(rows, pairs=SAME)
    ceiling = subject.quantity(ceilings, "overlap", f"ceiling at step {last}", step=last)
    finding.quantities += [start, end, ceiling] if first != last else [end, ceiling]
    known = bool(np.isfinite(ceiling.value))
    told = {"end": end, "ceiling": ceiling, "variant": variant, "n": int(end.n)}
    finding.tell("overlap and ceiling" if known else "overlap", **told)
    _judge_growth(finding, totals[totals["step"] == last], start, end)
    if known and ceiling.value > end.null:
        share = (end.value - end.null) / (ceiling.value - end.null)
        finding.quantities.append(Quantity("share of the way from null to ceiling", share, step=last))
        given: dict[str, Any] = {"share": share, "ceiling": ceiling, "least": MIN_SHARE_OF_CEILING}
        finding.ask("share of ceiling", bool(share >= MIN_SHARE_OF_CEILING), "extra", **given)
        finding.tell("way to the ceiling", share=share)
    else:
        finding.ask("share of ceiling", None, "extra", lacks="ceiling", least=MIN_SHARE_OF_CEILING)
    if variant != "disjoint_lines":
        finding.ask("disjoint sentences", None, "extra")
    if subject.role == "main":
        _contrast(subject, finding, variant, end)
    return finding


def _at(subject: Subject, totals: pd.DataFrame, step: int) -> Quantity:
    """Overlap of all languages at a step."""
    rows = totals[totals["step"] == step]
    overlap = subject.quantity(rows, "overlap", f"overlap at step {step}", step=step)
    null = subject.quantity(rows, "null", "null", step=step).value
    return replace(overlap, null=null, n=float(totals["n_concepts"].max()))


def _judge_growth(finding: Finding, tested: pd.DataFrame, start: Quantity, end: Quantity) -> None:
    """Whether the overlap is above its null at the last step, and further above it than at the first."""
    letter = "q" if tested["q_value"].notna().any() else "p"
    p_value = float(tested[f"{letter}_value"].max())
    above = bool(end.low > end.null and not p_value > ALPHA) if np.isfinite(end.low) else None
    lacks = "" if np.isfinite(p_value) else "test"
    why = "not significant" if p_value > ALPHA else "reaches the null"
    finding.ask("above null", above, "extra", lacks, why, end=end, letter=letter, p_value=p_value)
    if start.step == end.step:
        finding.ask("overlap grows", None, lacks="steps")
        finding.tell("no growth with one step")
        return
    further = below(start.excess, end.excess)
    grown = None if further is None else bool(above) and further
    finding.ask("overlap grows", grown, start=start, end=end)
    how = {True: "grew", False: "did not grow", None: "not known"}[grown]
    finding.tell("growth", start=start, how=how)
    if start.step > 0:
        finding.tell("no random weights", first=start.step)


def _contrast(subject: Subject, finding: Finding, variant: str, end: Quantity) -> None:
    """Compare the overlap above the null with that of the control models at the same step."""
    controls = []
    for control in [model for model, role in subject.ids if role == "control"]:
        totals = overlap_totals(subject.rows("overlap", control), variant)
        totals = totals[totals["step"] == end.step]
        if not totals.empty:
            found = subject.quantity(totals, "overlap", f"overlap of control {control}", step=end.step)
            controls.append(replace(found, null=float(totals["null"].mean())))
    if not controls:
        return
    apart = [below(control.excess, end.excess) for control in controls]
    met = None if None in apart else all(apart)
    how = {True: "apart", False: "not apart", None: "no intervals"}[met]
    given: dict[str, Any] = {
        "controls": [Statement("control", {"control": control}) for control in controls],
        "how": how,
    }
    finding.ask("more than in control", met, "shown", **given)
    finding.tell("contrast", **given)
    finding.quantities += controls


def judge_layers(subject: Subject, finding: Finding) -> Finding:
    """Judge by the rows of the overlap table by layer, at the last step, whether the middle shares most."""
    rows = subject.rows("overlap")
    layers = overlap_layers(rows) if not rows.empty else rows
    if layers.empty:
        return finding.tell("no overlap by layer")
    last, n_layers = int(layers["step"].max()), int(layers["layer"].max())
    middle = [layer for layer in middle_layers(n_layers) if layer not in (1, n_layers)]
    if not middle:
        return finding.tell("no middle", n_layers=n_layers)
    rows = layers[layers["step"] == last]
    excess = rows.assign(**{column: rows[column] - rows["null"] for column in ("overlap", "low", "high")})
    name = "overlap above the null, layer"
    each = {
        layer: subject.quantity(excess, "overlap", f"{name} {layer}", step=last, layer=layer)
        for layer in sorted({int(layer) for layer in rows["layer"]})
    }
    best = max(each, key=lambda layer: each[layer].value)
    inner = max((layer for layer in middle if layer in each), key=lambda layer: each[layer].value)
    if not any(q.low > 0 for q in each.values()):
        return finding.tell("nothing to locate", last=last, best=best, most=each[best])
    finding.quantities += each.values()
    ends = {layer: each[layer] for layer in (1, n_layers) if layer in each}
    for layer, end in ends.items():
        more = below(end, each[inner])
        met = None if more is None else more and best in middle
        finding.ask("best middle layer", met, layer=layer, inner=inner, end=end, most=each[inner])
    where = {**dict.fromkeys(middle, "middle"), 1: "first", n_layers: "last"}.get(best, "between")
    finding.tell("best layer", last=last, best=best, n=n_layers, where=where, most=each[best])
    reached = [Statement("layer", {"layer": layer, "end": end}) for layer, end in ends.items()]
    return finding.tell("middle and ends", inner=inner, most=each[inner], ends=reached)
