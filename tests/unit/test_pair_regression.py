"""Regression over pairs of languages, against planted slopes."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelscope.analysis.pair_regression import regress_pairs
from babelscope.analysis.settings import AlignmentSettings

SETTINGS = AlignmentSettings(permutations=99)
SCRIPTS = (0, 0, 0, 0, 1, 2, 3, 0)
BASE = 0.2


def made_up(seed, *, of_tokens=0.0, of_script=0.0, scripts=SCRIPTS, n_concepts=12):
    """Overlap that languages, concepts and predictors make, and the predictors."""
    rng = np.random.default_rng(seed)
    pairs = list(combinations(range(len(scripts)), 2))
    same = np.array([float(scripts[a] == scripts[b]) for a, b in pairs])
    of_lang = rng.normal(size=(3, len(scripts)))
    tokens = 0.3 + 0.2 * same + np.array([0.05 * (of_lang[0, a] + of_lang[0, b]) for a, b in pairs])
    tokens += 0.05 * rng.normal(size=len(pairs))
    predictors = pd.DataFrame(
        {
            "same_script": same,
            "shared_tokens": tokens,
            "byte_difference": [abs(of_lang[1, a] - of_lang[1, b]) for a, b in pairs],
            "corpus_share": [of_lang[2, a] + of_lang[2, b] for a, b in pairs],
        }
    )
    of_concept, own = 0.05 * rng.normal(size=n_concepts), 0.02 * rng.normal(size=len(scripts))
    values = {
        (a, b): BASE + of_tokens * tokens[at] + of_script * same[at] + own[a] + own[b] + of_concept
        + 0.03 * rng.normal(size=n_concepts)
        for at, (a, b) in enumerate(pairs)
    }  # fmt: skip
    return values, predictors


def regressed(seed, **effects):
    values, predictors = made_up(seed, **effects)
    return regress_pairs(values, predictors, SETTINGS).set_index("term"), predictors


def test_planted_slopes_are_found_and_others_are_not():
    found, predictors = regressed(0, of_tokens=0.6, of_script=0.1)
    spread = predictors.std(ddof=0)
    for term, slope in (("same_script", 0.1), ("shared_tokens", 0.6)):
        row = found.loc[term]
        assert row["low"] < slope * spread[term] < row["high"]
        assert row["value"] > row["null_high"] > 0
        assert row["p_value"] <= 0.02
    for term in ("byte_difference", "corpus_share"):
        row = found.loc[term]
        assert row["low"] < 0 < row["high"]
        assert abs(row["value"]) < 2 * row["null_high"]
    assert found.loc["r_squared", "value"] > found.loc["r_squared", "null_high"]
    assert found[["n_pairs", "n_langs", "n_concepts"]].drop_duplicates().to_numpy().tolist() == [[28, 8, 12]]


def test_what_is_left_of_two_scripts_is_what_predictors_did_not_make():
    found, _ = regressed(1, of_tokens=0.6)
    left, whole = found.loc["other_script_left"], found.loc["other_script"]
    assert left["low"] < BASE < left["high"] < whole["low"] < BASE + 0.6 * 0.3 + 0.05
    values, predictors = made_up(1, of_tokens=0.6)
    of_tokens_alone = {pair: of - BASE for pair, of in values.items()}
    left = regress_pairs(of_tokens_alone, predictors, SETTINGS).set_index("term").loc["other_script_left"]
    assert left["low"] < 0 < left["high"]


def test_without_effects_few_are_told():
    tables = [regressed(seed)[0] for seed in range(60)]
    for term in ("same_script", "shared_tokens", "byte_difference", "corpus_share", "r_squared"):
        assert sum(of.loc[term, "p_value"] <= 0.05 for of in tables) <= 12  # 3 expected, a fifth at most
    covered = sum(of.loc["all_pairs", "low"] < BASE < of.loc["all_pairs", "high"] for of in tables)
    assert covered >= 54


@given(st.permutations(range(8)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_languages_is_no_matter(order):
    values, predictors = made_up(2, of_tokens=0.3)
    before = regress_pairs(values, predictors, SETTINGS)
    row_of = {pair: row for row, pair in enumerate(combinations(range(8), 2))}
    moved = [tuple(sorted((order[a], order[b]))) for a, b in combinations(range(8), 2)]
    turned = {pair: values[of] for pair, of in zip(combinations(range(8), 2), moved, strict=True)}
    after = regress_pairs(turned, predictors.iloc[[row_of[of] for of in moved]], SETTINGS)
    columns = ["value", "low", "high"]
    np.testing.assert_allclose(after[columns], before[columns], atol=1e-9)


def test_what_is_left_of_two_scripts_is_told_only_where_scripts_are():
    values, predictors = made_up(6)
    several = {"other_script", "other_script_left"}
    assert several <= set(regress_pairs(values, predictors, SETTINGS)["term"])
    assert several <= set(regress_pairs(values, predictors.assign(same_script=0.0), SETTINGS)["term"])
    of_one = [float(7 not in pair) for pair in combinations(range(8), 2)]  # its script alone is another
    alone = set(regress_pairs(values, predictors.assign(same_script=of_one), SETTINGS)["term"])
    assert "same_script" not in alone
    assert several & alone == {"other_script"}


def test_what_cannot_be_told_apart_is_left_out():
    values, predictors = made_up(3)
    odd = predictors.assign(
        same_script=1.0,
        byte_difference=np.nan,
        corpus_share=[float(7 in pair) for pair in combinations(range(8), 2)],  # of one language alone
    )
    found = regress_pairs(values, odd, SETTINGS)
    assert found["term"].tolist() == ["shared_tokens", "r_squared", "all_pairs"]
    twice = predictors.assign(byte_difference=2 * predictors["shared_tokens"])
    assert "byte_difference" not in regress_pairs(values, twice, SETTINGS)["term"].tolist()


@pytest.mark.parametrize(("n_langs", "n_predictors"), [(2, 0), (4, 0), (5, 2), (6, 4)])
def test_few_languages_have_few_predictors(n_langs, n_predictors):
    values, predictors = made_up(4, scripts=(0, 1, 0, 1, 0, 1)[:n_langs])
    found = regress_pairs(values, predictors, SETTINGS)
    assert len(set(found["term"]) & set(predictors)) == n_predictors
    mean = found.set_index("term").loc["all_pairs"]
    assert mean["value"] == pytest.approx(np.mean(list(values.values())))
    assert mean["low"] < mean["value"] < mean["high"]


def test_a_pair_without_a_row_is_refused():
    values, predictors = made_up(5)
    with pytest.raises(ValueError, match="a row and values for each pair of 8 languages"):
        regress_pairs(values, predictors.head(20), SETTINGS)
