"""What a run says in the terminal: a line per job that starts, with how far it is; what was found in the end.

Snakemake has some nine lines for each job. All of them go into its log file as ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babelscope.ops.terminal import duration

#: Share of the work that must be done, and seconds that it must have taken, before it is told what is left.
_LEAST_SHARE, _LEAST_TIME = 0.03, 20.0
#: Above this share all is done; shares are sums of floats.
_ALL = 1 - 1e-9

#: Events of Snakemake that a line per job makes superfluous, and what it says between jobs.
_SUPERFLUOUS = ("job_started", "job_finished", "progress")
_BETWEEN = "Select jobs to execute"
#: What it says after the last job; of a run that ends well this would stand below what was found.
_AFTER = ("Complete log(s):", "Elapsed time:")


@dataclass
class Course:
    """How far a run is, by what its jobs were expected to take.

    Attributes:
        work: Seconds of each job by its id; only their proportions count.
        now: A clock, in seconds.
    """

    work: Mapping[int, float]
    now: Callable[[], float] = time.monotonic
    _finished: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._start = self.now()

    def finish(self, job: int) -> None:
        """Note that a job is done."""
        self._finished.add(job)

    @property
    def share(self) -> float:
        """Share of the work that is done, of all that this run has to do."""
        total = sum(self.work.values())
        return sum(self.work.get(job, 0.0) for job in self._finished) / total if total else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that are left if the rest goes as it went so far; None while that is not known."""
        spent = self.now() - self._start
        if self.share < _LEAST_SHARE or spent < _LEAST_TIME:
            return None
        return spent * (1 - self.share) / self.share

    def __str__(self) -> str:
        left = self.left
        return f"{self.share:4.0%}" + (f", about {duration(left)} left" if left is not None else "")


def speak_briefly(workflow: Any, seconds: Callable[[str, Any], float]) -> None:
    """Have the terminal show a line per job, where ``--quiet reason`` is set. For ``onstart``.

    A logger plugin of Snakemake would be a package of its own and know nothing of what jobs take.

    Args:
        workflow: Snakemake's.
        seconds: What a job of a rule takes, by the rule's name and its wildcards.
    """
    from snakemake.logging import logger
    from snakemake.settings.enums import Quietness

    settings = workflow.output_settings
    if settings.verbose or Quietness.REASON not in (settings.quiet or ()):
        return
    jobs = list(workflow.dag.needrun_jobs())
    course = Course({job.jobid: seconds(job.rule.name, job.wildcards) for job in jobs})
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and handler.formatter is not None:
            handler.addFilter(_keeper(course))
            handler.setFormatter(_Brief(handler.formatter, course))


def _keeper(course: Course) -> Callable[[logging.LogRecord], bool]:
    """Whether the terminal shows a record; takes note of jobs that are done."""

    def keep(record: logging.LogRecord) -> bool:
        event = str(getattr(record, "event", None) or "")
        if event == "job_finished":
            course.finish(record.job_id)  # type: ignore[attr-defined]
        if event in _SUPERFLUOUS or (event == "job_info" and not getattr(record, "rule_msg", None)):
            return False
        said = record.getMessage()
        return bool(event) or not (
            said.startswith(_BETWEEN) or (said.startswith(_AFTER) and course.share > _ALL)
        )

    return keep


class _Brief(logging.Formatter):
    """A line for a job that starts; all else as Snakemake has it."""

    def __init__(self, usual: logging.Formatter, course: Course) -> None:
        super().__init__()
        self._usual, self._course = usual, course

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        if str(getattr(record, "event", None) or "") != "job_info":
            return self._usual.format(record)
        return f"[{self._course}] {record.rule_msg}"  # type: ignore[attr-defined]


def last_lines(results: Path | str) -> list[str]:
    """What was found, where the report lies, what to try next; none before there is a report.

    Args:
        results: ``results/<study>``.
    """
    page, claims = Path(results, "report.html"), Path(results, "tables/claims.tsv")
    if not (page.exists() and claims.exists()):
        return []
    from babelscope.io.tables import read_table  # with pandas: slow to import, and needed in the end alone
    from babelscope.report.headline import headline

    found = headline(read_table(claims))
    return [
        f"\nfound:  {found[0] if found else 'no finding was judged'}",
        f"report: {page.resolve()}",
        f'next:   in Python, import babelscope as bs; bs.open_study("{results}").figure("hero")',
    ]
