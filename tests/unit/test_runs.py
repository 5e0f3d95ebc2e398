"""Runs that were killed: their jobs are found, cancelled and cleared away; a live run is left alone."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from babelscope.io.files import leftovers, unfinished_name, written_whole
from babelscope.ops.runs import (
    Run,
    RunError,
    active_jobs,
    record_run,
    recorded_runs,
    recover,
    refuse_beside_others,
)

NAME = "0b1c2d3e-0000-4000-8000-000000000001"
RESULTS = Path("results/mine")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    file = folder / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def run_of(folder: Path, pid: int, host: str = "") -> None:
    """A run in the record, of a process that need not be."""
    log = folder / "one.log"
    log.write_text(f"Building DAG of jobs...\nSLURM run ID: {NAME}\n")
    record_run(RESULTS, log)
    file = RESULTS / "logs/runs.json"
    text = file.read_text().replace(f'"pid": {os.getpid()}', f'"pid": {pid}')
    file.write_text(
        text.replace(f'"host": "{socket.gethostname()}"', f'"host": "{host or socket.gethostname()}"')
    )


def test_runs_are_recorded(folder):
    assert recorded_runs(RESULTS) == []
    (folder / "a.log").write_text("nothing of Slurm")
    record_run(RESULTS, folder / "a.log")
    record_run(RESULTS, folder / "gone.log")
    first, second = recorded_runs(RESULTS)
    assert first.pid == os.getpid()
    assert first.slurm_name is None
    assert second.slurm_name is None
    assert not Run("another-host", os.getpid(), 0, "").is_alive


def test_jobs_of_an_earlier_run_stop_the_next(folder):
    run_of(folder, pid=2**22 + 1)
    program(
        folder,
        "squeue",
        f'case "$*" in *--name={NAME}*) echo "12|RUNNING|rule_score_units_wildcards_x";; esac',
    )
    assert [job.job for job in active_jobs(recorded_runs(RESULTS))] == ["12"]
    with pytest.raises(
        RunError, match=r"1 jobs of an earlier run.*12 \(score_units_wildcards_x, running\)"
    ) as error:
        refuse_beside_others(RESULTS)
    assert "babelscope recover" in str(error.value)
    program(folder, "squeue", "true")
    refuse_beside_others(RESULTS)


def test_nobody_knows_if_slurm_does_not_answer(folder):
    run_of(folder, pid=2**22 + 1)
    program(folder, "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(RunError, match="Unable to contact"):
        refuse_beside_others(RESULTS)


def test_recovery_cancels_waits_and_clears(folder):
    run_of(folder, pid=2**22 + 1)
    queue = folder / "queue"
    queue.write_text("12|RUNNING|rule_a\n13|PENDING|rule_b\n")
    # A cancelled job is first COMPLETING: its processes may still write.
    program(folder, "squeue", f"cat {queue}; grep -q COMPLETING {queue} && : > {queue}; true")
    program(folder, "scancel", f'echo "$@" > {folder}/cancelled; echo "12|COMPLETING|rule_a" > {queue}')
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{RESULTS}/tables/a.tsv\n")
    (locks / "1.output.lock").write_text("results/another/tables/a.tsv\n")
    half = unfinished_name(RESULTS / "scores/m/0/en.h5")
    half.parent.mkdir(parents=True)
    half.write_text("half")
    done = recover(RESULTS)
    assert (folder / "cancelled").read_text().split() == ["12", "13"]
    assert [line.split(":")[0] for line in done] == [
        "cancelled 2 jobs", "removed the locks of the run that was killed", "removed 1 unfinished files",
    ]  # fmt: skip
    assert [lock.name for lock in locks.iterdir()] == ["1.output.lock"]  # another study's
    assert not half.exists()
    assert recover(RESULTS) == []


def test_recovery_gives_up_on_jobs_that_do_not_go(folder):
    run_of(folder, pid=2**22 + 1)
    program(folder, "squeue", 'echo "12|RUNNING|rule_a"')
    program(folder, "scancel", "true")
    with pytest.raises(RunError, match="still there 0 s after scancel"):
        recover(RESULTS, patience=0)


def test_a_live_run_is_left_alone(folder):
    run_of(folder, pid=os.getpid())
    runs = recorded_runs(RESULTS)
    alive = b"snakemake" in Path("/proc/self/cmdline").read_bytes()
    assert runs[0].is_alive == alive  # this process is pytest's
    sleeper = os.spawnlp(os.P_NOWAIT, "sh", "snakemake", "-c", "sleep 30; true")
    try:
        while b"snakemake" not in Path(f"/proc/{sleeper}/cmdline").read_bytes():
            time.sleep(0.01)  # until the new process is itself
        run_of(folder, pid=sleeper)
        with pytest.raises(RunError, match=rf"alive: process {sleeper}\nhint: .*kill -INT {sleeper}"):
            recover(RESULTS)
        program(folder, "squeue", 'echo "12|RUNNING|rule_a"')
        refuse_beside_others(RESULTS)  # Snakemake's lock keeps the two apart, file by file
    finally:
        os.kill(sleeper, 9)
        os.waitpid(sleeper, 0)


def test_a_run_of_another_machine_cannot_be_seen(folder):
    run_of(folder, pid=1, host="login-2")
    program(folder, "squeue", "true")
    assert recover(RESULTS) == []  # without a lock there is nothing to fear
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{RESULTS}/tables/a.tsv\n")
    with pytest.raises(RunError, match="started on login-2"):
        recover(RESULTS)
    assert recover(RESULTS, elsewhere=True) == ["removed the locks of the run that was killed"]


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep/file.txt"

    def fail() -> None:
        with written_whole(path) as unfinished:
            unfinished.write_text("half")
            assert not path.exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(path.parent.iterdir()) == []
    with written_whole(path) as unfinished:
        unfinished.write_text("whole")
    assert path.read_text() == "whole"
    assert leftovers(tmp_path) == []


def test_unfinished_names_tell_machine_and_process(tmp_path):
    name = unfinished_name(tmp_path / "a.h5").name
    assert name.startswith("a.h5.tmp-")
    assert name.endswith(f"-{os.getpid()}")
    folder = unfinished_name(tmp_path / "model")
    folder.mkdir()
    (folder / "weights").write_text("x")
    assert leftovers(tmp_path) == [folder]  # whole, not file by file
