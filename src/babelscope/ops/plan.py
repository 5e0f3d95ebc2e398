"""What a study will take, per rule, before anything runs."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import SEPARATING_LINE, tabulate

from babelscope.ops.costs import Cost, CostModel
from babelscope.ops.stages import RUN_A_MODEL, all_jobs
from babelscope.ops.terminal import duration, size


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
        """All rules."""
        return _together("total", self.rows)

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
    by_stage: dict[str, list[Row]] = {}
    for work in all_jobs(costs.study):
        by_stage.setdefault(work.stage, []).append(_row(work.stage, costs.cost(work), costs.gpu))
    rows = tuple(_together(stage, jobs) for stage, jobs in by_stage.items())
    written = [job.temporary for job in by_stage["extract_activations"]]
    peak = sum(heapq.nlargest(concurrent, written))
    if limit is not None:
        peak = min(peak, max(limit, max(written)) + max(written))
    return Plan(rows, peak, concurrent)


def plan_text(plan: Plan, *, gpu: bool) -> str:
    """The plan as a table for a terminal."""
    head = ("rule", "jobs", "GPU hours", "CPU hours", "longest", "memory", "kept", "temporary", "download")
    body: list[Sequence[object]] = [
        (
            row.stage, row.jobs, row.gpu_hours or None, row.cpu_hours or None, duration(row.longest),
            *map(size, (row.memory, row.kept, row.temporary, row.download)),
        )
        for row in (*plan.rows, plan.total)
    ]  # fmt: skip
    body.insert(-1, SEPARATING_LINE)
    table = tabulate(
        body, head, tablefmt="simple", intfmt=",", floatfmt=",.2f", missingval="-",
        colalign=("left", *["right"] * (len(head) - 1)),
    )  # fmt: skip
    where = "a GPU (an A100 at a third of its 312 Tflop/s)" if gpu else "one core of a CPU"
    return (
        f"{table}\n\n"
        f"disk at most: {size(plan.peak_disk)}, of it {size(plan.peak_temporary) or 'nothing'} temporary "
        f"with {plan.concurrent} jobs at a time\n"
        f"models on {where}; right within a factor of two; waiting in a queue comes on top"
    )


def _row(stage: str, cost: Cost, gpu: bool) -> Row:
    hours = cost.seconds / 3600
    on_gpu, on_cpu = (hours, 0.0) if gpu and stage in RUN_A_MODEL else (0.0, hours)
    return Row(stage, 1, on_gpu, on_cpu, cost.wall, cost.memory, cost.kept, cost.temporary, cost.download)


def _together(stage: str, rows: Sequence[Row]) -> Row:
    """The sum; memory and longest job are the largest of any."""
    summed = ("jobs", "gpu_hours", "cpu_hours", "kept", "temporary", "download")
    sums = {name: sum(getattr(row, name) for row in rows) for name in summed}
    largest = {name: max(getattr(row, name) for row in rows) for name in ("longest", "memory")}
    return Row(stage, **sums, **largest)
