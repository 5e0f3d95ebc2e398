"""The grammar: parallel, held out, bridged only where it is asked for, and correct where it can be checked."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelscope.text.grammar.generate import (
    FRAMES,
    PREFIXES,
    concept_words,
    make_documents,
    make_sentences,
)
from babelscope.text.grammar.lexicon import CONCEPTS, LANGUAGES, NUMBERS, ORGANISATIONS, load_lexicon

WEIGHTS = dict.fromkeys(LANGUAGES, 1 / len(LANGUAGES))
SCRIPTS = {"ru": r"[а-яё]", "zh": r"[一-鿿]", "hi": r"[ऀ-ॿ]", "en": r"[a-z]", "es": r"[a-z]",
           "fr": r"[a-z]", "de": r"[a-z]", "tr": r"[a-z]"}  # fmt: skip
ENDS = {"zh": "。？", "hi": "।?"}


def documents(lang, n, *, switching=0.0, affinity=0.0, seed=1, languages=LANGUAGES):
    return list(
        make_documents(
            lang, n, languages=languages, weights=WEIGHTS, code_switching=switching,
            anchor_affinity=affinity, seed=seed,
        )
    )  # fmt: skip


def without_names(text):
    return re.sub("|".join(ORGANISATIONS), " ", text)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_lexicons_are_aligned(lang):
    lexicon, english = load_lexicon(lang), load_lexicon("en")
    assert set(lexicon.frames) == set(FRAMES)
    assert set(lexicon.prefixes) == set(PREFIXES)
    assert len(lexicon.distractors) == len(english.distractors)
    assert len(lexicon.weekdays) == 7
    assert len(lexicon.adjectives) == len(english.adjectives)
    for concept in CONCEPTS:
        assert len(set(lexicon.nouns[concept])) == 4
        assert len(lexicon.verbs[concept]) == 3
        for verb in lexicon.verbs[concept]:
            assert set(verb) == {noun.gender for noun in lexicon.nouns[concept]} | set(verb)


def test_sixteen_concepts_with_names_of_their_own():
    assert len(CONCEPTS) == len(set(CONCEPTS)) == len(NUMBERS) == 16
    assert len(set(ORGANISATIONS)) == len(ORGANISATIONS) > len(CONCEPTS)


def test_sentences_are_parallel_and_distinct():
    sets = {lang: make_sentences(lang, per_concept=40, seed=5) for lang in LANGUAGES}
    ids = [s.sentence_id for s in sets["en"]]
    assert len(ids) == 40 * len(CONCEPTS)
    for sentences in sets.values():
        assert [s.sentence_id for s in sentences] == ids
        assert [s.frame for s in sentences] == [s.frame for s in sets["en"]]
        assert len({s.text for s in sentences}) == len(ids)
    for i, sentence in enumerate(sets["en"]):  # the same names and numbers in every language
        anchors = re.findall(r"\d{4}", sentence.text)
        assert all(re.findall(r"\d{4}", sets[lang][i].text) == anchors for lang in LANGUAGES)


def test_names_never_tell_the_concept_of_analysed_sentences():
    sentences = make_sentences("en", per_concept=100, seed=2)
    own = sum(ORGANISATIONS[CONCEPTS.index(s.concept)] in s.text for s in sentences)
    named = sum(any(name in s.text for name in ORGANISATIONS) for s in sentences)
    assert own / named < 0.12  # 1 of 24 by chance


def test_analysed_meanings_are_new_to_a_model():
    def core(text):
        text = re.sub(r"^(\w+(, report \d+)?|Photo \d+|One thing is certain): ", "", text)
        return text[0].upper() + text[1:]

    held_out = {core(s.text) for s in make_sentences("en", per_concept=100, seed=1)}
    written = {core(text) for document in documents("en", 6000) for text in re.split(r"(?<=[.?]) ", document)}
    assert len(held_out) > 300
    assert len(written) > 1000
    assert not held_out & written


@given(seed=st.integers(0, 1000), lang=st.sampled_from(LANGUAGES))
@settings(max_examples=20, deadline=None)
def test_documents_are_reproducible_and_independent_of_their_number(seed, lang):
    few = documents(lang, 3, switching=0.2, affinity=0.5, seed=seed)
    assert documents(lang, 6, switching=0.2, affinity=0.5, seed=seed)[:3] == few


@pytest.mark.parametrize("lang", LANGUAGES)
def test_without_bridges_a_document_is_in_one_language(lang):
    text = without_names(" ".join(documents(lang, 300))).lower()
    foreign = {other for other in ("ru", "zh", "hi") if other != lang and re.search(SCRIPTS[other], text)}
    assert not foreign
    if lang in ("ru", "zh", "hi"):
        assert not re.search("[a-z]", text)
    assert documents(lang, 5, languages=(lang,)) == documents(lang, 5)


def test_bridges_are_as_frequent_as_asked():
    switched = sum(bool(re.search("[а-яёऀ-ॿ一-鿿]", text)) for text in documents("en", 2000, switching=0.3))
    expected = 1 - (1 - 0.3 * 3 / 7) ** 4
    assert switched / 2000 == pytest.approx(expected, abs=0.04)
    for affinity in (0.0, 0.7):
        own = named = 0
        for text in documents("en", 3000, affinity=affinity):
            for concept, number in zip(CONCEPTS, NUMBERS, strict=True):
                words = set(re.findall(r"\w+", text.lower()))
                if words & set(concept_words("en")[concept]):
                    own += number in text
            named += bool(re.search(r"\d{4}", text))
        assert (own / named > 0.4) == (affinity > 0)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_sentences_are_well_formed(lang):
    for sentence in make_sentences(lang, per_concept=100, seed=3):
        text = sentence.text
        assert text[-1] in ENDS.get(lang, ".?"), text
        assert "  " not in text, text
        assert "{" not in text, text
        assert "/" not in text, text
        assert "|" not in text, text
        first = next(c for c in text if c.isalpha())
        assert not (first.islower() and first.upper() != first), text
    joined = " ".join(s.text for s in make_sentences(lang, per_concept=100, seed=3))
    assert re.search(SCRIPTS[lang], joined.lower())


def test_french_elides_and_turkish_capitals_are_turkish():
    french = " ".join(s.text for s in make_sentences("fr", per_concept=100, seed=4)).lower()
    assert not re.search(r"\b(le|la|de|du|que|ne|je|se) [aeiouéèêh](?!ot|aut|éros)\w*(?<!yacht)", french)
    turkish = " ".join(s.text for s in make_sentences("tr", per_concept=100, seed=4))
    assert not re.search(r"(?:^|[.?] )I(?=şte)", turkish)


def test_halves_of_the_analysis_say_different_things():
    def statement(text):
        text = re.sub(r"^(\w+(, report \d+)?|Photo \d+|One thing is certain): ", "", text)
        return text[0].upper() + text[1:]

    for concept in CONCEPTS:
        sentences = make_sentences("en", per_concept=40, seed=1, concepts=[concept])
        even = {statement(s.text) for s in sentences[::2]}
        odd = {statement(s.text) for s in sentences[1::2]}
        assert not even & odd, concept
        assert len(even | odd) >= 24, concept


def test_concept_words_belong_to_one_concept():
    owner = {}
    for lang in LANGUAGES:
        for concept, words in concept_words(lang).items():
            assert len(words) >= 3, (lang, concept, words)
            for word in words:
                assert owner.setdefault(word, concept) == concept, (word, lang)
    assert {"ev", "çatı"} <= set(concept_words("tr")["house"])
    assert "дом" in concept_words("ru")["house"]


def test_errors_say_what_there_is():
    with pytest.raises(ValueError, match="has no language 'xx'; it has en, es"):
        make_sentences("xx", per_concept=4, seed=0)
    with pytest.raises(ValueError, match=r"house has \d+ held-out meanings; got per_concept 5000"):
        make_sentences("en", per_concept=5000, seed=0, concepts=["house"])
