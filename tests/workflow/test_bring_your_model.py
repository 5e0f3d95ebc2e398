"""docs/bring-your-model.md, done as a reader does it: its blocks are saved, run, and run again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mini_study import ROOT

pytestmark = pytest.mark.workflow


def blocks() -> dict[str, str]:
    text = (ROOT / "docs/bring-your-model.md").read_text(encoding="utf-8")
    return dict(re.findall(r"<!-- run: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def snakemake(folder: Path, *args: str) -> str:
    return run(
        folder, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "my-study.yaml",
        "--cores", "2", "--workflow-profile", "none", *args,
    )  # fmt: skip


def test_the_page_works_as_it_is_written(tmp_path):
    for name, content in blocks().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    run(tmp_path, "my_run.py")
    snakemake(tmp_path)
    results = tmp_path / "results" / "my-study"
    assert (results / "report.html").stat().st_size > 100_000
    audit = pd.read_csv(results / "tables/audit.tsv", sep="\t")
    assert list(audit["step"]) == [0, 10, 20]

    # The training goes on: one checkpoint is whole, another is just being written.
    whole, half = tmp_path / "my-run/checkpoint-30", tmp_path / "my-run/checkpoint-40"
    for folder in (whole, half):
        folder.mkdir()
        for file in (tmp_path / "my-run/checkpoint-20").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    os.truncate(half / "model.safetensors", 5000)
    said = snakemake(tmp_path, "--dry-run")
    assert "step 40 is left out of this run" in said
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said.split("Job stats:")[1], re.M))
    assert jobs["extract_activations"] == "3"  # the new step, in three languages
    assert jobs["audit_checkpoint"] == "1"
