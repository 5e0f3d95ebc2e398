"""The study on a real Slurm: it ends, each job where it belongs, and a step more costs only its own jobs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from babelscope.costs import STAGES
from babelscope.plan import RUN_A_MODEL

pytestmark = pytest.mark.slurm


def stage(rule: str) -> str:
    """A rule without the label of its batch."""
    return max((name for name in STAGES if rule.startswith(name)), key=len)


@pytest.fixture(scope="module")
def jobs(undisturbed, lab):
    ours = undisturbed.submitted()
    return [job for job in lab.jobs() if job.job in ours]


def test_the_study_ends_in_its_report(undisturbed):
    assert (undisturbed.results / "report.html").stat().st_size > 20_000
    assert "(100%) done" in undisturbed.printed()


def test_every_job_of_the_plan_was_one_slurm_job(undisturbed, jobs):
    total = int(re.search(r"^total +(\d+)$", undisturbed.printed(), re.M)[1])
    assert len(jobs) == total - 1  # the target itself is no job; so nothing ran where the command was typed
    assert {job.state for job in jobs} == {"COMPLETED"}


def test_only_jobs_that_run_a_model_were_on_the_gpu_partition(jobs):
    on_gpu = {job.rule for job in jobs if job.partition == "gpu"}
    assert {stage(rule) for rule in on_gpu} == RUN_A_MODEL
    for job in jobs:
        assert job.gpus == (1 if job.partition == "gpu" else 0), job
        assert job.node.startswith("g" if job.partition == "gpu" else "c"), job


def test_memory_and_time_follow_the_cost_model(jobs):
    memory = {stage(job.rule): job.memory_mb for job in jobs}
    assert memory["generate_text"] > memory["score_units"] > memory["prepare_sentences"] > 0
    assert all(job.minutes >= 10 for job in jobs)
    assert {stage(job.rule): job.cpus for job in jobs if job.cpus > 1} == {"pretrain_step": 4}


def test_a_step_more_submits_its_own_jobs_only(undisturbed, tmp_path):
    study = undisturbed.copy(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in study.results.glob("scores/*/[04]/*.h5")}
    study.config["models"]["bridged"]["steps"] = [[0, 4], 8]
    study.run("tables")
    rules = sorted(stage(rule) for rule in study.submitted().values())
    assert rules == sorted(
        [
            "pretrain_step", "audit_checkpoint", "extract_activations", "score_units", "select_experts",
            "align_experts", "fit_language_probe", "trace_units",
            "collect_models", "collect_audit", "collect_extraction", "collect_probes", "collect_alignment",
        ]
    )  # fmt: skip
    assert before
    assert before == {file: file.stat().st_mtime_ns for file in before}


def doctor(study) -> tuple[int, str]:
    study.command()  # writes the study's config
    done = subprocess.run(
        [sys.executable, "-m", "babelscope.cli", "doctor", "--profile", "slurm", "--offline",
         "--configfile", "study.yaml"],
        cwd=study.folder, env=study.lab.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_doctor_finds_the_cluster_ready(undisturbed, tmp_path):
    study = undisturbed.copy(tmp_path)
    code, text = doctor(study)
    assert code == 0, text
    assert "partitions cpu, gpu" in text
    partitions = study.folder / "profiles/slurm/partitions.yaml"
    content = yaml.safe_load(partitions.read_text())
    content["partitions"]["night"] = {"max_runtime": 60}
    content["partitions"]["cpu"]["max_runtime"] = 6000
    partitions.write_text(yaml.safe_dump(content))
    code, text = doctor(study)
    assert code == 1
    assert "night" in text
    assert "6,000" in text or "6000" in text, text


def test_the_status_of_the_study(undisturbed):
    done = subprocess.run(
        [sys.executable, "-m", "babelscope.cli", "status", "--configfile", "study.yaml"],
        cwd=undisturbed.folder, env=undisturbed.lab.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("bridged-seed0")]
    assert rows == [["bridged-seed0", "0", *["ok"] * 7], ["bridged-seed0", "4", *["ok"] * 9]]
