"""Languages of texts, among those of the study."""

from __future__ import annotations

import zlib

import pandas as pd
import pytest

from babelscope.analysis.identification import identify_languages


def identify(texts, languages):
    return identify_languages(pd.DataFrame({"model": "m", "step": 1, "text": list(texts)}), languages)


def test_languages_are_found():
    texts = {
        "en": "the house stands near the old river",
        "es": "la casa está cerca del viejo río",
        "ru": "дом стоит у старой реки",
        "zh": "房子在河边",
        "tr": "ev eski nehrin yanında duruyor",
        "hi": "घर पुरानी नदी के पास है",
    }
    found = identify(texts.values(), list(texts))
    assert found["language"].tolist() == list(texts)
    assert found["confidence"].between(0.5, 1).all()
    assert found["row"].tolist() == list(range(6))
    assert found["text_crc32"].iloc[0] == zlib.crc32(texts["en"].encode())


def test_only_the_languages_of_the_study_are_found():
    found = identify(["het huis staat bij de oude rivier"], ["en", "de"])
    assert found["language"].tolist() == ["de"]


@pytest.mark.parametrize("text", ["", "  ", "1984", "?!", "a", "ab 12"])
def test_short_texts_are_undetermined(text):
    found = identify([text], ["en", "zh"])
    assert found["language"].tolist() == ["und"]
    assert found["confidence"].tolist() == [0.0]


def test_one_chinese_character_is_a_text():
    assert identify(["水"], ["en", "zh"])["language"].tolist() == ["zh"]


def test_codes_of_the_study_are_kept():
    found = identify(["a casa fica perto do rio", "房子在河边"], ["pt-BR", "zho", "en"])
    assert found["language"].tolist() == ["pt-BR", "zho"]


def test_languages_that_cannot_be_identified():
    texts = ["a casa fica perto do rio", "the house stands near the old river"]
    found = identify(texts, ["en", "ig", "pt-PT", "pt-BR"])
    assert found["language"].tolist() == ["pt-BR or pt-PT", "en"]
    for codes in (["ig", "rw"], ["en", "ig"]):
        assert identify(texts, codes)["language"].tolist() == ["und", "und"]


def test_codes_of_any_convention_are_read():
    texts = ["nyumba iko karibu na mto", "البيت قريب من النهر", "房子在河边", "the old house"]
    codes = ["swh_Latn", "arb_Arab", "cmn_Hans", "eng"]
    assert identify(texts, codes)["language"].tolist() == codes


def test_no_texts():
    assert identify([], ["en", "de"]).empty


def test_a_table_of_languages_says_whose_texts_they_are_of():
    texts = pd.DataFrame(
        {"model": "m", "step": [4, 8], "text": ["the old house", "das alte Haus"]}, index=[3, 5]
    )
    found = identify_languages(texts, ["en", "de"])
    assert found[["model", "step", "row", "language"]].to_numpy().tolist() == [
        ["m", 4, 0, "en"],
        ["m", 8, 1, "de"],
    ]
