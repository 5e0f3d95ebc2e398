"""Clones: the same text, and not one subword in common with it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from babelscope.analysis.identification import identify_languages
from babelscope.analysis.texts import count_hits
from babelscope.errors import StudyError
from babelscope.study.loading import load_study
from babelscope.text.clones import letters_of, part_of, plain, readable, respell, without_clones
from babelscope.text.concepts import write_concept_words
from babelscope.text.corpora import make_documents_file, prepare_text_corpus, read_documents
from babelscope.text.grammar.generate import make_documents, make_sentences
from babelscope.text.kinship import compare_languages
from babelscope.text.sentences import prepare_sentences, read_sentences
from babelscope.text.tokenization import (
    BYTE_TOKENS,
    SPECIAL_TOKENS,
    open_windows,
    tokenize_corpus,
    train_tokenizer,
)
from text_study import TEXT_STUDY

ROOT = Path(__file__).resolve().parents[2]
CLONES = {"en2": ("en", 1), "zh2": ("zh", 2)}
LANGUAGES = ["en", "en2", "es", "zh", "zh2"]
SHARES = dict.fromkeys(LANGUAGES, 0.2)

#: Text of the first plane, without its own characters for private use.
texts = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs", "Co", "Cn")))


@given(texts, st.integers(1, 2))
def test_a_clone_can_be_undone_and_has_no_character_of_its_original(text, letters):
    cloned, composed = respell(text, letters), unicodedata.normalize("NFC", text)
    assert plain(cloned) == composed
    assert not set(cloned) & set(composed) - set(" \n\r\t▁")
    assert [c == " " for c in cloned] == [c == " " for c in composed]
    assert unicodedata.normalize("NFC", cloned) == cloned
    assert respell(text, 0) == text


@given(texts, texts, texts)
def test_what_is_of_a_clone_is_told_from_the_rest(a, b, c):
    mixed = a + respell(b, 1) + respell(c, 2)
    for letters, own in ((1, b), (2, c)):
        part = part_of(mixed, letters)
        assert len(part) == len(mixed)
        assert part.replace(" ", "") == "".join(
            x for x in unicodedata.normalize("NFC", own) if x not in " \n\r\t▁"
        )
    assert part_of(mixed, 0) == mixed
    assert not any(map(letters_of, without_clones(mixed)))
    assert len(without_clones(mixed)) == len(mixed)


def test_a_reader_sees_what_is_of_a_clone():
    mixed = f"La casa. {respell('The old house.', 1)} {respell('Hi', 2)}"
    assert readable(mixed) == "La casa. ⟦The old house.⟧ ⟦Hi⟧"
    assert readable("The house.") == "The house."


# ------------------------------------------------------------------------------------ text


def documents(lang, n=60, **changes):
    settings = dict(languages=LANGUAGES, weights=SHARES, code_switching=0.0, anchor_affinity=0.5, seed=4)
    return list(make_documents(lang, n, **{**settings, **changes}, clones=CLONES))


@pytest.mark.parametrize(("lang", "letters"), [("en2", 1), ("zh2", 2)])
def test_documents_of_a_clone_are_those_of_its_original(lang, letters):
    originals = documents(CLONES[lang][0])
    assert documents(lang) == [respell(text, letters) for text in originals]


def test_sentences_are_switched_to_a_clone_and_from_it():
    """Bridges between a language and its clone: each has sentences in the other's letters."""
    in_original = " ".join(documents("en", code_switching=0.4))
    in_clone = " ".join(documents("en2", code_switching=0.4))
    for text in (in_original, in_clone):
        letters = [letters_of(c) for c in text if (c.isascii() and c.isalpha()) or letters_of(c) == 1]
        assert 0.1 < sum(letters) / len(letters) < 0.9
    assert "The " in part_of(in_original, 1)
    assert "The " in without_clones(in_clone)


def test_sentences_and_files_of_a_clone(tmp_path):
    given = dict(text=None, files=[], concepts=["house"], per_concept=8, duplicates="error", seed=1)
    rows = {}
    for lang, letters in (("en", 0), ("en2", 1)):
        prepare_sentences("grammar", "en", tmp_path / lang, **given, letters=letters)
        rows[lang] = read_sentences(tmp_path / lang)
    assert rows["en2"] == [(name, respell(text, 1)) for name, text in rows["en"]]

    (tmp_path / "en.txt").write_text("The house.\n\nA café, 1984.\n", encoding="utf-8")
    prepare_text_corpus(tmp_path / "en.txt", tmp_path / "en.jsonl", heldout=0.1, seed=1)
    prepare_text_corpus(tmp_path / "en.txt", tmp_path / "en2.jsonl", heldout=0.1, seed=1, letters=1)
    originals = list(read_documents(tmp_path / "en.jsonl"))
    cloned = list(read_documents(tmp_path / "en2.jsonl"))
    assert cloned == [(respell(text, 1), split) for text, split in originals]


