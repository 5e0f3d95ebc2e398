"""Onset: half-rises that are known, intervals that cover them, and nothing where nothing rises."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from scipy.stats import norm

from babelscope.analysis.onset import (
    between_doubt,
    half_rise,
    is_clear_rise,
    measure_onsets,
    monotone,
    octaves,
    onset_gap,
)
from babelscope.analysis.overlap import overlap_above_null, overlap_tables
from babelscope.analysis.settings import AlignmentSettings
from babelscope.units import UnitIndex

SETTINGS = AlignmentSettings(bootstrap=200, permutations=100)
STEPS = {
    "8": [16, 32, 64, 128, 256, 512, 1024, 2048],
    "11": [0, 64, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048],
    "15": [0, *np.round(2 ** np.linspace(4, 11, 14)).astype(int).tolist()],
}


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_the_monotone_fit_is_that_of_scipy(curve):
    assert monotone(np.array([curve])) == pytest.approx(np.array([isotonic_regression(curve).x]), abs=1e-9)


def test_a_half_rise_lies_where_the_straight_line_crosses_the_middle():
    at = octaves([0, 1, 3, 7, 15])
    assert at.tolist() == [0, 1, 2, 3, 4]
    curves = np.array([[0, 0, 1, 3, 4], [4, 4, 5, 7, 8], [0, 4, 4, 4, 4], [1, 1, 1, 1, 1], [3, 2, 1, 1, 0]])
    assert half_rise(at, curves)[:3].tolist() == [2.5, 2.5, 0.5]
    assert np.isnan(half_rise(at, curves)[3:]).all()


def logistic(octave_S, onset_C, height_C, width):
    return (height_C[:, None] / (1 + np.exp((onset_C[:, None] - octave_S) / width))).T


def made_up(steps, n_concepts, seed, *, lag, noise, spread, width):
    """Curves of two measures; concepts differ in onset and height, the second measure is the noisier one."""
    rng, octave_S = np.random.default_rng([seed, n_concepts]), octaves(steps)
    first_C = rng.normal(7.5, spread, n_concepts)
    second_C = first_C + lag + rng.normal(0, spread / 2, n_concepts)
    heights = np.exp(rng.normal(0, 0.3, (2, n_concepts)))
    found = [
        logistic(octave_S, at_C, of_C, width) for at_C, of_C in zip((first_C, second_C), heights, strict=True)
    ]
    return tuple(
        curve + size * rng.normal(size=curve.shape)
        for curve, size in zip(found, (noise / 3, noise), strict=True)
    )


@pytest.mark.parametrize("distance", [0.5, 1.0])
@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0])
def test_a_logistic_curve_crosses_no_further_from_the_straight_line_than_is_said(width, distance):
    octave_S = np.arange(0, 12, distance)
    for onset in 6 + np.linspace(0, distance, 41):
        curve_S = logistic(octave_S, np.array([onset]), np.ones(1), width)[:, 0]
        error = abs(float(half_rise(octave_S, curve_S)) - onset)
        assert error <= between_doubt(octave_S, curve_S) + 0.05 * distance


def true_gap(steps, *, lag, spread, width):
    """Of the mean of all concepts that there could be, without noise and at every step."""
    ends, z = octaves(steps)[[0, -1]], norm.ppf((np.arange(400) + 0.5) / 400)
    fine = np.linspace(*ends, 8001)
    found = []
    for at, sd in ((7.5, spread), (7.5 + lag, spread * np.sqrt(1.25))):
        mean = logistic(fine, at + sd * z, np.ones(400), width).mean(axis=1)
        found.append(np.interp((mean[0] + mean[-1]) / 2, mean, fine))
    return found[1] - found[0]


#: What docs/methods.md tells of: `coverage` of all, with 16 concepts and 1,000 studies each.
DESIGNS = {
    "plain": {"lag": 1.5, "noise": 0.1, "spread": 0.3, "width": 0.5},
    "noisy": {"lag": 1.5, "noise": 0.3, "spread": 0.6, "width": 0.5},
    "together": {"lag": 0.0, "noise": 0.2, "spread": 0.4, "width": 0.7},
    "steep": {"lag": 1.0, "noise": 0.05, "spread": 0.1, "width": 0.2},
    "steps": {"lag": 1.0, "noise": 0.02, "spread": 0.02, "width": 0.06},
}


def coverage(steps, design, n_studies, n_concepts=16):
    """Share of studies whose interval holds the true gap, and with a p-value of at most 0.05."""
    truth = true_gap(steps, **{name: value for name, value in design.items() if name != "noise"})
    found = [
        onset_gap(steps, *made_up(steps, n_concepts, seed, **design), SETTINGS) for seed in range(n_studies)
    ]
    return np.mean([of.low <= truth <= of.high for of in found]), np.mean(
        [of.p_value <= 0.05 for of in found]
    )


@pytest.mark.parametrize(("steps", "design"), [("8", "plain"), ("11", "together"), ("15", "steps")])
def test_the_interval_of_a_gap_covers_it(steps, design):
    covered, told = coverage(STEPS[steps], DESIGNS[design], 60)
    assert covered >= 0.88  # 93 % less two standard errors of 60 studies
    assert (told <= 0.12) if design == "together" else (told == 1)


@pytest.mark.parametrize("seed", range(3))
def test_what_does_not_rise_has_no_onset(seed):
    steps, rng = STEPS["11"], np.random.default_rng(seed)
    rising = made_up(steps, 16, seed, **DESIGNS["plain"])[0]
    flat = rng.normal(size=rising.shape)
    assert np.isnan(onset_gap(steps, rising, flat, SETTINGS)).all()
    assert np.isnan(onset_gap(steps, flat, rising, SETTINGS)).all()


def test_noise_alone_seldom_looks_like_a_clear_rise():
    noise = np.random.default_rng(0).normal(size=(4000, 11))
    assert is_clear_rise(noise).mean() < 0.04
    assert is_clear_rise(noise + np.linspace(0, 40, 11)).all()


# ----------------------------------------------------------------------------------- from experts

LANGS, CONCEPTS, N_UNITS, K = ["de", "en", "zh"], [f"c{at:02d}" for at in range(12)], 400, 10


def experts_at(step, shared_from, rng):
    """Ten experts of every concept. A language keeps 2 of them on both halves at first, later 8; languages have
    6 of these in common from a step on."""
    rows = []
    for c, concept in enumerate(CONCEPTS):
        common = c * 20 + np.arange(10)
        for at, lang in enumerate(LANGS):
            own = np.concatenate(
                [common[:6] if step >= shared_from else [], 240 + at * 40 + (c * 3 + np.arange(8)) % 40]
            )
            kept = own[: 8 if step >= 64 else 2]
            for half in ("a", "b"):
                free = np.setdiff1d(np.arange(360, N_UNITS), kept)
                units = np.concatenate([kept, rng.choice(free, K - len(kept), replace=False)]).astype(int)
                rows += [(step, lang, half, concept, rank, unit) for rank, unit in enumerate(units)]
    table = pd.DataFrame(rows, columns=["step", "lang", "subset", "concept", "rank", "unit"])
    return table.assign(model="m", scope="model", layer=1, site="mlp_act")


def transfer_of(steps):
    rows = [
        ("m", step, lang, lang, concept, 0.1 + 0.05 * (step >= 16) + 0.3 * (step >= 32))
        for step, lang, concept in itertools.product(steps, LANGS, CONCEPTS)
    ]
    return pd.DataFrame(rows, columns=["model", "step", "source", "target", "concept", "ap"])


@pytest.fixture(scope="module")
def planted():
    rng, steps = np.random.default_rng(0), [0, 8, 16, 32, 64, 128, 256, 512]
    experts = [experts_at(step, 256, rng) for step in steps]
    return experts, transfer_of(steps)


def test_planted_onsets_lie_between_their_steps(planted):
    found = measure_onsets(*planted, SETTINGS)
    over_all = found.onsets[(found.onsets["lang_a"] == "*") & (found.onsets["concept"] == "*")]
    at = over_all.set_index("measure")[["after", "by"]].to_numpy().tolist()
    assert at == [[16, 32], [32, 64], [128, 256]]
    gaps = found.gaps[(found.gaps["concept"] == "*") & (found.gaps["measure"] == "sharing")]
    assert len(gaps) == 2 * 4  # behind both others, over all pairs and in each
    assert (gaps["low"] > 0).all()
    assert (gaps["p_value"] < 0.05).all()
    assert gaps[["n_later", "n_concepts"]].eq(12).all(axis=None)
    single = found.onsets[(found.onsets["concept"] != "*") & (found.onsets["measure"] == "sharing")]
    assert len(single) == 4 * 12
    assert single["by"].eq(256).all()
    assert single["low"].isna().all()
    curve = found.curves.set_index(["measure", "step"])["risen"]
    assert curve["sharing", 128] == pytest.approx(0, abs=0.1)
    assert curve["sharing", 512] == pytest.approx(1, abs=0.1)


def test_without_sharing_there_is_no_onset_of_it():
    rng, steps = np.random.default_rng(1), [0, 8, 16, 32, 64, 128, 256, 512]
    found = measure_onsets([experts_at(step, 10_000, rng) for step in steps], transfer_of(steps), SETTINGS)
    of_all = found.onsets[found.onsets["concept"] == "*"].set_index("measure")["onset"]
    assert of_all["sharing"].isna().all()
    assert of_all["agreement"].notna().all()
    gaps = found.gaps[(found.gaps["measure"] == "sharing") & (found.gaps["concept"] == "*")]
    assert gaps[["octaves", "low", "high", "p_value"]].isna().all(axis=None)
    assert found.curves.loc[found.curves["measure"] == "sharing", "risen"].isna().all()


def test_steps_that_transfer_leaves_out_are_left_out(planted):
    """As those are that the audit flags: here one at which all experts are lost."""
    experts, transfer = planted
    broken = experts[4].assign(unit=experts[4]["rank"])
    kept = transfer[transfer["step"] != 64]
    one = measure_onsets([*experts[:4], broken, *experts[5:]], kept, SETTINGS)
    other = measure_onsets([of for at, of in enumerate(experts) if at != 4], kept, SETTINGS)
    for table, same in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(table, same)
    assert 64 not in set(one.curves["step"])


def test_the_order_of_the_files_is_no_matter(planted):
    experts, transfer = planted
    turned = [of.sample(frac=1, random_state=3) for of in reversed(experts)]
    for table, same in zip(
        measure_onsets(turned, transfer.sample(frac=1, random_state=4), SETTINGS),
        measure_onsets(experts, transfer, SETTINGS),
        strict=True,
    ):
        pd.testing.assert_frame_equal(table, same)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_steps_give_typed_tables_without_rows(planted, n):
    experts, transfer = planted
    steps = sorted(transfer["step"].unique())[:n]
    found = measure_onsets(experts[:n], transfer[transfer["step"].isin(steps)], SETTINGS)
    assert [len(table) for table in found] == [0, 0, 0]
    assert found.gaps["octaves"].dtype == np.float64
    assert found.gaps["n_later"].dtype == np.int64


def test_sharing_of_all_concepts_is_the_overlap_above_its_null(planted):
    of_step = planted[0][-1]
    chosen = {
        lang: {
            half: np.stack([rows.sort_values("rank")["unit"] for _, rows in of_half.groupby("concept")])
            for half, of_half in of_lang.groupby("subset")
        }
        for lang, of_lang in of_step.groupby("lang")
    }
    above = overlap_above_null(chosen)
    places = {
        lang: {((-1, "*"), half): unit for half, unit in (of | {"all": of["a"]}).items()}
        for lang, of in chosen.items()
    }
    table = overlap_tables(places, UnitIndex.of([(1, "mlp_act", N_UNITS)]), CONCEPTS, SETTINGS).table
    rows = table[(table["variant"] == "disjoint_lines") & ~table["lang_a"].isin(["*", "="])]
    for row in rows.itertuples():
        pair = LANGS.index(row.lang_a), LANGS.index(row.lang_b)
        assert above[pair].mean() == pytest.approx(row.overlap - row.null)
