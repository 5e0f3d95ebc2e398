"""Which revisions of a repository are steps of one series, by what their names say.

A name says a step (*step1000*, *checkpoint-2k*), how many tokens were seen (*250M*, *0.5B*, *tokens-1T*), or
both (*step50-tokens2B*). Where it says tokens alone, their number is the step. Names that differ in anything
but these numbers, such as *stage1-* and *stage2-*, are series of their own, whose steps count from beginnings
of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
#: Revisions of the hub itself, versions and commits.
_OTHER = re.compile(r"main|refs/.*|pr/\d+|v?\d+(\.\d+)+|v\d+|[0-9a-f]{40}")
_NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
# Nothing that belongs to the number or the word stands beside it.
_ALONE, _ENDS = r"(?<![a-z0-9.])(?<!\d_)", r"(?![a-z0-9.])"
#: Each is tried where those before it find nothing.
_STEPS = [
    rf"(?<![a-z])(?:global_?)?(?:steps?|checkpoint|ckpt|iter|iteration)[_=-]*{_NUMBER}(?P<unit>[km]?){_ENDS}",
    rf"{_ALONE}{_NUMBER}(?P<unit>[km]?)[_-]?(?:steps?|iters?){_ENDS}",
]
_TOKENS = [
    rf"(?<![a-z])tokens?[_=-]*{_NUMBER}(?P<unit>[kmbt]?){_ENDS}",
    rf"{_ALONE}{_NUMBER}[_-]?(?P<unit>[kmbt]?)[_-]?(?:tokens?|toks?){_ENDS}",
    rf"{_ALONE}{_NUMBER}(?P<unit>[kmbt]){_ENDS}",
]


class Named(NamedTuple):
    """What the name of a revision says."""

    step: int
    tokens: int | None
    """Tokens seen; None if it does not say so."""
    series: str
    """The name without these numbers."""


@dataclass(frozen=True)
class Series:
    """Revisions that are steps of one course of training.

    Attributes:
        name: What their names have in common; fields such as ``{step}`` stand for their numbers.
        revisions: By step, rising.
        tokens: Tokens seen, of the steps whose names say so.
        in_tokens: Whether a step is a number of tokens.
        clashes: Revisions that name the step of another one.
    """

    name: str
    revisions: dict[int, str] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    in_tokens: bool = False
    clashes: tuple[str, ...] = ()


def read_name(name: str) -> Named | None:
    """What a name says of a step; None if it is none, or could mean several things."""
    if _OTHER.fullmatch(name.lower()):
        return None
    steps, series = _taken(_STEPS, name, "{step}")
    tokens, series = _taken(_TOKENS, series, "{tokens}")
    if not steps and not tokens:  # the only number
        steps, series = _taken([_NUMBER], series, "{number}")
        if any("." in match["number"] for match in steps):
            return None
    values = [_value(match) for match in (*steps, *tokens)]
    if not values or len(steps) > 1 or len(tokens) > 1 or None in values:
        return None
    seen = _value(tokens[0]) if tokens else None
    return Named(values[0] or 0, seen, series)


def _taken(patterns: list[str], text: str, by: str) -> tuple[list[re.Match[str]], str]:
    """What the first pattern finds that finds something, and the text with this in its place."""
    for pattern in patterns:
        if found := list(re.finditer(pattern, text, re.IGNORECASE)):
            return found, re.sub(pattern, by, text, flags=re.IGNORECASE)
    return [], text


def _value(match: re.Match[str]) -> int | None:
    """A number with its unit; None if it is no whole one."""
    unit = match.groupdict().get("unit") or ""
    value = Decimal(match["number"]) * _UNITS[unit.lower()]
    return int(value) if value == int(value) else None


def series_of(names: Iterable[str]) -> tuple[list[Series], list[str]]:
    """The series among some revisions, the one of most steps first; and the revisions that are no steps.

    Every name is in one of these: as a step, as a clash, or among those that are none.
    """
    members: dict[str, list[tuple[Named, str]]] = {}
    others = []
    for name in names:
        if said := read_name(name):
            members.setdefault(said.series, []).append((said, name))
        else:
            others.append(name)
    found = []
    for series, of in members.items():
        revisions: dict[int, str] = {}
        clashes = []
        for said, name in sorted(of, key=lambda each: (each[0].step, len(each[1]), each[1])):
            first = revisions.setdefault(said.step, name)
            if first != name:
                clashes.append(f"{name} is step {said.step} too, as {first}")
        tokens = {said.step: said.tokens for said, _ in of if said.tokens is not None}
        in_tokens = tokens.keys() == revisions.keys() and all(step == n for step, n in tokens.items())
        found.append(Series(series, revisions, dict(sorted(tokens.items())), in_tokens, tuple(clashes)))
    return sorted(found, key=lambda each: (-len(each.revisions), each.name)), others
