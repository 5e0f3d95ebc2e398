"""Which revisions of a repository are steps of one series, by what their names say.

A name says a step (*step1000*, *checkpoint-2k*, *step_10_000*), how many tokens were seen (*250M*, *100BT*,
*tokens-1T*), or both (*step50-tokens2B*). Where it says tokens alone, their number is the step; and so it is
where steps are counted by the thousand million, as no training has so many. Names that differ in anything
but these numbers, such as *stage1-* and *stage2-*, are series of their own, whose steps count from beginnings
of their own. Numbers of copies (*seed1*, *run2*) are no steps, nor is what could mean several things.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

_UNITS = {
    **{"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "bn": 10**9, "t": 10**12},
    **{"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12},
}
#: Revisions of the hub itself, versions and commits.
_OTHER = re.compile(r"main|refs/.*|pr/\d+|v?\d+(\.\d+)+|v\d+|[0-9a-f]{40}")
#: No training takes so many steps: what is counted so is tokens.
_TOO_MANY_STEPS = 10**9

_STEP = r"(?:global_?)?(?:steps?|checkpoints?|ckpts?|iter(?:ation)?s?|updates?)"
_TOKENS = r"(?:tokens?|toks?)"
# Digits in groups of three are one number beside a word that asks for one; elsewhere they may be two.
_PLAIN = r"(?P<number>\d+(?:\.\d+)?)"
_GROUPED = r"(?P<number>\d{1,3}(?:(?:_\d{3})+|(?:,\d{3})+)(?![_,\d])|\d+(?:\.\d+)?)"
_ANY_UNIT = r"[kmt]|bn?|[-_]?(?:thousand|million|billion|trillion)"
_UNIT = rf"(?P<unit>(?:g|{_ANY_UNIT})?)"
# Nothing that belongs to the number or the word stands beside it.
_ALONE, _ENDS = r"(?<![a-z0-9.])(?<!\d_)", r"(?![a-z0-9.])"
#: What says a number of steps, of tokens, or a number with a unit and no word, which may be either or a size.
_SAID = {
    "step": [
        rf"(?<![a-z]){_STEP}[_=-]*{_GROUPED}{_UNIT}t?{_ENDS}",
        rf"{_ALONE}{_GROUPED}{_UNIT}[_-]?{_STEP}{_ENDS}",
    ],
    "tokens": [
        rf"(?<![a-z]){_TOKENS}[_=-]*{_GROUPED}{_UNIT}t?{_ENDS}",
        rf"{_ALONE}{_GROUPED}[_-]?{_UNIT}[_-]?{_TOKENS}{_ENDS}",
    ],
    "counted": [rf"{_ALONE}{_PLAIN}(?P<unit>{_ANY_UNIT})t?{_ENDS}"],
    "number": [rf"{_PLAIN}(?P<unit>)"],
}
#: Words whose number tells copies and parts apart, not how long something was trained.
_COPY = re.compile(
    r"(?<![a-z])(seed|run|trial|fold|replica|copy|rank|part|shard|split|version|variant|model|layer|stage|phase|"
    r"ingredient|exp|experiment|size|rev|rc)s?[_=-]*$",
    re.IGNORECASE,
)


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
    """What a name says of a step; None if it is none, or could mean several things.

    Beside a step a number with a unit alone (*7B-step100*) may be a size: it belongs to the series, unless
    :func:`series_of` sees that it rises with the steps.
    """
    if _OTHER.fullmatch(name.lower()):
        return None
    steps, series = _taken("step", name)
    tokens, series = _taken("tokens", series)
    if not steps and not tokens:
        tokens, series = _taken("counted", series)
    if not steps and not tokens:  # the only number
        steps, series = _taken("number", series)
        if any(_is_no_step(match) for match in steps):
            return None
    values = [_value(match) for match in (*steps, *tokens)]
    if not values or len(steps) > 1 or len(tokens) > 1 or None in values:
        return None
    return Named(values[0] or 0, _value(tokens[0]) if tokens else None, series)


def _is_no_step(match: re.Match[str]) -> bool:
    """Whether a number without a word is a share, tells copies apart, or has a unit that nobody knows."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    return "." in match["number"] or after[:1].isalpha() or _COPY.search(before) is not None


def _taken(kind: str, text: str) -> tuple[list[re.Match[str]], str]:
    """What the patterns of a kind find, and the text with a field in its place.

    All are tried, as two that find something are two meanings.
    """
    found: list[re.Match[str]] = []
    for pattern in _SAID[kind]:
        found += re.finditer(pattern, text, re.IGNORECASE)
        text = re.sub(pattern, f"{{{'tokens' if kind == 'counted' else kind}}}", text, flags=re.IGNORECASE)
    return found, text


def _value(match: re.Match[str]) -> int | None:
    """A number with its unit; None if it is no whole one."""
    number, unit = re.sub("[_,]", "", match["number"]), match["unit"].lower().strip("-_")
    value = Decimal(number) * _UNITS[unit]
    return int(value) if value == int(value) else None


def series_of(names: Iterable[str]) -> tuple[list[Series], list[str]]:
    """The series among some revisions, the one of most steps first; and the revisions that are no steps.

    Every name is in one of these: as a step, as a clash, or among those that are none.
    """
    read = {name: read_name(name) for name in names}
    others = [name for name, said in read.items() if said is None]
    understood = {name: said for name, said in read.items() if said is not None}
    members: dict[str, list[tuple[Named, str]]] = {}
    for name, said in {**understood, **_counted_beside(understood)}.items():
        members.setdefault(said.series, []).append((said, name))
    found = [_series(series, of) for series, of in members.items()]
    return sorted(found, key=lambda each: (-len(each.revisions), each.name)), others


def _counted_beside(understood: Mapping[str, Named]) -> dict[str, Named]:
    """Names whose number beside the step rises with it, so that it is no size but tokens (*step1000-4B*)."""
    alike: dict[str, dict[str, Named]] = {}
    for name, said in understood.items():
        counted, series = _taken("counted", said.series)
        if said.tokens is None and len(counted) == 1:
            alike.setdefault(series, {})[name] = Named(said.step, _value(counted[0]), series)
    found: dict[str, Named] = {}
    for of in alike.values():
        rising = sorted((said.step, said.tokens or 0) for said in of.values())
        if len(of) > 1 and all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(rising)):
            found |= of
    return found


def _series(name: str, members: Sequence[tuple[Named, str]]) -> Series:
    """The series of names that differ in nothing but numbers."""
    revisions: dict[int, str] = {}
    clashes = []
    for said, revision in sorted(members, key=lambda each: (each[0].step, len(each[1]), each[1])):
        first = revisions.setdefault(said.step, revision)
        if first != revision:
            clashes.append(f"{revision} is step {said.step} too, as {first}")
    tokens = {said.step: said.tokens for said, _ in members if said.tokens is not None}
    if not tokens and max(revisions) >= _TOO_MANY_STEPS and "{step}" in name:
        tokens = {step: step for step in revisions}
    in_tokens = tokens.keys() == revisions.keys() and all(step == n for step, n in tokens.items())
    return Series(name, revisions, dict(sorted(tokens.items())), in_tokens, tuple(clashes))
