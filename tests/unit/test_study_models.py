"""Models from the hub and from folders that grow: what a study may say, and what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from babelscope.errors import BabelscopeError, StudyError
from babelscope.study.loading import load_study
from babelscope.study.models import paired_with_controls


def config(**model) -> dict:
    return {
        "study": "mine",
        "languages": ["en", "es"],
        "models": {"theirs": model},
        "sentences": {"source": "grammar", "per_concept": 20},
        "concepts": {"source": "grammar"},
        "experts": {"k": 5, "min_languages": 2},
    }


def hub(**keys) -> dict:
    return config(
        **{
            "source": "hub",
            "repo": "org/name",
            "revision": "step{step}",
            "architecture": "gpt_neox",
            "architecture_config": {
                "num_hidden_layers": 2,
                "hidden_size": 16,
                "num_attention_heads": 2,
                "intermediate_size": 64,
            },
            "steps": [1, 2],
            **keys,
        }
    )


def refused(given: dict, key: str) -> StudyError:
    with pytest.raises(StudyError) as raised:
        load_study(given)
    assert raised.value.key == key, raised.value
    return raised.value


def test_runs_are_paired_with_those_of_the_controls():
    run = {**hub()["models"]["theirs"]}
    models = {
        "one": run,
        "plain": {**run, "role": "control"},
        "two": run,
        "other": {**run, "role": "control"},
    }
    study = load_study({**hub(), "models": models})
    assert paired_with_controls(study.models) == [
        ("one", "plain"), ("one", "other"), ("two", "plain"), ("two", "other")
    ]  # fmt: skip
    assert paired_with_controls(load_study(hub()).models) == []


def test_seeds_are_paired_in_order():
    def run(role, seed):
        return SimpleNamespace(id=role, role=role, seed=seed)

    models = {f"{role}-{seed}": run(role, seed) for seed in (0, 1, 2) for role in ("main", "control")}
    models.pop("control-2")
    assert paired_with_controls(models) == [("main-0", "control-0"), ("main-1", "control-1")]


def test_a_suite_is_ten_lines():
    study = load_study(config(source="hub", suite="bloom-560m", steps=[1000, 400000]))
    model = study.models["theirs"]
    assert tuple(model.checkpoints.place(1000).values()) == (
        "bigscience/bloom-560m-intermediate",
        "global_step1000",
        "",
    )
    assert model.checkpoints.tokenizer_place(1000)["repo"] == "bigscience/bloom-560m"
    assert study.models["theirs"].n_layers == 24
    assert study.n_units("theirs") == 24 * 4096
    assert model.tokens_at(0) == 0
    assert study.models["theirs"].folder(1000) == Path("results/mine/models/theirs/1000")
    assert study.warnings == ("bloom-560m: not confirmed in the registry: tokens_per_step",)


def test_a_faulty_step_warns_with_its_source():
    study = load_study(config(source="hub", suite="bloom-560m", steps=[10000, 500000, 600000]))
    first, second = (text for text in study.warnings if ": step " in text)
    assert "500000" in first
    assert "10000" in first
    assert "600000" in second
    assert all("discussions/2" in text for text in (first, second))


def test_all_steps_of_a_suite():
    study = load_study(config(source="hub", suite="bloom-560m", steps="all"))
    assert study.models["theirs"].steps == (1000, 10000, 100000, 200000, 300000, 400000, 500000, 600000)


def test_what_stands_beside_a_suite_wins():
    study = load_study(config(source="hub", suite="bloom-560m", repo="mirror/bloom", steps=[1000]))
    assert study.models["theirs"].checkpoints.place(1000)["repo"] == "mirror/bloom"


def test_wrong_suites_and_steps():
    error = refused(config(source="hub", suite="blom-560m", steps=[1000]), "models.theirs.suite")
    assert error.hint == "did you mean `bloom-560m`?"
    error = refused(config(source="hub", suite="bloom-560m", steps=[1000, 3000]), "models.theirs.steps")
    assert error.given == 3000
    assert "10000, 100000" in error.allowed
    assert error.hint == "the nearest is 1000"


def test_a_repository_by_hand():
    study = load_study(hub(tokens_per_step=100, tokens={2: 150}))
    model = study.models["theirs"]
    assert tuple(model.checkpoints.place(2).values()) == ("org/name", "step2", "")
    assert tuple(model.checkpoints.tokenizer_place(2).values()) == ("org/name", "step2", "")
    assert [model.tokens_at(step) for step in (0, 1, 2)] == [0, 100, 150]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"revision": "step{step:04d}"}, ("org/name", "step0002", "")),
        ({"revision": None, "revisions": {1: "first", 2: "second"}}, ("org/name", "second", "")),
        ({"revision": None, "revisions": {"1": "first", "2": "second"}}, ("org/name", "second", "")),
        ({"revision": "main", "subfolder": "ckpt/{step}"}, ("org/name", "main", "ckpt/2")),
        ({"repo": "org/name-{step}", "revision": None}, ("org/name-2", "main", "")),
        ({"repo": None, "repos": {1: "a/one", 2: "a/two"}, "revision": None}, ("a/two", "main", "")),
    ],
)
def test_where_a_step_lies(keys, place):
    given = hub(**keys)
    given["models"]["theirs"] = {k: v for k, v in given["models"]["theirs"].items() if v is not None}
    assert tuple(load_study(given).models["theirs"].checkpoints.place(2).values()) == place


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"revision": "main"}, "models.theirs.revision"),
        ({"revision": "step{stop}"}, "models.theirs.revision"),
        ({"revisions": {1: "first"}}, "models.theirs.steps"),
        ({"revisions": {"first": "one"}}, "models.theirs.revisions.first"),
        ({"architecture": "gpt-neox"}, "models.theirs.architecture"),
        ({"architecture_config": {"num_hidden_layers": "two"}}, "models.theirs.architecture_config.num_hidden_layers"),
        ({"steps": "all"}, "models.theirs.steps"),
        ({"path": "x/{step}"}, "models.theirs.path"),
        ({"corpus": "web"}, "models.theirs.corpus"),
        ({"steps": [0, 1], "random_baseline": True}, "models.theirs.random_baseline"),
        ({"repo": ""}, "models.theirs.repo"),
    ],
)  # fmt: skip
def test_what_a_hub_model_may_not_say(keys, key):
    refused(hub(**keys), key)


def test_an_encoder_does_not_write():
    given = hub(architecture="bert", architecture_config={"num_hidden_layers": 2, "hidden_size": 16,
                                                          "num_attention_heads": 2, "intermediate_size": 32})  # fmt: skip
    assert load_study(given).models["theirs"].architecture == "bert"
    error = refused({**given, "generation": {"steps": [2]}}, "generation.enabled")
    assert "theirs is an encoder" in error.hint
    for view in ("ablation", "patching"):
        error = refused({**given, "views": {view: True}}, f"views.{view}")
        assert "theirs is an encoder" in error.hint


def test_an_encoder_is_not_pretrained_here():
    given = hub()
    given["corpora"] = {"web": {"source": "grammar", "documents": 1000}}
    given["tokenizers"] = {"pieces": {"corpus": "web", "vocabulary_size": 400}}
    given["models"]["theirs"] = {
        "source": "pretrain", "corpus": "web", "tokenizer": "pieces", "architecture": "bert",
        "training": {"sequence_length": 16, "batch_size": 4, "learning_rate": 0.01}, "steps": [0],
    }  # fmt: skip
    assert "left to right" in refused(given, "models.theirs.architecture").hint


# ------------------------------------------------------------------------------------- folders


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    sizes = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2}
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros(1000, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def local(**keys) -> dict:
    return config(**{"source": "local", "path": "{data}/run/checkpoint-{step}", "steps": "all", **keys})


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for step in (5, 10, 100):
        checkpoint(tmp_path / f"data/run/checkpoint-{step}")
    return tmp_path / "data" / "run"


def test_all_steps_of_a_folder_that_grows(run):
    assert load_study(local()).models["theirs"].batches == ((5,), (10,), (100,))
    half = checkpoint(run / "checkpoint-200")
    with open(half / "model.safetensors", "r+b") as file:
        file.truncate(3000)
    study = load_study(local())
    assert study.models["theirs"].steps == (5, 10, 100)
    (warning,) = study.warnings
    assert "step 200 is left out of this run" in warning
    assert "model.safetensors" in warning


def test_a_step_that_is_named_must_be_whole(run):
    (run / "checkpoint-10" / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(BabelscopeError, match=r"checkpoint-10.*model.safetensors"):
        load_study(local(steps=[5, 10]))
    assert load_study(local()).models["theirs"].steps == (5, 100)


def test_no_step_is_there(run):
    error = refused(local(path="{data}/walk/checkpoint-{step}"), "models.theirs.path")
    assert "at least one step" in error.allowed
    refused(local(path="{data}/run/checkpoint"), "models.theirs.path")


def test_the_random_baseline_of_a_folder(run):
    study = load_study(local(random_baseline=True))
    assert study.models["theirs"].steps == (0, 5, 10, 100)
    assert study.models["theirs"].folder(0) == Path("results/mine/models/theirs/0")
    assert study.models["theirs"].folder(5) == Path("data/run/checkpoint-5")
    assert study.models["theirs"].tokenizer_folder(0) == Path("results/mine/models/theirs/0")


def test_what_is_assumed_is_a_key(run):
    given = local()
    given["assumed"] = {"experts.k": "not published", "extraction.poolings": "not published"}
    assert load_study(given).assumed["experts.k"] == "not published"
    given["assumed"] = {"extraction.poling": "not published"}
    assert "pooling" in refused(given, "assumed.extraction.poling").hint


def test_null_takes_a_key_of_the_extended_study_away(run, tmp_path):
    (tmp_path / "base.yaml").write_text(json.dumps(local(tokens_per_step=5)))
    own = {"extends": "base.yaml", "study": "other"}
    assert load_study(own).models["theirs"].tokens_per_step == 5
    own["models"] = {"theirs": {"tokens_per_step": None}}
    assert load_study(own).models["theirs"].tokens_per_step is None


# ------------------------------------------------------------------------------ what a model is read from


def test_what_a_job_reads_of_a_checkpoint(run):
    study = load_study(local(random_baseline=True, tokenizer_path="{data}/run/checkpoint-5"))
    model = study.models["theirs"]
    assert model.files(0) == ["results/mine/models/theirs/0"]
    names = {Path(name).relative_to("data/run").as_posix() for name in model.files(10)}
    assert names == {
        *(f"checkpoint-10/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")),
        *(f"checkpoint-5/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")),
    }
    assert (model.n_layers, model.n_units(["resid"]), model.stored_type) == (2, 48, "float32")
    assert model.first_real_step == 5


def test_a_series_of_the_hub_is_read_from_the_folder_it_is_fetched_to():
    study = load_study(hub(random_baseline=True))
    model = study.models["theirs"]
    assert [model.files(step) for step in model.steps] == [
        [f"results/mine/models/theirs/{step}"] for step in (0, 1, 2)
    ]
    assert (model.source, model.n_layers, model.stored_type) == ("hub", 2, None)


def test_two_steps_in_one_place_are_named_with_it():
    error = refused(hub(revision="main"), "models.theirs.revision")
    assert error.hint == "steps 1 and 2 would both be org/name main"
