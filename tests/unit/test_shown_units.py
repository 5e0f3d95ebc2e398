"""Which units are looked at closely."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from babelscope.analysis.shown_units import last_sound_step, units_on_show
from score_files import GivenScores, rank

LANGS, CONCEPTS = ("en", "fr"), ["sea", "dog", "ash"]
SITES = {(1, "qkv"): 4, (1, "act"): 6, (2, "qkv"): 4}
#: Best of each concept at step 9 in the worst language and in the mean; of another step, and of no concept.
BEST = [
    ("best_unit", "worst_ap", "sea", 9, 1, "act", 5),
    ("best_unit", "worst_ap", "dog", 9, 2, "qkv", 0),
    ("best_unit", "worst_ap", "ash", 9, 1, "act", 5),
    ("best_unit", "mean_ap", "sea", 9, 1, "qkv", 1),
    ("best_unit", "mean_ap", "dog", 9, 2, "qkv", 0),
    ("best_unit", "worst_ap", "*", 9, -1, "", -1),
    ("best_unit", "worst_ap", "sea", 4, 1, "qkv", 3),
    ("shared_units", "n_units", "*", 9, -1, "", -1),
]
RELIABILITY = pd.DataFrame(BEST, columns=["kind", "metric", "concept", "step", "layer", "site", "unit"])
#: Life lines: concept, place, AP at step 9 in each language, and what it is below.
LINES = pd.DataFrame(
    [
        (step, lang, concept, *place, ap if step == 9 else 0.0, below)
        for step in (4, 9)
        for concept, place, aps, below in [
            ("dog", (1, "act", 0), (0.5, 0.9), np.nan),
            ("sea", (1, "act", 1), (0.7, 0.6), np.nan),
            ("ash", (1, "act", 5), (0.9, 0.9), np.nan),
            ("sea", (1, "act", 2), (np.nan, 0.9), 0.55),
        ]
        for lang, ap in zip(LANGS, aps, strict=True)
    ],
    columns=["step", "lang", "concept", "layer", "site", "unit", "ap", "ap_below"],
)


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    scores = {}
    for lang in LANGS:
        ap_CN = np.full((3, 14), 0.1)
        ap_CN[1, 3] = 0.8  # L01.qkv.3 knows the dog, and in one language ash better
        ap_CN[2, 3] = 0.9 if lang == "fr" else 0.2
        scores[9, lang] = GivenScores(CONCEPTS, {"all": ap_CN}, SITES, step=9, lang=lang)
        scores[9, lang].constant_ap = {
            name: np.full(3, np.float32(0.1)) for name in scores[9, lang].constant_ap
        }
    found = rank(tmp_path_factory.mktemp("best") / "best.h5", scores, kept=14)
    return {lang: found[9, lang] for lang in LANGS}


def show(best, named=(), max_units=40, lines=LINES):
    table = units_on_show(lines, RELIABILITY, best, step=9, named=named, max_units=max_units)
    return [tuple(row) for row in table.itertuples(index=False)]


def test_units_are_taken_in_order_and_stand_in_unit_order(best):
    in_order = [
        (1, "act", 5, "ash"),  # the best of two concepts, of which ash is first by name
        (2, "qkv", 0, "dog"),
        (1, "act", 1, "sea"),  # life lines: worst AP 0.6, 0.55, 0.5
        (1, "act", 2, "sea"),
        (1, "act", 0, "dog"),
        (1, "qkv", 1, "sea"),
    ]
    place = {"qkv": 0, "act": 1}
    for n in range(1, 7):
        expected = sorted(in_order[:n], key=lambda row: (row[0], place[row[1]], row[2]))
        assert show(best, max_units=n) == expected
    assert show(best) == show(best, max_units=6)


def test_named_units_come_first_with_what_they_predict_best(best):
    assert show(best, ["L01.qkv.3", "L02.qkv.3"], max_units=2) == [
        (1, "qkv", 3, "dog"),  # in the mean over languages 0.8, against 0.55 for ash
        (2, "qkv", 3, ""),  # no better than a constant anywhere
    ]
    assert show(best, ["L01.act.1"], max_units=1) == [(1, "act", 1, "sea")]


@pytest.mark.parametrize("name", ["L03.qkv.0", "L01.qkv.4", "L01.other.0"])
def test_a_model_goes_without_a_unit_that_it_lacks(best, name):
    assert show(best, [name]) == show(best)


def test_without_life_lines_the_best_are_shown(best):
    assert [row[:3] for row in show(best, lines=LINES.iloc[:0])] == [
        (1, "qkv", 1), (1, "act", 5), (2, "qkv", 0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "steps", "expected"),
    [([False, False, True], [0, 4, 8], 4), ([False] * 3, [0, 4, 8], 8), ([True] * 3, [0, 4, 8], 8),
     ([False, True, True], [4, 8], 8)],
)  # fmt: skip
def test_the_last_step_that_is_sound(flags, steps, expected, caplog):
    audit = pd.DataFrame({"step": [0, 4, 8], "flag": flags})
    with caplog.at_level(logging.WARNING):
        assert last_sound_step(audit, steps) == expected
    assert bool(caplog.records) == all(flags[-len(steps) :])
