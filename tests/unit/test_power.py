"""What a study can tell: the formula against simulated studies, each with the whole test of the finding."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.analysis.overlap import overlap_tables
from babelscope.analysis.power import (
    LEVEL,
    Design,
    ap_by_chance,
    detectable_excess,
    detectable_gap,
    detectable_overlap,
    languages_of,
)
from babelscope.analysis.settings import AlignmentSettings
from babelscope.units import UnitIndex

SETTINGS = AlignmentSettings(bootstrap=120, permutations=100)


def random_experts(rng, design, excess):
    """Experts by language and half: random clumps of units, and units that are shared by all languages.

    The number of shared ones is Poisson's, of a mean that differs between concepts as the design says.
    """
    clump, n_concepts, k = int(design.inflation), design.n_concepts, design.k
    # A shared unit takes the place of one that might be shared by chance.
    expected = excess * k / (1 - design.chance) ** 2
    spread = design.spread
    means_C = rng.gamma(spread**-2, expected * spread**2, n_concepts) if spread else [expected] * n_concepts
    cores = [rng.choice(design.n_units, min(k, rng.poisson(mean)), replace=False) for mean in means_C]

    def chosen(core):
        clumps = rng.permutation(design.n_units // clump)[: k // clump + 1 + len(core), None]
        others = (clumps * clump + np.arange(clump)).ravel()
        return np.concatenate([core, others[~np.isin(others, core)]])[:k]

    place = (-1, "*")
    found = {}
    for number in range(design.n_langs):
        halves = {(place, half): np.array([chosen(core) for core in cores]) for half in "ab"}
        found[f"l{number}"] = halves | {(place, "all"): halves[place, "a"]}
    return found


@cache
def simulated(design, excess, n):
    """Share of studies that tell the overlap from its null, as finding 2 does; mean of what they could tell."""
    rng, units = np.random.default_rng(7), UnitIndex.of([(1, "mlp_act", design.n_units)])
    names, told, detectable = [f"c{c}" for c in range(design.n_concepts)], [], []
    for _ in range(n):
        table = overlap_tables(random_experts(rng, design, excess), units, names, SETTINGS).table
        row = table[(table["lang_a"] == "*") & (table["variant"] == "disjoint_lines")].iloc[0]
        told.append(row["low"] > row["null"] and row["p_value"] <= LEVEL)
        detectable.append(row["detectable"])
    return np.mean(told), np.mean(detectable)


DESIGNS = {
    "demo": Design(16, 8, 44, 2304),
    "random sets, four languages": Design(20, 4, 40, 1000, inflation=1, spread=0),
    "two languages": Design(12, 2, 40, 1000),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_what_is_called_detectable_is_told_and_less_is_not(name):
    design = DESIGNS[name]
    least = detectable_overlap(design)
    assert simulated(design, 0.0, 40)[0] <= 0.05
    assert simulated(design, least / 3, 40)[0] < 0.5
    assert simulated(design, least, 40)[0] >= 0.7
    # Not far on the safe side either.
    assert simulated(design, 0.5 * least, 40)[0] < 0.75


@pytest.mark.parametrize("name", DESIGNS)
def test_what_a_study_says_afterwards_agrees_with_how_often_it_tells(name):
    design = DESIGNS[name]
    least = detectable_overlap(design)
    seldom, often = (simulated(design, excess, 40) for excess in (least / 3, 1.3 * least))
    assert seldom[0] < 0.5
    assert seldom[1] > least / 3
    assert often[0] > 0.85
    assert often[1] < 1.3 * least


@given(
    n_concepts=st.integers(4, 100),
    n_langs=st.integers(2, 20),
    k=st.integers(5, 500),
    factor=st.sampled_from([2, 3]),
)
def test_more_of_everything_tells_less_overlap(n_concepts, n_langs, k, factor):
    design = Design(n_concepts, n_langs, k, 20_000)
    least = detectable_overlap(design)
    assert least > 0
    assert detectable_overlap(replace(design, n_concepts=factor * n_concepts)) <= least
    if n_langs > 2:
        assert detectable_overlap(replace(design, n_langs=factor * n_langs)) <= least
    for more in ({"inflation": 2 * design.inflation}, {"spread": 2 * design.spread}):
        assert detectable_overlap(replace(design, **more)) >= least


@pytest.mark.parametrize(
    "design",
    [
        Design(3, 8, 50, 2000),  # six permutations never have a p-value of 0.05
        Design(16, 1, 50, 2000),
        Design(4, 3, 50, 2000, spread=2.0),  # the interval of any excess reaches the null
    ],
)
def test_a_study_that_can_tell_nothing(design):
    assert math.isinf(detectable_overlap(design))


def test_gaps_that_intervals_tell():
    """Two means with intervals of their own: at the least gap about 0.8 of the pairs lie apart."""
    rng, t, error = np.random.default_rng(0), 2.365, 0.01
    least = detectable_gap(t * error, t * error, 8, 16)
    apart = rng.normal(least, error, 20_000) - rng.normal(0, error, 20_000) > 2 * t * error
    assert apart.mean() == pytest.approx(0.8, abs=0.02)
    assert [languages_of(n * (n - 1) // 2) for n in range(2, 40)] == list(range(2, 40))


def test_average_precision_by_chance():
    """Of one positive sentence among ten, AP is one over its place: 1 in a tenth of orders, half in another."""
    assert ap_by_chance(1, 9, 0.05) == 1
    assert ap_by_chance(1, 9, 0.15) == 0.5
    # More sentences, less to be had by chance; and the mean of all orders is above the positive rate.
    few, many = (ap_by_chance(n, 15 * n, 0.02) for n in (5, 40))
    assert few > 2 * many > 2 / 16
    assert ap_by_chance(20, 300, 0.02, seed=1) == pytest.approx(ap_by_chance(20, 300, 0.02), abs=0.01)


def test_afterwards_by_hand():
    # Student's quantile for eight languages is 2.365, the normal one 0.842.
    assert detectable_excess(0.02365, 8, 16) == pytest.approx(0.02365 + 0.842e-2, abs=1e-5)
    assert detectable_excess(0.02365, 8, 16, null_reach=0.03) == pytest.approx(0.03 + 0.842e-2, abs=1e-5)
    assert math.isnan(detectable_excess(math.nan, 8, 16))
