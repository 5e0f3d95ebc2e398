"""A study with a clone, shrunk, from the grammar's text to the tables."""

from __future__ import annotations

import json

import pytest
import yaml

from babelscope.io.tables import read_table
from babelscope.study.yaml import merge
from babelscope.text.clones import letters_of, plain
from babelscope.text.corpora import read_documents
from babelscope.text.sentences import read_sentences
from mini_study import ROOT, MiniStudy

pytestmark = pytest.mark.workflow


def shrunk():
    """`config/studies/demo-clone.yaml` with little text, one small model, two steps and three concepts."""
    given = {
        name: yaml.safe_load((ROOT / name).read_text())
        for name in ("config/config.yaml", "config/studies/demo-clone.yaml")
    }
    config = merge(*given.values())
    del config["extends"]
    config["languages"] = config["corpora"]["bridged"]["languages"] = ["en", "en2", "es"]
    config["corpora"] = {"bridged": config["corpora"]["bridged"] | {"documents": 900}}
    del config["models"]["isolated"]
    model = config["models"]["bridged"]
    model["architecture_config"] |= {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32}
    model["steps"] = [[0, 8]]
    changes = {
        "study": "clones",
        "tokenizers": {"subword": {"vocabulary_size": 1400}},
        "sentences": {"per_concept": 12},
        "concepts": {"ids": ["house", "water", "music"], "min_positive": 12},
        "extraction": {"tokens_per_language": 100},
        "probes": {"seeds": 1, "bootstrap": 20, "components": 2},
        "experts": {"k": 6, "kept": 20, "bootstrap": 20, "permutations": 20},
        "generation": {"languages": ["en2"], "k": 3, "steps": [8], "samples": 4, "max_new_tokens": 8},
    }
    return merge(config, changes)


def test_a_study_with_a_clone_runs(tmp_path):
    study = MiniStudy(tmp_path, shrunk())
    study.snakemake("tables")
    results = study.results

    sentences = {lang: read_sentences(results / f"sentences/{lang}.tsv") for lang in ("en", "en2")}
    assert [(name, plain(text)) for name, text in sentences["en2"]] == sentences["en"]
    assert all(letters_of(c) for _, text in sentences["en2"] for c in text if c != " ")
    in_clone = [
        letters_of(c) for text, _ in read_documents(results / "corpora/bridged/en2.jsonl") for c in text
    ]
    assert 0.4 < sum(in_clone) / len(in_clone) < 0.7, "sentences are switched"
    labels = {lang: (results / f"concepts/{lang}.tsv").read_text() for lang in ("en", "en2")}
    assert labels["en"] == labels["en2"]

    pairs = read_table(results / "tables/pairs.tsv").set_index(["lang_a", "lang_b"])
    assert pairs.loc[("en", "en2"), ["script_b", "same_script", "shared_words"]].tolist() == [
        "CLONE-1",
        False,
        0,
    ]
    overlap = read_table(results / "tables/overlap.parquet")
    assert not overlap[(overlap["lang_a"] == "en") & (overlap["lang_b"] == "en2")].empty
    generation = read_table(results / "tables/generation.parquet")
    assert "en2" in set(generation["target"])

    # Loss per byte can be compared with that of the original: at random weights both are alike.
    losses = read_table(results / "tables/audit_losses.tsv").query("step == 0").set_index("lang")
    assert losses.loc["en2", "n_tokens"] == losses.loc["en", "n_tokens"]
    assert losses.loc["en2", "bits_per_byte"] == pytest.approx(losses.loc["en", "bits_per_byte"], rel=0.05)

    assert json.loads((results / "concepts/words.json").read_text())["house"]["en2"]
