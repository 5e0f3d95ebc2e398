"""Sampling on a CPU, which sorts almost nothing, takes what sorting everything takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from babelscope.analysis.sampling import _from_sorted, sample_tokens


@settings(deadline=None)
@given(
    weights=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=st.integers(0, 9)
    ),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.999, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_as_by_sorting(weights, top_p, seed):
    weights[:, 0] += 1
    logits = torch.log(torch.from_numpy(weights))
    share = torch.softmax(logits, dim=-1)
    ordered = share.sort(dim=-1, descending=True).values.double().cumsum(dim=-1)
    if bool(((ordered - top_p).abs() < 1e-5).any()) and top_p < 1:
        return  # the nucleus may end a token earlier or later by rounding
    uniforms = torch.from_numpy(np.random.default_rng(seed).random(len(weights)))
    expected = _from_sorted(share, uniforms, top_p)
    assert sample_tokens(logits, uniforms, 1.0, top_p).tolist() == expected.tolist()


def test_as_by_sorting_over_a_large_vocabulary():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(scale=3, size=(300, 5000)).astype(np.float32))
    uniforms = torch.from_numpy(rng.random(300))
    for top_p in (0.5, 0.9, 0.99):
        found = sample_tokens(logits, uniforms, 0.8, top_p)
        expected = _from_sorted(torch.softmax(logits / 0.8, dim=-1), uniforms, top_p)
        # The odd one may differ: sorting adds up in single precision.
        assert (found == expected).float().mean() > 0.99


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(value):
    logits = torch.zeros((3, 7))
    logits[1, 2] = value
    assert sample_tokens(logits, torch.full((3,), 0.5, dtype=torch.float64), 1.0, 0.9) is None
