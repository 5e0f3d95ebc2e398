"""Runs that were killed: their jobs are found, cancelled and cleared away; a live run is left alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from babelscope.io.files import leftovers, unfinished_name, written_whole
from babelscope.ops import runs
from babelscope.ops.runs import (
    AliveError,
    Run,
    RunError,
    active_jobs,
    claim,
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


@pytest.fixture
def left():
    """Starts a process as a job of a run; with more in its environment."""
    started = []

    def start(run: Run, **environment: str) -> subprocess.Popen[bytes]:
        marked = {**os.environ, "BABELSCOPE_RUN": run.mark, **environment}
        started.append(subprocess.Popen(["sleep", "600"], env=marked, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_jobs_that_a_killed_run_has_left_on_this_machine(folder, left, monkeypatch):
    monkeypatch.setenv("BABELSCOPE_RUN", "")  # which recording a run changes
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    program(folder, "squeue", "")
    run_of(folder, pid=2**22 + 1)
    (run,) = recorded_runs(RESULTS)
    other = Run(run.host, run.pid, run.started + 1, run.log)
    job, of_slurm, of_another = left(run), left(run, SLURM_JOB_ID="12"), left(other)
    with pytest.raises(RunError, match=rf"still run on this machine: processes {job.pid}\b") as error:
        refuse_beside_others(RESULTS, study="--configfile mine.yaml")
    assert "`babelscope recover --configfile mine.yaml` ends them" in str(error.value)
    assert recover(RESULTS)[0] == f"ended 1 processes of the run that was killed: {job.pid}"
    assert job.poll() is not None
    assert (of_slurm.poll(), of_another.poll()) == (None, None)
    refuse_beside_others(RESULTS)


def test_what_does_not_end_when_asked_is_killed(folder, monkeypatch):
    monkeypatch.setattr(runs, "_PATIENCE", 0.5)
    monkeypatch.setenv("BABELSCOPE_RUN", "")
    program(folder, "squeue", "")
    run_of(folder, pid=2**22 + 1)
    (run,) = recorded_runs(RESULTS)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    environment = {**os.environ, "BABELSCOPE_RUN": run.mark}
    job = subprocess.Popen([sys.executable, "-c", deaf], env=environment, stdout=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.readline()
    assert "ended 1 processes" in recover(RESULTS)[0]
    assert job.poll() is not None


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
        refuse_beside_others(RESULTS, study="--configfile mine.yaml")
    assert "`babelscope recover --configfile mine.yaml` cancels them" in str(error.value)
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
    found = recorded_runs(RESULTS)
    alive = b"snakemake" in Path("/proc/self/cmdline").read_bytes()
    assert found[0].is_alive == alive  # this process is pytest's
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
    assert f"-{os.getpid()}-" in name
    folder = unfinished_name(tmp_path / "model")
    folder.mkdir()
    (folder / "weights").write_text("x")
    assert leftovers(tmp_path) == [folder]  # whole, not file by file


def in_a_slurm_job(monkeypatch, job: str) -> None:
    monkeypatch.setattr(runs, "_OWN_JOB", job)
    runs._may_run.cache_clear()


def test_a_run_in_a_slurm_job_is_seen_from_everywhere(folder, monkeypatch):
    in_a_slurm_job(monkeypatch, "77")
    run_of(folder, pid=1, host="node-3")
    assert recorded_runs(RESULTS)[0].slurm_job == "77"
    # Of the same job: it was put back in the queue, and has started anew.
    assert not recorded_runs(RESULTS)[0].is_alive
    in_a_slurm_job(monkeypatch, "")
    program(folder, "squeue", 'echo "77|RUNNING"')
    with pytest.raises(AliveError, match=r"alive: Slurm job 77 on node-3\nhint: .*`scancel 77`"):
        recover(RESULTS)
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{RESULTS}/tables/a.tsv\n")
    for queue in ("echo '77|PENDING'", "true"):
        in_a_slurm_job(monkeypatch, "78")
        program(folder, "squeue", queue)
        assert not recorded_runs(RESULTS)[0].is_alive
    assert recover(RESULTS) == ["removed the locks of the run that was killed"]  # no --elsewhere needed
    in_a_slurm_job(monkeypatch, "79")
    program(folder, "squeue", "exit 1")
    assert recorded_runs(RESULTS)[0].is_alive  # nobody knows


def test_one_job_at_a_time_has_a_study(folder):
    program(folder, "squeue", "true")
    claim(RESULTS, job="5")
    claim(RESULTS, job="5")  # after it was put back in the queue
    program(folder, "squeue", "echo '5|RUNNING'")
    with pytest.raises(AliveError, match=r"Slurm job 5 runs this study \(running\)"):
        claim(RESULTS, job="6")
    for ended in ("echo '5|PENDING'", "true"):
        program(folder, "squeue", ended)
        claim(RESULTS, job="6")
    program(folder, "squeue", "echo '6|COMPLETING'")
    with pytest.raises(AliveError, match="completing"):
        claim(RESULTS, job="7", patience=0)
    program(folder, "squeue", "echo down >&2; exit 1")
    with pytest.raises(RunError, match="squeue failed: down"):
        claim(RESULTS, job="7")
    with pytest.raises(RunError, match="in no Slurm job"):
        claim(RESULTS, job="")
    claims = RESULTS / "logs/controllers"
    assert {file.name: file.read_text().strip() for file in claims.iterdir()} == {"1": "5", "2": "6"}


def test_of_jobs_that_ask_at_once_one_gets_the_study(folder):
    """All find the last holder gone; from then on the one that was first is the only one that runs."""
    program(folder, "squeue", f"cat {folder}/queue")
    (folder / "queue").write_text("")
    claim(RESULTS, job="1")
    (folder / "queue").write_text("".join(f"{job}|RUNNING\n" for job in range(2, 10)))
    refused = []

    def ask(job: str) -> None:
        try:
            claim(RESULTS, job=job)
        except AliveError:
            refused.append(job)

    threads = [threading.Thread(target=ask, args=(str(job),)) for job in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert sorted(file.name for file in (RESULTS / "logs/controllers").iterdir()) == ["1", "2"]
