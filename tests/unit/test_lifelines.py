"""Life lines against shared units that are planted by hand."""

import re

import numpy as np
import pandas as pd
import pytest

from babelscope.analysis.lifelines import lifespans, trace_units
from babelscope.io.cells import CellTables
from babelscope.io.tables import write_table
from score_files import GivenScores, rank

LANGS = ("en", "fr", "ru")
STEPS = (0, 10, 30, 100)
CONCEPTS = ["sea", "dog"]
SITES = {(1, "qkv"): 4, (1, "act"): 6, (2, "qkv"): 4}


def scored():
    """AP 0.1 of all units for both concepts, but for two units at the last step."""
    scores = {
        (step, lang): GivenScores(CONCEPTS, {"all": np.full((2, 14), 0.1)}, SITES, step=step, lang=lang)
        for step in STEPS
        for lang in LANGS
    }
    for number, lang in enumerate(LANGS):
        ap_CN = scores[100, lang].arrays["ap_all"]
        ap_CN[1, 4 + 5] = 0.9 - number / 10  # STAYS: worst 0.7, mean 0.8
        ap_CN[0, 10 + 0] = 0.75 if number else 0.71  # GOES: worst 0.71
    return scores


def table_of(units):
    """Experts of the whole model on each half of the sentences, and others that must not count."""
    rows = [("model", half, *unit) for unit in units for half in "ab"]
    rows += [("layer", half, "dog", 2, "qkv", 3) for half in "ab"] + [("model", "all", "dog", 2, "qkv", 3)]
    return pd.DataFrame(rows, columns=["scope", "subset", "concept", "layer", "site", "unit"])


# Who is an expert of what at which step, per language. French chooses on other lines than the two others.
STAYS = ("dog", 1, "act", 5)  # shared by all from step 10 on
GOES = ("sea", 2, "qkv", 0)  # shared by two at steps 10 and 30 only
RETURNS = ("sea", 1, "qkv", 2)  # shared by two at steps 0 and 100
LONER = ("dog", 1, "qkv", 1)  # one language only, or two on the same lines
SHARED = {
    0: {"en": [RETURNS, LONER], "fr": [RETURNS], "ru": []},
    10: {"en": [STAYS, GOES, LONER], "fr": [STAYS, GOES], "ru": [STAYS]},
    30: {"en": [STAYS, LONER], "fr": [STAYS, GOES], "ru": [STAYS, GOES, LONER]},
    100: {"en": [STAYS], "fr": [STAYS, RETURNS], "ru": [STAYS, RETURNS, LONER]},
}


@pytest.fixture
def study(tmp_path):
    experts = {(step, lang): table_of(SHARED[step][lang]) for step in STEPS for lang in LANGS}
    return experts, rank(tmp_path / "best.h5", scored(), kept=14)


def test_follows_the_units_that_are_shared_at_any_step(study):
    traced = trace_units(*study, min_languages=2, max_units=10)
    units = traced[["concept", "layer", "site", "unit"]].drop_duplicates()
    assert list(units.itertuples(index=False, name=None)) == [GOES, STAYS, RETURNS]
    assert len(traced) == 3 * len(STEPS) * len(LANGS)
    assert list(traced.columns[:2]) == ["model", "step"]
    for step in STEPS:
        for lang in LANGS:
            part = traced[(traced.step == step) & (traced.lang == lang) & traced.is_expert]
            found = set(part[["concept", "layer", "site", "unit"]].itertuples(index=False, name=None))
            assert found == set(SHARED[step][lang]) - {LONER}
    assert traced["ap"].notna().all()
    assert traced["ap_below"].isna().all()
    stays = traced[(traced.concept == "dog") & (traced.step == 100)].set_index("lang")["ap"]
    assert stays.to_dict() == pytest.approx({"en": 0.9, "fr": 0.8, "ru": 0.7})


def test_ranks_by_worst_and_by_mean_over_languages(study):
    traced = trace_units(*study, min_languages=2, max_units=2)
    assert (traced["n_total"] == 3).all()
    ranks = traced.groupby("concept")[["rank_worst_ap", "rank_mean_ap"]].first()
    assert ranks.loc["sea"].tolist() == [0, 1]
    assert ranks.loc["dog"].tolist() == [1, 0]


