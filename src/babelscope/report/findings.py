"""The paper's findings, judged by criteria that were fixed before any number was seen.

Each finding of Riemenschneider and Frank (ACL 2025) becomes criteria on the collected tables. A
criterion is met only if an interval lies wholly on one side of what it is compared with; where a
table or an interval is missing the criterion is open, and a finding with only open criteria cannot
be tested. All texts are made from the numbers; none is written for a particular study.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from babelscope.report.summaries import (
    ALL,
    best_unit,
    component_probe,
    flagged_steps,
    generation_series,
    model_ids,
    over_seeds,
    overlap_ceilings,
    overlap_layers,
    overlap_totals,
    preferred_variant,
    without_flagged,
)

Verdict = Literal["holds", "holds in part", "does not hold", "cannot be tested"]
Part = Literal["core", "extra", "shown"]

#: A drop of probe accuracy smaller than this is no drop, however narrow the intervals.
MIN_DROP = 0.02

#: Probe accuracies of the layers that differ by at most this are called equal.
LEVEL_SPREAD = 0.10

#: Overlap that covers less than this share of the way from null to ceiling holds only in part.
MIN_SHARE_OF_CEILING = 0.10

#: Significance level of tests taken from the tables (false discovery rate where there is one).
ALPHA = 0.05


@dataclass(frozen=True)
class Quantity:
    """A number with its interval and what it is compared with; NaN where there is none."""

    name: str
    value: float
    low: float = np.nan
    high: float = np.nan
    null: float = np.nan
    n: float = np.nan
    step: int = -1

    def __str__(self) -> str:
        text = _number(self.value)
        if np.isfinite(self.low) and np.isfinite(self.high):
            # No-break spaces, so that an interval stays on one line.
            text += f"\u00a0[{_number(self.low)},\u00a0{_number(self.high)}]"
        return text


@dataclass(frozen=True)
class Criterion:
    """One condition, as fixed beforehand, and its outcome."""

    text: str
    """What is asked."""
    met: bool | None
    """None: open, since something to judge by is missing."""
    evidence: str = ""
    """The numbers it was judged by."""
    part: Part = "core"
    """``core``: without one of these nothing of the finding holds; ``extra``: needed for all of it
    to hold; ``shown``: a comparison, no part of the verdict."""


@dataclass(frozen=True)
class Finding:
    """A finding of the paper, judged for one model of the study."""

    key: str
    number: str
    """Number of the finding in the paper; ``2b`` is the second half of finding 2."""
    title: str
    model: str
    """Model id of the study (all pre-training seeds of it)."""
    role: str
    verdict: Verdict
    text: str
    """One paragraph made from the numbers."""
    criteria: tuple[Criterion, ...] = ()
    quantities: tuple[Quantity, ...] = field(default=())


TITLES = {
    "language_identity": (
        "1",
        "Language identity fades in the middle layers and recovers at the end",
    ),
    "expert_overlap": ("2", "Experts of one concept align across languages"),
    "middle_layers": ("2b", "They align most in the middle layers"),
    "reliable_units": ("3", "Single units become reliable predictors in many languages"),
    "forced_generation": ("4", "Forced experts write their own language early, English late"),
}


def evaluate_findings(
    tables: Mapping[str, pd.DataFrame | None], *, pivot: str = "en", exclude_flagged: bool = False
) -> tuple[list[Finding], pd.DataFrame]:
    """Judge all findings for all models.

    Args:
        tables: Collected tables by name; any may be missing or empty.
        pivot: Language that late checkpoints are said to write.
        exclude_flagged: Judge without the steps that the table ``audit`` flags; else a finding that
            rests on one says so.

    Returns:
        The findings, by finding and then by model (main models first), and :func:`findings_table`.
    """
    flagged: dict[tuple[str, str], frozenset[int]] = {}
    if exclude_flagged:
        tables = without_flagged(tables)
    else:
        flagged = flagged_steps(tables.get("audit"), tables.get("models"))
    models = _table(tables, "models")
    present = [
        table
        for name in ("overlap", "probes", "reliability", "generation")
        if (table := _table(tables, name)) is not None
    ]
    ids = model_ids(models, present)
    findings: list[Finding] = []
    for key in TITLES:
        for model, role in ids:
            if key == "language_identity":
                found = _language_identity(_table(tables, "probes"), models, model, role)
            elif key == "expert_overlap":
                found = _expert_overlap(_table(tables, "overlap"), models, model, role, ids)
            elif key == "middle_layers":
                found = _middle_layers(_table(tables, "overlap"), models, model, role)
            elif key == "reliable_units":
                found = _reliable_units(_table(tables, "reliability"), models, model, role)
            else:
                found = _forced_generation(_table(tables, "generation"), models, model, role, pivot)
            findings.append(_with_doubt(found, flagged.get((model, role), frozenset())))
    return findings, findings_table(findings)


def _with_doubt(finding: Finding, flagged: frozenset[int]) -> Finding:
    """The finding; its text says which of the steps that it rests on the audit flagged."""
    doubtful = sorted(flagged & {q.step for q in finding.quantities})
    if not doubtful:
        return finding
    steps = f"Step {doubtful[0]}" if len(doubtful) == 1 else f"Steps {', '.join(map(str, doubtful))}"
    verb = "is" if len(doubtful) == 1 else "are"
    text = f"{finding.text} {steps}, on which this rests, {verb} flagged by the audit."
    return dataclasses.replace(finding, text=text)


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """All quantities behind the findings, one row each.

    Returns:
        Columns ``number, finding, model, role, verdict, quantity, step, value, low, high, null,
        n``. A finding without numbers has one row with an empty quantity.
    """
    rows = []
    for finding in findings:
        for q in finding.quantities or (Quantity("", np.nan),):
            rows.append(
                (finding.number, finding.key, finding.model, finding.role, finding.verdict, q.name,
                 q.step, q.value, q.low, q.high, q.null, q.n)
            )  # fmt: skip
    columns = ["number", "finding", "model", "role", "verdict", "quantity", "step", "value", "low",
               "high", "null", "n"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def verdict_of(criteria: Sequence[Criterion]) -> Verdict:
    """Verdict from the criteria.

    It holds if all core and extra criteria are met, in part if any core one is, cannot be tested if
    all core ones are open, and does not hold otherwise. An open criterion never counts as met.
    """
    core = [criterion.met for criterion in criteria if criterion.part == "core"]
    extra = [criterion.met for criterion in criteria if criterion.part == "extra"]
    if all(met is None for met in core):
        return "cannot be tested"
    if all(core) and all(extra):
        return "holds"
    return "holds in part" if any(core) else "does not hold"


def _language_identity(
    probes: pd.DataFrame | None, models: pd.DataFrame | None, model: str, role: str
) -> Finding:
    key = "language_identity"
    rows = _of(probes, models, model)
    if rows.empty:
        return _untested(key, model, role, "The study has no probe scores for this model.")
    steps = sorted(rows["step"].unique())
    n_layers = int(rows["layer"].max())
    middle = middle_layers(n_layers)
    if len(steps) < 2 or not middle:
        return _untested(
            key, model, role,
            f"It needs at least two steps and three layers; there are {len(steps)} step(s) and "
            f"layers 0 to {n_layers}.",
        )  # fmt: skip
    criteria: list[Criterion] = []
    quantities: list[Quantity] = []
    sentences: list[str] = []
    pc = component_probe(rows)
    for probe, label in (("full", "all dimensions"), (pc, f"{(pc or 'pc')[2:]} components")):
        part = rows[(rows["probe"] == probe) & (rows["metric"] == "accuracy") & (rows["seed"] == -1)]
        if part.empty:
            criteria.append(Criterion(f"Probe on {label}: drop and recovery.", None, "no such probe"))
            continue
        values = over_seeds(part, models, ["step", "layer"])
        by_step = values[values["layer"] >= 1].groupby("step")["value"].mean()
        early, late = int(by_step.index[int(by_step.to_numpy().argmax())]), int(steps[-1])
        of = {
            (when, where): _mean_over(values, step, layers, f"{label}, {where}, {when}")
            for when, step in (("peak", early), ("last", late))
            for where, layers in (("middle layers", middle), ("last layer", [n_layers]))
        }
        quantities += of.values()
        at_peak = values[(values["step"] == early) & (values["layer"] >= 1)]["value"]
        spread = float(at_peak.max() - at_peak.min())
        before, after = of["peak", "middle layers"], of["last", "middle layers"]
        end = of["last", "last layer"]
        if probe == "full":
            quantities.append(Quantity("spread over layers at the peak", spread, step=early))
            criteria.append(
                Criterion(
                    "When language is best told apart, all layers tell it about equally well "
                    f"(full probe, spread at most {LEVEL_SPREAD:.2f}).",
                    spread <= LEVEL_SPREAD,
                    f"step {early}: spread {_number(spread)}",
                    part="extra",
                )
            )
        dropped = _below(after, before) and before.value - after.value >= MIN_DROP
        recovered = _below(after, end) and end.value - after.value >= MIN_DROP
        criteria += [
            Criterion(
                f"Probe on {label}: the middle layers end below their peak step, by more than the intervals.",
                dropped if _has_interval(after, before) else None,
                f"{before} at step {early}, {after} at step {late}",
            ),
            Criterion(
                f"Probe on {label}: at the end the last layer is above the middle layers.",
                recovered if _has_interval(after, end) else None,
                f"middle {after}, last layer {end}",
                part="extra",
            ),
        ]
        how = (
            "drops and recovers" if dropped and recovered
            else "drops without a recovery" if dropped
            else "is higher at the end than in the middle but never dropped" if recovered
            else "shows neither drop nor recovery"
        )  # fmt: skip
        sentences.append(
            f"On {label} the accuracy {how}: in the middle layers ({middle[0]} to {middle[-1]}) "
            f"{before} at step {early}, where it peaks, and {after} at step {late}, in the last "
            f"layer {end} at step {late}."
        )
    chance = 1 / max(float(rows["n_languages"].max()), 1)
    sentences.append(f"Chance is {_number(chance)}.")
    return _judged(key, model, role, criteria, quantities, sentences)


def _expert_overlap(
    overlap: pd.DataFrame | None,
    models: pd.DataFrame | None,
    model: str,
    role: str,
    ids: Sequence[tuple[str, str]],
) -> Finding:
    key = "expert_overlap"
    rows = _of(overlap, models, model)
    if rows.empty:
        return _untested(key, model, role, "The study has no overlap of experts for this model.")
    variant = preferred_variant(rows)
    totals = overlap_totals(rows)
    totals = totals[totals["variant"] == variant]
    if totals.empty:
        return _untested(key, model, role, "The overlap table has no summary over language pairs.")
    steps = sorted(totals["step"].unique())
    first, last = int(steps[0]), int(steps[-1])
    values = over_seeds(totals, models, ["step"], "overlap")
    nulls = over_seeds(totals, models, ["step"], "null").set_index("step")["null"]
    at = {
        step: _quantity(values[values["step"] == step], "overlap", f"overlap at step {step}",
                        null=float(nulls[step]), n=float(totals["n_concepts"].max()), step=step)
        for step in (first, last)
    }  # fmt: skip
    end, start = at[last], at[first]
    ceilings = over_seeds(overlap_ceilings(rows), models, ["step"], "overlap")
    ceiling = _quantity(ceilings[ceilings["step"] == last], "overlap", f"ceiling at step {last}", step=last)
    quantities = [start, end, ceiling] if first != last else [end, ceiling]

    tested = totals[totals["step"] == last]
    p_name = "q_value" if "q_value" in tested and tested["q_value"].notna().any() else "p_value"
    p_value = float(tested[p_name].max()) if p_name in tested else np.nan
    has_interval = np.isfinite(end.low)
    above = has_interval and end.low > end.null and not p_value > ALPHA
    p_text = f", {p_name[0]} = {p_value:.3g}" if np.isfinite(p_value) else ""
    criteria = [
        Criterion(
            "At the last step the overlap is above its permuted null (interval and test).",
            above if has_interval else None,
            f"{end} against {_number(end.null)}{p_text}",
            part="extra",
        )
    ]
    grown: bool | None = None
    if first != last and _has_interval(start, end):
        grown = above and end.low - end.null > start.high - start.null
    criteria.append(
        Criterion(
            "The overlap is above its null and further above it than at the first step, by more "
            "than the intervals.",
            grown,
            f"step {first}: {start}, null {_number(start.null)}; step {last}: {end}, null {_number(end.null)}"
            if first != last
            else "one step only",
        )
    )
    share = np.nan
    if np.isfinite(ceiling.value) and ceiling.value > end.null:
        share = (end.value - end.null) / (ceiling.value - end.null)
        quantities.append(Quantity("share of the way from null to ceiling", share, step=last))
    criteria.append(
        Criterion(
            f"It covers at least {MIN_SHARE_OF_CEILING:.0%} of the way from the null to the "
            "reliability ceiling.",
            bool(share >= MIN_SHARE_OF_CEILING) if np.isfinite(share) else None,
            f"{share:.0%} of the way to {ceiling}" if np.isfinite(share) else "no ceiling above the null",
            part="extra",
        )
    )
    if variant != "disjoint_lines":
        criteria.append(
            Criterion(
                "Experts of two languages are chosen on disjoint sentences.", None,
                "the table has only the same parallel sentences, which inflate overlap", "extra",
            )
        )  # fmt: skip

    sentences = [
        f"Two languages share {end} of a concept's experts at step {last} "
        f"({'disjoint' if variant == 'disjoint_lines' else 'the same'} sentences; null "
        f"{_number(end.null)}"
        + (f"; ceiling {_number(ceiling.value)}" if np.isfinite(ceiling.value) else "")
        + f"; {int(end.n)} concepts)."
    ]
    if first == last:
        sentences.append("With a single step nothing can be said about growth.")
    else:
        sentences.append(
            f"At step {first} it was {start} with a null of {_number(start.null)}"
            + (", so it grew." if grown else
               ", so growth is not shown." if grown is not None else "; intervals are missing.")
        )  # fmt: skip
        if first > 0:
            sentences.append(
                f"The first step is {first}, not random weights: part of the overlap may be older."
            )
    if np.isfinite(share):
        sentences.append(f"That is {share:.0%} of the way from the null to the ceiling.")
    if role == "main":
        contrast = _contrast_with_controls(overlap, models, variant, end, ids)
        if contrast is not None:
            criteria.append(contrast[0])
            sentences.append(contrast[1])
            quantities += contrast[2]
    return _judged(key, model, role, criteria, quantities, sentences)


def _contrast_with_controls(
    overlap: pd.DataFrame | None,
    models: pd.DataFrame | None,
    variant: str,
    end: Quantity,
    ids: Sequence[tuple[str, str]],
) -> tuple[Criterion, str, list[Quantity]] | None:
    """Compare the overlap above the null with that of the controls at the same step."""
    found = []
    for control, role in ids:
        if role != "control":
            continue
        totals = overlap_totals(_of(overlap, models, control))
        totals = totals[(totals["variant"] == variant) & (totals["step"] == end.step)]
        if totals.empty:
            continue
        null = float(totals["null"].mean())
        values = over_seeds(totals, models, ["step"], "overlap")
        found.append(_quantity(values, "overlap", f"overlap of control {control}", null=null, step=end.step))
    if not found:
        return None
    decided = all(_has_interval(end, q) for q in found)
    beyond = decided and all(end.low - end.null > q.high - q.null for q in found)
    listed = "; ".join(f"{q.name} {q} (null {_number(q.null)})" for q in found)
    criterion = Criterion(
        "More than in the control model at the same step (comparison, no part of the verdict).",
        beyond if decided else None, listed, "shown",
    )  # fmt: skip
    sentence = f"At the same step: {listed}. " + (
        "The difference is larger than the intervals." if beyond
        else "The intervals do not separate the two." if decided
        else "Without intervals the two cannot be compared."
    )  # fmt: skip
    return criterion, sentence, found


def _middle_layers(
    overlap: pd.DataFrame | None, models: pd.DataFrame | None, model: str, role: str
) -> Finding:
    key = "middle_layers"
    rows = _of(overlap, models, model)
    layers = overlap_layers(rows) if not rows.empty else rows
    if layers.empty:
        return _untested(key, model, role, "The study has no overlap by layer for this model.")
    last = int(layers["step"].max())
    n_layers = int(layers["layer"].max())
    middle = [layer for layer in middle_layers(n_layers) if layer not in (1, n_layers)]
    if not middle:
        return _untested(
            key, model, role, f"{n_layers} block(s) leave no layer between the first and the last."
        )
    part = layers[layers["step"] == last]
    part = part.assign(excess=part["overlap"] - part["null"])
    for bound in ("low", "high"):
        part[bound] = part[bound] - part["null"]
    values = over_seeds(part, models, ["layer"], "excess").sort_values("layer")
    each = {
        int(layer): _quantity(values[values["layer"] == layer], "excess",
                              f"overlap above the null, layer {int(layer)}", step=last)
        for layer in values["layer"]
    }  # fmt: skip
    best = max(each, key=lambda layer: each[layer].value)
    inner = max((layer for layer in middle if layer in each), key=lambda layer: each[layer].value)
    ends = [layer for layer in (1, n_layers) if layer in each]
    if not any(q.low > 0 for q in each.values()):
        return _untested(
            key, model, role,
            f"At step {last} no layer shares experts beyond its null, so there is nothing to "
            f"locate; the largest overlap above the null is {each[best]}, in layer {best}.",
        )  # fmt: skip
    criteria = [
        Criterion(
            f"The best middle layer shares more than layer {layer}, by more than the intervals, "
            "and no less than the other end.",
            _below(each[layer], each[inner]) and best in middle
            if _has_interval(each[layer], each[inner])
            else None,
            f"layer {inner}: {each[inner]}; layer {layer}: {each[layer]}",
        )
        for layer in ends
    ]
    where = (
        "a middle layer" if best in middle else "the last layer" if best == n_layers else "the first block"
    )
    sentences = [
        f"At step {last} the overlap above the null within a layer is largest in layer {best} of "
        f"{n_layers}, {where}: {each[best]}.",
        f"The best middle layer ({inner}) reaches {each[inner]}, "
        + " and ".join(f"layer {layer} {each[layer]}" for layer in ends)
        + ".",
    ]
    return _judged(key, model, role, criteria, list(each.values()), sentences)


def _reliable_units(
    reliability: pd.DataFrame | None, models: pd.DataFrame | None, model: str, role: str
) -> Finding:
    key = "reliable_units"
    rows = _of(reliability, models, model)
    if rows.empty:
        return _untested(key, model, role, "The study has no reliability table for this model.")
    criteria: list[Criterion] = []
    quantities: list[Quantity] = []
    sentences: list[str] = []
    for metric, label in (("worst_ap", "worst"), ("mean_ap", "mean")):
        single = best_unit(rows, metric)
        single = single[single["concept"] != ALL]
        if single.empty:
            continue
        # Seeds of one model are averaged per concept: concepts are what is resampled.
        grid = single.groupby(["step", "concept"])[["value", "null"]].mean().unstack("concept")
        values, nulls = grid["value"], grid["null"]
        first, last = int(values.index[0]), int(values.index[-1])
        end = _over_concepts(values.loc[last], f"{label} AP of the best units at step {last}",
                         null=float(nulls.loc[last].mean()), step=last)  # fmt: skip
        over = _over_concepts(values.loc[last] - nulls.loc[last], f"{label} AP above the null", step=last)
        quantities += [end, over]
        above = bool(over.low > 0) if np.isfinite(over.low) else None
        criteria.append(
            Criterion(
                f"Over languages, the {label} AP of the best unit is above permuted concepts.",
                above,
                f"{end} against {_number(end.null)}",
                part="extra",
            )
        )
        lead = (
            "The best unit of a concept, chosen on one half of the sentences, has on the other a"
            if not sentences
            else "The same unit has a"
        )
        text = (
            f"{lead} {label} AP over languages of {end} at step {last} (permuted concepts "
            f"{_number(end.null)}; {int(end.n)} concepts)"
        )
        if first == last:
            criteria.append(Criterion(f"The {label} AP grows.", None, "one step only"))
        else:
            start = _over_concepts(
                values.loc[first],
                f"{label} AP of the best units at step {first}",
                null=float(nulls.loc[first].mean()),
                step=first,
            )
            # The excess over the null, since the untrained baseline of both may move.
            growth = _over_concepts(
                (values.loc[last] - nulls.loc[last]) - (values.loc[first] - nulls.loc[first]),
                f"growth of the {label} AP above the null", step=last,
            )  # fmt: skip
            quantities += [start, growth]
            criteria.append(
                Criterion(
                    f"The {label} AP is above permuted concepts and further above them than at the "
                    "first step.",
                    above and bool(growth.low > 0) if np.isfinite(growth.low) else None,
                    f"growth {growth}",
                )
            )
            text += f", {start} at step {first}; growth above the null {growth}"
        sentences.append(text + ".")
    shared = rows[(rows["kind"] == "shared_units") & (rows["m"] >= 3)]
    if not shared.empty:
        m = int(shared["m"].min())
        counts = shared[shared["m"] == m].groupby("step")["value"].mean()
        sentences.append(
            f"Units that are experts of one concept in at least {m} languages: "
            f"{counts.iloc[0]:.0f} at step {counts.index[0]}, {counts.iloc[-1]:.0f} at step "
            f"{counts.index[-1]}."
        )
    if not criteria:
        return _untested(key, model, role, "The reliability table has no best units.")
    return _judged(key, model, role, criteria, quantities, sentences)


def _forced_generation(
    generation: pd.DataFrame | None, models: pd.DataFrame | None, model: str, role: str, pivot: str
) -> Finding:
    key = "forced_generation"
    rows = _of(generation, models, model)
    if rows.empty:
        return _untested(key, model, role, "The study generates no text with this model.")
    series = generation_series(rows, pivot)
    values = over_seeds(series, models, ["step", "condition", "metric", "target"])
    ns = series.groupby(["step", "condition", "metric", "target"])["n"].sum()

    def get(step: int, condition: str, metric: str, target: str) -> Quantity:
        found = values[
            (values["step"] == step) & (values["condition"] == condition)
            & (values["metric"] == metric) & (values["target"] == target)
        ]  # fmt: skip
        n = float(ns.get((step, condition, metric, target), np.nan))
        name = f"{metric}, {condition}" + ("" if target == ALL else f", {target}")
        q = _quantity(found, "value", name, n=n, step=step)
        return q if np.isfinite(q.low) else _wilson(q)

    steps = [int(step) for step in sorted(series["step"].unique())]
    works = [
        step
        for step in steps
        if _below(get(step, "unforced", "hit_rate", ALL), get(step, "forced", "hit_rate", ALL))
    ]
    last = steps[-1]
    hits, base_hits = (get(last, c, "hit_rate", ALL) for c in ("forced", "unforced"))
    if not np.isfinite(hits.value):
        return _untested(key, model, role, "There are no texts with forced experts.")
    quantities = [hits, base_hits]
    if not works:
        text = (
            "Forcing the experts never raises the rate of concept words beyond the intervals "
            f"(step {last}: {hits} forced, {base_hits} unforced), so the language of the texts "
            "says nothing about the experts."
        )
        criterion = Criterion("Forcing raises the rate of concept words.", False, text)
        return _judged(key, model, role, [criterion], quantities, [text])
    early = works[0]
    criteria = [
        Criterion(
            "Forcing raises the rate of concept words, at the last step too.",
            last in works, "at steps " + ", ".join(map(str, works)), "extra",
        )
    ]  # fmt: skip
    sentences = [
        f"Forcing raises the rate of concept words from step {early} on; at step {last} it is "
        f"{hits} against {base_hits} without forcing."
    ]
    for metric, label in (("text_share", "texts"), ("hit_share", "hits")):
        start, end = (get(step, "forced", metric, "source") for step in (early, last))
        base_start, base_end = (get(step, "unforced", metric, "source") for step in (early, last))
        other, base_other = (get(last, c, metric, pivot) for c in ("forced", "unforced"))
        if not np.isfinite(start.value):
            continue
        quantities += [
            q for q in (start, end, base_start, base_end, other, base_other) if np.isfinite(q.value)
        ]
        leans = _below(base_start, start) if _has_interval(base_start, start) else None
        falls = _below(end, start) if early != last and _has_interval(start, end) else None
        criteria += [
            Criterion(
                f"Where forcing first works, more {label} are in the source language than without.",
                leans, f"step {early}: {start} forced, {base_start} unforced", "extra",
            ),
            Criterion(
                f"From that level the source language's share of {label} falls to the last step.",
                None if leans is None or falls is None else leans and falls,
                f"step {early}: {start}; step {last}: {end}",
            ),
            Criterion(
                f"At the last step more {label} are in {pivot} than in the source language.",
                _below(end, other) if _has_interval(end, other) else None,
                f"{pivot} {other}, source {end}", "extra",
            ),
            Criterion(
                f"At the last step {pivot} has a larger share of {label} than without forcing: "
                "else it is only the model's habit.",
                _below(base_other, other) if _has_interval(base_other, other) else None,
                f"{other} forced, {base_other} unforced", "shown",
            ),
        ]  # fmt: skip
        sentences.append(
            f"Of the {label}, {start} are in the source language at step {early} and {end} at step "
            f"{last} (without forcing {base_start} and {base_end}); in {pivot} {other} at the end "
            f"(without forcing {base_other})."
        )
    return _judged(key, model, role, criteria, quantities, sentences)


def middle_layers(n_layers: int) -> list[int]:
    """Layers of the middle half of ``n_layers`` blocks: 4 blocks give 1 to 3, 24 give 6 to 18.

    The embedding output (layer 0) and the last layer never belong to it.
    """
    low, high = max(int(np.ceil(n_layers / 4)), 1), int(np.floor(3 * n_layers / 4))
    return [layer for layer in range(low, high + 1) if 0 < layer < n_layers]


def _judged(
    key: str,
    model: str,
    role: str,
    criteria: Sequence[Criterion],
    quantities: Sequence[Quantity],
    sentences: Sequence[str],
) -> Finding:
    number, title = TITLES[key]
    return Finding(
        key, number, title, model, role, verdict_of(criteria), " ".join(sentences),
        tuple(criteria), tuple(quantities),
    )  # fmt: skip


def _untested(key: str, model: str, role: str, why: str) -> Finding:
    number, title = TITLES[key]
    return Finding(key, number, title, model, role, "cannot be tested", why)


def _table(tables: Mapping[str, pd.DataFrame | None], name: str) -> pd.DataFrame | None:
    table = tables.get(name)
    return None if table is None or table.empty else table


def _of(table: pd.DataFrame | None, models: pd.DataFrame | None, model: str) -> pd.DataFrame:
    """Rows of all runs of one model id."""
    if table is None:
        return pd.DataFrame()
    if models is None or "id" not in models:
        return table[table["model"] == model]
    runs = set(models.loc[models["id"] == model, "model"]) or {model}
    return table[table["model"].isin(runs)]


def _quantity(
    rows: pd.DataFrame,
    column: str,
    name: str,
    *,
    null: float = np.nan,
    n: float = np.nan,
    step: int = -1,
) -> Quantity:
    if rows.empty:
        return Quantity(name, np.nan, null=null, n=n, step=step)
    row = rows.iloc[0]
    return Quantity(name, float(row[column]), float(row["low"]), float(row["high"]), null, n, step)


def _mean_over(values: pd.DataFrame, step: int, layers: Sequence[int], name: str) -> Quantity:
    """Mean over layers; its interval is the mean of theirs, as if they were fully correlated."""
    rows = values[(values["step"] == step) & values["layer"].isin(layers)]
    return Quantity(
        name, float(rows["value"].mean()), float(rows["low"].mean()), float(rows["high"].mean()),
        n=len(rows), step=step,
    )  # fmt: skip


def _over_concepts(values: pd.Series, name: str, *, null: float = np.nan, step: int = -1) -> Quantity:
    """Mean over concepts with its t interval, which stays honest where concepts are few."""
    array = values.dropna().to_numpy(dtype=float)
    if array.size == 0:
        return Quantity(name, np.nan, null=null, n=0, step=step)
    mean = float(array.mean())
    if array.size < 3:
        return Quantity(name, mean, null=null, n=array.size, step=step)
    half = stats.t.ppf(0.975, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size)
    return Quantity(name, mean, float(mean - half), float(mean + half), null, array.size, step)


def _wilson(q: Quantity) -> Quantity:
    """Fill a missing interval of a share by Wilson's, from its number of texts."""
    if not (np.isfinite(q.value) and q.n > 0 and 0 <= q.value <= 1):
        return q
    z = 1.959964
    centre = (q.value + z**2 / (2 * q.n)) / (1 + z**2 / q.n)
    half = z / (1 + z**2 / q.n) * np.sqrt(q.value * (1 - q.value) / q.n + z**2 / (4 * q.n**2))
    return Quantity(q.name, q.value, float(centre - half), float(centre + half), q.null, q.n, q.step)


def _has_interval(*quantities: Quantity) -> bool:
    return all(np.isfinite(q.low) and np.isfinite(q.high) for q in quantities)


def _below(a: Quantity, b: Quantity) -> bool:
    """Whether the interval of ``a`` lies wholly below that of ``b``."""
    return _has_interval(a, b) and bool(a.high < b.low)


def _number(value: float) -> str:
    return "n/a" if not np.isfinite(value) else f"{value:.3f}"
