"""The profiles: what a cluster needs stands in one place, and nothing takes it away."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import yaml
from snakemake.settings.enums import RerunTrigger
from snakemake_executor_plugin_slurm.utils import set_gres_string

from babelscope.ops.engine import RERUN_TRIGGERS
from babelscope.ops.stages import RUN_A_MODEL

ROOT = Path(__file__).resolve().parents[2]
RULES = {path.name: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


def test_the_literal_command_finds_the_profile():
    assert os.readlink(ROOT / "slurm") == "profiles/slurm"
    assert (ROOT / "slurm" / profile("slurm")["slurm-partition-config"]).is_file()


def test_the_default_profile_takes_nothing_from_the_clusters():
    """It is applied to every run, and wins key by key."""
    assert not set(profile("default")) & set(profile("slurm"))
    assert set(profile("default")) == {
        "cores",
        "rerun-incomplete",
        "show-failed-logs",
        "rerun-triggers",
        "quiet",
        "report-stylesheet",
    }


def test_the_traps_of_the_plugin_are_kept_clear_of():
    slurm = profile("slurm")
    assert slurm["executor"] == "slurm"
    assert slurm["slurm-status-command"] == "squeue"
    assert slurm["slurm-no-requeue"] is True
    assert slurm["keep-incomplete"] is True
    assert slurm["slurm-pass-command-as-script"] is True  # or a shell runs $(...) in the name of a study
    assert "slurm-array-jobs" not in slurm
    assert "slurm_partition" not in slurm["default-resources"]  # or gpu: 1 would choose none
    assert slurm["slurm-init-seconds-before-status-checks"] * 3 <= 300  # MinJobAge as Slurm has it


def test_only_what_needs_network_runs_where_the_command_is_typed():
    local = re.findall(r"^localrules:\n((?:    \w+,\n)+)", "".join(RULES.values()), re.M)
    assert [line.strip(" ,\n") for line in local] == ["fetch_checkpoint"]
    assert len(re.findall(r"\bnetwork=1\b", "".join(RULES.values()))) == 1
    assert "network=1" in RULES["models.smk"].split("rule fetch_checkpoint:")[1].split("\nrule ")[0]


def test_only_jobs_that_run_a_model_ask_for_a_gpu():
    asking = set()
    for text in RULES.values():
        for block in re.split(r"\n(?=rule |    rule:)", text):
            if re.search(r"\bgpu=1\b", block):
                name = re.search(r'batch\.rule\("(\w+)"\)|^rule (\w+):', block)
                assert name, block
                asking.add(name[1] or name[2])
    assert asking == RUN_A_MODEL


def test_every_rule_says_what_it_needs():
    for name, text in RULES.items():
        if name == "common.smk":
            continue
        stages = re.findall(r"^ *rule (\w+):", text, re.M)
        needed = re.findall(r'\*\*needs\(\s*"(\w+)"', text)
        assert stages == needed, name


def test_in_one_allocation_each_job_that_runs_a_model_has_a_gpu_of_its_own(tmp_path):
    script = ROOT / "profiles/slurm/one-gpu-each.sh"
    environment = {
        **os.environ, "BASH_ENV": str(script), "CUDA_VISIBLE_DEVICES": "3,5",
        "BABELSCOPE_GPUS": "3,5", "BABELSCOPE_GPU_LOCKS": str(tmp_path),
    }  # fmt: skip

    def start(rule: str) -> subprocess.Popen[str]:
        """A job as Snakemake starts it; it says what it sees, and ends when its input does."""
        command = f"set -euo pipefail; bash -c 'echo $CUDA_VISIBLE_DEVICES; cat' tmp1.{rule}.py"
        pipe = subprocess.PIPE
        return subprocess.Popen(["bash", "-c", command], env=environment, stdin=pipe, stdout=pipe, text=True)

    def said(job: subprocess.Popen[str]) -> str:
        return job.stdout.readline().strip()

    jobs: list[subprocess.Popen[str]] = []
    for rule in sorted(RUN_A_MODEL):
        jobs += [start(rule), start(rule)]
        assert sorted(said(job) for job in jobs[-2:]) == ["3", "5"], rule
        other = start("score_units")
        assert said(other) == "3,5"
        for job in [*jobs[-2:], other]:
            job.communicate()


def test_scripts_that_were_touched_run_nothing_again():
    given = profile("default")
    assert tuple(given["rerun-triggers"]) == RERUN_TRIGGERS
    everything = {str(trigger) for trigger in RerunTrigger.all()}
    assert everything - set(RERUN_TRIGGERS) == {"code"}


def test_the_profile_of_a_site_that_wants_gres():
    """What docs/cluster.md shows makes of a job that runs a model a request by --gres, and none by --gpus."""
    page = (ROOT / "docs/cluster.md").read_text()
    (block,) = [each for each in re.findall(r"```yaml\n(.*?)```", page, re.S) if "gres" in each]
    given = yaml.safe_load(block)
    assert set(given["set-resources"]) == RUN_A_MODEL
    for resources in given["set-resources"].values():
        asked = {"mem_mb": 1000, "gpu": 1, **resources}
        assert set_gres_string(SimpleNamespace(resources=Asked(asked))) == " --gres=gpu:1"


class Asked(dict):
    """Resources as a job has them."""

    __getattr__ = dict.__getitem__
