"""What a user does wrong, and what machines do: the reason is named, nothing half is left, a rerun recovers."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mini_study import ROOT, break_weights

pytestmark = pytest.mark.workflow


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(langages=["en"]), "config key `langages`"),
        (lambda c: c["languages"].append("fr"), "not there: data/parallel/fr.txt (fr)"),
        (lambda c: c["models"]["tiny"].update(steps=[4, 0]), "`models.tiny.steps`: got [4, 0]"),
        (lambda c: c["experts"].update(k=1000), "`experts.k`: got 1000; allowed: at most the 96 units"),
        (lambda c: c["concepts"].update(min_positive=100), "dog in en: "),
    ],
    ids=["key", "language", "steps", "k", "sentences"],
)
def test_a_wrong_study_stops_before_any_job_is_planned(mini, change, message):
    change(mini.config)
    done = mini.snakemake(check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert message in said, said
    assert "hint: " in said or "allowed: " in said
    assert "Job stats" not in said
    assert "Traceback" not in said
    assert not mini.results.exists()


def test_a_step_whose_folder_is_gone_is_trained_again(finished, tmp_path):
    study = finished.copy(tmp_path)
    shutil.rmtree(study.results / "models/tiny-seed0/4")
    assert study.planned("models") == {"pretrain_step": 1, "models": 1}
    study.snakemake("models")
    for name in ("model.safetensors", "training/optimizer.safetensors"):
        path = f"models/tiny-seed0/4/{name}"
        assert digest(finished.results / path) == digest(study.results / path)
    progress = json.loads((study.results / "models/tiny-seed0/4/training/progress.json").read_text())
    assert progress["resumed_from"] == 0
    assert study.planned("models") == {}


def test_a_killed_run_is_finished_by_the_same_command(finished, tmp_path):
    study = finished.copy(tmp_path)
    study.config["models"]["tiny"]["steps"] = [0, 4, [6, 200_000]]
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory",
        str(study.folder), "--configfile", str(study.write()), "--workflow-profile", "none", "--cores", "2",
        "models",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:  # until it trains
        if "tokens/s" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    models = study.results / "models/tiny-seed0"
    assert not (models / "200000/model.safetensors").exists()
    assert not (models / "6..200000.json").exists()
    study.config["models"]["tiny"]["steps"] = [0, 4]
    study.snakemake("--unlock")
    assert study.planned() == {}
    # What was whole when the job died is taken over.
    before = (models / "6/model.safetensors").stat().st_mtime_ns
    study.config["models"]["tiny"]["steps"] = [0, 4, [6, 8]]
    study.snakemake("--until", "pretrain_step", "--rerun-incomplete")
    assert (models / "6/model.safetensors").stat().st_mtime_ns == before
    assert (models / "8/model.safetensors").exists()
    log = (study.results / "logs/pretrain_step/tiny-seed0/6..8.log").read_text()
    assert "takes over 6, which is whole" in log


def test_a_job_that_a_killed_snakemake_has_left_is_ended_first(finished, tmp_path):
    """SIGKILL reaches Snakemake alone, as out of memory or an impatient user do; its training goes on."""
    study = finished.copy(tmp_path)
    study.config["models"]["tiny"]["steps"] = [0, 4, [6, 200_000]]
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory",
        str(study.folder), "--configfile", str(study.write()), "--workflow-profile", "none", "--cores", "2",
        "models",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:  # until it trains
            if "tokens/s" in line:
                break
        process.kill()
        process.wait()
        study.snakemake("--unlock")
        said = study.snakemake("models", check=False)
        assert said.returncode != 0
        assert re.search(
            r"still run on this machine: processes \d+ \(pretrain_step\)", said.stdout + said.stderr
        )
        recovered = study.babelscope("recover").stdout
        assert re.search(r"ended 1 processes of the run that was killed: \d+ \(pretrain_step\)", recovered)
    finally:  # nothing of it is left
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert not list(study.results.rglob("*.tmp-*"))
    study.config["models"]["tiny"]["steps"] = [0, 4]
    assert study.planned("models") == {}


def test_broken_weights_fail_with_the_cell_and_leave_nothing(finished, tmp_path):
    study = finished.copy(tmp_path)
    break_weights(study, 4)
    target = study.results / "activations/tiny-seed0/4/de.units.h5"
    done = study.snakemake("--until", "extract_activations", "--keep-going", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "model tiny-seed0, step 4, language de, layer 1" in said, said
    assert "NaN" in said
    assert "first sentence" in said
    assert not target.exists()
    assert not list(target.parent.glob("*.tmp-*"))


def test_results_of_other_weights_are_never_reported(finished, tmp_path):
    """Other weights with the old file's time, as ``cp -p`` leaves them: Snakemake takes the old scores for good."""
    study = finished.copy(tmp_path)
    weights = study.results / "models/tiny-seed0/4/model.safetensors"
    written = weights.stat().st_mtime_ns
    tensors = {name: 0.9 * values for name, values in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    os.utime(weights, ns=(written, written))
    assert study.planned() == {}
    done = study.snakemake("--forcerun", "results/mini/audit/tiny-seed0/4.h5", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "model tiny-seed0, step 4: results are of other weights than the checkpoint holds now" in said
    files = [f"results/mini/activations/tiny-seed0/4/{lang}.tokens.h5" for lang in ("en", "de", "ru")]
    assert f"--forcerun {' '.join(files)}" in said.replace("\n", " ")
    study.snakemake("--forcerun", *files)
    assert study.planned() == {}


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_a_damaged_file_is_named_and_made_anew(finished, tmp_path, damage):
    study = finished.copy(tmp_path)
    file = study.results / "activations/tiny-seed0/4/en.units.h5"
    scores = study.results / "scores/tiny-seed0/4/en.h5"
    before = digest(scores)
    if damage == "truncated":
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.unlink()
        with h5py.File(file, "w") as other:
            other["something"] = [1, 2, 3]
    target = "results/mini/scores/tiny-seed0/4/en.h5"
    done = study.snakemake(target, "--forcerun", "score_units", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "en.units.h5" in said, said
    assert ("is truncated" if damage == "truncated" else "holds None, not 'units'") in said, said
    assert not scores.exists()
    file.unlink()
    study.snakemake(target)
    assert digest(scores) == before


def test_local_checkpoints_are_analysed_like_our_own(finished, local_run, tmp_path):
    study = local_run.copy(tmp_path)
    for step in (0, 4):
        for lang in ("en", "de", "ru"):
            with (
                h5py.File(study.results / f"scores/theirs/{step}/{lang}.h5") as theirs,
                h5py.File(finished.results / f"scores/tiny-seed0/{step}/{lang}.h5") as ours,
            ):
                name = f"{step}/{lang}/layer-02/mlp_act/ap_all"
                assert np.array_equal(theirs[name][:], ours[name][:])
    # A running job adds a folder: only the new step is computed.
    run = study.folder / "data" / "run"
    shutil.copytree(run / "checkpoint-4", run / "checkpoint-8")
    study.config["models"]["theirs"]["steps"] = [0, 4, 8]
    planned = study.planned()
    assert planned["extract_activations"] == 3
    assert planned["score_units"] == 3


def test_snakemakes_own_report(finished, tmp_path):
    study = finished.copy(tmp_path)
    study.snakemake("--report", "snakemake-report.html")
    page = (study.folder / "snakemake-report.html").read_text()
    assert "report.html" in page
    assert "overlap_over_steps" in page
