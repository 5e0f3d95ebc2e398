"""What a study's concepts have in the text, before anything runs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from babelscope.cli import main
from babelscope.text.choosing import compare_concepts, count_words
from mini_study import WORDS, MiniStudy, mini_config, write_text

LINES = ["The house is red.", "Houses, and a HOUSE!", "a boat house", "rivers", "the bank of the river"]
LISTS = {
    "house": ["house", "houses", "hut"],
    "boat": ["boat house", "boat"],
    "water": ["river", "bank"],
    "money": ["Bank"],
}


def test_every_word_is_counted_once_per_sentence():
    found = count_words(LINES, LISTS, "en").set_index(["concept", "word"])["n_sentences"]
    assert found.to_dict() == {
        ("house", "house"): 3, ("house", "houses"): 1, ("house", "hut"): 0,
        ("boat", "boat house"): 1, ("boat", "boat"): 0,  # it stands there as part of a longer form only
        ("water", "river"): 1, ("water", "bank"): 1, ("money", "Bank"): 1,
    }  # fmt: skip


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of words, one of which stands nowhere, and the file that a command names."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path, list(WORDS))
    config = mini_config()
    lists = {"dog": ["dog", "hound"], "house": ["house"], "wet": ["water", "river"], "water": ["water"]}
    Path("data/words.yaml").write_text(yaml.safe_dump(lists))
    config["concepts"]["ids"] = list(lists)
    return MiniStudy(tmp_path, config)


def shown(study, capsys, *, status=0):
    assert main(["concepts", "--configfile", str(study.write())]) == status
    return capsys.readouterr()


def test_the_command_shows_them_before_anything_runs(study, capsys):
    said = shown(study, capsys).out
    assert re.search(r"^dog +44 \(22 \+ 22\) +44 \(22 \+ 22\)", said, re.M)
    assert "dog: dog 44, hound 0" in said
    assert "words that stand in no sentence: hound (dog)" in said
    assert re.search(r"^wet, water: 44 sentences, 100% of the rarer; in both lists: water$", said, re.M)
    assert not study.results.exists()


def test_it_shows_also_what_the_study_would_be_refused_for(study, capsys):
    study.config["concepts"]["min_positive"] = 60
    said = shown(study, capsys, status=1)
    assert "dog        44 (22 + 22) !" in said.out
    assert "dog in en: 44 positive sentences, 60 needed" in said.err


@pytest.mark.parametrize("source", ["grammar", "files"])
def test_concepts_without_word_lists(study, capsys, source):
    if source == "grammar":
        study.config["sentences"] = {"source": "grammar", "per_concept": 20}
        study.config["concepts"] = {"source": "grammar", "ids": ["water", "music"], "min_positive": 20}
        study.config["languages"] = ["en", "de", "ru"]
    else:
        for lang, concept in itertools.product(["en", "de", "ru"], ["a", "b"]):
            lines = [f"{concept} {lang} {number}" for number in range(20)] + ["in both"]
            Path(f"{concept}.{lang}.positive.txt").write_text("\n".join(lines) + "\n")
        study.config["sentences"] = {"source": "concepts"}
        study.config["concepts"] = {
            "source": "files",
            "path": "{concept}.{lang}.{label}.txt",
            "min_positive": 5,
        }
    del study.config["generation"]
    said = shown(study, capsys).out
    assert "per word" not in said
    assert ("a, b: 1 sentences, 5% of the rarer" in said) == (source == "files")


def test_what_concepts_share():
    positive = {
        "en": {"house": ["1", "2", "3"], "boat": ["3"], "water": ["5"], "money": ["5", "6"]},
        "de": {"house": ["1", "2"], "boat": ["2", "1"], "water": ["5"], "money": ["6"]},
    }
    rows = compare_concepts(positive, LISTS, "en").to_dict("records")
    assert rows == [
        {"concept_a": "house", "concept_b": "boat", "n_shared": 2, "share": 1.0, "words": ""},
        {"concept_a": "water", "concept_b": "money", "n_shared": 1, "share": 1.0, "words": "bank"},
    ]


def test_concepts_that_share_nothing_give_an_empty_table():
    table = compare_concepts({"en": {"a": ["1"], "b": ["2"]}}, {}, "en")
    assert list(table.columns) == ["concept_a", "concept_b", "n_shared", "share", "words"]
    assert table.empty
