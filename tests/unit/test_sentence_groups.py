"""Groups of sentences: halves keep them whole, and what does not fit is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.errors import DataError
from babelscope.io.tables import read_table
from babelscope.text.concepts import check_concepts, count_concepts, label_sentences, read_concept_files
from babelscope.text.lines import read_tsv
from babelscope.text.sentence_groups import Grouping, groups_by_sentence, halves_of_groups, read_groups
from babelscope.text.sentences import prepare_sentences
from score_files import make_units, score


def write(path: Path, lines) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2).filter(lambda names: len(set(names)) > 1))
def test_halves_are_as_even_as_the_largest_group_lets_them(groups):
    halves = halves_of_groups(groups, "f")
    sizes = Counter(halves[group] for group in groups)
    assert set(sizes) == {"a", "b"}
    assert abs(sizes["a"] - sizes["b"]) <= max(Counter(groups).values())
    assert halves == halves_of_groups(groups[::-1], "f")


def test_a_group_that_holds_everything_is_refused():
    with pytest.raises(DataError, match="all 3 sentences are of one group, 'news'") as raised:
        halves_of_groups(["news"] * 3, "documents.tsv")
    assert "two groups or more" in raised.value.hint


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["x", "y"], r"d.tsv: has 2 lines, en.txt has 3 sentences"),
        (["x", "y", "z", "z"], r"d.tsv: has 4 lines, en.txt has 3 sentences"),
        (["x", " ", "z"], r"line 2 is empty"),
        (["x", "y\t1", "z"], r"line 2 holds a tab"),
    ],
)
def test_files_of_groups_that_do_not_fit(tmp_path, lines, problem):
    with pytest.raises(DataError, match=problem):
        read_groups(write(tmp_path / "d.tsv", lines), 3, Path("en.txt"))


def test_a_missing_file_of_groups(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "none.tsv", 3, Path("en.txt"))


def prepared(folder, lang, lines, groups):
    """Tables of sentences and labels of parallel lines."""
    text = write(folder / f"{lang}.txt", lines)
    sentences, labels = folder / f"{lang}.s.tsv", folder / f"{lang}.c.tsv"
    prepare_sentences(
        "parallel", lang, sentences, text=text, files=[], concepts=[], per_concept=0,
        duplicates="keep_first", seed=0, groups=groups,
    )  # fmt: skip
    words = {"dog": ["dog"], "cat": ["cat"]}
    label_sentences("words", sentences, labels, label_text=folder / "en.txt", words=words, files=[])
    return sentences, labels


#: Documents of two or three lines, so that lines of one stand at even and odd places.
DOCUMENTS = [f"d{n}" for n, size in enumerate([3, 2, 3, 2, 3, 3]) for _ in range(size)]


def test_lines_of_a_document_are_in_one_half_in_every_language(tmp_path):
    groups = str(write(tmp_path / "d.tsv", DOCUMENTS))
    english = [f"{'dog' if n % 2 else 'cat'} {n // 2}" for n in range(16)]
    # A language that lacks lines, since it holds them twice, has the halves of the others.
    german = ["Hund"] * 4 + [f"Satz {n}" for n in range(12)]
    halves = {}
    for lang, lines in (("en", english), ("de", german)):
        sentences, labels = prepared(tmp_path, lang, lines, groups)
        rows = read_tsv(sentences)
        halves[lang] = {row["sentence_id"]: row["half"] for row in rows}
        by_document = {(row["group"], row["half"]) for row in rows}
        assert len(by_document) == len({group for group, _ in by_document})
        table = read_table(labels)
        assert dict(zip(table["sentence_id"], table["half"], strict=True)) == halves[lang]
    assert halves["de"].items() <= halves["en"].items()
    assert len(halves["de"]) == 13
    counts = count_concepts({"en": tmp_path / "en.c.tsv"}).set_index("concept")
    dogs = Counter(half for name, half in halves["en"].items() if int(name[1:]) % 2 == 0)
    assert counts.loc["dog", ["n_positive_a", "n_positive_b"]].tolist() == [dogs["a"], dogs["b"]]
    assert groups_by_sentence([tmp_path / "en.s.tsv"]) == {
        f"L{n:05d}": group for n, group in enumerate(DOCUMENTS, 1)
    }


def test_scores_are_of_the_halves_that_the_table_names(tmp_path):
    """What names a document scores perfectly on the half that holds it, and no better than chance without."""
    groups = str(write(tmp_path / "d.tsv", DOCUMENTS))
    sentences, labels = prepared(
        tmp_path, "en", [f"{'dog' if n % 2 else 'cat'} {n}" for n in range(16)], groups
    )
    half_of = {row["sentence_id"]: row["half"] for row in read_tsv(sentences)}
    ids, table = list(half_of), read_table(labels)
    is_dog = np.array([int(name[1:]) % 2 == 0 for name in ids])
    in_a = np.array([half_of[name] == "a" for name in ids])
    values_NU = np.zeros((16, 24), np.float32)
    values_NU[is_dog & in_a, 0] = 1
    values_NU[is_dog & ~in_a, 1] = 1
    found = score(tmp_path / "s.h5", table, make_units(tmp_path / "u.h5", values_NU, ids))
    dog = found.concepts.index("dog")
    a, b = (found.read(1, "mlp_act", f"ap_{half}")[dog, :2] for half in "ab")
    rates = [is_dog[in_a].mean(), is_dog[~in_a].mean()]
    np.testing.assert_allclose(a, [1, rates[0]], rtol=1e-6)
    np.testing.assert_allclose(b, [rates[1], 1], rtol=1e-6)


def test_concepts_with_all_their_sentences_in_one_document(tmp_path):
    lines = ["dog 1", "dog 2", "dog 3", "dog 4", "cat 1", "cat 2", "cat 3", "cat 4"]
    english = write(tmp_path / "en.txt", lines)
    given = ({"en": english}, english, {"dog": ["dog"]}, 4)
    check_concepts(*given)
    groups = write(tmp_path / "d.tsv", ["dogs"] * 4 + ["cats"] * 4)
    with pytest.raises(DataError, match="dog in en: 0 and 4 positive sentences in the halves") as raised:
        check_concepts(*given, groups=groups)
    assert "sentences.groups" in raised.value.hint


def test_groups_of_concept_files(tmp_path):
    files = []
    for concept, lines in {"sea": ["s1", "s2", "both", "s4"], "sun": ["both", "u2", "u3", "u4"]}.items():
        path = write(tmp_path / f"{concept}.positive.txt", lines)
        write(tmp_path / f"{concept}.positive.groups", [f"{concept}{n // 2}" for n in range(4)])
        files.append((concept, "positive", str(path)))
    template = str(tmp_path / "{concept}.{label}.groups")
    found = read_concept_files(files, duplicates="error", groups=template).grouping
    # A sentence that stands twice is of the group of its first place.
    assert found.group_of["sea-00003"] == "sea1"
    assert found.group_of == {
        "sea-00001": "sea0", "sea-00002": "sea0", "sea-00003": "sea1", "sea-00004": "sea1",
        "sun-00002": "sun0", "sun-00003": "sun1", "sun-00004": "sun1",
    }  # fmt: skip
    assert [found.half_of(f"sun-{n:05d}") for n in (2, 3, 4)] == ["a", "b", "b"]
    write(tmp_path / "sun.positive.groups", ["sun0"])
    with pytest.raises(DataError, match=r"sun.positive.groups: has 1 lines, .*sun.positive.txt has 4"):
        read_concept_files(files, duplicates="error", groups=template)


@given(st.integers(0, 10**5))
def test_without_groups_the_halves_are_as_they_were(number):
    assert Grouping().half_of(f"L{number:05d}") == "ab"[number % 2]
