"""Concepts that the user brings, as plain text and as the JSON of self-conditioning data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from babelscope.errors import DataError
from babelscope.text.concepts import (
    check_same_labels,
    find_concepts,
    groups_of_concepts,
    read_concept_files,
    read_list,
)


def write_json(path: Path, positive, negative) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # As published: a group and a source that nobody needs, ASCII escapes, stray spaces.
    content = {"concept": path.stem, "group": "sense", "source": "onesec",
               "sentences": {"positive": positive, "negative": negative}}  # fmt: skip
    path.write_text(json.dumps(content))
    return str(path)


def both(concept: str, path: str) -> list[tuple[str, str, str]]:
    return [(concept, "positive", path), (concept, "negative", path)]


def test_json_lists_become_sentences_and_labels(tmp_path):
    path = write_json(tmp_path / "house.json", [" The  house\nis red .", "Ein Häuschen ."], ["A river ."])
    found = read_concept_files(both("house", path), duplicates="error")
    assert found.texts == {
        "house-00001": "The house is red .",
        "house-00002": "Ein Häuschen .",
        "house-neg-00001": "A river .",
    }
    assert found.labels == {"house": {"house-00001": 1, "house-00002": 1, "house-neg-00001": 0}}


def test_a_negative_sentence_serves_many_concepts_and_is_kept_once(tmp_path):
    house = write_json(tmp_path / "house.json", ["h1", "h2"], ["random 1", "w1"])
    water = write_json(tmp_path / "water.json", ["w1", "w2"], ["random 1", "random 2"])
    found = read_concept_files([*both("house", house), *both("water", water)], duplicates="error")
    assert list(found.texts.values()) == ["h1", "h2", "random 1", "w1", "w2", "random 2"]
    # w1 stood first among the negatives of house; for water it is positive.
    assert found.labels == {
        "house": {"house-00001": 1, "house-00002": 1, "house-neg-00001": 0, "house-neg-00002": 0},
        "water": {"house-neg-00002": 1, "water-00002": 1, "house-neg-00001": 0, "water-neg-00002": 0},
    }


def test_without_negatives_the_other_concepts_are_the_negatives(tmp_path):
    files = []
    for concept, lines in {"sun": ["s1", "s2", "both"], "water": ["w1", "both"]}.items():
        path = tmp_path / f"{concept}.txt"
        path.write_text("\n".join(lines) + "\n")
        files.append((concept, "positive", str(path)))
    found = read_concept_files(files, duplicates="error")
    assert found.labels == {
        "sun": {"sun-00001": 1, "sun-00002": 1, "sun-00003": 1, "water-00001": 0},
        "water": {"water-00001": 1, "sun-00003": 1, "sun-00001": 0, "sun-00002": 0},
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a \0 b", "negative sentence 2 holds NUL"),
        ("a \ud800 b", "negative sentence 2 holds half of a surrogate pair"),
        ("\u200b\u2060", "negative sentence 2 holds nothing that can be seen"),
    ],
)
def test_json_of_what_is_no_text(tmp_path, text, problem):
    path = write_json(tmp_path / "house.json", ["one"], ["two", text])
    with pytest.raises(DataError, match=rf"house.json: {problem}"):
        read_list(Path(path), "negative", duplicates="error")


@pytest.mark.parametrize("order", ["positive first", "negative first"])
def test_a_sentence_does_not_express_a_concept_and_also_not(tmp_path, order):
    path = write_json(tmp_path / "house.json", ["one", "two"], ["two"])
    files = both("house", path)
    if order == "negative first":
        files.reverse()
    with pytest.raises(DataError, match=r"house.json: .*house: 'two'") as raised:
        read_concept_files(files, duplicates="error")
    assert raised.value.hint == "a sentence expresses a concept or does not; remove one"


def test_repeated_sentences_in_one_list(tmp_path):
    path = Path(write_json(tmp_path / "a.json", ["x", "y", " x "], ["z"]))
    with pytest.raises(DataError, match=r"positive sentence 3 repeats sentence 1: 'x'"):
        read_list(path, "positive", duplicates="error")
    assert read_list(path, "positive", duplicates="keep_first") == [(1, "x"), (2, "y")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is no JSON"),
        ("[]", "has no lists of sentences"),
        ('{"sentences": {"positive": ["a"]}}', "has no lists of sentences"),
        ('{"sentences": {"positive": "a", "negative": []}}', "are no lists"),
        ('{"sentences": {"positive": ["a", 3], "negative": []}}', "positive sentence 2 is 3, no text"),
        ('{"sentences": {"positive": ["a", " "], "negative": []}}', "positive sentence 2 is empty"),
        ('{"sentences": {"positive": [], "negative": ["a"]}}', "has no positive sentence"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_json_that_cannot_be_used(tmp_path, content, problem):
    path = tmp_path / "house.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=problem):
        read_list(path, "positive", duplicates="error")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "none.json", "positive", duplicates="error")


@pytest.mark.parametrize(
    "template",
    [
        "concepts/{lang}/{concept}.json",
        "concepts/{concept}.{lang}.json",
        "{lang}/sense-{concept}/x.{label}.txt",
        "{concept}/{concept}-{lang}.{label}.txt",
    ],
)
def test_concepts_are_found_by_their_files(tmp_path, template):
    for concept in ("water", "house"):
        for lang in ("en", "es"):
            for label in ("positive", "negative"):
                path = tmp_path / template.format(concept=concept, lang=lang, label=label)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    (tmp_path / "README.md").touch()
    assert find_concepts(f"{tmp_path}/{template}", "en") == ["house", "water"]
    assert find_concepts(f"{tmp_path}/{template}", "fr") == []


@pytest.mark.parametrize("ending", ["json", "{label}.txt"])
def test_concepts_lie_in_folders_of_any_group(tmp_path, ending):
    template = f"{tmp_path}/{{lang}}/{{group}}/{{concept}}.{ending}"
    for group, concept in (("sense", "football-1_04_00__"), ("homograph", "bank-1_14_00__")):
        path = Path(template.format(lang="en", group=group, concept=concept, label="positive"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "en/concept_list.csv").touch()
    assert find_concepts(template, "en") == ["bank-1_14_00__", "football-1_04_00__"]
    assert groups_of_concepts(template, "en") == {
        "bank-1_14_00__": "homograph",
        "football-1_04_00__": "sense",
    }
    path.with_name(path.name.replace("bank", "x")).touch()
    Path(tmp_path, "en/sense", path.name).touch()
    with pytest.raises(DataError, match=r"bank-1_14_00__ stands in homograph and in sense") as raised:
        find_concepts(template, "en")
    assert "rename one" in raised.value.hint


def test_negatives_for_all_languages_or_none(tmp_path):
    path = write_json(tmp_path / "house.json", ["a"], ["b"])
    files = {"en": both("house", path), "es": [("house", "positive", path)]}
    with pytest.raises(DataError, match="no negative sentences in es, but it has in en"):
        check_same_labels(files)


def test_repeated_sentences_are_told_once(tmp_path, caplog):
    path = tmp_path / "x.txt"
    path.write_text("a\nb\na\na\nb\n")
    for _ in range(3):
        assert read_list(path, "positive", duplicates="keep_first") == [(1, "a"), (2, "b")]
    (told,) = caplog.messages
    assert told == f"{path}: line 3 repeats line 1: 'a', and 2 more that repeat one; left out"
