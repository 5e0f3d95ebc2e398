"""Intervals cover, corrections agree with scipy."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, t

from babelscope.stats import (
    TwoWayDraws,
    benjamini_hochberg,
    bootstrap_weights,
    interval,
    interval_over_runs,
    named_weights,
    permutation_p,
    widened_interval,
)


def test_bootstrap_intervals_cover_the_mean():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        values = rng.normal(2.0, 1.0, size=40)
        low, high = interval(bootstrap_weights(40, 300, seed=trial) @ values)
        covered += low <= 2.0 <= high
        assert low <= values.mean() <= high
    assert 0.9 <= covered / 300 <= 0.98


def test_weights_are_shares():
    weights = bootstrap_weights(7, 50, seed=1)
    assert weights.shape == (50, 7)
    assert np.allclose(weights.sum(axis=1), 1)


def test_permutation_p_is_never_zero():
    assert permutation_p(10.0, np.zeros(99)) == 0.01
    assert permutation_p(0.0, np.zeros(99)) == 1.0


def test_benjamini_hochberg_is_scipys_and_keeps_gaps():
    p = np.array([0.01, np.nan, 0.04, 0.2])
    q = benjamini_hochberg(p)
    assert np.isnan(q[1])
    assert q[[0, 2, 3]] == pytest.approx(false_discovery_control([0.01, 0.04, 0.2]))


def test_interval_of_nothing_and_of_what_is_missing():
    assert interval(np.array([1.0, np.nan, 3.0])) == interval(np.array([1.0, 3.0]))
    assert np.isnan(interval(np.array([]))).all()


def test_named_weights_belong_to_the_item_and_not_to_its_place():
    weights = named_weights([3, 1, 4, 15], 50, seed=7)
    assert weights.shape == (50, 4)
    assert np.array_equal(named_weights([15, 92, 3], 50, seed=7)[:, [0, 2]], weights[:, [3, 0]])
    assert np.array_equal(named_weights([3], 20, seed=7), weights[:20, :1])
    assert not np.array_equal(named_weights([3, 1, 4, 15], 50, seed=8), weights)


def test_named_weights_follow_the_law_of_poisson():
    weights = named_weights(range(500), 400, seed=0)
    counts = np.bincount(weights.astype(int).ravel())[:5] / weights.size
    assert np.allclose(counts, np.exp(-1) / np.array([1, 1, 2, 6, 24]), atol=0.004)
    # Neither items nor resamples follow each other.
    assert abs(np.corrcoef(weights[:, :-1].ravel(), weights[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(weights[:-1].ravel(), weights[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(weights[1:, :-1].ravel(), weights[:-1, 1:].ravel())[0, 1]) < 0.01


def test_named_weights_cover_the_mean():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(300):
        values, weights = rng.normal(2.0, 1.0, size=60), named_weights(range(60), 200, seed=trial)
        low, high = interval(weights @ values / weights.sum(axis=1))
        covered += low <= 2.0 <= high
    assert 0.9 <= covered / 300 <= 0.98


@pytest.mark.parametrize("n", [3, 5])
def test_widened_intervals_of_few_clusters_cover_the_mean(n):
    rng, covered = np.random.default_rng(0), 0
    for trial in range(300):
        values = rng.normal(2.0, 1.0, size=n)
        resamples = bootstrap_weights(n, 300, seed=trial, draws=n - 1) @ values
        low, high = widened_interval(float(values.mean()), resamples, n - 1)
        covered += low <= 2.0 <= high
    assert covered / 300 >= 0.9
    assert np.isnan(widened_interval(0.5, np.array([np.nan]), 3)).all()


def study_of_runs(rng, n_runs, n_concepts, sd_run, sd_concept=0.08, sd_both=0.04):
    """Values of runs and concepts about 0: a run and a concept each have their own level."""
    runs_R1, concepts_C = (
        rng.normal(0, sd_run, size=(n_runs, 1)),
        rng.normal(0, sd_concept, size=n_concepts),
    )
    return runs_R1 + concepts_C + rng.normal(0, sd_both, size=(n_runs, n_concepts))


@pytest.mark.parametrize("n_runs", [2, 3, 5])
@pytest.mark.parametrize("sd_run", [0.0, 0.02, 0.1])
def test_intervals_over_runs_cover_the_mean_over_runs_and_concepts(n_runs, sd_run):
    """The range over two runs covers one half, Student over runs alone leaves out what concepts share."""
    rng, covered, trials, n_concepts = np.random.default_rng([n_runs, int(1000 * sd_run)]), 0, 400, 16
    student = t.ppf(0.975, n_concepts - 1)
    for _ in range(trials):
        values_RC = study_of_runs(rng, n_runs, n_concepts, sd_run)
        means_R, mean = values_RC.mean(axis=1), values_RC.mean()
        # As the tables have it: of each run its interval over concepts.
        half = float(np.mean(student * values_RC.std(axis=1, ddof=1) / np.sqrt(n_concepts)))
        low, high = interval_over_runs(mean, mean - half, mean + half, means_R.std(ddof=1), n_runs)
        covered += low <= 0 <= high
    assert covered / trials >= 0.93


@pytest.mark.parametrize("n_runs", [2, 3])
@pytest.mark.parametrize("sd_run", [0.0, 0.04])
def test_intervals_of_means_over_pairs_cover_over_runs_too(n_runs, sd_run):
    """Overlap of experts: runs, languages and concepts are all drawn."""
    rng, covered, trials = np.random.default_rng([n_runs, int(1000 * sd_run)]), 0, 150
    pairs = list(combinations(range(8), 2))
    draws = TwoWayDraws(16, 8, 200, seed=0)
    for _ in range(trials):
        langs_L, concepts_C = rng.normal(0, 0.02, size=8), rng.normal(0, 0.06, size=16)
        level_PC = 0.2 + np.array([[langs_L[a] + langs_L[b]] for a, b in pairs]) + concepts_C
        runs = []
        for _ in range(n_runs):
            values_PC = level_PC + rng.normal(0, sd_run) + rng.normal(0, 0.05, size=level_PC.shape)
            runs.append((values_PC.mean(), *interval(draws.means(values_PC, pairs))))
        value_R, low_R, high_R = np.array(runs).T
        parts = value_R.mean(), low_R.mean(), high_R.mean(), value_R.std(ddof=1)
        low, high = interval_over_runs(*parts, n_runs)
        covered += low <= 0.2 <= high
    assert covered / trials >= 0.93


def test_two_runs_say_little_and_one_keeps_its_interval():
    low, high = interval_over_runs(0.5, 0.5, 0.5, np.std([0.4, 0.6], ddof=1), 2)
    assert (high - low) / 2 == pytest.approx(12.7062 * 0.1)
    assert tuple(map(float, interval_over_runs(0.5, 0.4, 0.7, np.nan, 1))) == (0.4, 0.7)
    assert np.isnan(interval_over_runs(0.5, np.nan, np.nan, np.nan, 1)).all()
    low, high = interval_over_runs(0.5, np.nan, np.nan, 0.1, 3)  # nothing known within the runs
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.1 / np.sqrt(3))


@given(
    value=st.floats(-1, 1), below=st.floats(0, 1), above=st.floats(0, 1), sd=st.floats(0, 1),
    n_runs=st.integers(2, 9),
)  # fmt: skip
def test_intervals_over_runs_hold_both_parts(value, below, above, sd, n_runs):
    low, high = interval_over_runs(value, value - below, value + above, sd, n_runs)
    half = t.ppf(0.975, n_runs - 1) * sd / np.sqrt(n_runs)
    assert low <= value - max(below, half) + 1e-9
    assert high >= value + max(above, half) - 1e-9
    assert high - low <= below + above + 2 * half + 1e-9
