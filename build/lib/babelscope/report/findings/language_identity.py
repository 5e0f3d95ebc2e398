"""Finding 1: language identity fades in the middle layers and recovers at the end.

Steps and models are compared by the resamples that the probes keep (``draws``): the same sentences are
drawn in every cell, so a difference has the interval of a paired one. Fading alone shows no sharing, since
it happens in models whose languages have nothing in common too: so the drop is contrasted with that of the
control models, and the probe on anchor tokens, the only one that tells the two apart (docs/results), leads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.report.findings.criteria import (
    Contrast,
    Finding,
    Part,
    Quantity,
    Subject,
    exceeds,
    over_runs,
)
from babelscope.report.summaries import component_probe, run_names

Floats = NDArray[np.float64]

#: A difference of probe accuracies smaller than this is none, however narrow the intervals.
MIN_DROP = 0.02

#: Probe accuracies of the layers that differ by at most this are called equal.
LEVEL_SPREAD = 0.10

#: The probe whose drop must be larger than the control's.
LEAD = "anchors"


def judge(subject: Subject, finding: Finding) -> Finding:
    """Judge the finding by the table of probes."""
    rows = subject.rows("probes")
    if rows.empty:
        return finding.tell("no probes")
    n_layers = int(rows["layer"].max())
    middle = middle_layers(n_layers)
    if not middle:
        return finding.tell("too few layers", n_layers=n_layers)
    pc = component_probe(rows)
    labels = {LEAD: "anchor tokens", "full": "all dimensions", pc: f"{(pc or 'pc')[2:]} components"}
    one_step = False
    for probe, label in labels.items():
        course = _Course.of(subject, subject.model, probe, label, middle, n_layers)
        if course is None:
            finding.ask("drop and recovery", None, lacks="probe", label=label)
        elif len(course.trained) < 2:
            one_step = True
            _judge_valley(finding, course)
        else:
            _judge_course(subject, finding, course)
    if one_step:
        finding.tell("no course")
    _tell_memory(subject, finding, middle)
    return finding.tell("chance", chance=1 / max(float(rows["n_languages"].max()), 1))


class _Mean(NamedTuple):
    """Mean accuracy over some layers at a step, in each run, with its resamples."""

    value_R: Floats
    draws_RB: Floats

    def minus(self, other: _Mean) -> _Mean:
        """The difference, paired by run and sentence; runs that one lacks are left out."""
        n = min(len(self.value_R), len(other.value_R))
        return _Mean(self.value_R[:n] - other.value_R[:n], self.draws_RB[:n] - other.draws_RB[:n])

    def named(self, name: str, step: int, n: int) -> Quantity:
        """Over the runs; ``n`` layers."""
        return over_runs(self.value_R, self.draws_RB, name, step=step, n=n)


class _Course(NamedTuple):
    """The accuracy of a probe of a model over steps and layers."""

    probe: str
    label: str
    runs: list[dict[tuple[int, int], tuple[float, Floats]]]
    """Of each run, by its seed: value and resamples by (step, layer)."""
    middle: list[int]
    n_layers: int

    @classmethod
    def of(
        cls, subject: Subject, model: str, probe: str | None, label: str, middle: list[int], n_layers: int
    ) -> _Course | None:
        """The course of a model of the study; None if it has no scores of the probe."""
        rows = subject.rows("probes", model)
        rows = rows[(rows["probe"] == probe) & (rows["metric"] == "accuracy") & (rows["seed"] == -1)]
        rows = rows[rows["value"].notna()]
        if rows.empty or probe is None:
            return None
        runs = [_cells(of_run) for of_run in _by_seed(rows, subject.models)]
        return cls(probe, label, runs, middle, n_layers)

    @property
    def trained(self) -> list[int]:
        """Steps that all runs have, without step 0, whose weights are random, unless there are no others."""
        common = set.intersection(*({step for step, _ in run} for run in self.runs))
        return sorted(common - {0}) or sorted(common)

    def mean(self, step: int, layers: Sequence[int]) -> _Mean:
        """The mean over layers; NaN where a layer is missing."""
        nothing = (np.nan, np.full(1, np.nan))
        cells = [[run.get((step, layer), nothing) for layer in layers] for run in self.runs]
        n = min(len(draws) for run in cells for _, draws in run)
        values = [np.mean([value for value, _ in run]) for run in cells]
        draws = [np.mean([draws[:n] for _, draws in run], axis=0) for run in cells]
        return _Mean(np.array(values), np.array(draws))

    @property
    def peak(self) -> int:
        """The trained step with the highest mean over all blocks."""
        blocks = range(1, self.n_layers + 1)
        heights = {step: float(self.mean(step, blocks).value_R.mean()) for step in self.trained}
        known = {step: height for step, height in heights.items() if np.isfinite(height)}
        return max(known or heights, key=lambda step: (known or heights)[step])

    def drop(self, peak: int, last: int) -> _Mean:
        """By how much the middle layers fall between two steps."""
        return self.mean(peak, self.middle).minus(self.mean(last, self.middle))


def _cells(rows: pd.DataFrame) -> dict[tuple[int, int], tuple[float, Floats]]:
    """Value and resamples of a run by (step, layer)."""
    keys = zip(rows["step"].astype(int), rows["layer"].astype(int), strict=True)
    draws = [np.array(str(text).split(), dtype=float) for text in rows["draws"]]
    return dict(zip(keys, zip(rows["value"].astype(float), draws, strict=True), strict=True))


def _by_seed(rows: pd.DataFrame, models: pd.DataFrame | None) -> Iterator[pd.DataFrame]:
    """Rows of each run, in the order of the table of models."""
    return (rows[rows["model"] == name] for name in run_names(rows, models))


def _judge_course(subject: Subject, finding: Finding, course: _Course) -> None:
    """Whether the middle layers fall from their peak, whether the last layer is above them at the end."""
    label, middle, peak, last = course.label, course.middle, course.peak, course.trained[-1]
    n = len(middle)
    early, late, top = (
        course.mean(step, at) for step, at in ((peak, middle), (last, middle), (last, [course.n_layers]))
    )
    before = early.named(f"{label}, middle layers, peak", peak, n)
    after = late.named(f"{label}, middle layers, last", last, n)
    end = top.named(f"{label}, last layer, last", last, 1)
    drop = early.minus(late).named(f"{label}, drop of the middle layers", last, n)
    rise = top.minus(late).named(f"{label}, last layer above the middle", last, n)
    finding.quantities += [before, after, end, drop, rise]
    given: dict[str, Any] = {"label": label, "before": before, "after": after, "end": end}
    given |= {"drop": drop, "rise": rise, "least": MIN_DROP}
    if leads := finding.effect is None:  # that on anchor tokens, where there are some
        finding.effect = replace(drop, name=f"drop of the middle layers, probe on {label}")
        finding.counts = "layer"
    if course.probe == "full":
        _judge_spread(finding, course, peak)
    dropped, why = exceeds(drop, MIN_DROP)
    finding.ask("middle drops", dropped, why="peaks at the end" if peak == last else why, **given)
    recovered, why = exceeds(rise, MIN_DROP)
    finding.ask("end recovers", recovered, "extra", why=why, **given)
    how = _HOW[bool(dropped), bool(recovered)]
    finding.tell("probe", **given, how=how, first=middle[0], last=middle[-1])
    if subject.role == "main":
        _contrast(subject, finding, course, drop, peak, last, leads=leads)


_HOW = {
    (True, True): "drop and recovery", (True, False): "drop", (False, True): "no drop",
    (False, False): "neither",
}  # fmt: skip


def _judge_spread(finding: Finding, course: _Course, peak: int) -> None:
    """Whether all layers tell the language about equally well where it is told best."""
    blocks = [float(course.mean(peak, [layer]).value_R.mean()) for layer in range(1, course.n_layers + 1)]
    spread = Quantity("spread over layers at the peak", float(np.ptp(blocks)), step=peak)
    finding.quantities.append(spread)
    met = None if np.isnan(spread.value) else spread.value <= LEVEL_SPREAD
    finding.ask("equal layers", met, "extra", spread=spread, most=LEVEL_SPREAD)


def _contrast(
    subject: Subject, finding: Finding, course: _Course, drop: Quantity, peak: int, last: int, *, leads: bool
) -> None:
    """Compare the drop with that of each control between the same steps, by run and by sentence."""
    own = course.drop(peak, last)
    for control in subject.controls:
        other = _Course.of(subject, control, course.probe, course.label, course.middle, course.n_layers)
        if other is None or not {peak, last} <= set(other.trained):
            continue
        n, theirs = len(course.middle), other.drop(peak, last)
        alone = theirs.named(f"{course.label}, drop of control {control}", last, n)
        extra = own.minus(theirs).named(f"{course.label}, drop more than in control {control}", last, n)
        finding.quantities += [alone, extra]
        more, why = exceeds(extra, MIN_DROP)
        given: dict[str, Any] = {"label": course.label, "control_name": control, "extra": extra}
        given |= {"drop": drop, "alone": alone, "least": MIN_DROP}
        part: Part = "extra" if course.probe == LEAD else "shown"
        if leads:
            finding.contrasts.append(Contrast(control, extra))
        finding.ask("drops more than control", more, part, why=why, **given)
        finding.tell("control drop", **given, fading={True: "more", False: "no more", None: "open"}[more])


def _judge_valley(finding: Finding, course: _Course) -> None:
    """With one trained step: whether the middle layers lie below the first block and the last."""
    (step,), label = course.trained, course.label
    finding.ask("middle drops", None, lacks="course", label=label)
    inner = [layer for layer in course.middle if layer > 1]
    if not inner:
        return
    low = course.mean(step, inner)
    after = low.named(f"{label}, middle layers", step, len(inner))
    given: dict[str, Any] = {"label": label, "after": after, "least": MIN_DROP}
    outcomes = []
    for key, layer in (("first_block", 1), ("last_layer", course.n_layers)):
        edge = course.mean(step, [layer])
        given[key] = edge.named(f"{label}, layer {layer}", step, 1)
        above = edge.minus(low).named(f"{label}, layer {layer} above the middle", step, len(inner))
        given[f"above_{key}"] = above
        outcomes.append(exceeds(above, MIN_DROP))
        finding.quantities += [given[key], above]
    finding.quantities.append(after)
    met = (
        False
        if any(m is False for m, _ in outcomes)
        else None
        if any(m is None for m, _ in outcomes)
        else True
    )
    why = next((why for is_met, why in outcomes if is_met is False), "")
    finding.ask("valley", met, why=why, **given)
    valley = {True: "there", False: "not there", None: "open"}[met]
    finding.tell("valley", **given, valley=valley, first=inner[0], last=inner[-1], step=step)


def _tell_memory(subject: Subject, finding: Finding, middle: list[int]) -> None:
    """How much of the full probe's accuracy is memory of tokens, in the middle layers at the last step."""
    rows = subject.rows("probes")
    rows = rows[(rows["seed"] == -1) & rows["layer"].isin(middle) & (rows["step"] == rows["step"].max())]
    step, found = int(rows["step"].max()), {}
    for name, probe, metric in (
        ("train", "full", "train_accuracy"),
        ("test", "full", "accuracy"),
        ("new", "new_types", "accuracy"),
    ):
        part = rows[(rows["probe"] == probe) & (rows["metric"] == metric)]
        value = float(part["value"].mean()) if len(part) else np.nan
        low, high = (float(part[column].mean()) if len(part) else np.nan for column in ("low", "high"))
        found[name] = Quantity(f"{probe}, {metric}, middle layers", value, low, high, n=len(part), step=step)
    if all(np.isfinite(quantity.value) for quantity in found.values()):
        finding.quantities += [found["train"], found["new"]]
        finding.tell("memory", **found, step=step)


def middle_layers(n_layers: int) -> list[int]:
    """Layers of the middle half of ``n_layers`` blocks: 4 blocks give 1 to 3, 24 give 6 to 18.

    The embedding output (layer 0) and the last layer never belong to it.
    """
    low, high = max(int(np.ceil(n_layers / 4)), 1), int(np.floor(3 * n_layers / 4))
    return [layer for layer in range(low, high + 1) if 0 < layer < n_layers]
