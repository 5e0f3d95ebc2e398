"""Training steps of a study: a list, or a rule that gives one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from babelscope.errors import StudyError

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Cut by position, so that what is appended later leaves the full chunks as they are."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def label(members: Sequence[object]) -> str:
    """The name of a range of steps, languages or layers in paths: its member, or ``first..last``."""
    return str(members[0]) if len(members) == 1 else f"{members[0]}..{members[-1]}"


def step_batches(steps: Any, key: str) -> tuple[tuple[int, ...], ...]:
    if isinstance(steps, Mapping):
        return tuple((step,) for step in _steps_by_rule(steps, key))
    batches = tuple(tuple(item) if isinstance(item, list | tuple) else (item,) for item in steps)
    for batch in batches:
        _check_increasing(batch, key)
    _check_increasing([batch[0] for batch in batches], key)
    flat = [step for batch in batches for step in batch]
    twice = next((step for step in flat if flat.count(step) > 1), None)
    if twice is not None:
        raise StudyError(key, twice, "each step once", "it stands in two places of the list")
    return batches


def _steps_by_rule(rule: Mapping[str, Any], key: str) -> list[int]:
    found = set(rule.get("also", []))
    if "powers_of_two" in rule:
        first, last = rule["powers_of_two"]
        powers = {2**i for i in range(64) if first <= 2**i <= last}
        if not powers:
            allowed = "[first, last] with a power of two between them"
            raise StudyError(f"{key}.powers_of_two", [first, last], allowed)
        found |= powers
    for one, other in (("every", "until"), ("until", "every")):
        if one in rule and other not in rule:
            raise StudyError(f"{key}.{other}", None, f"a value: `{one}` needs it")
    if "every" in rule:
        if rule["until"] < rule["every"]:
            raise StudyError(f"{key}.until", rule["until"], f"`every`, {rule['every']}, or more")
        found |= set(range(rule["every"], rule["until"] + 1, rule["every"]))
    if not found:
        raise StudyError(key, dict(rule), "a rule that gives at least one step")
    return sorted(found)


def _check_increasing(steps: Sequence[int], key: str) -> None:
    for before, after in itertools.pairwise(steps):
        if after <= before:
            hint = f"{after} follows {before}; a list is ordered by the first step of its items"
            raise StudyError(key, [before, after], "steps that increase", hint)
