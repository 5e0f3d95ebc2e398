"""Intervals cover, corrections agree with scipy."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from babelscope.stats import (
    benjamini_hochberg,
    bootstrap_weights,
    interval,
    permutation_p,
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
