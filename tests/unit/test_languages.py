"""One notion of language, whatever codes a study writes."""

from pathlib import Path

import pytest
import yaml
from lingua import Language

from babelscope.errors import DataError, StudyError
from babelscope.study.yaml import _forms
from babelscope.text.languages import (
    IDENTIFIED,
    as_written,
    by_identified,
    check_distinct_languages,
    check_language,
    english_among,
    identified_as,
    language_of,
    told_apart,
)

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/languages.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("language", "code"), [(language, code) for language, codes in CASES.items() for code in codes]
)
def test_codes_mean_a_language(language, code):
    assert language_of(code) == language
    check_language("languages", code)


def test_the_identifier_knows_what_we_say():
    known = {language_of(each.iso_code_639_3.name.lower()): each.name.title() for each in Language.all()}
    assert known == IDENTIFIED
    assert all(language_of(code) == code for code in IDENTIFIED)
    assert identified_as("no") == identified_as("nb") == "nb"
    assert identified_as("ig") is identified_as("en2") is None


def test_what_is_told_apart():
    codes = ["en", "zh", "zh-TW", "ig", "arb_Arab"]
    assert by_identified(codes) == {"en": ["en"], "zh": ["zh", "zh-TW"], "ar": ["arb_Arab"]}
    assert told_apart(codes) == ["en", "arb_Arab"]
    assert told_apart(["en", "ig"]) == []  # every text would be English
    assert told_apart(["en"]) == ["en"]


def test_a_code_stands_for_the_one_that_the_study_writes():
    assert as_written("en", ["de", "eng_Latn"]) == "eng_Latn"
    assert as_written("en", ["eng", "en"]) == "en"
    assert as_written("zh", ["zh-TW", "zh-CN"]) == "zh"  # either could be meant
    assert english_among(["de", "en-US", "en-GB"]) == "en-GB"
    assert english_among(["de", "enm"]) is None


@pytest.mark.parametrize("code", ["und", "mul", "zxx", "mis", "und-Latn"])
def test_what_names_no_one_language(code):
    with pytest.raises(StudyError, match=r"`languages`: got .* a code of one language\nhint: "):
        check_language("languages", code)


@pytest.mark.parametrize(
    "codes",
    [["en", "eng"], ["en", "EN"], ["de", "en", "eng_Latn"], ["no", "nb"], ["arb", "ar"], ["zh", "cmn"],
     ["iw", "he"], ["pt-BR", "por_BR"], ["swh", "swa"]],
)  # fmt: skip
def test_one_language_under_two_codes_is_refused(codes):
    with pytest.raises(StudyError, match=f"hint: {codes[-2]} and {codes[-1]} are one language"):
        check_distinct_languages("languages", codes)


@pytest.mark.parametrize(
    "codes", [["zh", "zh-TW"], ["sr-Latn", "sr-Cyrl"], ["en-GB", "en-US"], ["ar", "arz"], ["nb", "nn"],
              ["x-foo", "x-bar"], ["azb", "az"], ["hr", "sr"]],
)  # fmt: skip
def test_varieties_are_two(codes):
    check_distinct_languages("languages", codes)


@pytest.mark.parametrize("code", ["xx", "english", "en2", "e", "", "zzz"])
def test_what_is_no_code(code):
    with pytest.raises(StudyError, match=r"`languages`: got .* a code of a language.*\nhint: "):
        check_language("languages", code)


@pytest.mark.parametrize(
    ("given", "languages"),
    [
        ({"en": ["sun"], "sr-Cyrl": ["сунце"], "sr-Latn": ["sunce"]}, ["en", "sr"]),
        ({"en": ["sun"], "deu": ["Sonne"], "de-CH": ["Sunne"]}, ["en", "de"]),
        ({"en": ["sun"], "eng": ["sunshine"]}, ["en", "de"]),
    ],
)
def test_words_of_one_language_under_two_codes_do_not_replace_each_other(given, languages):
    with pytest.raises(DataError, match="twice, as"):
        _forms("words.yaml", "sun", given, languages, "", "en")
