"""Whether a sentence holds a word is one question, for concepts and for generated text, in every script."""

import os
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from babelscope.analysis.texts import count_hits
from babelscope.text.concepts import match_words
from babelscope.text.lines import iter_lines
from babelscope.text.words import WordFinder, fold

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BABELSCOPE_DATA", ROOT.parent / "shared" / "data")) / "ntrex"
CASES = yaml.safe_load((ROOT / "tests/cases/words.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['lang']}-{case['word']}")
def test_words_are_found_in_every_script(case, form):
    lang, word = case["lang"], unicodedata.normalize(form, case["word"])
    texts = [*case["in"], *case["not_in"]]
    expected = set(range(len(case["in"])))
    for spelling in ("NFC", "NFD"):
        spelt = [unicodedata.normalize(spelling, text) for text in texts]
        assert set(match_words(spelt, {"it": [word]}, lang)["it"]) == expected
        assert set(count_hits(spelt, {"it": {lang: [word]}}, [lang])["row"]) == expected


def test_words_of_one_concept_do_not_hide_those_of_another():
    finder = WordFinder({"court": ["court house"], "house": ["house", "house boat"]})
    found = [(each.concept, each.form) for each in finder.find("A Court house. A house boat.")]
    assert found == [("court", "court house"), ("house", "house"), ("house", "house boat")]


@given(st.text(), st.sampled_from(["", "tr", "zh"]))
def test_a_folded_text_is_folded(text, lang):
    once = fold(text, lang)
    assert fold(unicodedata.normalize("NFD", text), lang) == once
    if lang != "tr":
        assert fold(once, lang) == once


def test_every_character_is_folded_once_and_for_all():
    for lang in ("", "tr"):
        for code in (*range(0xD800), *range(0xE000, 0x30000)):
            text = f"a{chr(code)}b"
            once = fold(text, lang)
            assert fold(unicodedata.normalize("NFD", text), lang) == once, f"{code:x}"
            if not lang:
                assert fold(once) == once, f"{code:x}"


LANGUAGES = "ar bn ca en es eu fr hi id pt sw ta te ur vi zh".split()


@pytest.mark.skipif(
    not DATA.is_dir(), reason=f"needs NTREX-128 in {DATA} (or set BABELSCOPE_DATA), see config/README.md"
)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_of_real_text_is_found_where_it_stands_however_it_is_typed(lang):
    lines = list(iter_lines(DATA / f"{lang}.txt"))[::100]
    edges = (
        "".join(chr(c) for c in range(0x3000) if unicodedata.category(chr(c))[0] in "PSZ") + "​，。！？：；"
    )
    if lang == "zh":  # any two characters
        pairs = {line[at : at + 2] for line in lines for at in range(5)}
        holds = {pair for pair in pairs if all("一" <= c <= "鿿" for c in pair)}
    else:
        holds = {word.strip(edges) for line in lines for word in line.split()} - {""}
    found = {}
    for form in ("NFC", "NFD"):
        typed = [unicodedata.normalize(form, line) for line in lines]
        found[form] = match_words(typed, {word: [word] for word in holds}, lang)
        assert all(found[form].values())
    assert found["NFC"] == found["NFD"]
    assert len(holds) > 50
