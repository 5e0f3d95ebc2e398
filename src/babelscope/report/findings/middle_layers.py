"""Finding 2b: experts align most in the middle layers."""

from __future__ import annotations

import pandas as pd

from babelscope.report.findings.criteria import (
    Criterion,
    Finding,
    Quantity,
    Subject,
    below,
    quantity,
)
from babelscope.report.findings.language_identity import middle_layers
from babelscope.report.summaries import over_seeds, overlap_layers
from babelscope.report.words import Statement

KEY = "middle_layers"

_NAME = "overlap above the null"


def judge(subject: Subject) -> Finding:
    """Judge the finding by the rows of the overlap table by layer, at the last step."""
    rows = subject.rows("overlap")
    layers = overlap_layers(rows) if not rows.empty else rows
    if layers.empty:
        return subject.untested(KEY, "no overlap by layer")
    last, n_layers = int(layers["step"].max()), int(layers["layer"].max())
    middle = [layer for layer in middle_layers(n_layers) if layer not in (1, n_layers)]
    if not middle:
        return subject.untested(KEY, "no middle", n_layers=n_layers)
    each = _excess(subject, layers[layers["step"] == last], last)
    best = max(each, key=lambda layer: each[layer].value)
    inner = max((layer for layer in middle if layer in each), key=lambda layer: each[layer].value)
    if not any(q.low > 0 for q in each.values()):
        return subject.untested(KEY, "nothing to locate", last=last, best=best, most=each[best])
    ends = {layer: each[layer] for layer in (1, n_layers) if layer in each}
    criteria = []
    for layer, end in ends.items():
        more = below(end, each[inner])
        given = {"layer": layer, "inner": inner, "end": end, "most": each[inner]}
        criteria.append(
            Criterion("best middle layer", None if more is None else more and best in middle, given)
        )
    where = "middle" if best in middle else "last" if best == n_layers else "first"
    reached = tuple(Statement("layer", {"layer": layer, "end": end}) for layer, end in ends.items())
    statements = [
        Statement(
            "best layer", {"last": last, "best": best, "n": n_layers, "where": where, "most": each[best]}
        ),
        Statement("middle and ends", {"inner": inner, "most": each[inner], "ends": reached}),
    ]
    return subject.judged(KEY, criteria, list(each.values()), statements)


def _excess(subject: Subject, rows: pd.DataFrame, step: int) -> dict[int, Quantity]:
    """Overlap above its null of each layer."""
    rows = rows.assign(
        excess=rows["overlap"] - rows["null"],
        low=rows["low"] - rows["null"],
        high=rows["high"] - rows["null"],
    )
    values = over_seeds(rows, subject.models, ["layer"], "excess").sort_values("layer")
    return {
        layer: quantity(values[values["layer"] == layer], "excess", f"{_NAME}, layer {layer}", step=step)
        for layer in map(int, values["layer"])
    }
