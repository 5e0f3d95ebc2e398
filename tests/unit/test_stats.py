"""Intervals cover, corrections agree with scipy."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from babelscope.stats import (
    benjamini_hochberg,
    bootstrap_weights,
    interval,
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
