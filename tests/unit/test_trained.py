"""Checkpoints that are there are not trained anew without a word."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from babelscope.errors import StudyError
from babelscope.models.files import weights_hash
from babelscope.models.training.steps import CheckpointList, write_list
from babelscope.ops.regroup import last_study, remember_study
from babelscope.ops.trained import PROGRESS, changed_weights, check_kept
from babelscope.study.config import Study
from mini_study import mini_config


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A study whose last run has trained step 0 and 4."""
    monkeypatch.chdir(tmp_path)
    config = mini_config()
    del config["corpora"]["text"]["languages"]
    study = Study.of(config)
    remember_study(study)
    for step in (0, 4):
        progress = study.models["tiny-seed0"].folder(step) / PROGRESS
        progress.parent.mkdir(parents=True)
        progress.write_text(json.dumps({"resumed_from": None}))
    return config


def check(config):
    study = Study.of(config)
    check_kept(study, last_study(study))


def put(config, key, value):
    changed = copy.deepcopy(config)
    *parts, last = key.split(".")
    place = changed
    for part in parts:
        place = place.setdefault(part, {})
    place[last] = value
    return changed


CHANGES = {
    "models.tiny.training.batch_size": 16,
    "models.tiny.training.learning_rate": 0.02,
    "models.tiny.architecture": "llama",
    "models.tiny.architecture_config.d_model": 32,
    "tokenizers.pieces.vocabulary_size": 500,
    "corpora.text.temperature": 0.5,
    "corpora.text.heldout": 0.02,
    "corpora.text.languages": ["en", "de"],
    "seed": 4,
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_would_train_anew_stops_planning(config, key):
    changed = put(config, key, CHANGES[key])
    with pytest.raises(StudyError) as error:
        check(changed)
    assert error.value.key == key
    assert error.value.allowed.endswith(
        "by which the checkpoints of tiny-seed0 that are there were trained (steps 0, 4)"
    )
    assert "--config retrain=tiny" in error.value.hint
    check({**changed, "retrain": "tiny"})
    check({**changed, "retrain": "all"})


KEPT = {
    "models.tiny.steps": [0, 4, 8],
    "models.tiny.seeds": [0, 1],
    "probes.components": 5,
    "extraction.device": "cpu",
    "data": "elsewhere",
    "report.title": "another",
    "granularity": {"steps_per_job": 2},
}


@pytest.mark.parametrize("key", KEPT)
def test_what_trains_nothing_anew_goes_on(config, key):
    check(put(config, key, KEPT[key]))


def test_a_language_more_where_the_corpus_follows_the_study(config):
    with pytest.raises(
        StudyError, match=r"`corpora.text.languages`: got \['en', 'de', 'ru', 'tr'\]"
    ) as error:
        check(put(config, "languages", ["en", "de", "ru", "tr"]))
    assert (
        "to keep them name the languages of the corpus, which follow the study's: `corpora.text.languages: [en, de, ru]`"
        in error.value.hint
    )
    kept = put(config, "languages", ["en", "de", "ru", "tr"])
    check(put(kept, "corpora.text.languages", ["en", "de", "ru"]))


def test_a_key_that_is_taken_away_is_named(config):
    changed = copy.deepcopy(config)
    del changed["models"]["tiny"]["architecture_config"]["ffn_dim"]
    with pytest.raises(
        StudyError, match=r"`models.tiny.architecture_config.ffn_dim`: got None; allowed: 32,"
    ):
        check(changed)


def test_without_checkpoints_or_a_run_of_before_there_is_nothing_to_keep(config):
    changed = put(config, "seed", 4)
    check(put(changed, "study", "another"))
    for file in Path("results").rglob("progress.json"):
        file.unlink()
    check(changed)


def test_a_change_that_was_asked_for_is_the_last_run(config):
    changed = put(config, "seed", 4)
    remember_study(Study.of({**changed, "retrain": "tiny"}))
    check(changed)
    with pytest.raises(StudyError, match="`seed`"):
        check(config)


def test_weights_are_known_by_their_content(config):
    study = Study.of(config)
    folder = study.models["tiny-seed0"].folder(4)
    weights, listed = folder / "model.safetensors", folder.parent / "4.json"
    save_file({"weight": np.zeros(4, dtype=np.float32)}, weights)
    write_list(listed, CheckpointList({4: weights_hash(folder)}))

    def changed():
        return changed_weights(study, "tiny-seed0", [4])

    later = listed.stat().st_mtime + 10
    os.utime(weights, (later, later))
    assert changed() == ""
    save_file({"weight": np.ones(4, dtype=np.float32)}, weights)
    os.utime(weights, (later + 1, later + 1))
    told = changed()
    assert told == f"step 4 is {weights_hash(folder)[:16]}"
    write_list(listed, CheckpointList({4: weights_hash(folder)}, told))  # what the job does
    assert changed() == told
    os.utime(weights, (later + 99, later + 99))
    assert changed() == told
    weights.unlink()
    assert changed().startswith("step 4, gone since ")
