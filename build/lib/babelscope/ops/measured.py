"""What jobs really took, from the ``benchmark:`` files of a study, beside what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from babelscope.errors import DataError
from babelscope.ops.costs import ENGINE_MEMORY, CostModel
from babelscope.ops.layout import benchmark_path
from babelscope.ops.stages import all_jobs
from babelscope.ops.terminal import duration, size


def compare(costs: CostModel, folder: Path) -> pd.DataFrame:
    """Compare the plan of a study with its benchmark files, rule by rule.

    Args:
        costs: Of the study.
        folder: Its ``benchmarks``.

    Returns:
        A row per rule (the index): ``jobs`` that have such a file; seconds that they were ``planned`` to take
        together and that they took (``measured``); bytes of the largest as planned (``memory_planned``) and
        with Snakemake beside it (``memory_measured``).

    Raises:
        DataError: If there is not one benchmark file.
    """
    found = []
    for work in all_jobs(costs.study):
        file = folder / benchmark_path(work)
        if file.exists():
            took, cost = pd.read_csv(file, sep="\t").iloc[-1], costs.cost(work)
            memory = float(took["max_rss"]) * 2**20 + ENGINE_MEMORY
            found.append((work.stage, cost.wall, float(took["s"]), cost.memory, memory))
    if not found:
        raise DataError(folder, "holds no benchmark file of this study", "run the study first")
    columns = ["rule", "planned", "measured", "memory_planned", "memory_measured"]
    return (
        pd.DataFrame(found, columns=columns)
        .groupby("rule", sort=False)
        .agg(
            jobs=("planned", "size"),
            planned=("planned", "sum"),
            measured=("measured", "sum"),
            memory_planned=("memory_planned", "max"),
            memory_measured=("memory_measured", "max"),
        )
    )


def comparison_text(rows: pd.DataFrame) -> str:
    """The comparison as a Markdown table; ratios are planned over measured."""
    head = ("rule", "jobs", "planned", "measured", "ratio", "memory planned", "memory measured", "ratio")
    body: list[Sequence[object]] = []
    for rule, row in rows.to_dict("index").items():
        times, sizes = (row["planned"], row["measured"]), (row["memory_planned"], row["memory_measured"])
        ratios = times[0] / times[1], sizes[0] / sizes[1]
        body.append((rule, row["jobs"], *map(duration, times), ratios[0], *map(size, sizes), ratios[1]))
    planned, measured = float(rows["planned"].sum()), float(rows["measured"].sum())
    jobs = int(rows["jobs"].sum())
    body.append(("total", jobs, duration(planned), duration(measured), planned / measured))
    return tabulate(body, head, tablefmt="github", floatfmt=".2f")
