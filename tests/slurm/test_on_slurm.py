"""The study on a real Slurm: it ends, each job where it belongs, and a step more costs only its own jobs."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
import yaml

from babelscope.ops.costs import MAX_THREADS, CostModel
from babelscope.ops.stages import RUN_A_MODEL, all_jobs
from babelscope.study.loading import load_study

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def jobs(undisturbed, lab):
    ours = undisturbed.submitted()
    return [job for job in lab.jobs() if job.job in ours]


def test_the_study_ends_in_its_report(undisturbed):
    assert (undisturbed.results / "report.html").stat().st_size > 20_000
    assert "\nreport: " in undisturbed.printed()


def test_every_job_of_the_plan_was_one_slurm_job(undisturbed, jobs):
    total = int(re.search(r"^total +(\d+)$", undisturbed.printed(), re.M)[1])
    assert len(jobs) == total - 1  # the target itself is no job; so nothing ran where the command was typed
    assert {job.state for job in jobs} == {"COMPLETED"}


def test_only_jobs_that_run_a_model_were_on_the_gpu_partition(undisturbed, jobs):
    on_gpu = {job.rule for job in jobs if job.partition == "gpu"}
    assert on_gpu == RUN_A_MODEL & {work.stage for work in all_jobs(load_study(undisturbed.config))}
    assert len(on_gpu) >= 6
    for job in jobs:
        assert job.gpus == (1 if job.partition == "gpu" else 0), job
        assert job.node.startswith("g" if job.partition == "gpu" else "c"), job


def test_memory_time_and_cores_are_those_of_jobs_on_a_cluster(undisturbed, jobs):
    """Not those of the machine where the command is typed: it has no GPU, and fewer cores than nodes may have."""
    study = load_study(undisturbed.config)
    costs = CostModel(study, gpu=True, max_threads=MAX_THREADS)
    expected = {work.stage: costs.cost(work) for work in all_jobs(study)}
    on_cpu = {work.stage: CostModel(study).cost(work) for work in all_jobs(study)}
    assert expected["pretrain_step"].memory != on_cpu["pretrain_step"].memory
    asked = {job.rule: job for job in jobs}
    assert asked.keys() <= expected.keys()
    assert len(asked) >= 20
    for name, job in asked.items():
        assert job.memory_mb == pytest.approx(1.25 * expected[name].memory / 1e6, abs=1), name
        assert job.minutes == math.ceil(10 + 2 * expected[name].wall / 60), name
        assert job.cpus == (4 if name == "pretrain_step" else 1), name


def test_a_step_more_submits_its_own_jobs_only(undisturbed, tmp_path):
    study = undisturbed.copy(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in study.results.glob("best/*/0..4.h5")}
    study.config["models"]["bridged"]["steps"] = [[0, 4], 8]
    study.run("tables")
    rules = sorted(study.submitted().values())
    assert rules == sorted(
        [
            "pretrain_step", "audit_checkpoint", "extract_activations", "rank_units", "align_experts",
            "compare_choices", "fit_language_probe", "trace_units", "collect_choices",
            "choose_sentences", "trace_sentences", "trace_sentences", "collect_traces",
            "collect_models", "collect_audit", "collect_extraction", "collect_probes", "collect_alignment",
            "measure_onset",
        ]
    )  # fmt: skip
    assert before
    assert before == {file: file.stat().st_mtime_ns for file in before}


def doctor(study) -> tuple[int, str]:
    study.command()  # writes the study's config
    done = subprocess.run(
        [sys.executable, "-m", "babelscope.cli", "doctor", "--profile", "slurm",
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
