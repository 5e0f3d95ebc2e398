"""Finding 1: language identity fades in the middle layers and recovers at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from babelscope.report.findings.criteria import Criterion, Finding, Quantity, Subject, below
from babelscope.report.summaries import component_probe, over_seeds
from babelscope.report.words import Statement

KEY = "language_identity"

#: A drop of probe accuracy smaller than this is no drop, however narrow the intervals.
MIN_DROP = 0.02

#: Probe accuracies of the layers that differ by at most this are called equal.
LEVEL_SPREAD = 0.10

_HOW = {
    (True, True): "drop and recovery", (True, False): "drop", (False, True): "never dropped",
    (False, False): "neither",
}  # fmt: skip


def judge(subject: Subject) -> Finding:
    """Judge the finding by the table of probes."""
    rows = subject.rows("probes")
    if rows.empty:
        return subject.untested(KEY, "no probes")
    n_steps, n_layers = rows["step"].nunique(), int(rows["layer"].max())
    middle = middle_layers(n_layers)
    if n_steps < 2 or not middle:
        return subject.untested(KEY, "too few steps or layers", n_steps=n_steps, n_layers=n_layers)
    criteria: list[Criterion] = []
    quantities: list[Quantity] = []
    statements: list[Statement] = []
    pc = component_probe(rows)
    for probe, label in (("full", "all dimensions"), (pc, f"{(pc or 'pc')[2:]} components")):
        part = rows[(rows["probe"] == probe) & (rows["metric"] == "accuracy") & (rows["seed"] == -1)]
        if part.empty:
            criteria.append(Criterion("drop and recovery", None, {"label": label}, lacks="probe"))
            continue
        values = over_seeds(part, subject.models, ["step", "layer"])
        found, spread, given = _change(values, middle, n_layers, label)
        quantities += found
        if probe == "full":
            quantities.append(spread)
            level = {"spread": spread, "most": LEVEL_SPREAD}
            criteria.append(Criterion("equal layers", spread.value <= LEVEL_SPREAD, level, "extra"))
        dropped, recovered = (_falls(given["after"], given[other]) for other in ("before", "end"))
        criteria.append(Criterion("middle drops", dropped, given))
        criteria.append(Criterion("end recovers", recovered, given, "extra"))
        how = _HOW[bool(dropped), bool(recovered)]
        statements.append(Statement("probe", {**given, "how": how, "first": middle[0], "last": middle[-1]}))
    chance = 1 / max(float(rows["n_languages"].max()), 1)
    return subject.judged(KEY, criteria, quantities, [*statements, Statement("chance", {"chance": chance})])


def _change(
    values: pd.DataFrame, middle: Sequence[int], n_layers: int, label: str
) -> tuple[list[Quantity], Quantity, dict[str, Any]]:
    """Accuracies of the middle and the last layer at the step where it peaks and at the last one.

    Returns:
        All of them, their spread over layers at the peak, and those that are told, by name.
    """
    blocks = values[values["layer"] >= 1]
    by_step = blocks.groupby("step")["value"].mean()
    early, late = int(by_step.index[int(by_step.to_numpy().argmax())]), int(values["step"].max())
    found = [
        _mean_over(values, step, layers, f"{label}, {where}, {when}")
        for when, step in (("peak", early), ("last", late))
        for where, layers in (("middle layers", middle), ("last layer", [n_layers]))
    ]
    before, _, after, end = found
    peak = blocks.loc[blocks["step"] == early, "value"]
    spread = Quantity("spread over layers at the peak", float(peak.max() - peak.min()), step=early)
    return found, spread, {"label": label, "before": before, "after": after, "end": end}


def _falls(low: Quantity, high: Quantity) -> bool | None:
    apart = below(low, high)
    return None if apart is None else apart and high.value - low.value >= MIN_DROP


def _mean_over(values: pd.DataFrame, step: int, layers: Sequence[int], name: str) -> Quantity:
    """Mean over layers; its interval is the mean of theirs, as if they were fully correlated."""
    rows = values[(values["step"] == step) & values["layer"].isin(layers)]
    value, low, high = (float(rows[column].mean()) for column in ("value", "low", "high"))
    return Quantity(name, value, low, high, n=len(rows), step=step)


def middle_layers(n_layers: int) -> list[int]:
    """Layers of the middle half of ``n_layers`` blocks: 4 blocks give 1 to 3, 24 give 6 to 18.

    The embedding output (layer 0) and the last layer never belong to it.
    """
    low, high = max(int(np.ceil(n_layers / 4)), 1), int(np.floor(3 * n_layers / 4))
    return [layer for layer in range(low, high + 1) if 0 < layer < n_layers]
