"""``babelscope hub``: a repository becomes an entry that a study takes as it is."""

from __future__ import annotations

import json

import huggingface_hub.constants
import pytest
import yaml

from babelscope.cli import main
from babelscope.models.hub.listing import template_of
from babelscope.study.loading import load_study
from hub_server import HubServer

SIZES = {"model_type": "gpt_neox", "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 256, "vocab_size": 100}  # fmt: skip


def step(number: int, **more: bytes) -> dict[str, bytes]:
    config = json.dumps({**SIZES, "hidden_dropout": 0.0}).encode()
    return {
        "config.json": config,
        "model.safetensors": b"%d" % (number % 3000),
        "tokenizer.json": b"{}",
        **more,
    }


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def printed(capsys, *arguments: str) -> str:
    assert main(["hub", *arguments]) == 0
    return capsys.readouterr().out


def test_an_entry_is_a_model_of_a_study(server, capsys):
    steps = {f"step{number:05d}": step(number) for number in (0, 1000, 2000, 3000)}
    server.add_repo("org/my.model", {"main": {}, **steps})
    text = printed(capsys, "org/my.model", "--hashes")
    assert "4 steps; licence apache-2.0; safetensors" in text
    assert "equal weights: steps 0, 3000" in text
    models = yaml.safe_load(text)
    study = load_study(
        {
            "study": "mine",
            "languages": ["en", "es"],
            "models": models,
            "sentences": {"source": "grammar", "per_concept": 20},
            "concepts": {"source": "grammar"},
            "experts": {"k": 5},
        }
    )
    model = study.models["my-model"]
    assert model.steps == (0, 1000, 2000, 3000)
    assert tuple(model.checkpoints.place(1000).values()) == ("org/my.model", "step01000", "")
    assert study.n_units("my-model") == 128
    assert not server.downloads("model.safetensors")


def test_names_without_a_template_and_a_tokenizer_elsewhere(server, capsys):
    bare = {name: data for name, data in step(1).items() if name != "tokenizer.json"}
    server.add_repo("org/x", {"main": {}, "step50-tokens2B": bare, "step100-tokens4B": bare})
    entry = yaml.safe_load(printed(capsys, "org/x", "--name", "mine"))["mine"]
    assert entry["revisions"] == {50: "step50-tokens2B", 100: "step100-tokens4B"}
    assert "tokenizer_repo" in entry


def test_what_is_not_there(server, capsys):
    assert main(["hub", "org/none"]) == 1
    assert "no such repository" in capsys.readouterr().err


def test_steps_named_in_tokens(server, capsys):
    server.add_repo(
        "org/x", {"main": {}, **{name: step(1) for name in ("250M", "10B", "1B", "500M", "0.5B", "odd-1-2")}}
    )
    text = printed(capsys, "org/x", "--name", "mine")
    entry = yaml.safe_load(text)["mine"]
    assert entry["steps"] == [250_000_000, 500_000_000, 1_000_000_000, 10_000_000_000]
    assert entry["revisions"][250_000_000] == "250M"
    assert entry["tokens_per_step"] == 1
    assert "# two revisions of one step: 500M is step 500000000 too, as 0.5B" in text
    assert "# revisions that are no steps: main, odd-1-2" in text


def test_a_second_stage_is_a_series_of_its_own(server, capsys):
    names = ["stage1-step1000-tokens5B", "stage1-step2000-tokens9B", "stage2-step50-tokens1B"]
    server.add_repo("org/x", {"main": {}, **{name: step(1) for name in names}})
    text = printed(capsys, "org/x", "--name", "mine")
    assert yaml.safe_load(text)["mine"]["steps"] == [1000, 2000]
    assert (
        "# a series of its own, for an entry of its own: stage2-{step}-{tokens}: stage2-step50-tokens1B (50)"
        in text
    )


def test_templates():
    assert template_of({1: "step1", 10: "step10"}) == "step{step}"
    assert template_of({1: "a001", 10: "a010"}) == "a{step:03d}"
    assert template_of({1: "a1", 10: "b10"}) == ""
    assert template_of({}) == ""
