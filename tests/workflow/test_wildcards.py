"""docs/wildcards.md: what it says of ranges holds for a finished study."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mini_study import ROOT, MiniStudy

pytestmark = pytest.mark.workflow

ANALYSIS = (
    "audit_checkpoint",
    "extract_activations",
    "score_units",
    "rank_units",
    "compare_choices",
    "align_experts",
    "fit_language_probe",
)


def cut_as(finished: MiniStudy, folder: Path, steps: list) -> MiniStudy:
    study = finished.copy(folder)
    study.config["models"]["tiny"]["steps"] = steps
    return study


def said(done: subprocess.CompletedProcess[str]) -> str:
    """A dry run speaks on the one or the other."""
    return done.stdout + done.stderr


def in_checkout(study: MiniStudy, *command: str) -> str:
    """Run a command as a user does, from a folder that holds the workflow."""
    for name in ("Snakefile", "workflow", "config", "envs"):
        (shutil.copy2 if name == "Snakefile" else os.symlink)(ROOT / name, study.folder / name)
    study.write()
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=study.folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("steps", "ranges"),
    [([0, 4, 8], ["8"]), ([0, 2, 4], ["2"]), ([0, 4, [8, 12]], ["8..12"])],
    ids=["append", "insert", "append a range"],
)
def test_what_is_added_as_an_item_is_a_range_of_its_own(finished, tmp_path, steps, ranges):
    study = cut_as(finished, tmp_path, steps)
    text = said(study.snakemake("--dry-run"))
    assert study.planned()["pretrain_step"] == study.planned()["align_experts"] == len(ranges)
    assert all(f"models/tiny-seed0/{name}.json" in text for name in ranges)
    assert "is no longer used" not in text


@pytest.mark.parametrize("steps", [[[0, 4]], [0, [4, 8]]], ids=["merge", "append within"])
def test_files_that_a_change_leaves_unused_are_named(finished, tmp_path, steps):
    done = cut_as(finished, tmp_path, steps).snakemake("--dry-run")
    new = "0..4" if steps == [[0, 4]] else "4..8"
    assert (
        f"steps 4 (activations, alignment, audit, best, choices, experts, models, probes, scores, traces) is no longer used, {new}"
        in said(done)
    )


def test_recut_leaves_no_cell_to_compute(finished, tmp_path):
    study = cut_as(finished, tmp_path, [[0, 4]])
    assert "files were regrouped" in in_checkout(
        study, "babelscope.cli", "recut", "--configfile", "study.yaml"
    )
    planned = study.planned()
    assert not {"pretrain_step", *ANALYSIS} & set(planned), planned
    content = json.loads((study.results / "models/tiny-seed0/0..4.json").read_text())
    assert list(content["hashes"]) == ["0", "4"]


def test_a_range_that_the_study_does_not_have_is_refused_in_words(finished):
    wanted = "results/mini/scores/tiny-seed0/8/en.h5"
    done = finished.snakemake(wanted, "--dry-run", check=False)
    assert "steps of tiny-seed0: got '8'; allowed: 0, 4" in said(done)


def test_a_step_is_trained_anew_where_its_folder_is_gone(finished, tmp_path):
    study = finished.copy(tmp_path)
    folder = study.results / "models/tiny-seed0/4"
    weights = (folder / "model.safetensors").read_bytes()
    shutil.rmtree(folder)
    study.snakemake(
        "results/mini/models/tiny-seed0/4.json", "--forcerun", "results/mini/models/tiny-seed0/4.json"
    )
    assert (folder / "model.safetensors").read_bytes() == weights
    assert study.planned() == Counter() or "pretrain_step" not in study.planned()
