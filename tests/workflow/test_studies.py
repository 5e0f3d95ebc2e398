"""Every shipped study plans: with made-up text in place of the user's, from the config to the last job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from babelscope.ops.stages import all_jobs
from babelscope.planted.build import build
from babelscope.study.loading import load_study
from made_up_text import LANGUAGES, write_all
from mini_study import ROOT

pytestmark = pytest.mark.workflow

STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    data = write_all(tmp_path_factory.mktemp("data"))
    build(data / "planted")
    return data


def plan(study: str, data: Path) -> Counter[str]:
    """Jobs per rule."""
    command = [
        sys.executable, "-m", "snakemake", "--configfile", f"config/studies/{study}.yaml", "--config",
        f"data={data}", f"study=planned-{study}", "--dry-run", "--cores", "2", "--quiet", "host", "reason", "rules",
        "--workflow-profile", "none", "--nolock",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    table = (done.stdout + done.stderr).split("Job stats:")[1]
    jobs: Counter[str] = Counter()
    for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.M):
        jobs[rule] += int(n)
    return jobs


@pytest.mark.parametrize("study", STUDIES)
def test_a_shipped_study_plans(study, text):
    jobs = plan(study, text)
    config = yaml.safe_load((ROOT / f"config/studies/{study}.yaml").read_text())
    # `babelscope plan` counts without Snakemake, and comes to the same.
    counted = Counter(work.stage for work in all_jobs(load_study({**config, "data": str(text)})))
    assert counted == Counter({rule: n for rule, n in jobs.items() if rule not in ("total", "all")})
    assert jobs["render_report"] == 1
    fetched = [m for m in config.get("models", {}).values() if m and m.get("source") == "hub"]
    assert jobs["fetch_checkpoint"] == sum(len(model["steps"]) for model in fetched)
    assert jobs["total"] < 2000, "hundreds of jobs, not thousands"


def test_the_papers_study_is_the_papers():
    """16 languages, 200 concepts are looked for, 500 experts, 2^17 steps at powers of two and every 5,000."""
    config = yaml.safe_load((ROOT / "config/studies/xglm-257m.yaml").read_text())
    # Only the sizes are of interest here, so text that is not there must not matter.
    config["generation"] = {"enabled": False}
    study = load_study(config)
    assert sorted(study.languages) == LANGUAGES
    assert study.experts.k == 500
    steps = study.models["xglm-257m-seed0"].steps
    assert set(steps) == {0, *(2**i for i in range(18)), *range(5000, 131073, 5000)}
