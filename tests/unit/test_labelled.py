"""Concepts from labelled tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from babelscope.errors import BabelscopeError, StudyError, TextError
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study
from babelscope.text.concepts import read_concept_files
from babelscope.text.labelled import concept_of, read_labelled
from mini_study import mini_config

ROWS = [(f"{lang} {label} {number}", label, lang) for lang in ("en", "de", "ru") for number in range(12)
        for label in ("science/technology", "travel", "7")]  # fmt: skip
TABLE = pd.DataFrame(ROWS, columns=["text", "category", "locale"])
PLAIN = ("text", "category", "", "")


def write(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return path


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
def test_all_formats_give_the_same(tmp_path, ending):
    path = write(tmp_path / f"all.{ending}", TABLE)
    found = read_labelled(path, ("text", "category", "locale", "de"))
    assert list(found) == ["science-technology", "travel", "7"]
    assert found["travel"] == [f"de travel {number}" for number in range(12)]
    assert len(read_labelled(path, PLAIN)["7"]) == 36


def test_numbers_are_labels(tmp_path):
    table = pd.DataFrame({"text": ["a", "b", "NA"], "label": [0, 2, 2]})
    for name in ("x.parquet", "x.csv"):
        found = read_labelled(write(tmp_path / name, table), ("text", "label", "", ""))
        assert found == {"0": ["a"], "2": ["b", "NA"]}


def test_names_of_concepts():
    assert concept_of("science/technology") == "science-technology"
    assert concept_of(" Health & Care ") == "Health-Care"
    assert concept_of("музыка") == "музыка"


@pytest.mark.parametrize(
    ("table", "columns", "told"),
    [
        (TABLE, ("txt", "category", "", ""), "has no column 'txt'; it has text, category, locale"),
        (TABLE, ("text", "category", "locale", "fr"), "has no row of fr in column 'locale'; it has de, en, ru"),
        (TABLE.assign(text=None), PLAIN, "column 'text', row 1 is no text: None"),
        (TABLE.assign(text="a\0b"), PLAIN, "column 'text', row 1 holds"),
        (pd.DataFrame({"text": ["a", "b"], "category": ["x/y", "x-y"]}), PLAIN, "labels 'x/y' and 'x-y' are both x-y"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(tmp_path, table, columns, told):
    path = write(tmp_path / "bad.parquet", table)
    with pytest.raises(TextError) as error:
        read_labelled(path, columns)
    assert told in error.value.problem


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_file_of_another_kind(tmp_path, ending):
    path = tmp_path / f"bad.{ending}"
    path.write_bytes(b'"a,b\n1,2,3\n"\x00\xff')
    with pytest.raises(TextError, match=f"cannot be read as .{ending}"):
        read_labelled(path, PLAIN)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "all.tsv", TABLE)
    for lang in ("en", "de", "ru"):
        write(tmp_path / f"{lang}.csv", TABLE[TABLE["locale"] == lang])
    config = mini_config()
    del config["generation"]
    for lang in ("en", "de", "ru"):
        (tmp_path / "data/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"data/train/{lang}.txt").write_text("".join(f"{lang} text {n}\n" for n in range(50)))
    return config | {"sentences": {"source": "concepts"}}


def concepts(**given):
    columns = {"text": "text", "label": "category"} | given.pop("columns", {})
    return {"concepts": {"source": "files", "columns": columns, "min_positive": 10, **given}}


@pytest.mark.parametrize(
    "given",
    [{"path": "{lang}.csv"}, {"path": "all.tsv", "columns": {"lang": "locale"}}],
    ids=["files", "column"],
)
def test_a_study_of_a_table(config, given):
    study = load_study(config | concepts(**given))
    assert study.concept_ids == ("7", "science-technology", "travel")
    check_text(study)
    read = read_concept_files(study.concept_files("ru"), duplicates="error")
    assert len(read.texts) == 36
    assert sum(read.labels["travel"].values()) == 12
    assert len(study.sentence_files("ru")) == 1
    with pytest.raises(TextError, match="travel in en: 12 positive sentences, 30 needed"):
        check_text(load_study(config | concepts(**given, min_positive=30, ids=["travel", "7"])))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"path": "all.tsv"}, "`{lang}` is missing"),
        ({"path": "{lang}.xlsx"}, "a table that ends in .tsv, .csv, .jsonl, .parquet"),
        ({"path": "{lang}.parquet"}, "no file is at en.parquet"),
        ({"path": "{lang}.csv", "ids": ["travel", "weather"]}, "has no weather sentence"),
        ({"path": "{lang}.csv", "columns": {"label": "topic"}}, "has no column 'topic'"),
        ({"path": "{lang}.csv", "columns": {"lable": "topic"}}, "did you mean `label`"),
    ],
)
def test_what_a_study_cannot_take(config, given, told):
    with pytest.raises(BabelscopeError) as error:
        check_text(load_study(config | concepts(**given)))
    assert told in str(error.value)


def test_groups_are_not_of_tables(config):
    changed = config | concepts(path="{lang}.csv") | {"sentences": {"source": "concepts", "groups": "g.txt"}}
    with pytest.raises(StudyError, match="of a labelled table"):
        load_study(changed)
