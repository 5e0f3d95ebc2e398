"""What the findings are made of: quantities, criteria that were fixed before any number was seen, verdicts.

A criterion is met only if an interval lies wholly on one side of what it is compared with; where a table
or an interval is missing the criterion is open, and a finding with only open criteria cannot be tested.
All are records of numbers; their words are made by :mod:`babelscope.report.words`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from babelscope.report.summaries import Key
from babelscope.report.words import Statement, asked, evidence, number

Verdict = Literal["holds", "holds in part", "does not hold", "cannot be tested"]
Part = Literal["core", "extra", "shown"]

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
        low, high = self.low - self.null, self.high - self.null
        return Quantity(self.name, self.value - self.null, low, high, 0.0, self.n, self.step)


@dataclass(frozen=True)
class Criterion:
    """One condition, as fixed beforehand, and its outcome."""

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

    @property
    def text(self) -> str:
        """What is asked."""
        return asked(self.key, self.given)

    @property
    def evidence(self) -> str:
        """The numbers it was judged by, in words."""
        return evidence(self.key, self.given, self.lacks)


@dataclass(frozen=True)
class Finding:
    """A finding of the paper, judged for one model of the study."""

    key: str
    model: str
    """Model id of the study (all pre-training seeds of it)."""
    role: str
    verdict: Verdict
    statements: tuple[Statement, ...]
    """What its paragraph tells, in order."""
    criteria: tuple[Criterion, ...] = ()
    quantities: tuple[Quantity, ...] = ()

    @property
    def number(self) -> str:
        """Number of the finding in the paper; ``2b`` is the second half of finding 2."""
        return TITLES[self.key][0]

    @property
    def title(self) -> str:
        """The finding in one sentence."""
        return TITLES[self.key][1]

    @property
    def text(self) -> str:
        """One paragraph made from the numbers."""
        return " ".join(map(str, self.statements))


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

    def rows(self, name: str, model: str | None = None) -> pd.DataFrame:
        """Rows of a table of all runs of the model, or of another one; empty without the table."""
        table, model = self.tables.get(name), model or self.model
        if table is None:
            return pd.DataFrame()
        runs = {model}
        if self.models is not None:
            runs = set(self.models.loc[self.models["id"] == model, "model"]) or runs
        return table[table["model"].isin(runs)]

    def judged(
        self,
        key: str,
        criteria: Sequence[Criterion],
        quantities: Sequence[Quantity],
        statements: Sequence[Statement],
    ) -> Finding:
        """The finding with its verdict."""
        verdict = verdict_of(criteria)
        return Finding(
            key, self.model, self.role, verdict, tuple(statements), tuple(criteria), tuple(quantities)
        )

    def untested(self, key: str, why: str, **given: Any) -> Finding:
        """The finding, for which something is missing."""
        return Finding(key, self.model, self.role, "cannot be tested", (Statement(why, given),))


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


def quantity(rows: pd.DataFrame, column: str, name: str, **more: Any) -> Quantity:
    """The first row's value and interval; NaN if there is no row."""
    if rows.empty:
        return Quantity(name, np.nan, **more)
    row = rows.iloc[0]
    return Quantity(name, float(row[column]), float(row["low"]), float(row["high"]), **more)


def below(a: Quantity, b: Quantity) -> bool | None:
    """Whether the interval of ``a`` lies wholly below that of ``b``; None if one has none."""
    return a.high < b.low if a.has_interval and b.has_interval else None
