"""Finding 4: forced experts write their own language early, the pivot language late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from babelscope.report.findings.criteria import (
    Finding,
    Part,
    Quantity,
    Subject,
    below,
    contrast,
    why_not_below,
)
from babelscope.report.summaries import ALL, SOURCE, generation_series, over_seeds
from babelscope.report.words import Statement
from babelscope.text.languages import english_among

#: What forcing must raise the rate of concept words above. Unforced texts show the model's habit, random
#: units at the same dose what any such push does, experts of other concepts that it is this concept.
CONTROLS = ("unforced", "random_dose", "other_concept")

Get = Callable[[int, str, str, str], Quantity]
"""A value by step, condition, metric and target."""


def judge(subject: Subject, finding: Finding) -> Finding:
    """Judge the finding by the table of generation."""
    rows = subject.rows("generation")
    if rows.empty:
        return finding.tell("no texts")
    pivot = english_among(rows["target"].unique()) or subject.pivot
    series = generation_series(rows, pivot)
    get = _lookup(subject, series)
    steps = [int(step) for step in sorted(series["step"].unique())]
    rates = {
        step: {name: get(step, name, "hit_rate", ALL) for name in ("forced", *CONTROLS)} for step in steps
    }
    gains = {step: {name: get(step, name, "hit_gain", ALL) for name in CONTROLS} for step in steps}
    last = steps[-1]
    hits = rates[last]["forced"]
    if "forced" not in set(rows["condition"]):
        return finding.tell("no forced texts")
    if not np.isfinite(hits.value):
        return _judge_without_words(finding, get, steps, pivot)
    outcomes = {step: _works(of_step) for step, of_step in gains.items()}
    least = min(gains[last].values(), key=lambda gain: (np.isnan(gain.value), gain.value))
    finding.effect = replace(least, name="least gain of concept words over a control of forcing")
    finding.counts = "text"
    works = [step for step, works in outcomes.items() if works]
    against = [
        Statement("rate of a control", {"beside": name, "rate": rates[last][name], "gain": gains[last][name]})
        for name in CONTROLS
        if np.isfinite(rates[last][name].value)
    ]
    given: dict[str, Any] = {"steps": works, "last": last, "hits": hits, "against": against}
    numbers = [*rates[last].values(), *gains[last].values()]
    finding.quantities += [number for number in numbers if np.isfinite(number.value)]
    if not works:
        if None in outcomes.values():
            finding.ask("forcing works at all", None, lacks="controls", **given)
            return finding.tell("controls missing", **given)
        finding.ask("forcing works at all", False, **given)
        return finding.tell("never works", **given)
    finding.ask("forcing works", outcomes[last], "extra", **given)
    at = "all steps" if len(works) == len(steps) > 1 else "step " + ", ".join(map(str, works))
    finding.tell("forcing works", **given, at=at)
    for metric, label in (("text_share", "texts"), ("hit_share", "concept words")):
        _judge_shares(finding, get, metric, label, works[0], last, pivot)
    _tell_left_out(finding, rows)
    if outcomes[last]:
        _contrast(subject, finding, get, last, pivot)
    return finding


def _judge_without_words(finding: Finding, get: Get, steps: list[int], pivot: str) -> Finding:
    """Judge by the language of the whole text, as the paper did, where concepts have no words to look for.

    That a text is about the concept is open then, so the finding holds in part at most.
    """
    shares = {
        step: {name: get(step, name, "text_share", SOURCE) for name in ("forced", "unforced", "random_dose")}
        for step in steps
    }
    shares = {step: of_step for step, of_step in shares.items() if np.isfinite(of_step["forced"].value)}
    if not shares:
        return finding.tell("neither words nor languages")
    last = max(shares)
    turned = {
        step: _all_of(below(of_step[name], of_step["forced"]) for name in ("unforced", "random_dose"))
        for step, of_step in shares.items()
    }
    works = [step for step, turns in turned.items() if turns]
    forced, plain = shares[last]["forced"], shares[last]["unforced"]
    finding.effect = replace(forced, name="share of forced texts in the source language", null=plain.value)
    finding.counts = "text"
    given: dict[str, Any] = {"steps": works, "last": last, **shares[last]}
    finding.tell("no words", **given)
    finding.ask("forcing works at all", None, "extra", lacks="words", **given)
    if not works:
        lacks = "controls" if None in turned.values() else ""
        finding.ask("forcing turns the language", None if lacks else False, lacks=lacks, **given)
        return finding
    finding.ask("forcing turns the language", True, **given)
    _judge_shares(finding, get, "text_share", "texts", works[0], last, pivot)
    return finding


def _all_of(outcomes: Iterable[bool | None]) -> bool | None:
    """Whether all are met; None if one is open and none is missed."""
    found = list(outcomes)
    return False if False in found else None if None in found else True


def _tell_left_out(finding: Finding, rows: pd.DataFrame) -> None:
    """Name the source languages that a share leaves out."""
    forced = rows[(rows["condition"] == "forced") & (rows["lang"] != ALL)]
    for metric, key in (("text_share", "not identified"), ("hit_share", "words not known")):
        named = set(rows.loc[rows["metric"] == metric, "target"])
        if left_out := sorted(set(forced["lang"]) - named):
            finding.tell(key, langs=left_out)


def _contrast(subject: Subject, finding: Finding, get: Get, last: int, pivot: str) -> None:
    """The share of the source language among the words that forcing brings, which is what it comes to where
    forcing works at the last step; and against the controls."""
    own, plain = (get(last, condition, "hit_share", SOURCE) for condition in ("forced", "unforced"))
    if not np.isfinite(own.value):
        return
    what = "share of forced concept words in the source language"
    finding.effect, finding.counts = replace(own, name=what, null=plain.value), "word"
    for control in subject.controls if subject.role == "main" else ():
        rows = subject.against("generation_contrasts", control)
        if rows.empty:
            continue
        rows = rows[(rows["metric"] == "hit_share") & (rows["target"] == SOURCE)]
        extra = subject.quantity(rows, "difference", f"{what}, more than in control {control}", step=last)
        if np.isfinite(extra.value):
            series = generation_series(subject.rows("generation", control), pivot)
            alone = _lookup(subject, series)(last, "forced", "hit_share", SOURCE)
            alone = replace(alone, name=f"{what}, control {control}")
            contrast(finding, control, f"the {what}", own=own, alone=alone, extra=extra, less=True)


def _works(gains: Mapping[str, Quantity]) -> bool | None:
    """Whether forced texts have more words of their concept than each control; None if one is missing."""
    return _all_of(gain.low > 0 if gain.has_interval else None for gain in gains.values())


def _lookup(subject: Subject, series: pd.DataFrame) -> Get:
    keys = ["step", "condition", "metric", "target"]
    ns = series.groupby(keys)["n"].sum()
    rows = over_seeds(series, subject.models, keys)  # once: it takes long
    known = {tuple(row[key] for key in keys): row for row in rows.to_dict("records")}

    def get(step: int, condition: str, metric: str, target: str) -> Quantity:
        name = f"{metric}, {condition}" + ("" if target == ALL else f", {target}")
        row = known.get((step, condition, metric, target))
        if row is None:
            return Quantity(name, np.nan, step=step)
        n = float(ns[step, condition, metric, target])
        return Quantity(name, row["value"], row["low"], row["high"], n=n, step=step, runs=row["n_seeds"])

    return get


def _judge_shares(
    finding: Finding, get: Get, metric: str, label: str, early: int, last: int, pivot: str
) -> None:
    """Shares of the source language where forcing first works and at the end, and of the pivot then."""
    start, end = (get(step, "forced", metric, SOURCE) for step in (early, last))
    if not np.isfinite(start.value):
        return
    base_start, base_end = (get(step, "unforced", metric, SOURCE) for step in (early, last))
    other, base_other = (get(last, condition, metric, pivot) for condition in ("forced", "unforced"))
    values = {
        **{"start": start, "end": end, "base_start": base_start, "base_end": base_end},
        **{"other": other, "base_other": base_other},
    }
    finding.quantities += [q for q in values.values() if np.isfinite(q.value)]
    given: dict[str, Any] = {**values, "label": label, "pivot": pivot}
    leans = below(base_start, start)
    falls = below(end, start) if early != last else None
    finding.ask("source first", leans, "extra", why=why_not_below(base_start, start), **given)
    fell = None if leans is None or falls is None else leans and falls
    finding.ask("source falls", fell, why=why_not_below(end, start) if leans else "never led", **given)
    part: Part
    for key, low, part in (("pivot at the end", end, "extra"), ("pivot by forcing", base_other, "shown")):
        finding.ask(key, below(low, other), part, why=why_not_below(low, other), **given)
    finding.tell("languages", **given)
