"""What the findings are made of: quantities, criteria that are the same for every study, verdicts.

A criterion is met only if an interval lies wholly on one side of what it is compared with; where a table
or an interval is missing the criterion is open, and a finding with only open criteria cannot be tested.
All are records of numbers; their words are made by :mod:`babelscope.report.words`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from babelscope.report.summaries import Key, over_seeds, with_roles
from babelscope.report.words import Statement, fill, number, words
from babelscope.stats import interval, interval_over_runs

Floats = NDArray[np.float64]

Verdict = Literal["holds", "holds in part", "does not hold", "cannot be tested"]
Part = Literal["core", "extra", "shown"]

#: Fewer concepts than these give no interval over concepts.
_FEWEST_CONCEPTS = 3

#: Number and title of each finding by its key, in order.
TITLES: dict[str, tuple[str, str]] = words()["findings"]


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
    runs: int = 1
    """Pre-training runs that the value is the mean of."""

    def __str__(self) -> str:
        # No-break spaces, so that an interval stays on one line.
        bounds = f"\u00a0[{number(self.low)},\u00a0{number(self.high)}]" if self.has_interval else ""
        return number(self.value) + bounds

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excess(self) -> Quantity:
        """The same above its null."""
        value, low, high = (number - self.null for number in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, null=0.0)

    @property
    def turned(self) -> Quantity:
        """The same with the other sign."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


@dataclass(frozen=True)
class Criterion:
    """One condition, the same for every study, and its outcome."""

    key: str
    """What is asked: one of the conditions in ``words.yaml``."""
    met: bool | None
    """None: open, since something to judge by is missing."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The numbers it was judged by."""
    part: Part = "core"
    """``core``: without one of these nothing of the finding holds; ``extra``: needed for all of it
    to hold; ``shown``: a comparison, no part of the verdict."""
    lacks: str = ""
    """What was missing to judge it wholly."""
    why: str = ""
    """If it is not met: what of it, one of the reasons in ``words.yaml``."""

    @property
    def text(self) -> str:
        """What is asked."""
        return fill(words()["conditions"][self.key]["asked"], self.given)

    @property
    def evidence(self) -> str:
        """The numbers it was judged by, in words; if something was missing, what."""
        judged_by = words()["conditions"][self.key].get("evidence", "")
        told = fill(words()["lacking"][self.lacks] if self.lacks else judged_by, self.given)
        reason = self.met is False and self.why and fill(words()["reasons"][self.why], self.given)
        return f"{told}: {reason}" if reason else told


@dataclass(frozen=True)
class Contrast:
    """The effect of a finding against that of a control model at the same step."""

    control: str
    difference: Quantity
    """Paired: the same runs by their order, the same concepts, languages or sentences."""


@dataclass
class Finding:
    """A finding of the paper for one model of the study, with all that its judge asks and tells."""

    key: str
    model: str
    """Model id of the study (all pre-training seeds of it)."""
    role: str
    statements: list[Statement] = field(default_factory=list)
    """What its paragraph tells, in order."""
    criteria: list[Criterion] = field(default_factory=list)
    """What it is judged by; none if something is missing, which a statement tells."""
    quantities: list[Quantity] = field(default_factory=list)
    effect: Quantity | None = None
    """The number that the finding is about, at the last step; None if there is none."""
    counts: str = "concept"
    """What ``n`` of the effect counts."""
    ceiling: float = np.nan
    """What the effect could be at most; NaN where nothing says so."""
    contrasts: list[Contrast] = field(default_factory=list)
    """The effect against that of each control."""

    @property
    def number(self) -> str:
        """Number of the finding in the paper; ``2b`` is the second half of finding 2."""
        return TITLES[self.key][0]

    @property
    def title(self) -> str:
        """The finding in one sentence."""
        return TITLES[self.key][1]

    @property
    def verdict(self) -> Verdict:
        """What the criteria come to."""
        return verdict_of(self.criteria)

    @property
    def text(self) -> str:
        """One paragraph made from the numbers."""
        return " ".join(map(str, self.statements))

    def ask(
        self,
        key: str,
        met: bool | None,
        part: Part = "core",
        lacks: str = "",
        why: str = "",
        **given: Any,
    ) -> None:
        """Judge by a criterion."""
        self.criteria.append(Criterion(key, met, given, part, lacks, why))

    def tell(self, key: str, **given: Any) -> Finding:
        """Add a sentence; returns the finding."""
        self.statements.append(Statement(key, given))
        return self


