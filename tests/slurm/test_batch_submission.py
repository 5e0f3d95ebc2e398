"""The controller and the whole study as Slurm jobs: killed, at their time limit, lost with their node."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from test_slurm_faults import (
    PROBE,
    attempts,
    forget_audit,
    forget_probes,
    plan_fault,
    release,
    struck,
    wait_for,
)

from cluster_study import ClusterStudy, checkout
from slurm_lab import SlurmJob

pytestmark = pytest.mark.slurm

#: What the tests' small cluster has; the scripts ask for more.
SMALL = ("--partition=cpu", "--mem=1500", "--time=30", "--signal=B:USR1@60")
#: The signal that the time limit comes near is sent between nothing and a minute after `bring_the_limit_near`.
NEAR = "--signal=B:USR1@400"
#: States that something else comes after.
PASSING = ("PENDING", "RUNNING", "SIGNALING", "COMPLETING")
QUICK = ("--slurm-init-seconds-before-status-checks", "3")


@pytest.fixture
def study(undisturbed: ClusterStudy, tmp_path: Path) -> ClusterStudy:
    return undisturbed.copy(tmp_path)


def job_of(study: ClusterStudy, job: int) -> SlurmJob:
    return next(found for found in study.lab.jobs() if found.job == job)


def wait_until(study: ClusterStudy, job: int, state: str) -> None:
    """Wait for a state of a job; one that has ended in another never comes to it."""

    def there() -> bool:
        now = job_of(study, job).state
        assert now in (state, *PASSING), f"{now}\n{study.printed()[-6000:]}"
        return now == state

    try:
        wait_for(there, f"job {job} is not {state}")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{study.printed()[-6000:]}") from None


def bring_the_limit_near(study: ClusterStudy, job: int) -> None:
    """Set a running job's time limit so that it gets its signal soon, however slow the machine; wait until it has."""
    ran = study.lab.run("squeue", "--noheader", "--format=%M", f"--jobs={job}").stdout.strip()
    *hours, minutes, _seconds = (int(part) for part in ran.split(":"))
    study.lab.run("scontrol", "update", f"JobId={job}", f"TimeLimit={60 * sum(hours) + minutes + 7}")
    wait_for(lambda: "no more jobs are started" in study.printed(), "the limit is not told")


def last_run(study: ClusterStudy) -> dict:
    return json.loads((study.results / "logs/runs.json").read_text())[-1]


def claims(study: ClusterStudy) -> list[int]:
    """Jobs that have had the study, the last one last."""
    files = sorted((study.results / "logs/controllers").iterdir(), key=lambda file: int(file.name))
    return [int(file.read_text()) for file in files]


