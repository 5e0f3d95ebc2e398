"""Finding 2: experts of one concept align across languages, more than in a control model, and (2b) most in
an inner layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from babelscope.analysis.power import POWER, detectable_gap, languages_of
from babelscope.report.findings.criteria import Finding, Quantity, Subject, below, contrast
from babelscope.report.summaries import (
    ALL,
    SAME,
    language_pairs,
    overlap_layers,
    overlap_totals,
    preferred_variant,
    run_names,
    shares_of_the_way,
)
from babelscope.report.words import Statement

#: Overlap that covers less than this share of the way from null to ceiling holds only in part.
MIN_SHARE_OF_CEILING = 0.10

#: Kinds of pairs of languages, and what they are called.
_KINDS: dict[str, dict[bool, str]] = {
    "same_script": {True: "of one script", False: "of different scripts"},
    "cognates": {True: "with cognates", False: "without cognates"},
}

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
    _tell_equal(finding, totals)
    _judge_way(subject, finding, totals[totals["step"] == last], ceiling)
    _tell_sites(subject, finding, rows[rows["variant"] == variant], last)
    _judge_growth(subject, finding, totals[totals["step"] == last], start, end)
    _near_concepts(finding, totals[totals["step"] == last], end)
    _tell_pairs(subject, finding, rows[(rows["variant"] == variant) & (rows["step"] == last)], last)
    if variant != "disjoint_lines":
        finding.ask("disjoint sentences", None, "extra")
    if subject.role == "main":
        _contrast(subject, finding, variant, end)
    finding.effect, finding.ceiling = replace(end, name="overlap of experts"), ceiling.value
    above_null = next(asked for asked in finding.criteria if asked.key == "above null")
    if finding.verdict == "does not hold" or above_null.met is False:
        _tell_power(subject, finding, totals[totals["step"] == last], start, end)
    return finding


def _tell_equal(finding: Finding, totals: pd.DataFrame) -> None:
    """Experts that were chosen by lot or are lacking, at the step with most of them."""
    for column in ("tied", "lacking"):
        share = totals.groupby("step")[column].mean()
        if share.max() > 0:
            finding.tell(
                f"{column} experts",
                share=float(share.max()),
                step=int(share.index.to_numpy()[share.argmax()]),
            )


def _tell_power(
    subject: Subject, finding: Finding, rows: pd.DataFrame, start: Quantity, end: Quantity
) -> None:
    """How much the study would have told, so that "does not hold" is not read as "is not there"."""
    name = "least overlap above the null that would be told"
    least = subject.quantity(rows, "detectable", name, step=end.step)
    if not np.isfinite(least.value):
        return
    growth = _change(subject, "detectable", "least growth that would be told", start, end, rows)
    told = [quantity for quantity in (least, growth) if np.isfinite(quantity.value)]
    finding.quantities += told
    given = {"least": least.value, "power": POWER, "n_null": int(rows["n_null"].max()), "n": int(end.n)}
    if len(told) == 1:
        finding.tell("power of a step", **given)
    else:
        finding.tell("power", growth=growth.value, **given)


def _at(subject: Subject, totals: pd.DataFrame, step: int, name: str = "") -> Quantity:
    """Overlap of all languages at a step."""
    rows = totals[totals["step"] == step]
    overlap = subject.quantity(rows, "overlap", name or f"overlap at step {step}", step=step)
    null = subject.quantity(rows, "null", "null", step=step).value
    return replace(overlap, null=null, n=float(totals["n_concepts"].max()))


def _judge_way(subject: Subject, finding: Finding, rows: pd.DataFrame, ceiling: Quantity) -> None:
    """Whether the overlap covers enough of the way from null to ceiling; and of that over disjoint words."""
    name = "share of the way from null to ceiling"
    share = subject.quantity(shares_of_the_way(rows), "way", name, step=ceiling.step)
    if not share.has_interval:
        finding.ask("share of ceiling", None, "extra", lacks="ceiling", least=MIN_SHARE_OF_CEILING)
        return
    finding.quantities.append(share)
    given: dict[str, Any] = {"share": share, "ceiling": ceiling, "least": MIN_SHARE_OF_CEILING}
    finding.ask("share of ceiling", share.low >= MIN_SHARE_OF_CEILING, "extra", **given)
    finding.tell("way to the ceiling", share=share)
    by_words = subject.quantity(
        shares_of_the_way(rows, "_words"), "way", f"{name} over disjoint words", step=ceiling.step
    )
    if not by_words.has_interval:
        finding.tell("no ceiling over words")
        return
    n = int(rows["n_concepts_words"].max())
    words = subject.quantity(rows, "ceiling_words", "ceiling over disjoint words", step=ceiling.step)
    words = replace(words, low=np.nan, high=np.nan, n=n)
    by_words = replace(by_words, n=n)
    finding.quantities += [words, by_words]
    finding.tell("way by words", words=words, share=by_words, n=n)


def _tell_sites(subject: Subject, finding: Finding, rows: pd.DataFrame, last: int) -> None:
    """The share of the way where experts are chosen within one site, where there are several."""
    of_sites = rows[(rows["scope"] == "site") & (rows["step"] == last) & (rows["lang_a"] == ALL)]
    ways, sites = shares_of_the_way(of_sites), []
    for site in dict.fromkeys(ways["site"]):
        share = subject.quantity(ways, "way", f"share of the way, {site}", step=last, site=site)
        finding.quantities.append(share)
        sites.append(Statement("site", {"site": site, "share": share}))
    if sites:
        finding.tell("way by site", sites=sites)


def _near_concepts(finding: Finding, rows: pd.DataFrame, end: Quantity) -> None:
    """Compare with what near concepts share: experts of a group of concepts pass the plain null."""
    if not rows["null_near"].notna().all():
        return
    near, p_value = float(rows["null_near"].mean()), float(rows["p_near"].max())
    finding.quantities.append(Quantity("overlap of near concepts", near, step=end.step))
    known = bool(np.isfinite(p_value))
    met = bool(end.value > near and p_value <= ALPHA) if known else None
    given: dict[str, Any] = {"end": end, "near": near, "p_value": p_value}
    why = "not significant" if p_value > ALPHA else "other way"
    finding.ask("more than near concepts", met, "shown", "" if known else "permutations", why, **given)
    finding.tell("near concepts" if known else "near concepts, untested", **given)


def _tell_pairs(subject: Subject, finding: Finding, rows: pd.DataFrame, last: int) -> None:
    """How many pairs of languages share more than their null, and which kind they are of."""
    pairs = language_pairs(rows, subject.tables.get("pairs"))
    pairs = pairs[pairs["q_value"].notna()]
    if pairs.empty:
        return
    significant = pairs["q_value"] < ALPHA
    n_runs = pairs["model"].nunique()
    counted: dict[str, Any] = {"found": int(significant.sum()), "n": len(pairs), "last": last, "alpha": ALPHA}
    counted["over"] = f" in {n_runs} runs" if n_runs > 1 else ""
    kinds = []
    for column, names in _KINDS.items() if "cognates" in pairs else ():
        for value, name in names.items():
            of_kind = pairs[column] == value
            if of_kind.any():
                share = {"found": int((significant & of_kind).sum()), "n": int(of_kind.sum())}
                kinds.append(Statement("pairs of a kind", {**share, "kind": name}))
    finding.tell("significant pairs by kind" if kinds else "significant pairs", kinds=kinds, **counted)


def _judge_growth(
    subject: Subject, finding: Finding, tested: pd.DataFrame, start: Quantity, end: Quantity
) -> None:
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
    growth = _change(subject, "change", "growth of the overlap above its null", start, end, tested)
    grown = bool(above and growth.low > 0) if growth.has_interval and above is not None else None
    finding.quantities.append(growth)
    finding.ask("overlap grows", grown, start=start, end=end, growth=growth)
    how = {True: "grew", False: "did not grow", None: "not known"}[grown]
    finding.tell("growth", start=start, growth=growth, how=how)
    if start.step > 0:
        finding.tell("no random weights", first=start.step)


def _change(
    subject: Subject, column: str, name: str, start: Quantity, end: Quantity, totals: pd.DataFrame
) -> Quantity:
    """Of how much further above its null the overlap is, by the table of changes: steps are paired there."""
    rows, variant = subject.rows("overlap_changes"), str(totals["variant"].iloc[0])
    if rows.empty:
        return Quantity(name, np.nan, step=end.step)
    rows = rows[(rows["scope"] == "model") & (rows["variant"] == variant) & (rows["measure"] == "excess")]
    rows = rows[rows["since"] == start.step]
    return replace(subject.quantity(rows, column, name, step=end.step), n=end.n)


def _contrast(subject: Subject, finding: Finding, variant: str, end: Quantity) -> None:
    """Compare the overlap above the null with that of each control at the same step, by the paired table."""
    for control in subject.controls:
        totals = overlap_totals(subject.rows("overlap", control), variant)
        if end.step not in set(totals["step"]):
            continue
        rows = subject.against("overlap_contrasts", control)
        if not rows.empty:
            rows = rows[(rows["scope"] == "model") & (rows["variant"] == variant)]
            rows = rows[rows["measure"] == "excess"]
        extra = subject.quantity(
            rows, "difference", f"overlap above the null, more than in control {control}", step=end.step
        )
        contrast(
            finding, control, "the overlap above its null",
            own=end.excess, alone=_at(subject, totals, end.step, f"overlap of control {control}").excess,
            extra=replace(extra, n=end.n),
        )  # fmt: skip


def judge_layers(subject: Subject, finding: Finding) -> Finding:
    """Judge by the rows of the overlap table by layer, at the last step, whether an inner layer shares most.

    Layers are compared by the share of the way from null to ceiling, since ceilings differ between layers.
    Every run of the model is judged by itself: which inner layer it is may differ from seed to seed.
    """
    rows = subject.rows("overlap")
    layers = overlap_layers(rows) if not rows.empty else rows
    if layers.empty:
        return finding.tell("no overlap by layer")
    last, n_layers = int(layers["step"].max()), int(layers["layer"].max())
    if n_layers < 3:
        return finding.tell("no middle", n_layers=n_layers)
    at_last = layers[(layers["step"] == last) & (layers["layer"] > 0)]
    runs = run_names(at_last, subject.models)
    inner = {}
    for run in runs:
        of_run = at_last[at_last["model"] == run]
        layer = _judge_run(subject, finding, of_run, n_layers, "" if len(runs) == 1 else f" in {run}")
        if layer is not None:
            inner[run] = layer
    if inner:
        _sum_up_layers(subject, finding, at_last, inner)
    return finding


def _sum_up_layers(subject: Subject, finding: Finding, rows: pd.DataFrame, inner: Mapping[str, int]) -> None:
    """The share of the way in the best inner layer of each run, together, and against the controls.

    Args:
        rows: By layer, of all runs of the model at the last step.
        inner: Of each run its best inner layer.
    """
    last, variant = int(rows["step"].max()), rows["variant"].iloc[0]
    n = float(rows["n_concepts"].max())

    def quantity(table: pd.DataFrame, layers: pd.Series, column: str, name: str) -> Quantity:
        return replace(subject.quantity(table[table["layer"] == layers], column, name, step=last), n=n)

    what = "share of the way in the best inner layer"
    ways = shares_of_the_way(rows)
    own = quantity(ways, ways["model"].map(inner), "way", what)
    finding.effect = own
    for control in subject.controls if subject.role == "main" else ():
        table = subject.against("overlap_contrasts", control)
        if table.empty:
            continue
        table = table[
            (table["scope"] == "layer") & (table["variant"] == variant) & (table["measure"] == "way")
        ]
        table = table.dropna(subset="difference")
        name = f"{what}, more than in control {control}"
        extra = quantity(table, table["model"].map(inner), "difference", name)
        ways = shares_of_the_way(overlap_layers(subject.rows("overlap", control)))
        layers = ways["model"].map(dict(zip(table["control"], table["model"], strict=True))).map(inner)
        alone = quantity(ways, layers, "way", f"{what}, control {control}")
        if np.isfinite(extra.value):
            contrast(finding, control, f"the {what}", own=own, alone=alone, extra=extra)


def _judge_run(
    subject: Subject, finding: Finding, rows: pd.DataFrame, n_layers: int, where: str
) -> int | None:
    """Whether an inner layer of one run shares more than the first and the last; returns the best."""
    last = int(rows["step"].max())
    excess = rows.assign(**{column: rows[column] - rows["null"] for column in ("overlap", "low", "high")})
    if not (excess["low"] > 0).any():
        best = excess.nlargest(1, "overlap").to_dict("records")[0]
        most = Quantity("", best["overlap"], best["low"], best["high"])
        finding.tell("nothing to locate", last=last, best=best["layer"], most=most, run=where)
        return None
    name, ways = f"share of the way{where}, layer", shares_of_the_way(rows)
    each = {
        layer: subject.quantity(ways, "way", f"{name} {layer}", step=last, layer=layer)
        for layer in sorted({int(layer) for layer in ways["layer"]})
    }
    inner = max((at for at in each if 1 < at < n_layers), key=lambda at: each[at].value, default=None)
    if inner is None:
        finding.ask("best inner layer", None, lacks="ceiling", run=where, layer=1)
        return None
    finding.quantities += each.values()
    best_layer = max(each, key=lambda layer: each[layer].value)
    ends = {layer: each[layer] for layer in (1, n_layers) if layer in each}
    for layer in (1, n_layers):
        given: dict[str, Any] = {"run": where, "layer": layer, "inner": inner, "most": each[inner]}
        if layer in each:
            more = below(each[layer], each[inner])
            met = None if more is None else more and best_layer == inner
            finding.ask("best inner layer", met, end=each[layer], **given)
        else:
            finding.ask("best inner layer", None, lacks="ceiling", **given)
    if not all(best_layer == inner and below(end, each[inner]) for end in ends.values()):
        n_langs = languages_of(int(rows["n_pairs"].max()))
        gaps = [
            detectable_gap(
                each[inner].value - each[inner].low,
                end.high - end.value,
                n_langs,
                int(rows["n_concepts"].max()),
            )
            for end in ends.values()
        ]
        finding.tell("power of layers", run=where, inner=inner, least=max(gaps, default=np.nan), power=POWER)
    place = "last" if best_layer == n_layers else "first" if best_layer == 1 else "inner"
    given = {"last": last, "best": best_layer, "n": n_layers, "most": each[best_layer], "run": where}
    finding.tell("best layer", where=place, **given)
    reached = [Statement("layer", {"layer": layer, "end": end}) for layer, end in ends.items()]
    if reached:
        finding.tell("inner and ends", inner=inner, most=each[inner], ends=reached)
    return inner
