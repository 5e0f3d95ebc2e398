"""The experts of a concept: the units that predict it best.

Names of shapes: ``C`` concepts, ``K`` experts, ``U`` units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from babelscope.analysis.ranking import NOBODY, BestFile, k_by_scope
from babelscope.analysis.scores import SUBSETS
from babelscope.errors import StudyError
from babelscope.units import UnitIndex

_COLUMNS = (
    "model", "step", "lang", "scope", "subset", "concept", "rank", "layer", "site", "unit", "ap",
    "held_out_ap", "forced_value", "k",
)  # fmt: skip


def select_experts(best: BestFile, *, k: int) -> pd.DataFrame:
    """The K units of highest average precision, per concept, subset and scope.

    Scope ``model`` takes the top K of all units; scope ``layer`` takes in every layer the top
    ``max(1, round(K * N_layer / N))``. Equal scores go by lot, and units whose AP is that of a constant are
    not chosen: a concept has fewer than K rows where fewer are left.

    Args:
        best: The best units of one (model, step, language).
        k: Number of experts, at most the number of units that are kept.

    Returns:
        Columns ``model, step, lang, scope, subset, concept, rank, layer, site, unit, ap`` (on the
        subset), and of scope ``model`` ``held_out_ap`` (on the other half; NaN for ``all``) and
        ``forced_value`` (median over the positive sentences); ``k``.

    Raises:
        StudyError: If K exceeds the number of units that are kept.
    """
    cell, units, n_concepts = best.provenance, best.units, len(best.concepts)
    if not 1 <= k <= best.kept:
        hint = "lower experts.k, or raise experts.kept or add sites to extraction.sites"
        raise StudyError("experts.k", k, f"at most the number of units that are kept, {best.kept}", hint)
    concepts, parts = np.array(best.concepts, dtype=object), []
    for subset in SUBSETS:
        for at, n_ranks in k_by_scope(units, k).items():
            found, n = best.best(subset, at).first(n_ranks), n_concepts * n_ranks
            part = {
                "scope": np.full(n, "model" if at == -1 else "layer", dtype=object),
                "subset": np.full(n, subset, dtype=object),
                "concept": np.repeat(concepts, n_ranks),
                "rank": np.tile(np.arange(n_ranks), n_concepts),
                "number": found.unit.ravel(),
                "ap": found.ap.ravel(),
                "held_out_ap": found.held_out_ap.ravel(),
                "forced_value": found.median.ravel().astype(np.float32),
                "k": np.full(n, n_ranks),
            }
            parts.append(part)
    # One table at the end: a table of every scope costs more than all their numbers.
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    there = whole["number"] != NOBODY
    whole = {name: values[there] for name, values in whole.items()}
    places = dict(zip(("layer", "site", "unit"), units.places(whole.pop("number")), strict=True))
    about = {"model": cell.model, "step": cell.step, "lang": cell.lang}
    return pd.DataFrame({**about, **whole, **places})[list(_COLUMNS)]


def kept_units(best: BestFile) -> pd.DataFrame:
    """The units of every concept that are kept, best first, experts or not: from which some are forced.

    Args:
        best: The best units of one (model, step, language).

    Returns:
        Columns ``scope`` (model), ``subset`` (all), ``concept, rank, layer, site, unit, ap, forced_value, k``
        as of :func:`select_experts`.
    """
    found, n_concepts = best.best("all"), len(best.concepts)
    layer, site, unit = best.units.places(np.maximum(found.unit, 0).ravel())
    n_ranks = found.unit.shape[1]
    table = pd.DataFrame(
        {
            "scope": "model",
            "subset": "all",
            "concept": np.repeat(np.array(best.concepts, dtype=object), n_ranks),
            "rank": np.tile(np.arange(n_ranks), n_concepts),
            "layer": layer,
            "site": site,
            "unit": unit,
            "ap": found.ap.ravel(),
            "forced_value": found.median.ravel().astype(np.float32),
            "k": n_ranks,
        }
    )
    there: pd.DataFrame = table[found.unit.ravel() != NOBODY].reset_index(drop=True)
    return there


def of_model(experts: pd.DataFrame, subset: str = "all") -> pd.DataFrame:
    """The experts of the whole model, chosen on a subset of the sentences."""
    return experts[(experts["scope"] == "model") & (experts["subset"] == subset)]


def expert_sets(experts: pd.DataFrame, units: UnitIndex, concepts: Sequence[str]) -> sparse.csr_array:
    """Sets of experts as a sparse matrix of ones, shape ``(C, U)``, rows and columns in the orders given.

    ``experts`` has each pair of concept and unit once.
    """
    rows, columns = expert_places(experts, units, concepts)
    ones = np.ones(len(experts), dtype=np.int32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(concepts), len(units)))


def expert_places(
    experts: pd.DataFrame, units: UnitIndex, concepts: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Of each row of a table of experts the row of its concept and the number of its unit.

    Raises:
        ValueError: If there is no such unit.
    """
    # Names are looked up once each: a table has hundreds of thousands of rows.
    concept_E, names = pd.factorize(experts["concept"])
    site_E, sites = pd.factorize(experts["site"])
    layer_E = experts["layer"].to_numpy(dtype=np.int64)
    place_E = layer_E * len(sites) + site_E
    places = np.flatnonzero(np.bincount(place_E))
    first = np.zeros(int(place_E.max(initial=0)) + 1, dtype=np.int64)
    layer_P, site_P = np.divmod(places, max(1, len(sites)))
    unit_E, last = experts["unit"].to_numpy(dtype=np.int64), np.zeros_like(first)
    np.maximum.at(last, place_E, unit_E)
    # Asked for the last unit of a place, so that one that is not there is refused.
    last_P = last[places]
    first[places] = units.numbers(layer_P, np.asarray(sites, dtype=np.str_)[site_P], last_P) - last_P
    rows = pd.Index(concepts).get_indexer(pd.Index(names))
    return rows[concept_E], first[place_E] + unit_E
