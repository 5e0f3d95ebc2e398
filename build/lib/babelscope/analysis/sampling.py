"""The next token of a text, by the nucleus of its likeliest tokens.

After Holtzman et al. (2020), "The Curious Case of Neural Text Degeneration" (top-p). Names of shapes: ``B``
rows of a batch, ``V`` pieces of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

#: Logits that a CPU works on at a time, as many as its cache holds.
LOGITS_IN_CACHE = 1 << 18

#: The upper bits of a float, by which probabilities are binned: exponent and three bits of mantissa.
_SHIFT = np.uint32(20)
#: Of the bits of 1, and one for what rounding adds.
_N_BINS = (0x3F800000 >> 20) + 2


def sample_tokens(
    logits_BV: torch.Tensor, uniforms_B: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor | None:
    """The token of each row at which the cumulative probability passes the row's random number.

    Args:
        logits_BV: Logits.
        uniforms_B: Uniform in [0, 1), float64.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: The fewest tokens that together have this probability are kept, and those that are as
            likely as the last of them.

    Returns:
        Token ids, or None if the logits are not finite.
    """
    logits_BV = logits_BV.float()
    if temperature == 0:
        return logits_BV.argmax(dim=-1) if bool(logits_BV.isfinite().all()) else None
    if logits_BV.device.type != "cpu":
        return _from_sorted(torch.softmax(logits_BV / temperature, dim=-1), uniforms_B, top_p)
    ids_B = np.empty(len(logits_BV), np.int64)
    at_once = max(1, LOGITS_IN_CACHE // logits_BV.shape[1])
    for start in range(0, len(ids_B), at_once):
        rows = slice(start, start + at_once)
        share_BV = torch.softmax(logits_BV[rows] / temperature, dim=-1).numpy()
        if not np.isfinite(share_BV.sum()):
            return None
        _take(share_BV, uniforms_B[rows].numpy(), top_p, ids_B[rows])
    return torch.from_numpy(ids_B)


def _from_sorted(share_BV: torch.Tensor, uniforms_B: torch.Tensor, top_p: float) -> torch.Tensor | None:
    """What a GPU does, which sorts fast."""
    if top_p < 1:
        sorted_BV = share_BV.sort(dim=-1, descending=True).values
        goal_B1 = share_BV.new_full((len(share_BV), 1), top_p)
        last_B1 = torch.searchsorted(sorted_BV.cumsum(dim=-1), goal_B1)
        share_BV = share_BV * (share_BV >= sorted_BV.gather(1, last_B1.clamp(max=sorted_BV.shape[1] - 1)))
    sums_BV = share_BV.double().cumsum(dim=-1)
    totals_B1 = sums_BV[:, -1:]
    if not bool(totals_B1.isfinite().all()):
        return None
    # Below the total even after rounding, so that no token of probability 0 is taken.
    marks_B1 = uniforms_B[:, None] * totals_B1 * (1 - 1e-12)
    return torch.searchsorted(sums_BV, marks_B1, right=True)[:, 0]


@numba.njit(nogil=True, cache=True)
def _take(share_BV: NDArray[np.float32], uniforms_B: Any, top_p: float, ids_B: NDArray[np.int64]) -> None:
    """The same without a sort: what is as likely as the last of the nucleus is found by bins of probability.

    The bits of a float of positive sign rise with its value, so the upper ones are bins in order. The mass of
    the bins from the top says in which the nucleus ends, and only the few values of that bin are sorted.
    """
    n_rows, n_pieces = share_BV.shape
    bits_BV = share_BV.view(np.uint32)
    mass = np.zeros(_N_BINS)
    for row in range(n_rows):
        mass[:] = 0.0
        for piece in range(n_pieces):
            mass[bits_BV[row, piece] >> _SHIFT] += share_BV[row, piece]
        least, total = np.float32(0), 1.0
        if top_p < 1:
            least, total = _nucleus(share_BV[row], bits_BV[row], mass, top_p)
        else:
            total = mass.sum()
        # Below the total even after rounding, so that no token of probability 0 is taken.
        mark, so_far = uniforms_B[row] * total * (1 - 1e-12), 0.0
        for piece in range(n_pieces):
            share = share_BV[row, piece]
            if share >= least and share > 0:
                so_far += share
                ids_B[row] = piece  # the last one, should rounding keep the sum below the mark
                if so_far > mark:
                    break


@numba.njit(nogil=True, cache=True)
def _nucleus(share_V: Any, bits_V: Any, mass: Any, top_p: float) -> tuple[Any, float]:
    """The probability of the last token of the nucleus, and that of all tokens that are as likely."""
    total, at = 0.0, len(mass) - 1
    while at > 0 and total + mass[at] < top_p:
        total += mass[at]
        at -= 1
    while mass[at] == 0.0:  # rounding kept the sum of all below it
        at += 1
    of_bin = np.sort(share_V[(bits_V >> _SHIFT) == at])[::-1]
    least = of_bin[-1]
    for value in of_bin:
        if total >= top_p and value < least:
            break
        least = value
        total += value
    return least, total
