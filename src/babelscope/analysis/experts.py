"""The experts of a concept: the units that predict it best.

Names of shapes: ``C`` concepts, ``K`` experts, ``U`` units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from babelscope.analysis.scores import OTHER_HALF, SUBSETS, ScoreFile
from babelscope.errors import StudyError
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]


def select_experts(scores: ScoreFile, *, k: int) -> pd.DataFrame:
    """The K units of highest average precision, per concept, subset and scope.

    Scope ``model`` takes the top K of all units; scope ``layer`` takes in every layer the top
    ``max(1, round(K * N_layer / N))``. Equal scores go by unit order.

    Args:
        scores: Scores of one (model, step, language).
        k: Number of experts, at most the number of units.

    Returns:
        Columns ``model, step, lang, scope, subset, concept, rank, layer, site, unit, ap`` (on the
        subset), ``held_out_ap`` (on the other half; NaN for ``all``), ``forced_value`` (median over
        the positive sentences), ``k``.

    Raises:
        StudyError: If K exceeds the number of units.
    """
    cell, units, n_concepts = scores.provenance, scores.units, len(scores.concepts)
    if not 1 <= k <= len(units):
        hint = "lower experts.k or add sites to extraction.sites"
        raise StudyError("experts.k", k, f"at most the number of units, {len(units)}", hint)
    k_of = {-1: k, **{at: max(1, round(k * units.width(at) / len(units))) for at in units.layers}}
    best = _best_by_scope(scores, k_of)
    parts = []
    for subset in SUBSETS:
        for at, k_scope in k_of.items():
            ap_CK, held_out_CK, median_CK, unit_CK = best[subset, at]
            layer, site, unit = units.places(unit_CK.ravel())
            n_ranks = ap_CK.shape[1]
            part = {
                "model": cell.model,
                "step": cell.step,
                "lang": cell.lang,
                "scope": "model" if at == -1 else "layer",
                "subset": subset,
                "concept": np.repeat(np.array(scores.concepts, dtype=object), n_ranks),
                "rank": np.tile(np.arange(n_ranks), n_concepts),
                "layer": layer,
                "site": site,
                "unit": unit,
                "ap": ap_CK.ravel(),
                "held_out_ap": held_out_CK.ravel(),
                "forced_value": median_CK.ravel().astype(np.float32),
                "k": k_scope,
            }
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _best_by_scope(scores: ScoreFile, k_of: Mapping[int, int]) -> dict[tuple[str, int], Floats]:
    """Per subset and layer (-1: all) the best units, best first; one site at a time bounds the memory.

    Each array has four planes ``(C, K)``: AP, AP on the other half, median, number of the unit.
    """
    best: dict[tuple[str, int], Floats] = {}
    for layer, site, numbers in scores.units.parts():
        ap = {subset: scores.read(layer, site, f"ap_{subset}") for subset in SUBSETS}
        median_CU = scores.read(layer, site, "median")
        for subset, ap_CU in ap.items():
            unit_CK = np.stack([top(ap_U, k_of[-1]) for ap_U in ap_CU])
            held_out_CU = ap.get(OTHER_HALF.get(subset, ""), np.full_like(ap_CU, np.nan))
            values = [np.take_along_axis(v, unit_CK, axis=1) for v in (ap_CU, held_out_CU, median_CU)]
            found = np.stack([*values, numbers.start + unit_CK])
            for at in (-1, layer):
                both = np.concatenate([best.get((subset, at), found[:, :, :0]), found], axis=2)
                # Of equal scores the earlier site's stay first.
                order_CK = np.argsort(-both[0], axis=1, kind="stable")[:, : k_of[at]]
                best[subset, at] = np.take_along_axis(both, order_CK[None], axis=2)
    return best


def top(scores_U: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` highest scores, best first; equal scores by index; all if there are fewer."""
    if k >= len(scores_U):
        return np.argsort(-scores_U, kind="stable")
    # All units that reach the k-th score, so that a tie at the border goes by index too.
    border = np.partition(scores_U, len(scores_U) - k)[len(scores_U) - k]
    candidates = np.flatnonzero(scores_U >= border)
    return candidates[np.argsort(-scores_U[candidates], kind="stable")][:k]


def of_model(experts: pd.DataFrame, subset: str = "all") -> pd.DataFrame:
    """The experts of the whole model, chosen on a subset of the sentences."""
    return experts[(experts["scope"] == "model") & (experts["subset"] == subset)]


def expert_sets(experts: pd.DataFrame, units: UnitIndex, concepts: Sequence[str]) -> sparse.csr_array:
    """Sets of experts as a sparse matrix of ones, shape ``(C, U)``, rows and columns in the orders given.

    ``experts`` has each pair of concept and unit once.
    """
    rows = pd.Index(concepts).get_indexer(pd.Index(experts["concept"]))
    columns = units.numbers(experts["layer"], experts["site"], experts["unit"])
    ones = np.ones(len(experts), dtype=np.int32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(concepts), len(units)))
