"""Do the experts of one concept in different languages coincide?

Every overlap stands beside its chance level (hypergeometric), its concept-permuted null (the same
languages, different concepts), its reliability ceiling (one language, two disjoint halves of its
sentences) and an interval. Two variants are computed:

- ``same_lines``: experts chosen on all sentences in both languages;
- ``disjoint_lines``: experts of the one language chosen on half a, of the other on half b, and the other
  way round, averaged. Translations of one sentence share names, digits and length, and random units see
  those; where sentences are parallel this is the variant to read.

Names of shapes: ``C`` concepts, ``P`` pairs of languages or permutations, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from babelscope.analysis.experts import expert_places
from babelscope.analysis.scores import OTHER_HALF
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import (
    benjamini_hochberg,
    bootstrap_weights,
    intervals_of,
    permutation_p,
    two_way_interval,
)
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
ALL_LAYERS = -1
#: In columns of languages: the mean over all pairs of different languages.
ALL = "*"
#: In columns of languages: the mean over languages, each with itself.
SAME = "="
_COLUMNS = (
    "scope", "layer", "variant", "lang_a", "lang_b", "overlap", "low", "high", "null", "chance",
    "calibrated", "p_value", "n_concepts", "k", "n_units",
)  # fmt: skip


def overlap_table(
    experts: Mapping[str, pd.DataFrame],
    units: UnitIndex,
    concepts: list[str],
    settings: AlignmentSettings,
) -> pd.DataFrame:
    """Overlap of expert sets for each pair of languages, over the model and within each layer.

    Args:
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        units: All units of the model.
        concepts: Order of the concepts.
        settings: Resamples of the intervals, permutations of the concept labels for the p-values, seed.

    Returns:
        Columns ``scope`` (model, layer), ``layer`` (-1: all), ``variant``, ``lang_a``, ``lang_b``,
        ``overlap`` (share of K, mean over concepts), ``low``, ``high``, ``null``, ``chance``,
        ``calibrated``, ``p_value``, ``n_concepts``, ``k``, ``n_units``. Intervals of pairs resample
        concepts; those of the summary rows (``*``, ``=``) resample concepts and languages.
    """
    langs = list(experts)
    different = list(combinations(range(len(langs)), 2))
    same = [(at, at) for at in range(len(langs))]
    by_layer: dict[int, dict[tuple[str, str], sparse.csr_array]] = {}
    for lang, table in experts.items():
        for (layer, subset), of_subset in _sets(table, units, concepts).items():
            by_layer.setdefault(layer, {})[lang, subset] = of_subset
    parts = []
    for layer in (ALL_LAYERS, *units.layers):
        sets = by_layer.pop(layer)
        k = int(sets[langs[0], "all"][0].sum())
        n_units = len(units) if layer == ALL_LAYERS else units.width(layer)
        for variant, pairs in (("same_lines", different), ("disjoint_lines", different + same)):
            if not pairs:  # one language has none
                continue
            shared = _shared(sets, langs, pairs, variant, k)
            rows = _overlap_rows(shared, langs, settings)
            parts.append(rows.assign(layer=layer, variant=variant, chance=k / n_units, k=k, n_units=n_units))
    found = pd.concat(parts, ignore_index=True).assign(n_concepts=len(concepts))
    found["scope"] = np.where(found["layer"] == ALL_LAYERS, "model", "layer")
    found["calibrated"] = (found["overlap"] - found["null"]) / (1 - found["null"])
    return found[list(_COLUMNS)]


def _sets(
    table: pd.DataFrame, units: UnitIndex, concepts: list[str]
) -> dict[tuple[int, str], sparse.csr_array]:
    """The sets of experts of one language by layer (-1: of the model) and subset; one pass over the table."""
    layer_E = np.where(table["scope"] == "model", ALL_LAYERS, table["layer"].to_numpy())
    subset_E, subsets = pd.factorize(table["subset"])
    found = {}
    row_E, unit_E = expert_places(table, units, concepts)
    order_E = np.lexsort((subset_E, layer_E))
    keys_E2 = np.stack([layer_E, subset_E], axis=1)[order_E]
    starts = np.flatnonzero((np.diff(keys_E2, axis=0, prepend=keys_E2[:1] - 1) != 0).any(axis=1))
    for start, chosen in zip(starts, np.split(order_E, starts[1:]), strict=True):
        layer, subset = keys_E2[start].tolist()
        shape = len(concepts), len(units)
        ones = np.ones(len(chosen), dtype=np.int32)
        found[layer, str(subsets[subset])] = sparse.csr_array(
            (ones, (row_E[chosen], unit_E[chosen])), shape=shape
        )
    return found


def _shared(
    sets: Mapping[tuple[str, str], sparse.csr_array],
    langs: list[str],
    pairs: Iterable[tuple[int, int]],
    variant: str,
    k: int,
) -> dict[tuple[int, int], Floats]:
    """Share of K that the experts of concept i in one language share with those of j in the other, (C, C)."""
    subsets = [("all", "all")] if variant == "same_lines" else list(OTHER_HALF.items())
    turned = {(lang, subset): each.T.tocsr() for (lang, subset), each in sets.items()}
    found = {}
    for a, b in pairs:
        counts = [(sets[langs[a], one] @ turned[langs[b], other]).toarray() for one, other in subsets]
        found[a, b] = np.asarray(np.mean(counts, axis=0) / k, dtype=np.float64)
    return found


def _overlap_rows(
    shared: Mapping[tuple[int, int], Floats], langs: list[str], settings: AlignmentSettings
) -> pd.DataFrame:
    """A row per pair, then the means over different languages and over languages with themselves."""
    n_concepts = len(next(iter(shared.values())))
    weights_BC = bootstrap_weights(n_concepts, settings.bootstrap, settings.seed)
    rng = np.random.default_rng([settings.seed, 1])
    order_PC = np.array([rng.permutation(n_concepts) for _ in range(settings.permutations)])
    flat_PC = np.arange(n_concepts) * n_concepts + order_PC
    own_C = {pair: np.diag(shared_CC) for pair, shared_CC in shared.items()}
    n_other = n_concepts * (n_concepts - 1)
    null = {pair: (s.sum() - np.trace(s)) / n_other if n_other else np.nan for pair, s in shared.items()}
    permuted_P = {pair: shared_CC.take(flat_PC).mean(axis=1) for pair, shared_CC in shared.items()}
    intervals = intervals_of(np.stack([weights_BC @ overlap_C for overlap_C in own_C.values()]))
    rows: list[tuple[Any, ...]] = []
    for ((a, b), overlap_C), (low, high) in zip(own_C.items(), intervals, strict=True):
        mean = float(overlap_C.mean())
        p_value = permutation_p(mean, permuted_P[a, b])
        rows.append((langs[a], langs[b], mean, low, high, null[a, b], p_value))
    for name, pairs in summarised_pairs(shared).items():
        overlap_PC = np.array([own_C[pair] for pair in pairs])
        low, high = two_way_interval(overlap_PC, pairs, len(langs), settings.bootstrap, settings.seed)
        mean = float(overlap_PC.mean())
        p_value = permutation_p(mean, np.mean([permuted_P[pair] for pair in pairs], axis=0))
        rows.append((name, name, mean, low, high, np.mean([null[pair] for pair in pairs]), p_value))
    return pd.DataFrame(rows, columns=["lang_a", "lang_b", "overlap", "low", "high", "null", "p_value"])


def summarised_pairs(pairs: Iterable[tuple[int, int]]) -> dict[str, list[tuple[int, int]]]:
    """Pairs of different languages, and of languages with themselves, by :data:`ALL` and :data:`SAME`."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for a, b in sorted(pairs, key=lambda pair: pair[0] == pair[1]):
        groups.setdefault(SAME if a == b else ALL, []).append((a, b))
    return groups


def add_false_discovery(overlap: pd.DataFrame) -> pd.DataFrame:
    """Add ``q_value``: Benjamini-Hochberg over all steps, layers and pairs that were scanned.

    Each variant is a scan of its own; summary rows and ceilings are not tests and get none.
    """
    table = overlap.reset_index(drop=True)
    table["q_value"] = np.nan
    tests = ~table["lang_a"].isin([ALL, SAME]) & (table["lang_a"] != table["lang_b"])
    for _, rows in table[tests].groupby("variant"):
        table.loc[rows.index, "q_value"] = benjamini_hochberg(rows["p_value"].to_numpy())
    return table
