"""Training steps of a study: a list, or a rule that gives one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from babelscope.errors import StudyError
from babelscope.settings import plain
from babelscope.study.settings import StepList, StepRule

T = TypeVar("T")

#: Most steps of a model.
MOST_STEPS = 100_000


def chunks(items: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Cut by position, so that what is appended later leaves the full chunks as they are."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def label(members: Sequence[object]) -> str:
    """The name of a range of steps, languages or layers in paths: its member, or ``first..last``."""
    return str(members[0]) if len(members) == 1 else f"{members[0]}..{members[-1]}"


def step_batches(steps: StepList | StepRule, key: str) -> tuple[tuple[int, ...], ...]:
    """Steps as jobs take them: an inner list is one, every other step alone.

    Args:
        steps: A list of steps and of lists of steps, or a rule.
        key: Where they stand, for errors.

    Raises:
        StudyError: If they do not increase, or a rule gives none.
    """
    if isinstance(steps, StepRule):
        return tuple((step,) for step in _steps_by_rule(steps, key))
    batches = tuple(item if isinstance(item, tuple) else (item,) for item in steps)
    for batch in batches:
        increasing(batch, key)
    increasing(tuple(batch[0] for batch in batches), key)
    flat = [step for batch in batches for step in batch]
    _few(flat, key)
    twice = next((step for step, count in Counter(flat).items() if count > 1), None)
    if twice is not None:
        raise StudyError(key, twice, "each step once", "it stands in two places of the list")
    return batches


def _steps_by_rule(rule: StepRule, key: str) -> list[int]:
    found = set(rule.also)
    if rule.powers_of_two is not None:
        first, last = rule.powers_of_two
        powers = {2**i for i in range(64) if first <= 2**i <= last}
        if not powers:
            allowed = "[first, last] with a power of two between them"
            raise StudyError(f"{key}.powers_of_two", [first, last], allowed)
        found |= powers
    for one, other in (("every", "until"), ("until", "every")):
        if getattr(rule, one) is not None and getattr(rule, other) is None:
            raise StudyError(f"{key}.{other}", None, f"a value: `{one}` needs it")
    if rule.every is not None and rule.until is not None:
        if rule.until < rule.every:
            raise StudyError(f"{key}.until", rule.until, f"`every`, {rule.every}, or more")
        found |= set(_few(range(rule.every, rule.until + 1, rule.every), key))
    if not found:
        given = {name: plain(getattr(rule, name)) for name in rule.model_fields_set}
        raise StudyError(key, given, "a rule that gives at least one step")
    return sorted(found)


def _few(steps: Sequence[int], key: str) -> Sequence[int]:
    if len(steps) > MOST_STEPS:
        raise StudyError(key, f"{len(steps):,} steps", f"{MOST_STEPS:,} or fewer", "each is a checkpoint")
    return steps


def increasing(steps: tuple[int, ...], key: str = "") -> tuple[int, ...]:
    """The steps, if they increase.

    Raises:
        StudyError: If one does not.
    """
    for before, after in itertools.pairwise(steps):
        if after <= before:
            hint = f"{after} follows {before}; a list is ordered by the first step of its items"
            raise StudyError(key, [before, after], "steps that increase", hint)
    return steps
