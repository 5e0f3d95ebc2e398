"""What clusters do to jobs. After each fault the same command finishes the study, with the same tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster_study import PATIENCE, ClusterStudy

pytestmark = pytest.mark.slurm

FAULTS = Path(__file__).parent / "faults"
#: Two jobs: the probes, and the table of them; or the audit, which writes HDF5, and its table.
PROBE = "fit_language_probe"
AUDIT = "audit_checkpoint"


@pytest.fixture
def study(undisturbed: ClusterStudy, tmp_path: Path) -> ClusterStudy:
    return undisturbed.copy(tmp_path)


def plan_fault(study: ClusterStudy, script: str, what: str, **arguments: object) -> Path:
    """Have the first job of a rule struck; the file that says it was."""
    marker = study.folder / "struck"
    if what == "hold":
        arguments["until"] = str(study.folder / "released")
    fault = {"script": script, "marker": str(marker), "what": what, "with": arguments}
    study.environment = {"BABELSCOPE_FAULT": json.dumps(fault), "PYTHONPATH": str(FAULTS)}
    return marker


def release(study: ClusterStudy) -> None:
    """Let the job go on that is held."""
    (study.folder / "released").touch()


def forget_probes(study: ClusterStudy) -> None:
    study.forget("probes", "tables/probes.parquet")


def forget_audit(study: ClusterStudy) -> None:
    study.forget("audit", "tables/audit.tsv", "tables/audit_losses.tsv")


def wait_for(ready: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not after {seconds} s"
        time.sleep(0.2)


def struck(marker: Path) -> int:
    """The process that was struck, once there is one."""
    wait_for(lambda: marker.exists() and marker.read_text(), "no job was struck")
    return int(marker.read_text())


def kill_step(pid: int) -> None:
    """SIGKILL all that Slurm has started for a step: a process and those above it, from the top."""
    chain = [pid]
    while True:
        above = int(Path(f"/proc/{chain[0]}/stat").read_text().rpartition(")")[2].split()[1])
        if "slurmstepd" in Path(f"/proc/{above}/stat").read_text():
            break
        chain.insert(0, above)
    assert len(chain) > 1  # Snakemake, and the job's own process
    for each in chain:
        os.kill(each, signal.SIGKILL)


def finish(study: ClusterStudy, process: subprocess.Popen[str]) -> None:
    assert process.wait(PATIENCE) == 0, study.printed()[-5000:]


def attempts(study: ClusterStudy, rule: str) -> list:
    """The Slurm jobs of a rule, in the order of submission."""
    ours = study.submitted()
    return [job for job in study.lab.jobs() if ours.get(job.job) == rule]


def unfinished(study: ClusterStudy) -> list[Path]:
    return list(study.results.rglob("*.tmp-*"))


def test_a_cancelled_job_is_submitted_again(study, undisturbed):
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    process = study.start("tables")
    struck(marker)
    study.lab.run("scancel", str(attempts(study, PROBE)[0].job))
    finish(study, process)
    assert [job.state for job in attempts(study, PROBE)] == ["CANCELLED", "COMPLETED"]
    assert study.tables() == undisturbed.tables()


def test_a_job_that_is_killed_is_submitted_again(study, undisturbed):
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    process = study.start("tables")
    kill_step(struck(marker))
    finish(study, process)
    assert [job.state for job in attempts(study, PROBE)] == ["FAILED", "COMPLETED"]
    assert study.tables() == undisturbed.tables()


def test_a_job_that_dies_while_it_writes_leaves_nothing_half(study, undisturbed):
    forget_audit(study)
    marker = plan_fault(study, "audit_checkpoint", "die_writing", folder=str(study.results / "audit"))
    process = study.start("tables")
    struck(marker)
    finish(study, process)
    assert [job.state for job in attempts(study, AUDIT)] == ["FAILED", "COMPLETED"]
    assert len(unfinished(study)) == 1  # what the dead process had written, under a name that nothing reads
    assert study.tables() == undisturbed.tables()


def test_a_job_over_its_memory_gets_more(study, undisturbed):
    forget_probes(study)
    plan_fault(study, "fit_language_probe", "eat", megabytes=2000, seconds=30)
    finish(study, study.start("tables"))
    first, second = attempts(study, PROBE)
    assert (first.state, second.state) == ("FAILED", "COMPLETED")
    assert second.memory_mb == pytest.approx(2 * first.memory_mb, abs=2)
    assert study.tables() == undisturbed.tables()


def test_a_job_over_its_time_gets_more(study, undisturbed):
    forget_probes(study)
    plan_fault(study, "fit_language_probe", "hold")
    finish(study, study.start("tables", "--set-resources", f"{PROBE}:runtime=1+19*(attempt-1)"))
    first, second = attempts(study, PROBE)
    assert (first.state, second.state) == ("TIMEOUT", "COMPLETED")
    assert (first.minutes, second.minutes) == (1, 20)
    assert study.tables() == undisturbed.tables()


def test_a_lost_node_whose_job_goes_on_writing(study, undisturbed):
    """The cluster gives the node up; its job lives on, and writes the same file as its retry elsewhere."""
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    process = study.start("tables")
    pid = struck(marker)
    lost = attempts(study, PROBE)[0].node
    study.lab.kill_node(lost)
    try:
        finish(study, process)
        first, second = attempts(study, PROBE)
        assert (first.state, second.state) == ("NODE_FAIL", "COMPLETED")
        assert second.node != lost
        assert study.tables() == undisturbed.tables()
        # The first job ends after all is done, and must take nothing away.
        release(study)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the first job does not end")
        time.sleep(5)
        assert study.tables() == undisturbed.tables()
        assert sorted(study.results.glob("probes/*/*/*.tsv"))
        assert study.run("tables", "--dry-run").count("Nothing to be done") == 1
    finally:
        study.lab.start_node(lost)


def test_snakemake_is_killed_and_the_study_goes_on(study, undisturbed):
    forget_probes(study)
    forget_audit(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    process = study.start("tables")
    pid = struck(marker)
    process.kill()
    process.wait()
    assert study.lab.queue()  # its jobs live on
    # The same command is refused, and so is it after `--unlock`, which would submit the same jobs again.
    assert "cannot be locked" in study.run("tables", check=False)
    subprocess.run(study.command("--unlock"), cwd=study.folder, env=study.lab.environment, check=True)
    refused = study.run("tables", check=False)
    assert "jobs of an earlier run of this study are still in Slurm's queue" in refused
    assert "babelscope recover" in refused
    assert not study.submitted()
    said = recover(study)
    assert "cancelled" in said
    assert not study.lab.queue()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the old job does not end")
    study.run("tables")
    assert study.tables() == undisturbed.tables()
    assert not unfinished(study)


def test_two_runs_at_once(study, undisturbed):
    forget_probes(study)
    marker = plan_fault(study, "fit_language_probe", "hold")
    first = study.start("tables")
    struck(marker)
    log = (study.folder / "run.log").rename(study.folder / "first.log")
    second = study.run("tables", check=False)
    assert "cannot be locked" in second
    assert not study.submitted()
    # Nor does recovery end a run that is alive.
    assert "a run of this study is alive" in recover(study, status=1)
    release(study)
    log.rename(study.folder / "run.log")
    finish(study, first)
    assert len(attempts(study, PROBE)) == 1
    assert study.tables() == undisturbed.tables()


def test_a_full_disk_is_named_and_the_study_goes_on(study, undisturbed):
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted for this test, which only root may do")
    forget_audit(study)
    results, away = study.results, study.folder / "away"
    size = sum(file.stat().st_size for file in results.rglob("*") if file.is_file())
    results.rename(away)
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size + 8 * 2**20}", "tmpfs", str(results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no disk be mounted")
    try:
        subprocess.run(["cp", "-a", f"{away}/.", str(results)], check=True)
        filler = results / "filler"
        try:
            with filler.open("wb") as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
        said = study.run("tables", "--retries", "0", check=False)
        assert "the disk is full" in said or "No space left" in said, said[-4000:]
        assert not list(results.glob("audit/*/*.h5"))
        filler.unlink()
        study.run("tables")
        assert study.tables() == undisturbed.tables()
    finally:
        subprocess.run(["umount", "-l", str(results)], check=False)


def recover(study: ClusterStudy, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "babelscope.cli", "recover", "--configfile", "study.yaml"],
        cwd=study.folder,
        env=study.lab.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr
