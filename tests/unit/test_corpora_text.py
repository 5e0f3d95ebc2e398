"""Text as it is found in the wild, the grammar's text, and the real text of `real-text.yaml`."""

import json
import logging
import os
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from babelscope.errors import DataError
from babelscope.io.files import written_whole
from babelscope.text.concepts import count_concepts, label_sentences, match_words, write_concept_words
from babelscope.text.corpora import make_documents_file, prepare_text_corpus
from babelscope.text.lines import check_lines, check_parallel, check_training_text, half_of, iter_lines
from babelscope.text.packed import _OPENERS as UNPACKED
from babelscope.text.plain import _PACKED
from babelscope.text.sentences import prepare_sentences, read_sentences

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BABELSCOPE_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "ntrex").is_dir(),
    reason=f"needs NTREX-128 in {DATA}/ntrex (or set BABELSCOPE_DATA), see config/README.md",
)


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def table(path):
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def labels(path):
    """concept -> id -> label."""
    found = {}
    for row in table(path):
        found.setdefault(row["concept"], {})[row["sentence_id"]] = int(row["label"])
    return found


# ------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("name", "half"),
    [("house-0016", "a"), ("house-0017", "b"), ("L00042", "a"), ("a2-neg-00003", "b")],
)
def test_halves(name, half):
    assert half_of(name) == half


def test_an_id_without_a_number():
    with pytest.raises(ValueError, match="ends with a number; got 'house'"):
        half_of("house")


@given(st.text(alphabet=st.sampled_from("ab \r\n\t\u2028\x85\x0bü"), max_size=40))
def test_lines_are_those_of_a_text_file(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("lines") / "text.txt"
    path.write_bytes(text.encode("utf-8"))
    at = next((at for at, line in enumerate(text.split("\n"), 1) if "\r" in line.removesuffix("\r")), None)
    if at is None and not text.endswith("\r"):
        with path.open(encoding="utf-8") as file:
            assert list(iter_lines(path)) == [line.removesuffix("\n") for line in file]
    elif at is not None:
        with pytest.raises(DataError, match=f"line {at} holds a carriage return"):
            list(iter_lines(path))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a house\n" * 300 + "a d\0g\n", "line 301 holds NUL"),
        ("a house\na\rdog\n", "line 2 holds a carriage return"),
        ("a house\ra dog\r", "line 1 holds a carriage return"),
        ("a house\r\na dog\r\r\n", "line 2 holds a carriage return"),
    ],
)
def test_what_stands_in_no_text_is_found_in_any_line(tmp_path, content, problem):
    path = tmp_path / "en.txt"
    path.write_bytes(content.encode())
    checks = [
        lambda: check_training_text(path, "en"),
        lambda: check_lines(path, duplicates="keep_first"),
        lambda: check_parallel({"en": path}),
    ]
    for check in checks:
        with pytest.raises(DataError, match=f"{problem}.*\nhint: "):
            check()


@pytest.mark.parametrize(
    "line", ["\u200b", "\u2060\u00ad", "\ufeff\ufeff", "\u3164", "\x01", "\u200e \u200f"]
)
def test_a_line_of_what_is_not_seen_is_no_sentence(tmp_path, line):
    path = tmp_path / "en.txt"
    path.write_text(f"a house\n{line}\na dog\n")
    with pytest.raises(DataError, match="line 2 holds nothing that can be seen"):
        check_lines(path)
    path.write_text(line)
    with pytest.raises(DataError, match="language en has no text"):
        check_training_text(path, "en")


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "bom.txt"
    path.write_bytes("\ufeffa\nb".encode())
    assert list(iter_lines(path)) == ["a", "b"]


@given(st.binary(max_size=30))
def test_the_offset_of_a_wrong_byte(tmp_path_factory, content):
    assume(b"\0" not in content and not content.startswith((*_PACKED, *UNPACKED)))
    assume(b"\r" not in content.replace(b"\r\n", b""))  # a carriage return within a line is another error
    path = tmp_path_factory.mktemp("bytes") / "text.txt"
    path.write_bytes(content)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        start = error.start
        # A character that a line end cuts off is wrong where it begins, in both.
        with pytest.raises(DataError, match=rf"byte 0x{content[start]:02x} at offset {start}"):
            list(iter_lines(path))
    else:
        list(iter_lines(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        list(iter_lines(tmp_path / "nothing.txt"))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["a", "", "b"], "line 2 is empty"),
        (["a", "b", "a"], "line 3 repeats line 1: 'a'"),
        (["a", "b\tc"], "line 2 holds a tab"),
        ([], "has no sentence"),
    ],
)
def test_sentences_that_cannot_be_used(tmp_path, lines, problem):
    with pytest.raises(DataError) as caught:
        check_lines(write_lines(tmp_path / "s.txt", lines))
    assert problem in caught.value.problem


# ------------------------------------------------------------------------ text to pre-train on


def documents(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_documents(tmp_path, caplog):
    source = write_lines(tmp_path / "in.txt", ["a", "", " b ", "a", "\u2028c"] + ["d"] * 400)
    with caplog.at_level(logging.INFO):
        prepare_text_corpus(source, tmp_path / "out.jsonl", heldout=0.1, seed=3)
    found = documents(tmp_path / "out.jsonl")
    assert [document["text"] for document in found][:4] == ["a", "b", "a", "c"]
    shares = Counter(document["split"] for document in found)
    assert sum(shares.values()) == 404
    assert 20 <= shares["heldout"] <= 60
    assert "1 empty lines left out" in caplog.text
    assert f"{shares['heldout']} held out" in caplog.text


def test_appended_text_keeps_the_split(tmp_path):
    splits = []
    for n in (200, 300):
        source = write_lines(tmp_path / "in.txt", [f"text {i}" for i in range(n)])
        prepare_text_corpus(source, tmp_path / "out.jsonl", heldout=0.2, seed=1)
        splits.append([document["split"] for document in documents(tmp_path / "out.jsonl")])
    assert splits[1][:200] == splits[0]


@pytest.mark.parametrize("lines", [[], ["", " "], ["one document"]])
def test_too_little_text_leaves_no_file(tmp_path, lines):
    source = write_lines(tmp_path / "in.txt", lines)
    with pytest.raises(DataError, match="has no text"):
        prepare_text_corpus(source, tmp_path / "out.jsonl", heldout=0.01, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt"]


def make(tmp_path, lang="de", **changes):
    settings = {"code_switching": 0.1, "anchor_affinity": 0.5, "heldout": 0.05, "seed": 2}
    out = tmp_path / "made.jsonl"
    make_documents_file(
        lang, out, documents=100, languages=["de", "en"], weights={"de": 0.5, "en": 0.5},
        **(settings | changes),
    )  # fmt: skip
    return out.read_bytes()


def test_documents_of_the_grammar(tmp_path):
    first = make(tmp_path)
    found = documents(tmp_path / "made.jsonl")
    assert len(found) == 100
    assert {document["split"] for document in found} == {"train", "heldout"}
    assert all(document["text"].strip() for document in found)
    assert make(tmp_path) == first
    assert make(tmp_path, seed=3) != first


# ------------------------------------------------------------------------------------ sentences


def prepare(out, source, lang="en", *, text=None, files=(), concepts=(), duplicates="error"):
    prepare_sentences(
        source, lang, out, text=text, files=files, concepts=concepts, per_concept=6,
        duplicates=duplicates, seed=5,
    )  # fmt: skip
    return out


def label(out, source, sentences, *, label_text=None, words=None, files=()):
    label_sentences(source, sentences, out, label_text=label_text, words=words or {}, files=files)
    return labels(out)


def test_parallel_sentences(tmp_path):
    text = write_lines(tmp_path / "de.txt", ["eins ", "zwei", "eins", "drei"])
    with pytest.raises(DataError, match="line 3 repeats line 1"):
        prepare(tmp_path / "s.tsv", "parallel", text=text)
    out = prepare(tmp_path / "s.tsv", "parallel", text=text, duplicates="keep_first")
    assert [tuple(row.values()) for row in table(out)] == [
        ("L00001", "b", "eins", "", ""),
        ("L00002", "a", "zwei", "", ""),
        ("L00004", "a", "drei", "", ""),
    ]
    assert read_sentences(out)[1] == ("L00002", "zwei")


def test_odd_characters_survive(tmp_path):
    lines = ['say "no"', "a\u2028b", "it's '' NA", "null", "x\x85y"]
    out = prepare(
        tmp_path / "s.tsv", "parallel", text=write_lines(tmp_path / "en.txt", lines)
    )  # fmt: skip
    assert [text for _, text in read_sentences(out)] == lines


def test_words_are_whole_and_of_either_case():
    lines = ["The WAR is over.", "A warm day", "no war-time", "post‑war", "wars", "Was it (war)?"]
    found = match_words(lines, {"war": ["war"], "none": ["x"]})
    assert found == {"war": dict.fromkeys([0, 2, 3, 5], frozenset({"war"})), "none": {}}
    assert match_words(["a.b", "axb"], {"dot": ["a.b"]}) == {"dot": {0: {"a.b"}}}
    assert match_words(["Мой ДОМ", "домик"], {"house": ["дом"]}) == {"house": {0: {"дом"}}}


def test_a_line_is_positive_in_all_its_translations(tmp_path):
    english = write_lines(tmp_path / "en.txt", ["a dog", "a house", "a dog", "two houses"])
    german = write_lines(tmp_path / "de.txt", ["Hund", "Haus", "Hund", "zwei"])
    sentences = prepare(tmp_path / "s.tsv", "parallel", text=german, duplicates="keep_first")
    words = {"dog": ["dog"], "house": ["house", "houses"]}
    found = label(tmp_path / "c.tsv", "words", sentences, label_text=english, words=words)
    assert found == {
        "dog": {"L00001": 1, "L00002": 0, "L00004": 0},
        "house": {"L00001": 0, "L00002": 1, "L00004": 1},
    }


def test_sentences_of_the_grammar_mean_the_same_in_every_language(tmp_path):
    concepts = ["water", "house", "school"]
    found = {}
    for lang in ("en", "zh"):
        out = prepare(tmp_path / f"{lang}.tsv", "grammar", lang, concepts=concepts)
        found[lang] = label(tmp_path / "c.tsv", "grammar", out)
        assert all(half_of(row["sentence_id"]) == row["half"] for row in table(out))
    assert found["en"] == found["zh"]
    assert set(found["en"]) == set(concepts)
    for concept, by_id in found["en"].items():
        assert len(by_id) == 18
        positive = [name for name, value in by_id.items() if value]
        assert len(positive) == 6
        assert all(name.startswith(f"{concept}-") for name in positive)
        assert Counter(map(half_of, positive)) == {"a": 3, "b": 3}


def concept_files(tmp_path, **lines):
    """Files of one language; ``water_negative=[...]``."""
    files = []
    for name, own in lines.items():
        concept, _, kind = name.partition("_")
        path = write_lines(tmp_path / f"{name}.txt", own)
        files.append((concept, kind, str(path)))
    return files


def test_concept_files(tmp_path):
    files = concept_files(
        tmp_path, sun_positive=["s1", "s2"], water_positive=["w1", "w2"],
        water_negative=["n1", "n2"], house_positive=["h1"],
    )  # fmt: skip
    sentences = prepare(tmp_path / "s.tsv", "concepts", files=files)
    assert dict(read_sentences(sentences)) == {
        "sun-00001": "s1", "sun-00002": "s2", "water-00001": "w1", "water-00002": "w2",
        "water-neg-00001": "n1", "water-neg-00002": "n2", "house-00001": "h1",
    }  # fmt: skip
    found = label(tmp_path / "c.tsv", "files", sentences, files=files)
    assert list(found) == ["sun", "water", "house"]
    # Its own negatives alone where it has some; else the positives of all others.
    assert found["water"] == {
        "water-00001": 1, "water-00002": 1, "water-neg-00001": 0, "water-neg-00002": 0,
    }  # fmt: skip
    assert found["house"] == {
        "house-00001": 1, "sun-00001": 0, "sun-00002": 0, "water-00001": 0, "water-00002": 0,
    }  # fmt: skip


def test_a_sentence_in_two_concept_files_is_kept_once(tmp_path):
    files = concept_files(tmp_path, sun_positive=["s1", "both"], water_positive=["both"])
    out = prepare(tmp_path / "s.tsv", "concepts", files=files)
    assert read_sentences(out) == [("sun-00001", "s1"), ("sun-00002", "both")]
    found = label(tmp_path / "c.tsv", "files", out, files=files)
    assert found == {"sun": {"sun-00001": 1, "sun-00002": 1}, "water": {"sun-00001": 0, "sun-00002": 1}}


def test_a_sentence_twice_in_one_concept_file(tmp_path):
    files = concept_files(tmp_path, sun_positive=["s1", "s1", "s2"], water_positive=["w1"])
    with pytest.raises(DataError, match="line 2 repeats line 1") as caught:
        prepare(tmp_path / "s.tsv", "concepts", files=files)
    assert "keep_first" in caught.value.hint
    out = prepare(tmp_path / "s.tsv", "concepts", files=files, duplicates="keep_first")
    assert [name for name, _ in read_sentences(out)] == ["sun-00001", "sun-00003", "water-00001"]


def test_concepts_are_counted(tmp_path):
    files = concept_files(tmp_path, sun_positive=["1", "2", "3"], water_positive=["4", "5"])
    sentences = prepare(tmp_path / "s.tsv", "concepts", files=files)
    label(tmp_path / "c.tsv", "files", sentences, files=files)
    counts = count_concepts({"en": tmp_path / "c.tsv"})
    assert counts.to_dict("records")[0] == {
        "lang": "en", "concept": "sun", "n_positive": 3, "n_negative": 2,
        "n_positive_a": 1, "n_positive_b": 2,
    }  # fmt: skip


def interrupted_while_writing(path):
    with written_whole(path) as unfinished:
        unfinished.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    out = tmp_path / "s.tsv"
    out.write_text("as it was", encoding="utf-8")
    text = write_lines(tmp_path / "en.txt", ["a", ""])
    with pytest.raises(DataError):
        prepare(out, "parallel", text=text)
    assert out.read_text(encoding="utf-8") == "as it was"
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_writing(out)
    assert out.read_text(encoding="utf-8") == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["en.txt", "s.tsv"]


# ---------------------------------------------------------------------------------------- words


def concept_words(tmp_path, source, **changes):
    given = {"words": {}, "concepts": ["house"], "languages": ["en", "de"]}
    write_concept_words(source, tmp_path / "w.json", **(given | changes))
    return json.loads((tmp_path / "w.json").read_text(encoding="utf-8"))


def test_words_of_the_grammar(tmp_path):
    found = concept_words(tmp_path, "grammar")
    assert set(found) == {"house"}
    assert set(found["house"]) == {"en", "de"}
    assert all(words for words in found["house"].values())


def test_words_of_the_lists(tmp_path):
    words = {"house": {"en": ["House", "houses"], "de": ["Haus"]}}
    found = concept_words(tmp_path, "words", words=words)
    assert found == {"house": {"en": ["house", "houses"], "de": ["haus"]}}


def test_no_words_of_concept_files(tmp_path):
    assert concept_words(tmp_path, "files") == {"house": {}}


# ------------------------------------------------------------------------------------- real text


@needs_data
def test_the_study_of_real_text_can_be_planned(monkeypatch):
    from babelscope.study.checks import check_text
    from babelscope.study.loading import load_study

    monkeypatch.chdir(ROOT)
    config = yaml.safe_load((ROOT / "config/studies/real-text.yaml").read_text(encoding="utf-8"))
    check_text(load_study(config | {"data": str(DATA)}))


@needs_data
def test_translations_have_the_labels_of_their_line(tmp_path):
    lists = yaml.safe_load((ROOT / "config/concepts/ntrex-en.yaml").read_text(encoding="utf-8"))
    english = DATA / "ntrex" / "en.txt"
    found = {}
    for lang in ("en", "ta", "zh"):
        text = DATA / "ntrex" / f"{lang}.txt"
        out = prepare(
            tmp_path / "s.tsv", "parallel", lang, text=text, duplicates="keep_first"
        )  # fmt: skip
        found[lang] = label(tmp_path / "c.tsv", "words", out, label_text=english, words=lists)
    for by_concept in found.values():
        for concept, by_id in by_concept.items():
            assert all(found["en"][concept].get(name, value) == value for name, value in by_id.items())
