"""Finding 1: language identity fades in the middle layers and recovers at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from babelscope.report.findings.criteria import Finding, Quantity, Subject, below
from babelscope.report.summaries import component_probe, over_seeds

#: A drop of probe accuracy smaller than this is no drop, however narrow the intervals.
MIN_DROP = 0.02

#: Probe accuracies of the layers that differ by at most this are called equal.
LEVEL_SPREAD = 0.10

_HOW = {
    (True, True): "drop and recovery", (True, False): "drop", (False, True): "never dropped",
    (False, False): "neither",
}  # fmt: skip


def judge(subject: Subject, finding: Finding) -> Finding:
    """Judge the finding by the table of probes."""
    rows = subject.rows("probes")
    if rows.empty:
        return finding.tell("no probes")
    n_steps, n_layers = rows["step"].nunique(), int(rows["layer"].max())
    middle = middle_layers(n_layers)
    if n_steps < 2 or not middle:
        return finding.tell("too few steps or layers", n_steps=n_steps, n_layers=n_layers)
    pc = component_probe(rows)
    for probe, label in (("full", "all dimensions"), (pc, f"{(pc or 'pc')[2:]} components")):
        part = rows[(rows["probe"] == probe) & (rows["metric"] == "accuracy") & (rows["seed"] == -1)]
        if part.empty:
            finding.ask("drop and recovery", None, lacks="probe", label=label)
            continue
        values = over_seeds(part, subject.models, ["step", "layer"])
        found, spread = _change(values, middle, n_layers, label)
        finding.quantities += found
        if probe == "full":
            finding.quantities.append(spread)
            met = spread.value <= LEVEL_SPREAD
            finding.ask("equal layers", met, "extra", spread=spread, most=LEVEL_SPREAD)
        before, _, after, end = found
        given: dict[str, Any] = {"label": label, "before": before, "after": after, "end": end}
        dropped, recovered = _falls(after, before), _falls(after, end)
        finding.ask("middle drops", dropped, **given)
        finding.ask("end recovers", recovered, "extra", **given)
        how = _HOW[bool(dropped), bool(recovered)]
        finding.tell("probe", **given, how=how, first=middle[0], last=middle[-1])
    return finding.tell("chance", chance=1 / max(float(rows["n_languages"].max()), 1))


def _change(
    values: pd.DataFrame, middle: Sequence[int], n_layers: int, label: str
) -> tuple[list[Quantity], Quantity]:
    """Accuracies of the middle and the last layer where it peaks and at the last step, and their spread over
    layers at the peak."""
    blocks = values[values["layer"] >= 1]
    by_step = blocks.groupby("step")["value"].mean()
    early, late = int(by_step.index[int(by_step.argmax())]), int(values["step"].max())
    found = [
        _mean_over(values, step, layers, f"{label}, {where}, {when}")
        for when, step in (("peak", early), ("last", late))
        for where, layers in (("middle layers", middle), ("last layer", [n_layers]))
    ]
    spread = float(np.ptp(blocks.loc[blocks["step"] == early, "value"]))
    return found, Quantity("spread over layers at the peak", spread, step=early)


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
