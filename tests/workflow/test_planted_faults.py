"""Faults planted in a real series of checkpoints: the audit names them, figures mark them, the study can drop them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from mini_study import MiniStudy

pytestmark = pytest.mark.workflow

STEPS = [0, 8, 16, 32, 64, 128, 256, 512]


@pytest.fixture(scope="module")
def trained(finished, tmp_path_factory) -> MiniStudy:
    """The mini study's model, trained far enough to have a curve."""
    folder = tmp_path_factory.mktemp("trained")
    study = MiniStudy(folder, json.loads(json.dumps(finished.config)))
    (folder / "data").symlink_to(finished.folder / "data")
    study.config["models"]["tiny"]["steps"] = [STEPS]
    study.config["generation"] = {"enabled": False}
    study.snakemake("models")
    return study


def series(trained: MiniStudy, folder: Path, content: dict[int, int]) -> MiniStudy:
    """A study of local folders: under each step the checkpoint of the step that is named beside it."""
    study = MiniStudy(folder, json.loads(json.dumps(trained.config)))
    (folder / "data").symlink_to(trained.folder / "data")
    for name, source in content.items():
        target = folder / f"run/{name}"
        target.mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(trained.results / f"models/tiny-seed0/{source}/{file}", target / file)
    study.config["models"] = {"theirs": {"source": "local", "path": "run/{step}", "steps": [sorted(content)]}}
    for key in ("corpora", "tokenizers"):
        del study.config[key]
    return study


def audit(study: MiniStudy) -> pd.DataFrame:
    study.snakemake("results/mini/tables/audit.tsv")
    table = pd.read_csv(study.results / "tables/audit.tsv", sep="\t", keep_default_na=False)
    return table.set_index("step")


def flagged(table: pd.DataFrame) -> set[int]:
    return set(table.index[table["flag"].astype(str) == "True"])


def rewrite(folder: Path, change) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_a_sound_series_has_no_flag(trained, tmp_path):
    table = audit(series(trained, tmp_path, {step: step for step in STEPS}))
    assert flagged(table) == set(), table["reasons"].to_dict()
    assert table["mean_loss"].astype(float).iloc[-1] < table["mean_loss"].astype(float).iloc[0]


def test_a_duplicate(trained, tmp_path):
    table = audit(series(trained, tmp_path, {**{step: step for step in STEPS}, 256: 16}))
    assert 256 in flagged(table)
    assert flagged(table) <= {16, 256}
    assert "16" in table.loc[256, "reasons"]
    assert table.loc[256, "digest"] == table.loc[16, "digest"]


def test_two_steps_swapped(trained, tmp_path):
    table = audit(series(trained, tmp_path, {**{step: step for step in STEPS}, 16: 128, 128: 16}))
    assert flagged(table) & {16, 128}, table["reasons"].to_dict()
    assert flagged(table) <= {16, 32, 64, 128}


def test_weights_that_are_not_numbers(trained, tmp_path):
    study = series(trained, tmp_path, {step: step for step in STEPS})

    def spoil(weights):
        name = next(name for name in weights if "fc1.weight" in name)
        weights[name][0, 0] = np.nan

    rewrite(tmp_path / "run/64", spoil)
    table = audit(study)
    assert flagged(table) == {64}
    assert "fc1.weight" in table.loc[64, "reasons"]


def test_weights_drawn_anew_are_marked_and_can_be_left_out(trained, tmp_path):
    study = series(trained, tmp_path, {step: step for step in STEPS})
    generator = np.random.default_rng(0)

    def draw(weights):
        for name, values in weights.items():
            if values.ndim > 1:
                noise = generator.normal(size=values.shape) * values.std()
                weights[name] = noise.astype(values.dtype)

    rewrite(tmp_path / "run/128", draw)
    study.snakemake()
    table = pd.read_csv(study.results / "tables/audit.tsv", sep="\t", keep_default_na=False).set_index("step")
    assert flagged(table) == {128}
    page = (study.results / "report.html").read_text(encoding="utf-8")
    assert "The audit flags 1 of 8 checkpoints (theirs: step 128)." in page
    figure = (study.results / "figures/overlap_over_steps.svg").read_text(encoding="utf-8")
    assert "flagged" in figure

    # Left out: only figures, what choices come to and the report are made anew, and the page says what is missing.
    study.config["report"]["exclude_flagged"] = True
    planned = study.planned()
    assert set(planned) <= {"collect_choices", "plot_figures", "render_report", "all"}
    study.snakemake()
    page = (study.results / "report.html").read_text(encoding="utf-8")
    assert "They are left out of all figures, tables and findings but those of the audit." in page
    before = pd.read_parquet(study.results / "tables/overlap.parquet")
    assert 128 in set(before["step"])  # computed, so that it can be shown again at once
