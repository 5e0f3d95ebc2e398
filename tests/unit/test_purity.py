"""Purity: sentences of another language among those of one."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from babelscope.analysis.purity import foreign_rows, purity_table, warn_of_foreign
from babelscope.report.views import warnings
from babelscope.text.clones import respell

ENGLISH = [f"the old house number {n} stands near the long river and the church" for n in range(40)]
GERMAN = [f"das alte Haus Nummer {n} steht in der Nähe des Flusses und der Kirche" for n in range(40)]
RUSSIAN = [f"старый дом номер {n} стоит у длинной реки и церкви" for n in range(40)]


@pytest.fixture(scope="module")
def planted():
    """Of 40 German sentences 6 are English and 2 Russian, and 3 have too few letters."""
    german = [*ENGLISH[:6], *RUSSIAN[:2], "1984", "ok", "?!", *GERMAN[:29]]
    return purity_table({"de": german, "ru": RUSSIAN}).set_index("lang")


def test_planted_strangers_are_counted(planted):
    row = planted.loc["de"]
    assert (row["n_sentences"], row["n_tested"], row["n_own"]) == (40, 40, 29)
    assert (row["n_foreign"], row["n_undecided"], row["strangers"]) == (8, 3, "en 6, ru 2")
    assert row["foreign_share"] == 8 / 40
    clean = planted.loc["ru"]
    assert (clean["n_own"], clean["n_foreign"], clean["strangers"]) == (40, 0, "")


def test_they_are_warned_of_in_the_log_and_in_the_report(planted, caplog):
    table = planted.reset_index()
    assert foreign_rows(table)["lang"].tolist() == ["de"]
    with caplog.at_level(logging.WARNING, "babelscope"):
        warn_of_foreign(table)
    assert "de: 8 of 40 sentences look like another language (en 6, ru 2), 3 more" in caplog.text
    told = list(warnings({}, {"purity": table}, {}))
    assert len(told) == 1
    assert "de: 8 of 40 sentences (20.0%)" in told[0]


def test_a_few_strangers_are_no_warning():
    found = purity_table({"de": [*GERMAN, ENGLISH[0]], "ru": RUSSIAN})
    assert found["n_foreign"].tolist() == [1, 0]
    assert foreign_rows(found).empty


def test_english_is_told_where_the_study_has_it_not_and_a_lone_language_is_tested():
    assert purity_table({"de": [*ENGLISH[:10], *GERMAN[:10]]}).loc[0, "strangers"] == "en 10"


@pytest.mark.parametrize(
    ("lang", "other", "text"),
    [
        ("hr", "sr", "стара кућа стоји поред дуге реке и цркве"),
        ("nb", "da", "det gamle huset står ved den lange elven og kirken"),
        ("id", "ms", "rumah tua itu berdiri di dekat sungai panjang"),
    ],
)
def test_languages_that_cannot_be_told_apart_are_one(lang, other, text):
    found = purity_table({lang: [text] * 5, other: [text] * 5})
    assert found["n_own"].tolist() == [5, 5]


def test_two_varieties_of_one_language_are_both_of_them():
    found = purity_table(
        {"pt-PT": ["a casa velha fica perto do rio"], "pt-BR": ["a casa velha fica perto do rio"]}
    )
    assert found["n_own"].tolist() == [1, 1]


def test_a_language_that_cannot_be_identified_is_not_tested():
    found = purity_table({"ig": ["ụlọ ochie ahụ dị nso osimiri"], "en": ENGLISH, "ru": RUSSIAN}).set_index(
        "lang"
    )
    assert found.loc["ig", "n_tested"] == 0
    assert np.isnan(found.loc["ig", "foreign_share"])
    assert found.loc["en", "n_own"] == 40
    alone = purity_table({"en": ENGLISH})
    assert alone.loc[0, "n_tested"] == 0


def test_clones_are_told_by_their_letters():
    clones = {"en2": ("en", 1)}
    texts = {"en": ENGLISH, "en2": [respell(text, 1) for text in ENGLISH[:30]] + ENGLISH[:10], "ru": RUSSIAN}
    found = purity_table(texts, clones).set_index("lang")
    assert found["n_own"].to_dict() == {"en": 40, "en2": 30, "ru": 40}
    assert found.loc["en2", "strangers"] == "en 10"


def test_of_many_sentences_some_are_taken_evenly(monkeypatch):
    monkeypatch.setattr("babelscope.analysis.purity.MOST_SENTENCES", 20)
    found = purity_table({"de": [*ENGLISH, *GERMAN], "ru": RUSSIAN}).set_index("lang")
    assert found.loc["de", ["n_sentences", "n_tested", "n_foreign"]].tolist() == [80, 20, 10]