def test_what_was_not_kept_is_at_most_the_last_that_was(study, tmp_path):
    """Of all units only the best is kept: GOES and STAYS at the last step, the first unit at others."""
    experts, _ = study
    traced = trace_units(experts, rank(tmp_path / "one.h5", scored(), kept=1), min_languages=2, max_units=9)
    assert (traced["ap"].isna() != traced["ap_below"].isna()).all()
    before = traced[traced["step"] < 100]
    assert before["ap_below"].tolist() == pytest.approx([0.1] * len(before))
    last = traced[traced["step"] == 100].set_index(["concept", "site", "unit", "lang"]).sort_index()
    for unit in (STAYS, GOES):
        assert last.loc[(unit[0], *unit[2:])]["ap_below"].isna().all()
    returns = last.loc[(RETURNS[0], *RETURNS[2:])]
    assert returns["ap"].isna().all()
    assert returns["ap_below"].to_dict() == pytest.approx({"en": 0.71, "fr": 0.75, "ru": 0.75})
    # Ranked by what it is at most: as reliable as GOES at most, and so after it; before STAYS by the worst.
    ranks = last.groupby(["concept", "site", "unit"])[["rank_worst_ap", "rank_mean_ap"]].first()
    assert ranks.loc[("sea", "qkv", 0)].tolist() == [1, 2]
    assert ranks.loc[("sea", "qkv", 2)].tolist() == [0, 1]
    assert ranks.loc[("dog", "act", 5)].tolist() == [2, 0]


def test_nothing_is_shared_by_so_many(study):
    experts, best = study
    none = trace_units({cell: table_of([LONER]) for cell in experts}, best, min_languages=4, max_units=9)
    assert list(none.columns) == list(trace_units(*study, min_languages=2, max_units=9).columns)
    assert none.empty


def test_files_give_the_same_as_tables(study, tmp_path):
    experts, best = study
    for (step, lang), table in experts.items():
        write_table(table.assign(model="m", step=step, lang=lang), tmp_path / f"{step}-{lang}.parquet")
    files = CellTables(tmp_path.glob("*.parquet"), experts)
    for function, settings in (
        (trace_units, {"min_languages": 2, "max_units": 9}),
        (lifespans, {"seed": 0}),
    ):
        whole = function(experts, best, **settings)
        pd.testing.assert_frame_equal(whole, function(files, best, **settings))


def test_lifespans_of_units_that_were_planted(study):
    found = lifespans(*study, seed=0).set_index("m")
    assert set(found["model"]) == {"m"}
    two = found.loc[2]  # RETURNS: 0 to 10 (its return at the last step says nothing); STAYS; GOES: 10 to 100
    assert two["n"] == 3
    assert two["censored"] == pytest.approx(1 / 3)
    assert two[["quartile_1", "median"]].tolist() == [10, 90]
    three = found.loc[3]
    assert three["n"] == 1
    # Two concepts: a pairing swaps them in French and Russian alike, which still share STAYS and GOES.
    assert found["null"].tolist() == [2, 0]
    assert three["censored"] == 1
    assert np.isnan(three[["quartile_1", "median", "quartile_3"]].astype(float)).all()


def test_no_spell_has_no_length(study):
    _, best = study
    found = lifespans({cell: table_of([]) for cell in best}, best, seed=0)
    assert found["n"].tolist() == [0, 0]
    assert found[["censored", "median"]].isna().all(axis=None)


def test_late_spells_that_go_on_do_not_shorten_the_median(study):
    """Nine units come at step 30 and stay; of two that came at 0 one went at 30. Unseen ends are no ends."""
    _, best = study
    early = [("sea", 1, "act", unit) for unit in range(2)]
    late = [("dog", 1, "act", unit) for unit in range(6)] + [("dog", 2, "qkv", unit) for unit in range(3)]
    at = {0: early, 10: early, 30: [early[0], *late], 100: [early[0], *late]}
    row = lifespans({(step, lang): table_of(at[step]) for step, lang in best}, best, seed=0).iloc[0]
    assert row["n"] == 11
    assert row["censored"] == pytest.approx(10 / 11)
    assert np.isnan(row["median"])


def test_steps_of_other_units_are_refused(study, tmp_path):
    experts, best = study
    fewer = {place: width for place, width in SITES.items() if place[0] == 1}
    other = GivenScores(CONCEPTS, {"all": np.full((2, 10), 0.1)}, fewer, step=100, lang="ru")
    message = (
        "model m, step 100, language ru and model m, step 0, language en were scored for other concepts or "
        "units: 2 concepts x 10 units against"
    )
    mixed = {**best, **rank(tmp_path / "other.h5", {(100, "ru"): other}, kept=3)}
    with pytest.raises(ValueError, match=re.escape(message)):
        trace_units(experts, mixed, min_languages=2, max_units=9)
