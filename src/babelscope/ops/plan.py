"""What a study will take, per rule, before anything runs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
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
        peak_temporary: Most bytes of scores that lie on the disk until they are ranked, and of checkpoints
            until they are read, at a time.
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
        limit: Most bytes of scores that jobs under way may write (``--resources scores_gb``); none by
            default.

    Scores of all units lie on the disk until their steps are ranked, with all languages. Cells are scored
    step by step and ranking goes first, so there lie those of the steps that jobs under way belong to.
    """
    by_stage: dict[str, list[Row]] = {}
    written: list[tuple[tuple[str, tuple[int, ...]], float]] = []
    for work in all_jobs(costs.study):
        row = _row(work.stage, costs.cost(work), costs.gpu)
        by_stage.setdefault(work.stage, []).append(row)
        if row.temporary and work.stage != "fetch_checkpoint":
            written.append(((work.model, work.steps), row.temporary))
    rows = tuple(_together(stage, jobs) for stage, jobs in by_stage.items())
    scores = _most_at_a_time(written, concurrent, limit)
    return Plan(rows, scores + _fetched_at_a_time(costs), concurrent)


def _fetched_at_a_time(costs: CostModel) -> float:
    """Most bytes of checkpoints that go once they are read, where one machine fetches and reads.

    Each is fetched when no job runs, in the order of the analysis: there lie those that a job takes together,
    and of each model one more, since the last is described when all models are there.
    """
    fetched = [work for work in all_jobs(costs.study) if work.stage == "fetch_checkpoint"]
    sizes = {(work.model, work.steps[0]): costs.cost(work).temporary for work in fetched}
    models = dict.fromkeys(model for model, _ in sizes)
    together = [
        sum(sizes.get((model, step), 0.0) for step in batch)
        for model in models
        for batch in costs.study.analysis_batches(model)
    ]
    ones = [max(size for (of, _), size in sizes.items() if of == model) for model in models]
    return max(together, default=0.0) + sum(ones)


def _most_at_a_time(written: Sequence[tuple[Hashable, float]], concurrent: int, limit: float | None) -> float:
    """Most bytes of the groups that any run of neighbouring jobs belongs to.

    A run has ``concurrent`` jobs, or fewer if these write more than ``limit``.
    """
    whole: dict[Hashable, float] = {}
    for group, written_bytes in written:
        whole[group] = whole.get(group, 0.0) + written_bytes
    most = 0.0
    for first in range(len(written)):
        groups: dict[Hashable, float] = {}
        under_way = 0.0
        for group, written_bytes in written[first : first + concurrent]:
            under_way += written_bytes
            if groups and limit is not None and under_way > limit:
                break
            groups[group] = whole[group]
        most = max(most, sum(groups.values()))
    return most


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