@dataclass(frozen=True)
class Subject:
    """A model of the study, and what it is judged by."""

    model: str
    role: str
    tables: Mapping[str, pd.DataFrame]
    """Collected tables that are there and not empty."""
    ids: Sequence[Key]
    """All models of the study."""
    pivot: str
    """Language that late checkpoints are said to write."""

    @property
    def models(self) -> pd.DataFrame | None:
        """The models table."""
        return self.tables.get("models")

    @property
    def controls(self) -> list[str]:
        """The control models."""
        return [model for model, role in self.ids if role == "control"]

    def rows(self, name: str, model: str | None = None) -> pd.DataFrame:
        """Rows of a table of all runs of the model, or of another one; empty without the table."""
        table = self.tables.get(name)
        if table is None:
            return pd.DataFrame()
        return table[with_roles(table, self.models)["id"] == (model or self.model)]

    def against(self, name: str, control: str) -> pd.DataFrame:
        """Rows of a table of contrasts: all runs of the model against those of a control."""
        rows = self.rows(name)
        if rows.empty:
            return rows
        runs = with_roles(rows[["control"]].set_axis(["model"], axis=1), self.models)
        return rows[runs["id"] == control]

    def quantity(self, rows: pd.DataFrame, column: str, name: str, **at: Any) -> Quantity:
        """A column over pre-training seeds where the columns of ``at``, the step among them, have these
        values; NaN if there are no such rows."""
        if rows.empty:
            return Quantity(name, np.nan, step=at["step"])
        found = over_seeds(rows, self.models, list(at), column)
        for key, value in at.items():
            found = found[found[key] == value]
        for row in found.to_dict("records"):
            ends = row["low"], row["high"]
            return Quantity(name, row[column], *ends, step=at["step"], runs=row["n_seeds"])
        return Quantity(name, np.nan, step=at["step"])


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


def exceeds(difference: Quantity, least: float) -> tuple[bool | None, str]:
    """Whether a difference is above 0 by its interval, and at least so large.

    Returns:
        The outcome, None without an interval; and, of one that is not met, the reason: it goes the other
        way, is too small, or is not told from 0.
    """
    if not difference.has_interval:
        return None, ""
    if difference.high < 0:
        return False, "other way"
    if difference.low <= 0:
        return False, "not apart"
    return (True, "") if difference.value >= least else (False, "too small")


def contrast(
    finding: Finding,
    control: str,
    what: str,
    *,
    own: Quantity,
    alone: Quantity,
    extra: Quantity,
    less: bool = False,
) -> None:
    """Tell the effect of a model against that of a control, beside the verdict, and note it as a contrast.

    Args:
        finding: Of the model.
        control: Name of the control model.
        what: What is compared.
        own: It in the model.
        alone: It in the control.
        extra: The paired difference, the model's less the control's.
        less: Whether it is smaller in a model with what the control lacks.
    """
    finding.quantities += [alone, extra]
    finding.contrasts.append(Contrast(control, extra))
    apart, why = exceeds(extra.turned if less else extra, 0.0)
    given: dict[str, Any] = {
        "what": what,
        "control_name": control,
        "own": own,
        "alone": alone,
        "extra": extra,
    }
    finding.ask("less than in control" if less else "more than in control", apart, "shown", why=why, **given)
    told = {True: "apart", False: why, None: "no interval"}[apart]
    finding.tell("contrast", **given, clear=told)


def over_runs(values_R: Floats, draws_RB: Floats, name: str, *, step: int, n: int) -> Quantity:
    """Mean over the runs of a model, with the interval of :func:`babelscope.stats.interval_over_runs`.

    Args:
        values_R: Of each run.
        draws_RB: Its resamples, the same draws in all runs.
        name: Of the quantity, as ``step`` and ``n``.
    """
    low, high = interval(draws_RB.mean(axis=0))
    return _with_runs(Quantity(name, float(np.mean(values_R)), low, high, n=n, step=step), values_R)


def over_runs_and_concepts(values_RC: Floats, name: str, *, step: int, null: float = np.nan) -> Quantity:
    """Mean over the runs of a model and over concepts, both of which are samples.

    The interval over concepts is Student's, which stays honest where they are few; there is none of less than
    three. ``n`` counts concepts.

    Args:
        values_RC: Of each run and concept, NaN where there is none. Runs without any are left out, then
            concepts that a run lacks.
        name: Of the quantity, as ``step`` and ``null``.
    """
    values_RC = values_RC[np.isfinite(values_RC).any(axis=1)]
    values_RC = values_RC[:, np.isfinite(values_RC).all(axis=0)]
    values_C, n = values_RC.mean(axis=0), values_RC.shape[1]
    mean, half = float(values_C.mean()) if n else np.nan, np.nan
    if n >= _FEWEST_CONCEPTS:
        half = float(stats.t.ppf(0.975, n - 1) * values_C.std(ddof=1) / np.sqrt(n))
    found = Quantity(name, mean, mean - half, mean + half, null, n, step)
    return _with_runs(found, values_RC.mean(axis=1)) if n >= _FEWEST_CONCEPTS else found


def _with_runs(within: Quantity, values_R: Floats) -> Quantity:
    """The same with the interval widened by how much runs differ."""
    n_runs = len(values_R)
    sd = float(np.std(values_R, ddof=1)) if n_runs > 1 else 0.0
    low, high = interval_over_runs(within.value, within.low, within.high, sd, n_runs)
    return replace(within, low=float(low), high=float(high), runs=n_runs)


def below(a: Quantity, b: Quantity) -> bool | None:
    """Whether the interval of ``a`` lies wholly below that of ``b``; None if one has none."""
    return a.high < b.low if a.has_interval and b.has_interval else None


def why_not_below(a: Quantity, b: Quantity) -> str:
    """Why ``a`` is not :func:`below` ``b``: it is above, or the intervals overlap."""
    return "other way" if below(b, a) else "overlap"
