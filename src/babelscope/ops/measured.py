"""What jobs really took, from the ``benchmark:`` files of a study, beside what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from babelscope.errors import DataError
from babelscope.ops.costs import ENGINE_MEMORY, CostModel
from babelscope.ops.layout import benchmark_path
from babelscope.ops.stages import all_jobs
from babelscope.ops.terminal import duration, size


@dataclass(frozen=True)
class Comparison:
    """Jobs of a rule that have run.

    Attributes:
        stage: The rule.
        jobs: Those that have a benchmark file.
        planned: Seconds that they were planned to take together.
        measured: Seconds that they took.
        memory_planned: Bytes of the largest job, as planned.
        memory_measured: As measured, with Snakemake beside it.
    """

    stage: str
    jobs: int
    planned: float
    measured: float
    memory_planned: float
    memory_measured: float

    @property
    def ratio(self) -> float:
        """Planned over measured time."""
        return self.planned / self.measured

    @property
    def memory_ratio(self) -> float:
        """Planned over measured memory."""
        return self.memory_planned / self.memory_measured


def compare(costs: CostModel, folder: Path) -> list[Comparison]:
    """Compare the plan of a study with its benchmark files, rule by rule.

    Args:
        costs: Of the study.
        folder: Its ``benchmarks``.

    Raises:
        DataError: If there is not one benchmark file.
    """
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for work in all_jobs(costs.study):
        file = folder / benchmark_path(work)
        if file.exists():
            took = pd.read_csv(file, sep="\t").iloc[-1]
            cost = costs.cost(work)
            memory = float(took["max_rss"]) * 2**20 + ENGINE_MEMORY
            found.setdefault(work.stage, []).append((cost.wall, float(took["s"]), cost.memory, memory))
    if not found:
        raise DataError(folder, "holds no benchmark file of this study", "run the study first")
    sums = {stage: np.array(jobs) for stage, jobs in found.items()}
    return [
        Comparison(stage, len(jobs), *jobs[:, :2].sum(0).tolist(), *jobs[:, 2:].max(0).tolist())
        for stage, jobs in sums.items()
    ]


def comparison_text(rows: Sequence[Comparison]) -> str:
    """The comparison as a Markdown table."""
    head = ("rule", "jobs", "planned", "measured", "ratio", "memory planned", "memory measured", "ratio")
    body: list[Sequence[object]] = [
        (
            row.stage, row.jobs, duration(row.planned), duration(row.measured), row.ratio,
            size(row.memory_planned), size(row.memory_measured), row.memory_ratio,
        )
        for row in rows
    ]  # fmt: skip
    planned, measured = sum(row.planned for row in rows), sum(row.measured for row in rows)
    jobs = sum(row.jobs for row in rows)
    body.append(("total", jobs, duration(planned), duration(measured), planned / measured, None, None, None))
    return tabulate(body, head, tablefmt="github", floatfmt=".2f")
