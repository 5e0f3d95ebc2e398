"""Text in, tables out: ids, halves, labels, and what is refused with which words."""

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.errors import DataError
from babelscope.io.tables import read_table
from babelscope.text.concepts import (
    check_concept_files,
    check_concepts,
    count_concepts,
    label_sentences,
    match_words,
    write_concept_words,
)
from babelscope.text.corpora import prepare_dataset_corpus, prepare_text_corpus
from babelscope.text.lines import check_lines, check_parallel, check_utf8, half_of, iter_lines
from babelscope.text.sentences import prepare_sentences, read_sentences


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepare(source, out, **changed):
    given = dict(text=None, files=[], concepts=[], per_concept=4, duplicates="error", seed=1)
    prepare_sentences(source, "en", out, **{**given, **changed})
    return read_sentences(out)


@given(st.integers(0, 10**6))
def test_halves_alternate_and_ignore_the_prefix(number):
    assert half_of(f"L{number:05d}") == half_of(f"house-{number:04d}") == "ab"[number % 2]


def test_an_id_without_a_number_is_refused():
    with pytest.raises(ValueError, match="ends with a number; got 'house'"):
        half_of("house")


def test_not_utf8_names_the_byte(tmp_path):
    path = tmp_path / "en.txt"
    path.write_bytes("fünf\n".encode() + "für\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"en.txt: is not UTF-8: byte 0xfc at offset 7"):
        list(iter_lines(path))


def test_a_character_cut_by_the_limit_is_no_error(tmp_path):
    path = tmp_path / "zh.txt"
    path.write_text("水" * 100, encoding="utf-8")
    for limit in range(30, 36):
        check_utf8(path, limit=limit)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a", "", "b"], "line 2 is empty"),
        (["a", "  ", "b"], "line 2 is empty"),
        (["a", "b", "a"], r"line 3 repeats line 1: 'a'"),
        (["a", "b\tc"], "line 2 holds a tab"),
    ],
)
def test_faulty_lines_are_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        check_lines(write(tmp_path / "en.txt", lines))


def test_lines_end_with_newlines_only(tmp_path):
    path = tmp_path / "en.txt"
    path.write_bytes("\ufeffone\r\ntwo\u2028still two\r\n".encode())
    assert list(iter_lines(path)) == ["one", "two\u2028still two"]


def test_parallel_files_of_other_lengths(tmp_path):
    files = {
        "en": write(tmp_path / "en.txt", "abc"),
        "de": write(tmp_path / "de.txt", "abc"),
        "fr": write(tmp_path / "fr.txt", "ab"),
    }
    with pytest.raises(DataError, match=r"fr.txt: has 2 lines, most of the other languages have 3"):
        check_parallel(files)


def test_parallel_sentences_keep_their_line_numbers(tmp_path):
    text = write(tmp_path / "en.txt", ["one", "two", "one", "four"])
    found = prepare("parallel", tmp_path / "s.tsv", text=text, duplicates="keep_first")
    assert found == [("L00001", "one"), ("L00002", "two"), ("L00004", "four")]
    with pytest.raises(DataError, match="keep_first"):
        prepare("parallel", tmp_path / "s.tsv", text=text)


def test_heldout_documents_do_not_move_when_text_is_appended(tmp_path):
    lines = [f"line {i}" for i in range(400)]
    for name, n in (("short", 300), ("long", 400)):
        write(tmp_path / f"{name}.txt", lines[:n])
        prepare_text_corpus(tmp_path / f"{name}.txt", tmp_path / f"{name}.jsonl", heldout=0.1, seed=1)
    short, long = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("short", "long")
    )
    assert long[:300] == short
    assert 15 < sum(d["split"] == "heldout" for d in short) < 50


def test_an_empty_corpus(tmp_path):
    with pytest.raises(DataError, match=r"en.txt: has no text"):
        prepare_text_corpus(write(tmp_path / "en.txt", ["", " "]), tmp_path / "o.jsonl", heldout=0.1, seed=1)


def test_words_match_whole_words_in_any_case():
    lines = ["The Court ruled", "courtyard", "two courts.", "ice-court", "COURT"]
    found = match_words(lines, {"court": ["court", "courts"]})["court"]
    assert found == dict.fromkeys([0, 2, 3, 4], frozenset({"court"}))


def test_labels_by_words_hold_for_every_translation(tmp_path):
    english = write(tmp_path / "en.txt", ["the dog", "the cat", "a dog", "rain"])
    german = write(tmp_path / "de.txt", ["der Hund", "die Katze", "ein Hund", "Regen"])
    prepare("parallel", tmp_path / "s.tsv", text=german)
    label_sentences("words", tmp_path / "s.tsv", tmp_path / "c.tsv", label_text=english,
                    words={"dog": ["dog"], "rain": ["rain"]}, files=[])  # fmt: skip
    table = read_table(tmp_path / "c.tsv")
    positive = table[table["label"] == 1].groupby("concept")["sentence_id"].apply(list).to_dict()
    assert positive == {"dog": ["L00001", "L00003"], "rain": ["L00004"]}
    assert len(table) == 8
    counts = count_concepts({"de": tmp_path / "c.tsv"}).set_index("concept")
    assert counts.loc["dog", ["n_positive", "n_negative", "n_positive_a", "n_positive_b"]].tolist() == [
        2,
        2,
        0,
        2,
    ]


