"""Sentences split by their words share none, whatever the words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.text.concepts import label_sentences
from babelscope.text.grammar.lexicon import load_lexicon
from babelscope.text.lines import read_tsv
from babelscope.text.sentences import prepare_sentences
from babelscope.text.word_groups import split_by_words, word_families

WORDS = st.lists(st.frozensets(st.sampled_from("abcdefghijklmnop"), max_size=3), max_size=40)


@given(words=WORDS, least=st.integers(1, 4))
def test_no_word_is_in_both_groups(words, least):
    groups = split_by_words(words, least=least)
    assert len(groups) == len(words)
    sides = [
        {word for each, at in zip(words, groups, strict=True) if at == side for word in each}
        for side in (1, 2)
    ]
    assert not sides[0] & sides[1]
    sizes = [groups.count(side) for side in (1, 2)]
    assert min(sizes) >= least or sizes == [0, 0]
    assert not any(at for each, at in zip(words, groups, strict=True) if not each)


def test_the_most_even_split_is_found():
    words = [frozenset(each) for each in ["a"] * 6 + ["b"] * 3 + ["c"] * 3 + ["ab"]]
    groups = split_by_words(words, least=2)
    assert (groups.count(1), groups.count(2)) == (6, 6)
    assert groups[-1] == 0  # it has a word of each
    assert split_by_words([frozenset("a")] * 9, least=2) == [0] * 9  # one word cannot be split


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (["dogs", "dog"], {"dog": "dog", "dogs": "dog"}),
        (["city", "cities"], {"city": "city", "cities": "city"}),
        (["die", "dice", "king"], {"die": "die", "dice": "dice", "king": "king"}),
    ],
)
def test_forms_of_one_word_are_one(forms, expected):
    assert word_families(forms) == expected


def test_the_grammar_says_which_nouns_a_sentence_holds(tmp_path):
    labels = {}
    for lang in ("en", "zh"):
        sentences, out = tmp_path / f"{lang}.tsv", tmp_path / f"{lang}.c.tsv"
        prepare_sentences(
            "grammar", lang, sentences, text=None, files=[], concepts=["dog", "car"], per_concept=40,
            duplicates="error", seed=1,
        )  # fmt: skip
        label_sentences("grammar", sentences, out, label_text=None, words={}, files=[])
        labels[lang] = read_tsv(out)
        lexicon, texts = load_lexicon(lang), {row["sentence_id"]: row["text"] for row in read_tsv(sentences)}
        for row in labels[lang]:
            nouns = [int(noun[1:]) for noun in row["words"].split()]
            assert bool(nouns) == (row["label"] == "1")
            for noun in nouns:
                bare = lexicon.nouns[row["concept"]][noun].bare
                assert bare.lower()[1:] in texts[row["sentence_id"]].lower()
    groups = [
        [(row["concept"], row["sentence_id"], row["word_group"]) for row in of] for of in labels.values()
    ]
    assert groups[0] == groups[1]  # the same words everywhere
    for concept in ("dog", "car"):
        counts = np.bincount([int(row["word_group"]) for row in labels["en"] if row["concept"] == concept])
        assert counts[1:].min() >= 8


def test_words_of_lists_are_those_of_the_labelled_line(tmp_path):
    lines = ["a dog runs", "the dogs ran", "a puppy", "puppies", "no animal", "dog and puppy"]
    (tmp_path / "en.txt").write_text("\n".join(lines) + "\n")
    prepare_sentences(
        "parallel", "en", tmp_path / "s.tsv", text=tmp_path / "en.txt", files=[], concepts=[], per_concept=0,
        duplicates="error", seed=0,
    )  # fmt: skip
    words = {"dog": ["dog", "dogs", "puppy", "puppies"]}
    label_sentences(
        "words", tmp_path / "s.tsv", tmp_path / "c.tsv", label_text=tmp_path / "en.txt", words=words, files=[]
    )
    rows = read_tsv(tmp_path / "c.tsv")
    assert [row["words"] for row in rows] == ["dog", "dog", "puppy", "puppy", "", "dog puppy"]
    assert [row["word_group"] for row in rows] == ["1", "1", "2", "2", "0", "0"]