def test_the_controllers_snakemake_is_killed(study, undisturbed):
    """It clears away what that has left and goes on by itself; a second controller is refused meanwhile."""
    forget_probes(study)
    forget_audit(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    controller = study.submit("controller.sbatch", SMALL, "tables", *QUICK)
    pid = struck(marker)
    text = study.printed()
    second = study.submit("controller.sbatch", SMALL, "tables", *QUICK)
    wait_until(study, second, "FAILED")
    assert f"Slurm job {controller} runs this study (running)" in study.printed()
    (study.folder / "run.log").write_text(text)
    run = last_run(study)
    assert run["slurm_job"] == str(controller)
    os.kill(run["pid"], signal.SIGKILL)
    wait_until(study, controller, "COMPLETED")
    assert "Snakemake was killed (status 137)" in study.printed()
    assert [job.state for job in attempts(study, PROBE)] == ["CANCELLED", "COMPLETED"]
    assert not Path(f"/proc/{pid}").exists()
    assert claims(study) == [controller]
    assert study.tables() == undisturbed.tables()


def test_the_controllers_time_limit(study, undisturbed):
    """No more jobs are started; the one that runs ends and counts; then the controller goes on with the rest."""
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    controller = study.submit("controller.sbatch", [*SMALL, NEAR], "tables", *QUICK)
    struck(marker)
    bring_the_limit_near(study, controller)
    release(study)
    wait_until(study, controller, "PENDING")
    study.lab.run("scontrol", "update", f"JobId={controller}", "TimeLimit=30")
    assert "back to the queue" in study.printed()
    assert [job.state for job in attempts(study, PROBE)] == ["COMPLETED"]
    assert not (study.results / "tables/probes.parquet").exists()
    wait_until(study, controller, "COMPLETED")
    assert [job.state for job in attempts(study, PROBE)] == ["COMPLETED"]  # nothing was done twice
    assert claims(study) == [controller]
    assert study.tables() == undisturbed.tables()


def test_the_controllers_node_is_lost(study, undisturbed):
    """Slurm puts the job back into the queue; started anew it cancels what was left and goes on."""
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    controller = study.submit(
        "controller.sbatch", [*SMALL, "--nodelist=c2", "--cpus-per-task=4"], "tables", *QUICK
    )
    struck(marker)
    assert attempts(study, PROBE)[0].node == "c1"
    # The node is gone at once, with all that ran on it.
    study.lab.kill_node("c2")
    for process in processes_of(controller):
        os.kill(process, signal.SIGKILL)
    try:
        wait_until(study, controller, "PENDING")
    finally:
        study.lab.start_node("c2")
    wait_until(study, controller, "COMPLETED")
    assert [job.state for job in attempts(study, PROBE)] == ["CANCELLED", "COMPLETED"]
    assert study.tables() == undisturbed.tables()


def test_a_cancelled_controller_is_submitted_again(study, undisturbed):
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    first = study.submit("controller.sbatch", SMALL, "tables", *QUICK)
    struck(marker)
    study.lab.run("scancel", "--signal=KILL", str(first))
    second = study.submit("controller.sbatch", SMALL, "tables", *QUICK)
    wait_until(study, second, "COMPLETED")
    assert job_of(study, first).state == "CANCELLED"
    assert "cancelled 1 jobs: " in study.printed()
    assert claims(study) == [first, second]
    assert study.tables() == undisturbed.tables()


def test_a_job_that_fails_ends_the_controller(study):
    """What a person must look at is not tried for ever."""
    forget_audit(study)
    study.config["granularity"]["no_such_key"] = 1
    controller = study.submit("controller.sbatch", SMALL, "tables", *QUICK)
    wait_until(study, controller, "FAILED")
    assert "no_such_key" in study.printed()


def test_a_whole_study_in_one_allocation(lab, undisturbed, tmp_path):
    """Its Snakemake is killed, then its time limit comes. No other job is submitted; the tables are the same."""
    study = checkout(tmp_path, lab)
    marker = plan_fault(study, "pretrain_step", "hold")
    before = {found.job for found in lab.jobs()}
    # As many cores as this machine has for a job of the cluster: sums of another order round differently.
    cores = min(4, len(os.sched_getaffinity(0)))
    job = study.submit(
        "one-node.sbatch",
        [
            "--partition=gpu",
            "--gpus=2",
            f"--cpus-per-task={cores}",
            "--mem=12000",
            "--time=30",
            NEAR,
        ],
    )
    wait_for(lambda: list(study.results.glob("sentences/*.tsv")), "no job has ended")
    os.kill(last_run(study)["pid"], signal.SIGKILL)
    pid = struck(marker)
    seen = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert seen.count(b"CUDA_VISIBLE_DEVICES=0") == 1  # one of the two
    bring_the_limit_near(study, job)
    release(study)
    wait_until(study, job, "PENDING")
    lab.run("scontrol", "update", f"JobId={job}", "TimeLimit=30")
    wait_until(study, job, "COMPLETED")
    text = study.printed()
    assert "Snakemake was killed (status 137)" in text
    assert text.count("back to the queue") == 1
    assert 'gpu=Resource("gpu", 2)' in text
    assert 'mem_mb=Resource("mem_mb", 12000)' in text
    assert {found.job for found in lab.jobs()} - before == {job}
    assert (study.results / "report.html").stat().st_size > 20_000
    assert study.tables() == undisturbed.tables()


def processes_of(job: int) -> list[int]:
    """Processes on this machine that have a Slurm job's id in their environment, and Slurm's own beside them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"SLURM_JOB_ID={job}".encode() in environment or f"slurmstepd: [{job}." in command.decode():
            found.append(int(folder.name))
    return found