def concept_files(folder, *, negative=False):
    files = []
    for concept in ("sea", "sun"):
        path = write(folder / f"{concept}.positive.txt", [f"{concept} {i}" for i in range(6)])
        files.append((concept, "positive", str(path)))
    if negative:
        path = write(folder / "sea.negative.txt", [f"no {i}" for i in range(5)])
        files.insert(1, ("sea", "negative", str(path)))
    return files


def labels_of(folder, files):
    prepare("concepts", folder / "s.tsv", files=files)
    label_sentences("files", folder / "s.tsv", folder / "c.tsv", label_text=None, words={}, files=files)
    table = read_table(folder / "c.tsv")
    return {
        (concept, label): rows["sentence_id"].tolist()
        for (concept, label), rows in table.groupby(["concept", "label"])
    }


def test_without_negative_files_the_other_concepts_are_negative(tmp_path):
    found = labels_of(tmp_path, concept_files(tmp_path))
    assert found["sea", 1][0] == "sea-00001"
    assert all(name.startswith("sun") for name in found["sea", 0])
    assert len(found["sun", 0]) == 6


def test_with_negative_files_only_these_are_negative(tmp_path):
    found = labels_of(tmp_path, concept_files(tmp_path, negative=True))
    assert found["sea", 0] == [f"sea-neg-{i:05d}" for i in range(1, 6)]
    assert all(name.startswith("sea-0") for name in found["sun", 0])


def test_too_few_sentences_are_listed(tmp_path):
    english = write(tmp_path / "en.txt", ["the dog"] + [f"line {i}" for i in range(20)])
    with pytest.raises(DataError, match="dog in en: 1 positive sentences, 5 needed"):
        check_concepts({"en": english}, english, {"dog": ["dog"]}, 5)
    even = write(tmp_path / "de.txt", ["x dog" if i % 2 else f"line {i}" for i in range(20)])
    even = write(tmp_path / "de.txt", [f"{line} {i}" for i, line in enumerate(even.read_text().splitlines())])
    with pytest.raises(DataError, match="dog in de: 10 and 0 positive sentences in the halves"):
        check_concepts({"de": even}, even, {"dog": ["dog"]}, 5)
    with pytest.raises(DataError, match="sea in en: 6 positive sentences, 7 needed"):
        check_concept_files({"en": concept_files(tmp_path)}, 7)


def test_words_for_hits(tmp_path):
    out = tmp_path / "words.json"
    given = dict(concepts=["house"], languages=["en", "ru"])
    write_concept_words("words", out, words={"house": {"en": ["House"]}}, **given)
    assert json.loads(out.read_text()) == {"house": {"en": ["house"]}}
    write_concept_words("grammar", out, words={}, **given)
    assert "дом" in json.loads(out.read_text())["house"]["ru"]


def test_grammar_sentences_and_labels(tmp_path):
    found = prepare("grammar", tmp_path / "s.tsv", concepts=["house", "dog"], per_concept=6)
    assert [name for name, _ in found][:2] == ["house-0000", "house-0001"]
    label_sentences("grammar", tmp_path / "s.tsv", tmp_path / "c.tsv", label_text=None, words={}, files=[])
    table = read_table(tmp_path / "c.tsv")
    assert table.groupby(["concept", "label"]).size().to_dict() == {
        ("dog", 0): 6, ("dog", 1): 6, ("house", 0): 6, ("house", 1): 6,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_data_sets_are_read_by_their_library(tmp_path, suffix):
    table = pd.DataFrame({"body": ["one  line", None, "two\nlines", " "] * 20})
    place = tmp_path / f"en{suffix}"
    table.to_parquet(place) if suffix == ".parquet" else table.to_json(place, orient="records", lines=True)
    settings = dict(name="", split="train", column="body", heldout=0.2, seed=1)
    prepare_dataset_corpus(str(place), tmp_path / "o.jsonl", **settings)
    texts = [json.loads(line)["text"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert texts == ["one line", "two lines"] * 20
    with pytest.raises(DataError, match=r"has no column 'text'; it has body"):
        prepare_dataset_corpus(str(place), tmp_path / "o.jsonl", **{**settings, "column": "text"})
    with pytest.raises(DataError, match="cannot be read as a data set"):
        prepare_dataset_corpus(str(tmp_path / "none.parquet"), tmp_path / "o.jsonl", **settings)


@pytest.mark.parametrize(
    "value",
    [{"en": "a house", "de": "ein Haus"}, ["a house", "a dog"], 12],
    ids=["pairs", "lists", "numbers"],
)
def test_a_column_of_other_things_than_text_is_refused(tmp_path, value):
    """Their spelling in Python became the documents."""
    place = tmp_path / "en.jsonl"
    place.write_text("".join(json.dumps({"text": value}) + "\n" for _ in range(9)))
    settings = dict(name="", split="train", column="text", heldout=0.1, seed=1)
    with pytest.raises(DataError, match=r"column 'text', row 1 is no text: .*\nhint: "):
        prepare_dataset_corpus(str(place), tmp_path / "o.jsonl", **settings)
