"""What all benchmarks share: the row of the table, the two clocks, and runs that take turns.

A benchmark is a module of this folder with a function ``measure(small)`` that returns its rows; ``small`` is
the same in sizes of a second, for the tests. Every figure is a ratio against a peer or a bound that is
measured in the same run, since absolute times say more about the machine than about the code.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil


@dataclass(frozen=True)
class Row:
    """A line of docs/benchmarks.md.

    Attributes:
        stage: What is measured, and at what size.
        against: The peer, or what the bound is a bound of.
        measured: In words, with both clocks.
        reached: The number that the bound is about.
        bound: In words; ``-`` if there is none.
        ok: Whether the bound is kept; None if there is none.
        details: Sentences that stand below the table.
        section: Markdown of a section of its own, its heading included.
    """

    stage: str
    against: str
    measured: str
    reached: float | None
    bound: str
    ok: bool | None
    details: str = ""
    section: str = ""


@dataclass(frozen=True)
class Took:
    """What one run took, in seconds: on the clock, and of processors, children included."""

    wall: float
    cpu: float


def clocked(work: Callable[[], Any]) -> Took:
    """Run once. Processor time is user and system, children included, also those that still run."""
    gc.collect()
    children, own, start = _cpu_of_children(), time.process_time(), time.perf_counter()
    work()
    wall, own = time.perf_counter() - start, time.process_time() - own
    return Took(wall, own + _cpu_of_children() - children)


def _cpu_of_children() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])  # its own, and of its children that have ended
        except psutil.NoSuchProcess:
            continue
    return total


@dataclass(frozen=True)
class Side:
    """The runs of one side. A sample's times are multiplied by ``scale`` to those of the whole."""

    runs: tuple[Took, ...]
    scale: float = 1.0

    @property
    def wall(self) -> float:
        return self.scale * median(took.wall for took in self.runs)

    @property
    def cpu(self) -> float:
        return self.scale * median(took.cpu for took in self.runs)

    def __str__(self) -> str:
        walls = [self.scale * took.wall for took in self.runs]
        span = f"{shown(min(walls))} to {shown(max(walls))}"
        return f"{shown(self.wall)} s ({span}) and {shown(self.cpu)} CPU s"


def shown(number: float) -> str:
    """Three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def alternate(
    sides: Mapping[str, Callable[[], Any]],
    *,
    repeats: int,
    scale: Mapping[str, float] | None = None,
    warm: bool = True,
) -> dict[str, Side]:
    """Run the sides in turn, so that other load on the machine meets all of them alike.

    Args:
        sides: By name what is run; what it returns is dropped.
        repeats: Runs of each.
        scale: By name by how much more the whole is than what is run; 1 by default.
        warm: Run each once before, unmeasured: compiled code, page cache, heap.
    """
    if warm:
        for work in sides.values():
            work()
    runs: dict[str, list[Took]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            runs[name].append(clocked(work))
    return {name: Side(tuple(took), (scale or {}).get(name, 1.0)) for name, took in runs.items()}


@dataclass(frozen=True)
class Ratio:
    """How many times as long one side takes as another, by both clocks."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, one: Side, other: Side) -> Ratio:
        return cls(one.wall / other.wall, one.cpu / other.cpu)

    def at_least(self, bound: float) -> tuple[float, bool]:
        """The worse of the two clocks, and whether it reaches the bound."""
        worse = min(self.wall, self.cpu)
        return worse, worse >= bound

    def at_most(self, bound: float) -> tuple[float, bool]:
        """The worse of the two clocks, and whether it keeps the bound."""
        worse = max(self.wall, self.cpu)
        return worse, worse <= bound

    def __str__(self) -> str:
        return f"{shown(self.wall)} (CPU time: {shown(self.cpu)})"


def run_alone(measure: Callable[[bool], Iterable[Row]], about: str | None) -> None:
    """Entry point of a benchmark that is run by itself; ``--json`` writes its rows for ``run.py``."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="sizes of a second, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    rows = []
    for row in measure(arguments.small):
        rows.append(row)
        kept = {True: "", False: "  MISSED", None: ""}[row.ok]
        print(f"{row.stage}\n  against {row.against}\n  {row.measured}; bound: {row.bound}{kept}")
        print(f"  {row.details}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
