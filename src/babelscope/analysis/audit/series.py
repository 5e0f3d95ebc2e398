"""What the judge sees of a model's checkpoints: losses with their errors, and distances between weights.

Names of shapes: ``S`` steps of one model in their order, ``L`` languages, ``m`` entries of a sketch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from babelscope.analysis.audit.files import CheckpointAudit, HeldOutLoss, ratio_se

Floats = NDArray[np.float64]

#: A loss counts as above another if it is so by this many standard errors, besides a margin in nats.
LOSS_Z = 4.0


@dataclass(frozen=True)
class Curve:
    """Losses of one model."""

    loss_SL: Floats
    """Nats per token."""
    rise_se_SSL: Floats
    """Standard error of the difference of the loss of two steps."""

    def above(self, least: float) -> Floats:
        """By how much the loss of the second step exceeds that of the first and the margin; ``(S, S, L)``."""
        rise_SSL = self.loss_SL[None, :, :] - self.loss_SL[:, None, :]
        return rise_SSL - np.maximum(LOSS_Z * self.rise_se_SSL, least)

    @property
    def mean_S(self) -> Floats:
        return np.asarray(self.loss_SL.mean(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Distances:
    """How far the matrices of the steps of one model are from each other, estimated from sketches.

    Only tensors of two dimensions or more count: gains that begin at 1 make all checkpoints alike.
    A distance is the root of ``sum over tensors of size / entries * sum over entries of (a - b)^2``, an
    unbiased estimate of the squared Euclidean distance; it is 0 where the digests are equal.
    """

    distance_SS: Floats
    """Euclidean; NaN where a step has weights that are not finite."""
    cosine_SS: Floats
    norm_S: Floats
    """Exact norm of each step."""


@dataclass(frozen=True)
class Series:
    """What the judge sees of one model, steps in their order."""

    steps: tuple[int, ...]
    digests: tuple[str, ...]
    broken: tuple[str, ...]
    """Per step what is not finite, in words; empty if all is."""
    curve: Curve | None = None
    distances: Distances | None = None


def make_series(audits: Sequence[CheckpointAudit]) -> Series:
    """What the judge sees, from the audits of one model in the order of their steps."""
    return Series(
        steps=tuple(audit.step for audit in audits),
        digests=tuple(audit.digest for audit in audits),
        broken=tuple(_not_finite(audit) for audit in audits),
        curve=_curve(audits),
        distances=_distances(audits),
    )


def most(values: Floats) -> Floats:
    """The largest number that more than half of the values reach, along the last axis."""
    return np.asarray(-np.sort(-values, axis=-1)[..., values.shape[-1] // 2], dtype=np.float64)


def _not_finite(audit: CheckpointAudit) -> str:
    found = []
    if audit.n_nonfinite:
        found.append(
            f"{audit.n_nonfinite:,} of {audit.n_weights:,} weights are NaN or infinite, the first in "
            f"{audit.first_nonfinite}"
        )
    langs = [lang for lang, held in audit.losses.items() if not np.isfinite(held.loss)]
    if langs:
        found.append(f"the loss is no finite number in {', '.join(langs)}")
    return " and ".join(found)


def _curve(audits: Sequence[CheckpointAudit]) -> Curve | None:
    langs = [lang for lang in audits[0].losses if all(lang in audit.losses for audit in audits)]
    if not langs:
        return None
    n = len(audits)
    loss_SL = np.array([[audit.losses[lang].loss for lang in langs] for audit in audits], dtype=np.float64)
    se_SSL = np.zeros((n, n, len(langs)))
    for column, lang in enumerate(langs):
        held = [audit.losses[lang] for audit in audits]
        for a, b in itertools.combinations(range(n), 2):
            se_SSL[a, b, column] = se_SSL[b, a, column] = _rise_se(held[a], held[b])
    return Curve(loss_SL, se_SSL)


def _rise_se(a: HeldOutLoss, b: HeldOutLoss) -> float:
    """Of the difference of two losses: paired if both are of the same tokens of the same sentences."""
    if a.sentence_ids == b.sentence_ids and np.array_equal(a.tokens_N, b.tokens_N):
        error = ratio_se(b.nats_N - a.nats_N, a.tokens_N)
    else:
        error = float(np.hypot(a.loss_se, b.loss_se))
    return error if np.isfinite(error) else 0.0


def _matrices(audit: CheckpointAudit) -> dict[tuple[str, int], int]:
    """Where each matrix stands in an audit, by name and size."""
    return {
        (name, int(size)): at
        for at, (name, size, is_matrix) in enumerate(
            zip(audit.names, audit.sizes_T, audit.is_matrix_T, strict=True)
        )
        if is_matrix
    }


def _entries(audit: CheckpointAudit, at: int) -> Floats:
    start = int(audit.counts_T[:at].sum())
    return audit.sketch_M[start : start + int(audit.counts_T[at])].astype(np.float64)


def _distances(audits: Sequence[CheckpointAudit]) -> Distances | None:
    """Over the matrices that all steps have; None if there are none."""
    places = [_matrices(audit) for audit in audits]
    shared = [key for key in places[0] if all(key in place for place in places)]
    if not shared:
        return None
    n = len(audits)
    dot_SS, square_S = np.zeros((n, n)), np.zeros(n)
    for key in shared:
        rows = [place[key] for place in places]
        entries_Sm = np.array([_entries(audit, at) for audit, at in zip(audits, rows, strict=True)])
        dot_SS += key[1] / entries_Sm.shape[1] * (entries_Sm @ entries_Sm.T)
        square_S += [audit.norms_T[at] ** 2 for audit, at in zip(audits, rows, strict=True)]
    # A sketch may miss a weight that is not finite.
    finite_S = np.array([audit.n_nonfinite == 0 for audit in audits])
    dot_SS[~finite_S, :] = dot_SS[:, ~finite_S] = np.nan
    own_S = np.diag(dot_SS)
    distance_SS = np.sqrt(np.maximum(own_S[:, None] + own_S[None, :] - 2 * dot_SS, 0.0))
    digests = np.array([audit.digest for audit in audits])
    distance_SS[digests[:, None] == digests[None, :]] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine_SS = dot_SS / np.sqrt(own_S[:, None] * own_S[None, :])
    return Distances(distance_SS, cosine_SS, np.sqrt(square_S))


def distance_se(a: CheckpointAudit, b: CheckpointAudit, distance: float) -> float:
    """Standard error of a distance, from the spread of the squared differences within each tensor."""
    variance, places = 0.0, _matrices(b)
    for key, at in _matrices(a).items():
        if key not in places:
            continue
        squares = (_entries(a, at) - _entries(b, places[key])) ** 2
        n, size = len(squares), key[1]
        if 1 < n < size:
            variance += size**2 * (1 - n / size) * squares.var(ddof=1) / n
    return float(np.sqrt(variance) / (2 * distance))
