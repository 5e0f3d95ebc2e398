"""Jobs that a run of Snakemake has left on this machine when it was killed: they go on writing.

A run marks its environment, which every job inherits; so its jobs are found whoever their parent is now.
Jobs of Slurm are not looked at here: they have names of their own, see :mod:`babelscope.ops.runs`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence

import psutil

_MARK = "BABELSCOPE_RUN"


def mark_jobs(mark: str) -> None:
    """Let the processes that are started from here be known by a mark."""
    os.environ[_MARK] = mark


def unmarked() -> dict[str, str]:
    """The environment for a process that is no job."""
    return {name: value for name, value in os.environ.items() if name != _MARK}


def left_processes(marks: Collection[str]) -> list[psutil.Process]:
    """Processes of this user on this machine that have one of some marks, this one apart."""
    return list(_marked(set(marks))) if marks else []


def _marked(marks: set[str]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            running = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # ended meanwhile, or another user's
            continue
        if running and environment.get(_MARK) in marks and "SLURM_JOB_ID" not in environment:
            yield process


def end(processes: Sequence[psutil.Process], *, patience: float) -> list[psutil.Process]:
    """Ask processes to end, and after some seconds have them killed.

    Returns:
        Those that are still there.
    """
    for signal in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            try:
                signal(process)
            except psutil.NoSuchProcess:
                continue
        _, processes = psutil.wait_procs(list(processes), timeout=patience)
    return list(processes)


def shown_processes(processes: Sequence[psutil.Process]) -> str:
    """Their numbers, and the rules whose scripts they run."""
    return ", ".join(map(_shown, processes))


def _shown(process: psutil.Process) -> str:
    try:
        script = re.search(r"\.snakemake/scripts/\w+\.(\w+)\.py\b", " ".join(process.cmdline()))
    except psutil.Error:
        script = None
    return f"{process.pid} ({script[1]})" if script else str(process.pid)
