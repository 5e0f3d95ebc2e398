"""Are there single units that predict one concept in all languages?

Names of shapes: ``C`` concepts, ``L`` languages, ``U`` units, ``P`` pairings of concepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL
from babelscope.analysis.ranking import ALL_SITES, BestFile
from babelscope.analysis.scores import OTHER_HALF, ScoreFile
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.sharing import members, pairings_of, shared
from babelscope.stats import bootstrap_weights, interval

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
_COLUMNS = (
    "kind", "metric", "concept", "m", "value", "null", "null_low", "null_high", "low", "high", "chance_ap",
    "layer", "site", "unit", "n", "n_null",
)  # fmt: skip

#: What a unit is chosen by and measured by, over languages.
METRICS = ("worst_ap", "mean_ap")
#: Pairings behind the null of the best unit; each one is a whole search.
_BEST_UNIT_NULLS = 20
#: Pairings behind the null of the shared units, at most.
_SHARED_UNITS_NULLS = 100
#: Units searched at a time; bounds the memory to ``languages * concepts * 1024 * 8 * 2`` bytes.
_BLOCK_UNITS = 1024


def search_units(scores: Mapping[str, ScoreFile], *, seed: int) -> pd.DataFrame:
    """Search all units for those that predict one concept in all languages, and the same for a null.

    For each concept the unit whose worst AP over languages is highest on one half, and its worst AP on the
    other half, both ways, averaged; and likewise by the mean over languages, since a unit that is chosen by
    its worst language says little of means. The null takes a different concept in every language and makes
    the same choice among all units, so that the best of many is not flattered.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        seed: Of the pairings of concepts.

    Returns:
        Columns ``model, step, metric`` (worst_ap, mean_ap: what is chosen by and measured), ``pairing`` (0:
        the concept itself, then the null's), ``concept, value, layer, site, unit`` (of pairing 0, the one
        chosen on half a).
    """
    return search_sites(scores, (ALL_SITES,), seed=seed, n_nulls=_BEST_UNIT_NULLS)[ALL_SITES]


def search_sites(
    scores: Mapping[str, ScoreFile], sites: Sequence[str], *, seed: int, n_nulls: int
) -> dict[str, pd.DataFrame]:
    """The same among the units of each of some sites, at the price of one search.

    Args:
        scores: As for :func:`search_units`.
        sites: Names of sites; ``*`` is all of them together.
        seed: Of the pairings of concepts.
        n_nulls: Pairings behind the null; each one is a whole search.
    """
    scores = dict(sorted(scores.items()))  # pairings are drawn by place
    first = next(iter(scores.values()))
    n_concepts = len(first.concepts)
    pairings = pairings_of(n_concepts, len(scores), n_nulls, np.random.default_rng([seed, 2]))
    found = _search(scores, pairings, sites)
    nowhere = n_concepts * (len(pairings) - 1)
    tables = {}
    for searched in sites:
        parts = []
        for metric in METRICS:
            a, b = (found[searched, metric, half] for half in OTHER_HALF)
            layer_C, site_C, unit_C = first.units.places(a.unit_C)
            part = {
                "model": first.provenance.model,
                "step": first.provenance.step,
                "metric": metric,
                "pairing": np.repeat(np.arange(len(pairings)), n_concepts),
                "concept": first.concepts * len(pairings),
                "value": ((a.value_PC + b.value_PC) / 2).ravel(),
                "layer": [*layer_C, *[-1] * nowhere],
                "site": [*site_C, *[""] * nowhere],
                "unit": [*unit_C, *[-1] * nowhere],
            }
            parts.append(pd.DataFrame(part))
        tables[searched] = pd.concat(parts, ignore_index=True)
    return tables


def reliability_table(
    search: pd.DataFrame,
    experts: Mapping[str, pd.DataFrame],
    best: Mapping[str, BestFile],
    settings: AlignmentSettings,
) -> pd.DataFrame:
    """Single units that predict one concept in all languages, and units shared by m languages.

    ``best_unit``: what :func:`search_units` found for each concept, beside its null. ``layer``, ``site`` and
    ``unit`` name the one chosen on half a.

    ``shared_units``: how many (concept, unit) are shared by at least ``m`` languages, as
    :mod:`babelscope.analysis.sharing` says; the null counts the same with a different concept in every
    language.

    ``null`` is the mean over several random pairings of concepts, ``null_low`` and ``null_high`` are
    their 95% quantiles; ``low`` and ``high`` resample concepts. With fewer concepts than languages the
    null has to use a concept in several languages, and is too high.

    ``chance_ap`` is what scores in random order reach on a half. The null alone does not do for the worst AP:
    on parallel lines a unit that knows nothing may have the same values in all languages, and its worst AP is
    the least of equal numbers, that of the null the least of different ones, which is lower.

    Args:
        search: The table of :func:`search_units`.
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        best: Per language its best units; all over the same units and concepts.
        settings: Resamples of the intervals, pairings behind the null of the shared units (``permutations``,
            100 at most), seed.

    Returns:
        Columns ``kind, metric`` (worst_ap, mean_ap, n_units), ``concept`` (``*``: mean or total),
        ``m``, ``value, null, null_low, null_high, low, high, chance_ap`` (over languages as the metric: the
        least, the mean; NaN for shared units), ``layer, site, unit, n, n_null`` (pairings behind the null).
    """
    first = next(iter(best.values()))
    rng = np.random.default_rng([settings.seed, 2])
    # The null of the shared units draws after that of the best unit, which was drawn by the search.
    pairings_of(len(first.concepts), len(experts), _BEST_UNIT_NULLS, rng)
    chance_LC = np.array([file.chance_ap for file in best.values()])
    rows = _best_units(search, chance_LC, settings) + _shared_units(first, experts, rng, settings)
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).fillna({"layer": -1, "site": "", "unit": -1})
    return table.astype({"layer": np.int64, "unit": np.int64, "value": np.float64})


def _best_units(search: pd.DataFrame, chance_LC: Floats, settings: AlignmentSettings) -> list[dict[str, Any]]:
    rows = []
    for metric in METRICS:
        of_metric = search[search["metric"] == metric]
        own = of_metric[of_metric["pairing"] == 0]
        n_concepts = len(own)
        value_PC = of_metric["value"].to_numpy().reshape(-1, n_concepts)
        value_C, null_PC = value_PC[0], value_PC[1:]
        chance_C = chance_LC.min(axis=0) if metric == "worst_ap" else chance_LC.mean(axis=0)
        common = {"kind": "best_unit", "metric": metric, "m": len(chance_LC)}
        places: list[dict[Any, Any]] = own[["concept", "layer", "site", "unit"]].to_dict("records")
        for c, place in enumerate(places):
            row: dict[str, Any] = {**common, "value": value_C[c], "chance_ap": chance_C[c], "n": 1, **place}
            rows.append({**row, **_null_columns(null_PC[:, c])})
        low, high = interval(bootstrap_weights(n_concepts, settings.bootstrap, settings.seed) @ value_C)
        summary = {**common, "concept": ALL, "value": value_C.mean(), "n": n_concepts}
        summary["chance_ap"] = chance_C.mean()
        rows.append({**summary, "low": low, "high": high, **_null_columns(null_PC.mean(axis=1))})
    return rows


class _Found(NamedTuple):
    """The best unit by pairing of the null (the first is the concept itself) and concept, held out."""

    value_PC: Floats
    """What it was chosen by, on the other half."""
    unit_C: Ints
    """Number of the unit of the concept itself."""
    best_PC: Floats
    """What it was chosen by."""


def _search(
    scores: Mapping[str, ScoreFile], pairings: Sequence[Ints], sites: Sequence[str]
) -> dict[tuple[str, str, str], _Found]:
    """Choose units on one half of the sentences and score them on the other; by site, metric and half."""
    units, n_concepts = next(iter(scores.values())).units, pairings[0].shape[1]
    shape = len(pairings), n_concepts
    found = {
        key: _Found(np.zeros(shape), np.zeros(n_concepts, dtype=np.intp), np.full(shape, -np.inf))
        for key in product(sites, METRICS, OTHER_HALF)
    }
    rows_C = np.arange(n_concepts)
    for layer, site, part in units.parts():
        searched = [name for name in sites if name in (ALL_SITES, site)]
        for start in range(0, part.stop - part.start, _BLOCK_UNITS) if searched else ():
            block = slice(start, start + _BLOCK_UNITS)
            ap = {
                half: [file.read(layer, site, f"ap_{half}", block) for file in scores.values()]
                for half in OTHER_HALF
            }
            for (half, other), (at, pairing_LC) in product(OTHER_HALF.items(), enumerate(pairings)):
                worst_CU = ap[half][0][pairing_LC[0]]
                sum_CU = worst_CU.copy()
                for ap_CU, order_C in zip(ap[half][1:], pairing_LC[1:], strict=True):
                    paired_CU = ap_CU[order_C]
                    np.minimum(worst_CU, paired_CU, out=worst_CU)
                    sum_CU += paired_CU
                for metric, by_CU in zip(METRICS, (worst_CU, sum_CU), strict=True):
                    unit_C = by_CU.argmax(axis=1)
                    value_C = by_CU[rows_C, unit_C]
                    paired = zip(ap[other], pairing_LC, strict=True)
                    held_out = np.stack([ap_CU[order_C, unit_C] for ap_CU, order_C in paired])
                    over_languages = held_out.min(axis=0) if metric == "worst_ap" else held_out.mean(axis=0)
                    for name in searched:
                        best = found[name, metric, half]
                        # The first in unit order keeps its place among equals.
                        better = value_C > best.best_PC[at]
                        best.best_PC[at, better] = value_C[better]
                        best.value_PC[at, better] = over_languages[better]
                        if at == 0:
                            best.unit_C[better] = part.start + start + unit_C[better]
    return found


def _null_columns(null_P: Floats) -> dict[str, float]:
    low, high = interval(null_P)
    mean = float(np.mean(null_P)) if len(null_P) else np.nan
    return {"null": mean, "null_low": low, "null_high": high, "n_null": len(null_P)}


def _shared_units(
    best: BestFile,
    experts: Mapping[str, pd.DataFrame],
    rng: np.random.Generator,
    settings: AlignmentSettings,
) -> list[dict[str, Any]]:
    n_langs, n_concepts = len(experts), len(best.concepts)
    of_lang = members(experts, best.units, best.concepts)
    n_nulls = min(_SHARED_UNITS_NULLS, settings.permutations)
    counts = []
    for pairing_LC in pairings_of(n_concepts, n_langs, n_nulls, rng):
        found = shared(list(of_lang.values()), len(best.units), pairing_LC)
        counts.append([len(found.by(m)) for m in range(2, n_langs + 1)])
    rows = []
    for m, count, *nulls in zip(range(2, n_langs + 1), *counts, strict=True):
        row = {"kind": "shared_units", "metric": "n_units", "concept": ALL, "m": m, "value": count}
        rows.append({**row, "n": n_concepts, **_null_columns(np.array(nulls, dtype=float))})
    return rows
