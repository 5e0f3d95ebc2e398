"""What a check has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tabulate import tabulate

from babelscope.errors import BabelscopeError
from babelscope.ops.terminal import counted

Level = Literal["ok", "warning", "problem"]
OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"


@dataclass(frozen=True)
class Diagnosis:
    """What a check has found.

    Attributes:
        check: What was looked at.
        level: ``ok``, ``warning`` (a run may go wrong or be slow) or ``problem`` (it will go wrong).
        what: What was found.
        remedy: What to do about it, as a command where it can be; empty if nothing need be done.
    """

    check: str
    level: Level
    what: str
    remedy: str = ""


def diagnosis_of(check: str, error: BabelscopeError) -> Diagnosis:
    """An error as what a check has found; its hint, and the page that explains it, are the remedy."""
    what, _, hint = str(error).partition("\nhint: ")
    return Diagnosis(check, PROBLEM, what, "\n".join(filter(None, [hint, *error.__notes__])))


def diagnoses_text(found: Sequence[Diagnosis]) -> str:
    """All that was found as a table, and what it comes to."""
    rows = [
        (one.level, one.check, f"{one.what}\nremedy: {one.remedy}" if one.remedy else one.what)
        for one in found
    ]
    levels = [one.level for one in found]
    counts = [counted(levels.count(level), level) for level in (PROBLEM, WARNING) if level in levels]
    summary = ", ".join(counts if PROBLEM in levels else ["ready", *counts])
    return f"{tabulate(rows, tablefmt='plain', disable_numparse=True)}\n\n{summary}"
