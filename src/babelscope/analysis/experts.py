"""The experts of a concept: the units that predict it best.

Names of shapes: ``C`` concepts, ``K`` experts, ``U`` units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.scores import OTHER_HALF, SUBSETS, ScoreFile
from babelscope.errors import StudyError
from babelscope.io.cells import Cell, CellTables

Floats = NDArray[np.float64]
COLUMNS = (
    "model", "step", "lang", "scope", "subset", "concept", "rank", "layer", "site", "unit", "ap",
    "held_out_ap", "forced_value", "k",
)  # fmt: skip


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
    n_units = len(scores.units)
    if not 1 <= k <= n_units:
        hint = "lower experts.k or add sites to extraction.sites"
        raise StudyError("experts.k", k, f"at most the number of units, {n_units}", hint)
    scopes = [("model", -1, k)]
    scopes += [
        ("layer", at, max(1, round(k * scores.units.width(at) / n_units))) for at in scores.units.layers
    ]
    best = _best_by_scope(scores, {at: k_scope for _, at, k_scope in scopes}, k)
    parts = [
        best[subset, at].table(scores).assign(scope=scope, subset=subset, k=k_scope)
        for subset in SUBSETS
        for scope, at, k_scope in scopes
    ]
    cell = scores.provenance
    table = pd.concat(parts, ignore_index=True).assign(model=cell.model, step=cell.step, lang=cell.lang)
    return table[list(COLUMNS)]


def _best_by_scope(scores: ScoreFile, k_of: Mapping[int, int], k: int) -> dict[tuple[str, int], _Best]:
    """Per subset and layer (-1: all) the best units, read one site at a time, which bounds the memory."""
    best: dict[tuple[str, int], _Best] = {}
    for layer, site, numbers in scores.units.parts():
        ap = {subset: scores.read(layer, site, f"ap_{subset}") for subset in SUBSETS}
        median_CU = scores.read(layer, site, "median")
        for subset in SUBSETS:
            held_out_CU = ap.get(OTHER_HALF.get(subset, ""))
            found = _Best.of_site(numbers.start, ap[subset], held_out_CU, median_CU, k)
            for at in (-1, layer):
                best[subset, at] = found.after(best.get((subset, at)), k_of[at])
    return best


@dataclass(frozen=True)
class _Best:
    """The best units so far, best first; all arrays ``(C, K)``."""

    ap_CK: Floats
    held_out_CK: Floats
    median_CK: NDArray[np.float32]
    unit_CK: NDArray[np.intp]
    """Numbers in the unit order."""

    @classmethod
    def of_site(
        cls,
        first: int,
        ap_CU: Floats,
        held_out_CU: Floats | None,
        median_CU: NDArray[np.float32],
        k: int,
    ) -> _Best:
        """The best of one site; ``first`` is the number of its first unit."""
        unit_CK = np.stack([top(ap_U, k) for ap_U in ap_CU])[:, :k]
        held_out_CU = np.full_like(ap_CU, np.nan) if held_out_CU is None else held_out_CU

        def taken(values_CU: NDArray[Any]) -> NDArray[Any]:
            return np.take_along_axis(values_CU, unit_CK, axis=1)

        return cls(taken(ap_CU), taken(held_out_CU), taken(median_CU), first + unit_CK)

    def after(self, earlier: _Best | None, k: int) -> _Best:
        """The ``k`` best of these and of earlier sites; of equal scores the earlier site's first."""
        both = [self] if earlier is None else [earlier, self]
        ap_CK = np.concatenate([part.ap_CK for part in both], axis=1)
        order_CK = np.argsort(-ap_CK, axis=1, kind="stable")[:, :k]

        def ordered(name: str) -> NDArray[Any]:
            joined = np.concatenate([getattr(part, name) for part in both], axis=1)
            return np.take_along_axis(joined, order_CK, axis=1)

        return _Best(*(ordered(field.name) for field in fields(_Best)))

    def table(self, scores: ScoreFile) -> pd.DataFrame:
        """One row per concept and rank."""
        n_concepts, k = self.ap_CK.shape
        layer, site, unit = scores.units.places(self.unit_CK.ravel())
        return pd.DataFrame(
            {
                "concept": np.repeat(np.array(scores.concepts, dtype=object), k),
                "rank": np.tile(np.arange(k), n_concepts),
                "layer": layer,
                "site": site,
                "unit": unit,
                "ap": self.ap_CK.ravel(),
                "held_out_ap": self.held_out_CK.ravel(),
                "forced_value": self.median_CK.ravel(),
            }
        )


def top(scores_U: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` highest scores, best first; equal scores by index."""
    if k >= len(scores_U):
        return np.argsort(-scores_U, kind="stable")
    # All units that reach the k-th score, so that a tie at the border goes by index too.
    border = np.partition(scores_U, len(scores_U) - k)[len(scores_U) - k]
    candidates = np.flatnonzero(scores_U >= border)
    return candidates[np.argsort(-scores_U[candidates], kind="stable")][:k]


def read_experts(paths: Iterable[Path], wanted: Iterable[Cell] | None = None) -> CellTables:
    """Tables of :func:`select_experts` of one model, by (step, language).

    See :class:`babelscope.io.cells.CellTables`, also for errors.
    """
    return CellTables(paths, wanted)
