"""What a study will take, per rule, before anything runs."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from babelscope.ops.costs import Cost, CostModel
from babelscope.ops.stages import STAGES, JobCells, all_jobs


@dataclass(frozen=True)
class Row:
    """What the jobs of a rule take together.

    Attributes:
        stage: The rule.
        jobs: Their number.
        gpu_hours: Hours of a GPU.
        cpu_hours: Hours of a core.
        longest: Seconds of the longest job.
        memory: Bytes of the host that the largest job takes.
        kept: Bytes that stay on the disk.
        temporary: Bytes that are written and removed again.
        download: Bytes from the hub.
    """

    stage: str
    jobs: int
    gpu_hours: float
    cpu_hours: float
    longest: float
    memory: float
    kept: float
    temporary: float
    download: float


@dataclass(frozen=True)
class Plan:
    """A study's costs.

    Attributes:
        rows: Per rule, in the order of the pipeline.
        peak_temporary: Most bytes of pooled activations that lie on the disk at a time.
        concurrent: Jobs that were taken to run at a time.
    """

    rows: tuple[Row, ...]
    peak_temporary: float
    concurrent: int

    @property
    def total(self) -> Row:
        """All rules; memory and longest job are the largest of any."""
        return _merged("total", self.rows)

    @property
    def peak_disk(self) -> float:
        """Most bytes that lie on the disk at a time."""
        return self.total.kept + self.peak_temporary


def make_plan(costs: CostModel, *, concurrent: int, limit: float | None = None) -> Plan:
    """Plan a study.

    Args:
        costs: Of its jobs.
        concurrent: Jobs that run or wait in the queue at a time.
        limit: Most bytes of pooled activations that jobs under way may write (``--resources
            activations_gb``); none by default.

    Scoring goes before new extraction, so each job under way stands for the activations of at most one
    extraction job; with a limit, those of one more may lie there.
    """
    by_stage: dict[str, list[Cost]] = {}
    for work in all_jobs(costs.study):
        by_stage.setdefault(work.stage, []).append(costs.cost(work))
    rows = tuple(_row(stage, found, costs.gpu) for stage, found in by_stage.items())
    written = [cost.temporary for cost in by_stage["extract_activations"]]
    peak = sum(heapq.nlargest(concurrent, written))
    if limit is not None:
        peak = min(peak, max(limit, max(written)) + max(written))
    return Plan(rows, peak, concurrent)


def plan_text(plan: Plan, *, gpu: bool) -> str:
    """The plan as a table for a terminal."""
    head = ("rule", "jobs", "GPU hours", "CPU hours", "longest", "memory", "kept", "temporary", "download")
    body = [_cells(row) for row in (*plan.rows, plan.total)]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *body)
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, "-" * len(lines[0]))
    where = (
        "models on a GPU (an A100 at a third of its 312 Tflop/s)" if gpu else "models on one core of a CPU"
    )
    return "\n".join(
        [
            *lines,
            "",
            f"disk at most: {size(plan.peak_disk)}, of it {size(plan.peak_temporary)} temporary "
            f"with {plan.concurrent} jobs at a time",
            f"{where}; right within a factor of two; waiting in a queue comes on top",
        ]
    )


def stage_costs(costs: CostModel, works: Iterable[JobCells]) -> Row:
    """What some jobs of one rule take together."""
    found = list(works)
    return _row(found[0].stage, [costs.cost(work) for work in found], costs.gpu)


def _row(stage: str, found: list[Cost], gpu: bool) -> Row:
    hours = sum(cost.seconds for cost in found) / 3600
    on_gpu = gpu and STAGES[stage].runs_a_model
    return Row(
        stage=stage,
        jobs=len(found),
        gpu_hours=hours if on_gpu else 0.0,
        cpu_hours=0.0 if on_gpu else hours,
        longest=max(cost.wall for cost in found),
        memory=max(cost.memory for cost in found),
        kept=sum(cost.kept for cost in found),
        temporary=sum(cost.temporary for cost in found),
        download=sum(cost.download for cost in found),
    )


def _merged(name: str, rows: Iterable[Row]) -> Row:
    rows = list(rows)
    return Row(
        stage=name,
        jobs=sum(row.jobs for row in rows),
        gpu_hours=sum(row.gpu_hours for row in rows),
        cpu_hours=sum(row.cpu_hours for row in rows),
        longest=max(row.longest for row in rows),
        memory=max(row.memory for row in rows),
        kept=sum(row.kept for row in rows),
        temporary=sum(row.temporary for row in rows),
        download=sum(row.download for row in rows),
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.stage,
        f"{row.jobs:,}",
        hours(row.gpu_hours),
        hours(row.cpu_hours),
        duration(row.longest),
        size(row.memory),
        size(row.kept),
        size(row.temporary),
        size(row.download),
    )


def hours(value: float) -> str:
    """Hours, or a dash for none."""
    if not value:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}" if value < 1 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """A time for a table."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(n: float) -> str:
    """Bytes for a table, or a dash for none."""
    if not n:
        return "-"
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n >= unit:
            return f"{n / unit:,.0f} {name}" if n >= 10 * unit else f"{n / unit:.1f} {name}"
    return f"{n / 1e3:.0f} kB"
