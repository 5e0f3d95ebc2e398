"""Intervals, nulls and corrections that the analyses share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def interval(resamples: NDArray[Any]) -> tuple[float, float]:
    """95% percentile interval of bootstrap resamples; NaN if there are none."""
    finite = np.asarray(resamples, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def bootstrap_weights(
    n: int, n_resamples: int, seed: int, *, draws: int | None = None
) -> NDArray[np.float64]:
    """How often each of ``n`` items is drawn in each resample, as shares; ``(n_resamples, n)``.

    Args:
        n: Number of items.
        n_resamples: Number of resamples.
        seed: Of the draws.
        draws: Items drawn, with replacement; ``n`` by default.
    """
    draws = n if draws is None else draws
    counts = np.random.default_rng(seed).multinomial(draws, np.full(n, 1 / n), size=n_resamples)
    return np.asarray(counts / draws, dtype=np.float64)


def permutation_p(observed: float, null: Floats) -> float:
    """Share of null values at least as large, counting the observed one: ``(1 + #) / (1 + n)``.

    Source: Phipson and Smyth (2010), "Permutation p-values should never be zero".
    """
    return float((1 + np.sum(null >= observed - 1e-12)) / (1 + len(null)))


def benjamini_hochberg(p_values: Floats) -> Floats:
    """Q-values; NaN stays NaN and does not count (scipy's ``false_discovery_control``)."""
    from scipy.stats import false_discovery_control  # slow to import, needed once

    p_values = np.asarray(p_values, dtype=np.float64)
    q_values = np.full_like(p_values, np.nan)
    there = np.isfinite(p_values)
    if there.any():
        q_values[there] = false_discovery_control(p_values[there], method="bh")
    return q_values
