"""A study of checkpoints that lie on a hub: fetched once, then analysed offline, from a suite or by hand."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from hub_server import HubServer
from mini_study import MiniStudy
from series import hub_of, hub_study

pytestmark = pytest.mark.workflow


@pytest.fixture
def hub(finished, monkeypatch):
    with HubServer() as server:
        hub_of(finished, server)
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def study(finished, tmp_path) -> MiniStudy:
    return hub_study(finished, tmp_path)


def online(study: MiniStudy, *args: str, check: bool = True):
    """As on a login node, whose environment does not say that it is offline."""
    environment = {"HF_HUB_OFFLINE": "0"}
    return study.snakemake(*args, check=check, environment=environment)


def test_from_the_hub_to_the_report(hub_run, finished):
    assert hub_run.fetching
    assert not hub_run.afterwards, "a job that is not fetch_checkpoint used the network"
    results = hub_run.study.results
    assert (results / "report.html").exists()
    for step in (0, 4):
        with (
            h5py.File(results / f"scores/theirs/{step}/en.h5") as theirs,
            h5py.File(finished.results / f"scores/tiny-seed0/{step}/en.h5") as ours,
        ):
            name = f"{step}/en/layer-02/mlp_act/ap_all"
            assert np.array_equal(theirs[name][:], ours[name][:])
    manifest = json.loads((results / "models/theirs/4/fetched.json").read_text())
    assert manifest["repo"] == "lab/tiny"
    assert len(manifest["commit"]) == 40
    steps = pd.read_csv(results / "tables/steps.tsv", sep="\t")
    assert dict(zip(steps["step"], steps["tokens"], strict=True)) == {0: 0, 4: 768}


def test_an_added_step_is_the_only_one_fetched_and_a_duplicate_is_not_downloaded(hub, study):
    online(study, "--until", "fetch_checkpoint")
    study.config["models"]["theirs"]["steps"] = [0, 4, 8]
    assert study.planned()["fetch_checkpoint"] == 1
    before = [request for request in hub.requests if "model.safetensors" in str(request)]
    online(study, "--until", "fetch_checkpoint")
    after = [request for request in hub.requests if "model.safetensors" in str(request)]
    got = [str(request) for request in after[len(before) :] if "GET" in str(request)]
    assert got == [], got
    manifest = json.loads((study.results / "models/theirs/8/fetched.json").read_text())
    assert manifest["linked_from"]


def test_offline_says_how_to_fetch(hub, study):
    done = study.snakemake("--until", "fetch_checkpoint", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "--until fetch_checkpoint" in said
    assert not (study.results / "models/theirs/4").exists()


def test_a_revision_that_is_not_there_is_answered_with_those_that_are(hub, study):
    study.config["models"]["theirs"]["steps"] = [0, 5]
    study.config["generation"] = {"enabled": False}
    done = online(study, "--until", "fetch_checkpoint", "--keep-going", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "step0005" in said
    assert "step0004" in said
    assert (study.results / "models/theirs/0").exists()
    assert not (study.results / "models/theirs/5").exists()


def test_sizes_that_differ_stop_before_the_weights(hub, study):
    study.config["models"]["theirs"]["architecture_config"]["num_layers"] = 3
    done = online(study, "--until", "fetch_checkpoint", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "n_layers" in said
    assert not [r for r in hub.requests if "resolve" in str(r) and "model.safetensors" in str(r)]


#: What reads checkpoints beside extraction, where nothing is written or traced.
AUDITED = "results/hub/tables/audit.tsv"


def test_the_random_baseline_and_checkpoints_that_go_once_they_are_read(hub, study):
    study.config["models"]["theirs"] |= {"steps": [4, 8], "random_baseline": True}
    study.config |= {"keep_checkpoints": False, "keep_activations": False, "traces": {"enabled": False}}
    study.config["generation"]["enabled"] = False
    online(study, "alignment", "probes", AUDITED)
    config = json.loads((study.results / "models/theirs/0/config.json").read_text())
    assert config["num_layers"] == 2
    with (
        h5py.File(study.results / "best/theirs/0.h5") as random,
        h5py.File(study.results / "best/theirs/4.h5") as trained,
    ):
        drawn, learned = random["0/en/all/ap"][:], trained["4/en/all/ap"][:]
        assert drawn.shape == learned.shape
        assert not np.array_equal(drawn, learned)
    assert not list((study.results / "models/theirs").glob("[48]"))
    # The next was fetched when the one before had been read, and not earlier.
    read = max(file.stat().st_mtime for file in (study.results / "activations/theirs/4").iterdir())
    assert (study.results / "logs/fetch_checkpoint/theirs/8.log").stat().st_mtime > read
    assert study.planned("alignment", "probes", AUDITED) == {}


def test_a_suite_of_the_registry(study):
    """Planned, not run: BLOOM-560m, with a step that is known to be broken."""
    study.config["models"] = {
        "bloom": {"source": "hub", "suite": "bloom-560m", "steps": [1000, 400000, 600000]}
    }
    study.config["generation"]["steps"] = [1000]
    done = study.snakemake("--dry-run")
    said = done.stdout + done.stderr
    assert "bloom-560m: step 600000" in said
    assert "discussions/2" in said
