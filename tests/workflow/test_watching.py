"""``babelscope status`` and the export of a checkpoint, on the real engine."""

from __future__ import annotations

import json

import pytest
import yaml

from mini_study import MiniStudy, break_weights

pytestmark = pytest.mark.workflow


def status(study: MiniStudy) -> tuple[int, str]:
    done = study.babelscope("status")
    return done.returncode, done.stdout + done.stderr


def test_status_of_a_finished_study_and_of_one_with_a_step_more(finished, tmp_path):
    study = finished.copy(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in study.results.rglob("*") if path.is_file()}
    code, text = status(study)
    assert code == 0
    rows = [line.split() for line in text.splitlines() if line.startswith("tiny-seed0")]
    assert rows == [["tiny-seed0", "0", *["ok"] * 8], ["tiny-seed0", "4", *["ok"] * 10]]
    assert "waiting" not in text
    after = {path: path.stat().st_mtime_ns for path in study.results.rglob("*") if path.is_file()}
    assert after == before
    study.config["models"]["tiny"]["steps"] = [0, 4, 8]
    _, text = status(study)
    rows = [line.split() for line in text.splitlines() if line.startswith("tiny-seed0")]
    assert rows[1] == ["tiny-seed0", "4", *["ok"] * 10]
    assert rows[2] == ["tiny-seed0", "8", *["."] * 8]


def test_a_failed_job_is_shown_with_its_log_and_its_export(finished, tmp_path):
    study = finished.copy(tmp_path)
    break_weights(study, 4)
    study.snakemake("--until", "extract_activations", "--keep-going", "--quiet", "rules", check=False)
    code, text = status(study)
    assert code == 1
    assert "FAILED extract_activations (model tiny-seed0, step 4, " in text
    assert "NaN" in text
    target = text.split("for a report:")[1].split("\n")[0].split()[1]
    assert target == "results/mini/export/tiny-seed0/4"
    again = text.split("run just it:")[1].split("\n")[0].split()[1]
    assert again.startswith("results/mini/activations/tiny-seed0/4/")
    study.snakemake(target)
    folder = study.folder / target
    contents = json.loads((folder / "contents.json").read_text())
    assert contents["files"]["models/tiny-seed0/4/model.safetensors"]["bytes"] > 0
    assert "models/tiny-seed0/4/config.json" in contents["files"]
    assert not list(folder.rglob("*.safetensors"))
    scores = contents["files"]["scores/tiny-seed0/4/en.h5"]["data sets"]
    assert scores["4/en/layer-01/mlp_act/ap_all"]["most"] <= 1
    assert not any(path.startswith("scores/tiny-seed0/0/") for path in contents["files"])
    assert "NaN" in "".join(
        file.read_text() for file in folder.glob("files/logs/extract_activations/**/*.log")
    )
    assert yaml.safe_load((folder / "study.yaml").read_text())["study"] == "mini"
