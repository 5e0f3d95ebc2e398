"""Runs of a study: which there were, whose jobs still run, and how to go on after one was killed.

When the process of Snakemake dies (SIGKILL, a rebooted login node), its jobs run on, on Slurm and on this
machine. Snakemake does not take them over: unlocked and started again it starts the same jobs a second time
beside them. So every run is recorded; one that finds jobs of an earlier run of its study stops before it
starts any, and :func:`recover` ends them and clears what the dead run has left. Where Snakemake itself is a
Slurm job (a controller), :func:`claim` sees to it that a study has one at a time.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from babelscope.errors import BabelscopeError
from babelscope.io.files import is_below, leftovers, open_to_append, remove, unfinished_name, written_whole
from babelscope.io.json import read_json
from babelscope.ops.processes import end, left_processes, mark_jobs, shown_processes
from babelscope.ops.programs import call

_RECORD = "runs.json"
_LOCKS = Path(".snakemake/locks")
_CLAIMS = "controllers"
#: Seconds in which a job on this machine ends when it is asked to.
_PATIENCE = 10.0
#: The Slurm job that this process is in. Read at the start: the executor takes it out of the environment.
_OWN_JOB = os.environ.get("SLURM_JOB_ID", "")


class RunError(BabelscopeError):
    """What is left of another run of the study is in the way."""

    section = "another-run"


class AliveError(RunError):
    """Another run of the study is alive, or nobody can see whether it is."""


@dataclass(frozen=True)
class Run:
    """A run of Snakemake that was started.

    Attributes:
        host: Machine that its main process runs on.
        pid: Of that process.
        started: Seconds since 1970.
        log: Snakemake's own log.
        slurm_job: The Slurm job that its main process is in; empty if it is in none.
    """

    host: str
    pid: int
    started: float
    log: str
    slurm_job: str = ""

    def __post_init__(self) -> None:
        texts = (self.host, self.log, self.slurm_job)
        right = isinstance(self.pid, int) and all(
            isinstance(text, str) and text.isprintable() for text in texts
        )
        if not right or not re.fullmatch(r"[0-9_]*", self.slurm_job):
            raise ValueError("is no record of a run")

    @property
    def mark(self) -> str:
        """What its jobs on its machine are known by."""
        return f"{self.host}:{self.pid}:{self.started}"

    @property
    def said(self) -> str:
        """Its log, which lies below the working directory; empty if it is not there."""
        log = Path(self.log)
        try:
            return log.read_text(encoding="utf-8", errors="replace") if is_below(log, Path.cwd()) else ""
        except OSError:
            return ""

    @property
    def slurm_name(self) -> str | None:
        """The name that all its Slurm jobs have; None if it ran locally."""
        found = re.search(r"SLURM run ID: ([0-9a-f-]{36})", self.said)
        return found[1] if found else None

    @property
    def is_alive(self) -> bool:
        """Whether its main process runs, on this machine or in a Slurm job; elsewhere it cannot be seen."""
        if self.host != socket.gethostname():
            return self.slurm_job not in ("", _OWN_JOB) and _may_run(self.slurm_job)
        try:
            return b"snakemake" in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False


@dataclass(frozen=True)
class SlurmJob:
    """A job that waits or runs."""

    job: str
    state: str
    what: str


def record_run(results: Path | str, log: Path | str) -> None:
    """Note that this process runs a study, and mark the jobs that it starts from now on."""
    run = Run(socket.gethostname(), os.getpid(), time.time(), str(log), _OWN_JOB)
    mark_jobs(run.mark)
    runs = [*recorded_runs(results), run]
    with written_whole(Path(results, "logs", _RECORD)) as unfinished:
        unfinished.write_text(json.dumps([asdict(run) for run in runs[-50:]], indent=1) + "\n")


def recorded_runs(results: Path | str) -> list[Run]:
    """Runs of a study, the newest last."""
    try:
        return [Run(**entry) for entry in read_json(Path(results, "logs", _RECORD))]
    except (OSError, ValueError, TypeError):
        return []


def active_jobs(runs: Sequence[Run], *, ending: bool = False) -> list[SlurmJob]:
    """Slurm jobs of some runs that wait or run.

    Args:
        runs: The runs.
        ending: Count also jobs that have ended, but whose processes may not all be gone (``COMPLETING``).

    Raises:
        RunError: If Slurm does not answer, for then nobody knows.
    """
    names = sorted({name for run in runs if (name := run.slurm_name)})
    if not names or shutil.which("squeue") is None:
        return []
    own = f"--user={os.getuid()}"
    done = call("squeue", "--noheader", own, f"--name={','.join(names)}", "--format=%i|%T|%k", timeout=60)
    if done.returncode:
        raise RunError(f"squeue failed: {done.stderr.strip()}\nhint: is the controller of Slurm up?")
    jobs = [SlurmJob(*line.split("|", 2)) for line in done.stdout.splitlines() if line.count("|") >= 2]
    return [job for job in jobs if ending or job.state != "COMPLETING"]


def refuse_beside_others(results: Path | str) -> None:
    """Stop if jobs of an earlier run of the study are still there: they write the same files.

    Jobs of a run that is alive are Snakemake's to keep apart: it locks the files that they make.

    Raises:
        RunError: Naming the jobs.
    """
    dead = [run for run in recorded_runs(results) if not run.is_alive]
    if left := left_processes([run.mark for run in dead]):
        raise RunError(
            f"jobs of an earlier run of this study, which was killed, still run on this machine: processes "
            f"{shown_processes(left)}\nhint: `babelscope recover` (with the same --configfile) ends them, "
            "then run the same command again; what they have saved is kept"
        )
    jobs = active_jobs(dead)
    if jobs:
        raise RunError(
            f"{len(jobs)} jobs of an earlier run of this study are still in Slurm's queue: {_shown(jobs)}\n"
            "hint: if that run is alive, let it work; if it was killed, `babelscope recover` (with the same "
            "--configfile) cancels them, then run the same command again"
        )


def recover(results: Path | str, *, elsewhere: bool = False, patience: float = 180) -> list[str]:
    """Clear the way after a run was killed: its jobs, its locks, its unfinished files.

    Args:
        results: Folder of the study's results, below the working directory.
        elsewhere: Go on although the last run was started on another machine, whose processes cannot be seen.
        patience: Seconds to wait until cancelled jobs are gone.

    Returns:
        What was done, a line each.

    Raises:
        AliveError: If a run of the study is alive, or may be.
        RunError: If cancelled jobs do not go.
    """
    runs = recorded_runs(results)
    for run in runs:
        if run.is_alive and run.slurm_job:
            raise AliveError(
                f"a run of this study is alive: Slurm job {run.slurm_job} on {run.host}\n"
                f"hint: let it work, or end it with `scancel {run.slurm_job}` and run this again"
            )
        if run.is_alive:
            raise AliveError(
                f"a run of this study is alive: process {run.pid}\n"
                f"hint: let it work, or end it with `kill -INT {run.pid}`, which cancels its jobs"
            )
    locks = _locks_of(results)
    unseen = bool(runs) and runs[-1].host != socket.gethostname() and not runs[-1].slurm_job
    if locks and unseen and not elsewhere:
        raise AliveError(
            f"the last run of this study was started on {runs[-1].host}, so from here nobody can see whether "
            "it is alive\nhint: run this there, or say --elsewhere if you know that it is dead"
        )
    done = []
    if processes := left_processes([run.mark for run in runs]):
        what = f"{len(processes)} processes of the run that was killed: {shown_processes(processes)}"
        if left := end(processes, patience=_PATIENCE):
            raise RunError(
                f"processes {shown_processes(left)} do not end\nhint: a disk may hang; run this again"
            )
        done.append(f"ended {what}")
    jobs = active_jobs(runs)
    if jobs:
        call("scancel", *(job.job for job in jobs), timeout=60)
        deadline = time.monotonic() + patience
        while left := active_jobs(runs, ending=True):
            if time.monotonic() > deadline:
                raise RunError(
                    f"{len(left)} jobs are still there {patience:.0f} s after scancel: {_shown(left)}\n"
                    "hint: a node may hang; wait, and run this again"
                )
            time.sleep(1)
        done.append(f"cancelled {len(jobs)} jobs: {_shown(jobs)}")
    for lock in locks:
        lock.unlink(missing_ok=True)
    if locks:
        done.append("removed the locks of the run that was killed")
    found = leftovers(Path(results))
    for path in found:
        remove(path)
    if found:
        done.append(f"removed {len(found)} unfinished files")
    return done


def claim(results: Path | str, *, job: str = _OWN_JOB, patience: float = 120) -> None:
    """Take a study for a Slurm job that is to run its Snakemake, unless another job has it.

    Each claim is a file with the next number, and holds the id of the job. A number is given once, whoever
    asks at the same time, and no claim is removed; so of two jobs that find the last holder gone only one
    gets the study.

    Args:
        results: Folder of the study's results, below the working directory.
        job: The job's id.
        patience: Seconds to wait for a holder that is ending.

    Raises:
        AliveError: If the job that has the study runs.
        RunError: If there is no job to take it for, or Slurm does not answer.
    """
    if not job:
        raise RunError("this process is in no Slurm job\nhint: a study is claimed by a job that runs it")
    folder = Path(results, "logs", _CLAIMS)
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    while True:
        last = max((int(file.name) for file in folder.iterdir() if file.name.isdecimal()), default=0)
        holder = (folder / str(last)).read_text().strip() if last else ""
        if holder == job:
            return
        state = _own_jobs().get(holder, "")
        if state == "COMPLETING" and time.monotonic() < deadline:
            time.sleep(1)
            continue
        if state not in ("", "PENDING"):  # one that was put back in the queue asks again when it starts
            raise AliveError(
                f"Slurm job {holder} runs this study ({state.lower()})\n"
                f"hint: let it work, or end it with `scancel {holder}` first"
            )
        claimed = folder / str(last + 1)
        mine = unfinished_name(folder / job)
        with open_to_append(mine) as file:
            file.write(f"{job}\n".encode())
        try:
            os.link(mine, claimed)  # fails if there is one, unlike a rename
        except FileExistsError:
            continue
        finally:
            mine.unlink()


def _own_jobs() -> dict[str, str]:
    """Id and state of the user's jobs that wait, run or are ending."""
    done = call("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%T", timeout=60)
    if done.returncode:
        raise RunError(f"squeue failed: {done.stderr.strip()}\nhint: is the controller of Slurm up?")
    return dict(line.strip().split("|", 1) for line in done.stdout.splitlines() if "|" in line)


@functools.cache
def _may_run(job: str) -> bool:
    """Whether a Slurm job runs, or Slurm does not say."""
    try:
        return _own_jobs().get(job, "PENDING") != "PENDING"
    except RunError:
        return True


def _locks_of(results: Path | str) -> list[Path]:
    """Snakemake's lock files that hold files of this study; other studies may run in the same folder."""
    prefix = f"{results}/"
    return [
        lock
        for lock in sorted(_LOCKS.glob("*.lock"))
        if any(line.startswith(prefix) for line in lock.read_text(errors="replace").splitlines())
    ]


def _shown(jobs: Sequence[SlurmJob]) -> str:
    few = [
        f"{job.job} ({job.what.removeprefix('rule_') or 'no comment'}, {job.state.lower()})"
        for job in jobs[:5]
    ]
    return ", ".join(few) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")