# ------------------------------------------------------------------------------- subwords


@pytest.fixture(scope="module", params=[0.0, 0.4], ids=["no bridges", "bridges"])
def tokenized(request, tmp_path_factory) -> tuple[Tokenizer, Path]:
    """A tokenizer that is too small for whole words, and the windows of the documents."""
    folder = tmp_path_factory.mktemp("clones")
    files = {lang: folder / f"{lang}.jsonl" for lang in LANGUAGES}
    for lang, file in files.items():
        make_documents_file(
            lang, file, documents=300, languages=LANGUAGES, weights=SHARES, code_switching=request.param,
            anchor_affinity=0.7, heldout=0.05, seed=3, clones=CLONES,
        )  # fmt: skip
    originals = {lang: file for lang, file in files.items() if lang not in CLONES}
    train_tokenizer(originals, folder, vocabulary_size=3200, seed=1, clones=CLONES)
    tokenize_corpus(files, folder, folder / "windows.h5", sequence_length=32)
    return Tokenizer.from_file(str(folder / "tokenizer.json")), folder / "windows.h5"


def cut(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize(("clone", "original", "letters"), [("en2", "en", 1), ("zh2", "zh", 2)])
def test_subwords_are_others_and_stand_where_they_stood(tokenized, clone, original, letters):
    """Every token of a clone is another one, but for lone spaces; texts are cut at the same places."""
    tokenizer, _ = tokenized
    sentences = [s.text for s in make_sentences(original, per_concept=20, seed=2)]
    pairs = set()
    for text in sentences:
        own, other = cut(tokenizer, text), cut(tokenizer, respell(text, letters))
        assert [respell(token, letters) for token in own.tokens] == other.tokens
        pairs |= set(zip(own.ids, other.ids, strict=True))
    space = tokenizer.token_to_id("▁")
    ids, others = ({pair[side] for pair in pairs} for side in (0, 1))
    assert ids & others <= {space}
    assert len(pairs) == len(ids) == len(others) > 100
    assert not (ids | others) & {tokenizer.token_to_id(token) for token in BYTE_TOKENS}


def test_pieces_fill_the_vocabulary_in_equal_parts(tokenized):
    tokenizer, _ = tokenized
    vocabulary = set(tokenizer.get_vocab()) - set(SPECIAL_TOKENS.values()) - set(BYTE_TOKENS)
    assert tokenizer.get_vocab_size() <= 3200
    parts = [{piece for piece in vocabulary - {"▁"} if max(map(letters_of, piece)) == n} for n in range(3)]
    assert sum(map(len, parts)) == len(vocabulary) - 1
    assert {respell(piece, 1) for piece in parts[0]} == parts[1]
    assert {respell(piece, 2) for piece in parts[0]} == parts[2]


@pytest.mark.parametrize("tokenized", [0.0], indirect=True)
def test_windows_of_a_clone_have_the_form_of_its_originals(tokenized):
    tokenizer, path = tokenized
    windows = open_windows(path)
    vocabulary = tokenizer.get_vocab()
    to_clone = {number: vocabulary.get(respell(piece, 1), number) for piece, number in vocabulary.items()}
    for split in ("train", "heldout"):
        own, other = (getattr(windows, split)[lang] for lang in ("en", "en2"))
        assert len(own)
        assert [[to_clone[i] for i in row] for row in own.tolist()] == other.tolist()


# ----------------------------------------------------------------------------- what is read of it


def test_a_clone_is_of_no_script_and_shares_no_word():
    houses = {"house": ["The house of music.", "The old house."], "music": ["La música."]}
    cloned = {name: [respell(text, 1) for text in own] for name, own in houses.items()}
    again = {name: [respell(text, 2) for text in own] for name, own in houses.items()}
    found = compare_languages({"en": houses, "en2": cloned, "en3": again})
    assert found[["script_a", "script_b"]].to_numpy().tolist() == [
        ["LATIN", "CLONE-1"], ["LATIN", "CLONE-2"], ["CLONE-1", "CLONE-2"],
    ]  # fmt: skip
    assert not found["same_script"].any()
    assert (found["shared_words"] == 0).all()


def test_texts_in_a_clone_are_known_by_their_letters():
    said = [
        "The house is old.",
        respell("The house is old.", 1),
        "La casa es muy vieja.",
        respell("1984, ?!", 1),
    ]
    said += [f"The {respell('old house', 1)}", respell("Hi", 1), ""]
    table = pd.DataFrame({"model": "m", "step": 1, "text": said})
    found = identify_languages(table, ["en", "en2", "es"], {"en2": ("en", 1)})
    assert found["language"].tolist() == ["en", "en2", "es", "und", "en2", "und", "und"]
    assert found["confidence"][1] == 1
    assert found["confidence"][4] == pytest.approx(8 / 11)


def test_one_language_beside_a_clone_needs_no_identifier():
    table = pd.DataFrame({"model": "m", "step": 1, "text": ["The house.", respell("The house.", 1)]})
    found = identify_languages(table, ["en", "en2"], {"en2": ("en", 1)})
    assert found["language"].tolist() == ["en", "en2"]


def test_words_of_a_clone_are_found_in_its_letters_alone(tmp_path):
    out = tmp_path / "words.json"
    given = dict(concepts=["house"], languages=LANGUAGES, clones=CLONES)
    write_concept_words("grammar", out, words={}, **given)
    words = json.loads(out.read_text())
    assert words["house"]["en2"] == words["house"]["en"]
    write_concept_words("words", out, words={"house": {"en": ["House"], "es": ["casa"]}}, **given)
    words = json.loads(out.read_text())
    assert words["house"] == {"en": ["house"], "es": ["casa"], "en2": ["house"]}

    said = [
        "The House is old.",
        respell("The House is old.", 1),
        f"{respell('A house', 1)}, una casa.",
        "Housed.",
    ]
    found = count_hits(said, words, LANGUAGES, CLONES)
    assert found[["row", "lang", "hits"]].to_numpy().tolist() == [
        [0, "en", 1.0], [1, "en2", 1.0], [2, "en2", 1.0], [2, "es", 1.0],
    ]  # fmt: skip
    chinese = {"house": {"zh": ["房子"], "zh2": ["房子"]}}
    found = count_hits([respell("旧房子站在河边。", 2)], chinese, LANGUAGES, CLONES)
    assert found["lang"].tolist() == ["zh2"]


# ------------------------------------------------------------------------------------ studies

CLONED = {"languages": ["en", "en2", "de"], "clones": {"en2": "en"}}


def study(tmp_path, **changes):
    (tmp_path / "words.yaml").write_text("house: [house]\nwater: [water]\n")
    return load_study({**yaml.safe_load(TEXT_STUDY), **CLONED, "data": str(tmp_path), **changes})


def test_a_clone_reads_the_files_of_its_original(tmp_path):
    found = study(tmp_path)
    assert found.corpus_path("web", "en2") == found.corpus_path("web", "en")
    assert found.sentence_files("en2") == found.sentence_files("en")
    assert [found.letters(lang) for lang in found.languages] == [0, 1, 0]
    assert found.clones_among(["de", "en2"]) == {"en2": ("en", 1)}
    assert found.clones_among(["de"]) == {}


def test_concept_files_of_a_clone_are_its_originals(tmp_path):
    for concept in ("house", "water"):
        for lang in ("en", "de"):
            (tmp_path / f"{concept}.{lang}.positive.txt").write_text("a\nb\n")
    concepts = {"source": "files", "path": "{data}/{concept}.{lang}.{label}.txt"}
    files = {"sentences": {"source": "concepts"}, "concepts": concepts}
    found = study(tmp_path, languages=["en2", "en", "de"], **files)
    assert found.concept_ids == ("house", "water")
    assert found.concept_files("en2") == found.concept_files("en") != found.concept_files("de")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clones": {"en2": "en", "en3": "en2"}}, r"`clones.en3`: got 'en2'; allowed: a language that is no"),
        ({"clones": {"a": "en", "b": "en", "c": "en"}}, "`clones`: got .*; allowed: 2 items or fewer"),
        ({"languages": ["en", "de"]}, r"`clones`: got 'en2'; allowed: languages of the study: en, de"),
        ({"languages": ["en2", "de"]}, r"`corpora.web.languages`: got .* allowed: en too"),
    ],
)
def test_what_a_clone_cannot_be(tmp_path, changes, message):
    with pytest.raises(StudyError, match=message):
        study(tmp_path, **changes)


def test_a_clone_of_a_language_that_the_grammar_lacks(tmp_path):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config |= {"clones": {"xx2": "xx"}, "languages": ["en", "xx2"]}
    with pytest.raises(StudyError, match="`languages`: got 'xx'"):
        load_study(config)
