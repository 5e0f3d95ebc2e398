"""The state of a study at a glance: what is done, under way, failed, and what still waits.

What a run would do is Snakemake's to say (``snakemake --summary``: every file, and whether it is up to date);
what it is doing now is in its markers of unfinished files and in its newest log.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from babelscope.errors import shown
from babelscope.io.files import is_below
from babelscope.ops.engine import EngineError
from babelscope.ops.runs import Run, recorded_runs
from babelscope.ops.stages import STAGES, JobCells, all_jobs
from babelscope.study.config import Study

#: Columns of the table.
COLUMNS = tuple(dict.fromkeys(stage.column for stage in STAGES.values() if stage.column))
DONE, RUNNING, FAILED, INTERRUPTED, WAITING = "done", "under way", "failed", "interrupted", "waiting"
_LOG_LINES = 15


@dataclass(frozen=True)
class File:
    """A file that the study makes.

    Attributes:
        path: As Snakemake names it.
        rule: The rule that makes it.
        job: What the job that makes it takes; None if no job of the study does.
        state: One of the five states.
    """

    path: str
    rule: str
    job: JobCells | None
    state: str


@dataclass(frozen=True)
class Failure:
    """A job that failed in the newest run and whose output is not there.

    Attributes:
        rule: Its rule.
        output: Its first output.
        job: What of the study it computes.
        log: Its log, if there is one.
        lines: The last lines of that log.
        slurm_job: Its id, if it ran on a cluster.
    """

    rule: str
    output: str
    job: JobCells | None
    log: str
    lines: tuple[str, ...]
    slurm_job: str


@dataclass(frozen=True)
class Progress:
    """The state of a study.

    Attributes:
        files: All that it makes.
        failures: Jobs that failed.
        run: The newest run, if there was any.
    """

    files: tuple[File, ...]
    failures: tuple[Failure, ...]
    run: Run | None

    def count(self, state: str) -> int:
        """Files in a state."""
        return sum(file.state == state for file in self.files)


def look(study: Study, snakemake: Sequence[str]) -> Progress:
    """See how far a study is. Starts nothing, locks nothing, changes nothing.

    Args:
        study: The study.
        snakemake: Arguments that name the study to Snakemake, such as ``--configfile``.

    Raises:
        EngineError: If Snakemake cannot plan the study, with its reason.
    """
    runs = recorded_runs(study.results)
    jobs = {f"{study.results}/{path}": job for job in all_jobs(study) for path in job.files}
    living = [run for run in runs if run.is_alive]
    run = (living or runs)[-1] if runs else None
    alive = bool(living)
    failures = _failures(run, jobs, Path(study.results)) if run else []
    failed = {output for _, outputs in failures for output in outputs}
    begun = unfinished_outputs(Path(".snakemake/incomplete"))
    files = []
    for row in summary(snakemake):
        if row.path in begun and alive:
            state = RUNNING
        # Snakemake does not ask for a file that is lost while what was made from it is still there.
        elif row.path in failed and (row.pending or row.missing):
            state = FAILED
        elif not row.pending:
            state = DONE
        else:
            state = INTERRUPTED if row.path in begun else WAITING
        files.append(File(row.path, row.rule, jobs.get(row.path), state))
    lost = {file.path for file in files if file.state == FAILED}
    return Progress(tuple(files), tuple(failure for failure, outputs in failures if lost & set(outputs)), run)


def unfinished_outputs(folder: Path) -> set[str]:
    """Files that a job has begun and not ended, from the markers of Snakemake."""
    found = set()
    for marker in filter(Path.is_file, folder.rglob("*")):
        name = "".join(part.removeprefix("@") for part in marker.relative_to(folder).parts)
        try:
            found.add(base64.b64decode(name, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue  # a folder of a name that is longer than a file's may be
    return found


@dataclass(frozen=True)
class Row:
    """What Snakemake says of a file: its rule, whether it would be made anew, whether it is missing."""

    path: str
    rule: str
    pending: bool
    missing: bool


def summary(arguments: Sequence[str]) -> Iterator[Row]:
    """What Snakemake says of every file of a study.

    Raises:
        EngineError: If Snakemake cannot plan the study, with its reason.
    """
    command = [
        sys.executable, "-m", "snakemake", "--summary", "--nolock", "--cores", "1",
        "--workflow-profile", "none", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"Snakemake cannot plan this study:\n{done.stderr.strip() or done.stdout.strip()}")
    header, *lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") >= 5]
    if header[0] != "output_file" or header[-1] != "plan":
        raise EngineError(f"this Snakemake's summary has other columns: {', '.join(header)}")
    for fields in lines:
        row = dict(zip(header, fields, strict=False))
        pending, missing = row["plan"] == "update pending", row["status"] == "missing"
        yield Row(row["output_file"], row["rule"], pending, missing)


_BLOCK = re.compile(r"^Error in (?:group job|rule) (?P<rule>\w+):\n(?P<body>(?: {4}.*\n?)*)", re.M)


def _failures(run: Run, jobs: Mapping[str, JobCells], results: Path) -> list[tuple[Failure, list[str]]]:
    """What the log of a run says of jobs that failed; of retried ones the last attempt."""
    last: dict[str, tuple[Failure, list[str]]] = {}
    for block in _BLOCK.finditer(run.said):
        fields = dict(re.findall(r"^ {4}(\w+): (.*)$", block["body"], re.M))
        named = [name.strip() for name in fields.get("output", "").split(",")]
        outputs = [name for name in named if name.startswith(f"{results}/")]
        if not outputs:
            continue
        log = re.sub(r" \(check log file.*$", "", fields.get("log", "")).split(",")[0].strip()
        failure = Failure(
            rule=block["rule"],
            output=outputs[0],
            job=jobs.get(outputs[0]),
            log=log,
            lines=_tail(Path(log)) if log and is_below(Path(log), results) else (),
            slurm_job=fields.get("external_jobid", ""),
        )
        last[outputs[0]] = failure, outputs
    return list(last.values())


def _tail(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(lines[-_LOG_LINES:])


def progress_text(progress: Progress, *, options: str) -> str:
    """The state as a table for a terminal, and each failure with what to do.

    Args:
        progress: The state.
        options: What the user types after ``snakemake`` to run the study.
    """
    cells: dict[tuple[str, int], dict[str, list[File]]] = {}
    rest: dict[str, list[File]] = {}
    for file in progress.files:
        if file.job and STAGES[file.rule].column:
            for step in file.job.steps:
                row = cells.setdefault((file.job.model, step), {})
                row.setdefault(STAGES[file.rule].column, []).append(file)
        else:
            rest.setdefault(file.rule, []).append(file)
    head = ["model", "step", *COLUMNS]
    body = [
        [model, str(step), *(_mark(found.get(column, ())) for column in COLUMNS)]
        for (model, step), found in sorted(cells.items())
    ]
    lines = tabulate(body, head, tablefmt="plain", disable_numparse=True).splitlines()
    lines.append("")
    lines.append("beside: " + ", ".join(f"{stage} {_mark(found)}" for stage, found in rest.items()))
    counts = [f"{progress.count(state)} {state}" for state in (DONE, RUNNING, FAILED, INTERRUPTED, WAITING)
              if progress.count(state) or state == DONE]  # fmt: skip
    lines.append(f"{len(progress.files)} files: {', '.join(counts)}")
    if progress.count(INTERRUPTED):
        lines.append("the last run was cut off: `babelscope recover`, then run the same command again")
    for failure in progress.failures:
        lines += ["", _failure_text(failure, options)]
    return "\n".join(lines)


def _mark(files: Sequence[File]) -> str:
    """``ok``, ``.``, ``3/8``; with what is under way or failed."""
    if not files:
        return ""
    states = [file.state for file in files]
    n_done = states.count(DONE)
    for state, name in ((FAILED, "FAILED"), (INTERRUPTED, "cut"), (RUNNING, "run")):
        if state in states:
            return f"{name} {n_done}/{len(states)}"
    return "ok" if n_done == len(states) else f"{n_done}/{len(states)}" if n_done else "."


def _failure_text(failure: Failure, options: str) -> str:
    where = f" ({failure.job.words})" if failure.job and failure.job.words else ""
    slurm = f", Slurm job {failure.slurm_job}" if failure.slurm_job else ""
    lines = [f"FAILED {failure.rule}{where}{shown(slurm, one_line=True)}"]
    if failure.lines:
        lines.append(f"  {shown(failure.log)}:")
        lines += [f"    {shown(line)}" for line in failure.lines]
    elif failure.log:
        lines.append(f"  its log {shown(failure.log)} is empty, not there, or not below the results")
    # The target goes first: --configfile takes every word that follows for a file.
    lines.append(f"  run just it:   snakemake {_quoted(failure.output)} {options}")
    if failure.job and failure.job.model and STAGES[failure.job.stage].column:
        own = [file for file in failure.job.files if failure.output.endswith(file)]
        folder = failure.output.removesuffix(own[0] if own else "")
        for step in failure.job.steps:
            target = f"{folder}export/{failure.job.model}/{step}"
            lines.append(f"  for a report:  snakemake {_quoted(target)} {options}")
    return "\n".join(lines)


def _quoted(path: str) -> str:
    """A path as a shell takes it; without control characters, which a terminal would obey."""
    return shlex.quote(shown(path, one_line=True))


def arguments_of(configfile: Path | None, config: Sequence[str]) -> list[str]:
    """Arguments that name a study to Snakemake."""
    named = ["--configfile", str(configfile)] if configfile else []
    return [*named, *(["--config", *config] if config else [])]
