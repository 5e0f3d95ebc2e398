"""Mistakes in a study end in an early and clear answer; a case is an item of tests/cases/mistakes.yaml."""

from __future__ import annotations

import copy
import gzip
import json
import re
from pathlib import Path

import pytest
import yaml

from babelscope.errors import BabelscopeError, DataError
from babelscope.io.files import check_writable
from babelscope.io.yaml import parse_yaml
from babelscope.models.checkpoints import save_model
from babelscope.study.cautions import cautions
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study
from babelscope.text.lines import read_tsv, write_tsv
from text_study import TEXT_STUDY
from tiny_models import tiny_model, tiny_tokenizer

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/mistakes.yaml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with the text of the study; one sentence in three is about the dog."""
    monkeypatch.chdir(tmp_path)
    for lang in ("en", "de", "ru"):
        write(f"data/web/{lang}.txt", "".join(f"a document {n}\n" for n in range(20)))
        lines = (f"the {'house' if n % 3 else 'dog'} of {lang} {n}\n" for n in range(60))
        write(f"data/dev/{lang}.txt", "".join(lines))
    write("data/words.yaml", "dog: [dog, dogs]\nhouse: [house]\n")


def write(path: str, text: str, packed: bool = False) -> None:
    """A file, its folder made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = text.encode("utf-8")
    Path(path).write_bytes(gzip.compress(content) if packed else content)


def changed(config: dict, changes: dict) -> dict:
    """The config with values in their places; a key with dots is a path."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        part = config
        *parents, last = key.split(".")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    return config


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_a_mistake_is_answered_before_any_job(case):
    for path, text in case.get("files", {}).items():
        write(path, text.replace("{long}", "wort " * 36_000))
    for path, text in case.get("gzip", {}).items():
        write(path, text, packed=True)
    for path in case.get("gone", ()):
        Path(path).unlink()
    config = changed(yaml.safe_load(TEXT_STUDY), case.get("set", {}))
    said = ""
    try:
        study = load_study(config)
        check_text(study)
        warned = [*study.warnings, *cautions(study)]
    except BabelscopeError as error:
        said, warned = str(error), []
    if "says" in case:
        assert re.search(case["says"], said, re.DOTALL), said
        assert "\nhint: " in said
        return
    assert not said
    if "warns" in case:
        assert any(re.search(case["warns"], text) for text in warned), warned
    else:
        assert not warned


def test_a_place_that_cannot_be_written_to(tmp_path, monkeypatch):
    check_writable(tmp_path / "results/x")
    (tmp_path / "results").write_text("no folder")
    with pytest.raises(DataError, match="results: is no folder, so no results can be written\nhint: "):
        check_writable(tmp_path / "results/x")
    (tmp_path / "results").unlink()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(DataError, match="cannot be written to, so no results can be\nhint: have it made"):
        check_writable(tmp_path / "results/x")


def test_code_of_a_model_that_is_not_run_is_told(tmp_path):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "m")
    config = yaml.safe_load(TEXT_STUDY)
    config["models"] = {"mine": {"source": "local", "path": str(tmp_path / "m"), "steps": [1]}}
    config["extraction"] = {"max_length": 32}
    del config["corpora"], config["tokenizers"]
    assert not cautions(load_study(config))
    file = tmp_path / "m/config.json"
    auto_map = {"AutoModelForCausalLM": "modeling.Own"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "auto_map": auto_map}))
    (told,) = cautions(load_study(config))
    assert "mine: its config.json names code of its own (auto_map), which is not run" in told


def test_steps_that_compute_otherwise_are_told(tmp_path):
    for step in (1, 2, 3):
        save_model(tiny_model("llama", seed=step), tiny_tokenizer(), tmp_path / f"m/{step}")
    config = yaml.safe_load(TEXT_STUDY)
    config["models"] = {"mine": {"source": "local", "path": f"{tmp_path}/m/{{step}}", "steps": [1, 2, 3]}}
    config["extraction"] = {"max_length": 32}
    del config["corpora"], config["tokenizers"]
    assert not cautions(load_study(config))
    file = tmp_path / "m/2/config.json"
    changes = {"rms_norm_eps": 0.5, "hidden_act": "gelu", "transformers_version": "4", "use_cache": False}
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    (told,) = cautions(load_study(config))
    assert told == (
        "mine: config.json differs from that of step 1 in hidden_act, rms_norm_eps, at step 2: is it one training?"
    )


def test_the_study_without_a_mistake_is_right():
    study = load_study(yaml.safe_load(TEXT_STUDY))
    check_text(study)
    assert not [*study.warnings, *cautions(study)]


NUMBERS = yaml.load(
    (Path(__file__).parents[1] / "cases/numbers.yaml").read_text(encoding="utf-8"), yaml.BaseLoader
)


@pytest.mark.parametrize("case", NUMBERS, ids=[case["text"] for case in NUMBERS])
def test_numbers_are_what_they_look(case):
    text = f"steps: {case['text']}\n"
    if "says" in case:
        with pytest.raises(yaml.YAMLError, match=case["says"]):
            parse_yaml(text)
    else:
        assert str(parse_yaml(text)["steps"]) == case["value"]


def test_a_long_line_comes_back_from_a_table(tmp_path):
    """The module csv refuses fields of more than 131,072 characters."""
    rows = [("a", "wort " * 36_000), ("b", "=1+1"), ("c", "007")]
    write_tsv(tmp_path / "t.tsv", ("id", "text"), rows)
    assert [(row["id"], row["text"]) for row in read_tsv(tmp_path / "t.tsv")] == rows
