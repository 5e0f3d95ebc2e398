"""How much detail fits into a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

#: Trace steps when there is no room for all: early, middle, late; then late alone.
_FEWER_STEPS = (3, 1)


class Parts(Protocol):
    """Blocks that can be made in less detail."""

    kept: int
    """Units that are kept of every concept."""
    held: int
    """Of these the first that can be shown."""
    k: int
    """Of these experts."""
    n_trace_steps: int
    """Steps with token traces; 0 without any."""

    def units(self, depth: int, /) -> Mapping[str, str]:
        """Blocks of units, the best so many of every concept."""
        ...

    def traces(self, n_steps: int, /) -> Mapping[str, str]:
        """Blocks of token traces at so many steps."""
        ...


@dataclass(frozen=True)
class Detail:
    """What is shown of what there is."""

    depth: int
    kept: int
    k: int
    trace_steps: int
    all_trace_steps: int

    def notes(self) -> list[str]:
        """What was left out, in words; nothing if all is there."""
        said = []
        if self.k <= self.depth < self.kept:
            said.append(
                "To keep this page small, the average precision is here of the "
                f"{self.depth} best units of each concept, of {self.kept} that the study keeps."
            )
        if self.depth < self.k:
            said.append(
                f"To keep this page small, the {self.depth} best of {self.k} experts of each concept are "
                "shown here. Numbers of the overlap are of all."
            )
        if self.trace_steps < self.all_trace_steps:
            said.append(
                f"To keep this page small, token traces are here of {self.trace_steps} of "
                f"{self.all_trace_steps} steps."
            )
        return said


def fitting(parts: Parts, limit: int) -> tuple[Detail, dict[str, str]]:
    """The most detail that fits into so many bytes, or the least that there is.

    Returns:
        The detail, and its blocks.
    """
    for detail in _levels(parts):
        blocks = {**parts.units(detail.depth), **parts.traces(detail.trace_steps)}
        if sum(map(len, blocks.values())) <= limit:
            break
    return detail, blocks


def _levels(parts: Parts) -> Iterator[Detail]:
    """Falling: first the tail of units that are no experts, then trace steps, then ranks of experts."""
    kept, k, trace_steps, depths = parts.kept, parts.k, parts.n_trace_steps, [parts.held]
    while depths[-1] > k:
        depths.append(max(k, depths[-1] // 2))
    steps = [trace_steps, *(n for n in _FEWER_STEPS if n < trace_steps)]
    fewer: list[int] = []
    while (depth := (fewer or [min(k, parts.held)])[-1]) > 1:
        fewer.append(depth // 2)
    for depth in depths:
        yield Detail(depth, kept, k, trace_steps, trace_steps)
    for n in steps[1:]:
        yield Detail(depths[-1], kept, k, n, trace_steps)
    for depth in fewer:
        yield Detail(depth, kept, k, steps[-1], trace_steps)
