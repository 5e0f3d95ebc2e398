"""Do the experts of one concept in different languages coincide, and do they transfer?

Names of shapes: ``C`` concepts, ``L`` languages, ``U`` units, ``K`` experts.

Every overlap stands beside its chance level (hypergeometric), its concept-permuted null (the same
languages, different concepts), its reliability ceiling (one language, two disjoint halves of its
sentences) and an interval. Two variants are computed:

- ``same_lines``: experts chosen on all sentences in both languages;
- ``disjoint_lines``: experts of the one language chosen on half a, of the other on half b, and the other
  way round, averaged. Translations of one sentence share names, digits and length, and random units see
  those; where sentences are parallel this is the variant to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from babelscope.expertise import OTHER_HALF, ScoreFile
from babelscope.stats import (
    benjamini_hochberg,
    bootstrap_mean,
    bootstrap_weights,
    interval,
    permutation_p,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: In ``lang_a`` and ``lang_b``: the mean over all pairs of different languages.
ALL = "*"
#: In ``lang_a`` and ``lang_b``: the mean over languages, each with itself (the ceiling).
SAME = "="
ALL_LAYERS = -1
HALVES = ("a", "b")


@dataclass(frozen=True)
class AlignmentSettings:
    """How intervals and nulls are computed."""

    bootstrap: int = 500
    """Resamples for an interval."""
    permutations: int = 500
    """Permutations of the concept labels for a p-value or a null."""
    seed: int = 0


def align_experts(
    scores: Mapping[str, ScoreFile],
    experts: Mapping[str, pd.DataFrame],
    settings: AlignmentSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Overlap, transfer and reliability of one (model, step), over all languages.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        experts: Per language the table of :func:`babelscope.expertise.select_experts`.
        settings: Resamples, permutations, seed.

    Returns:
        The tables of :func:`overlap_table`, :func:`transfer_table` and :func:`reliability_table`, each
        with ``model`` and ``step`` in front.

    Raises:
        ValueError: If languages do not have the same concepts or units.
    """
    first_lang, first = next(iter(scores.items()))
    for lang, file in scores.items():
        if file.concepts != first.concepts or file.sites != first.sites:
            raise ValueError(
                f"{lang} and {first_lang} were scored for other concepts or units: "
                f"{len(file.concepts)} concepts x {file.n_units} units against "
                f"{len(first.concepts)} x {first.n_units}"
            )
    tables = (
        overlap_table(experts, first.sites, first.concepts, settings),
        transfer_table(scores, experts, settings),
        reliability_table(scores, experts, settings),
    )
    for table in tables:
        table.insert(0, "model", first.provenance.model)
        table.insert(1, "step", first.provenance.step)
    return tables


# --------------------------------------------------------------------------------------- overlap


def overlap_table(
    experts: Mapping[str, pd.DataFrame],
    sites: list[tuple[int, str, int]],
    concepts: list[str],
    settings: AlignmentSettings,
) -> pd.DataFrame:
    """Overlap of expert sets for each pair of languages, over the model and within each layer.

    Args:
        experts: Per language the table of experts.
        sites: (layer, site, number of units) in unit order.
        concepts: Order of the concepts.
        settings: Resamples, permutations, seed.

    Returns:
        Columns ``scope`` (model, layer), ``layer`` (-1: all), ``variant``, ``lang_a``, ``lang_b``,
        ``overlap`` (share of K, mean over concepts), ``low``, ``high``, ``null``, ``chance``,
        ``calibrated``, ``p_value``, ``n_concepts``, ``k``, ``n_units``. Intervals of pairs resample
        concepts; those of the summary rows (``*``, ``=``) resample concepts and languages.
    """
    langs = list(experts)
    rows: list[dict[str, Any]] = []
    layers = sorted({layer for layer, _, _ in sites})
    for layer in (ALL_LAYERS, *layers):
        scope = "model" if layer == ALL_LAYERS else "layer"
        n_units = sum(n for at, _, n in sites if layer in (ALL_LAYERS, at))
        sets: dict[tuple[str, str], Any] = {}
        for lang, table in experts.items():
            chosen = table[table["scope"] == scope]
            if layer != ALL_LAYERS:
                chosen = chosen[chosen["layer"] == layer]
            for subset, part in chosen.groupby("subset"):
                sets[lang, str(subset)] = _indicator(part, sites, concepts)
        k = int(sets[langs[0], "all"][0].sum())
        for variant in ("same_lines", "disjoint_lines"):
            pairs = list(combinations(range(len(langs)), 2))
            if variant == "disjoint_lines":
                pairs += [(at, at) for at in range(len(langs))]
            shared: dict[tuple[int, int], Floats] = {}
            for a, b in pairs:
                shared[a, b] = _shared(sets, langs[a], langs[b], variant) / k
            common = {
                "scope": scope,
                "layer": layer,
                "variant": variant,
                "chance": k / n_units,
                "n_concepts": len(concepts),
                "k": k,
                "n_units": n_units,
            }
            rows += _overlap_rows(shared, langs, common, settings)
    table = pd.DataFrame(rows)
    table["calibrated"] = (table["overlap"] - table["null"]) / (1 - table["null"])
    columns = ["scope", "layer", "variant", "lang_a", "lang_b", "overlap", "low", "high", "null",
               "chance", "calibrated", "p_value", "n_concepts", "k", "n_units"]  # fmt: skip
    return table[columns]


def _indicator(
    experts: pd.DataFrame, sites: list[tuple[int, str, int]], concepts: list[str]
) -> sparse.csr_array:
    """Expert sets as a sparse matrix of ones, shape ``(C, U)``."""
    starts = {}
    total = 0
    for layer, site, n in sites:
        starts[layer, site] = total
        total += n
    row_of = {concept: row for row, concept in enumerate(concepts)}
    rows = experts["concept"].map(row_of).to_numpy()
    offsets = [starts[at] for at in zip(experts["layer"], experts["site"], strict=True)]
    columns = np.asarray(offsets, dtype=np.int64) + experts["unit"].to_numpy()
    ones = np.ones(len(experts), dtype=np.int32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(concepts), total))


def _shared(
    sets: Mapping[tuple[str, str], sparse.csr_array], lang_a: str, lang_b: str, variant: str
) -> Floats:
    """Units that the experts of concept i in one language share with those of j in the other, (C, C)."""
    if variant == "same_lines":
        product = sets[lang_a, "all"] @ sets[lang_b, "all"].T
        return np.asarray(product.toarray(), dtype=np.float64)
    both = [(sets[lang_a, half] @ sets[lang_b, OTHER_HALF[half]].T).toarray() for half in HALVES]
    return np.asarray((both[0] + both[1]) / 2, dtype=np.float64)


def _off_diagonal_mean(shared_CC: Floats) -> float:
    n = len(shared_CC)
    if n < 2:
        return float("nan")
    return float((shared_CC.sum() - np.trace(shared_CC)) / (n * (n - 1)))


def _overlap_rows(
    shared: Mapping[tuple[int, int], Floats],
    langs: list[str],
    common: Mapping[str, Any],
    settings: AlignmentSettings,
) -> list[dict[str, Any]]:
    n_concepts = len(next(iter(shared.values())))
    weights_BC = bootstrap_weights(n_concepts, settings.bootstrap, settings.seed)
    rng = np.random.default_rng([settings.seed, 1])
    order_PC = np.array([rng.permutation(n_concepts) for _ in range(settings.permutations)])
    everyone = np.arange(n_concepts)
    rows = []
    permuted: dict[tuple[int, int], Floats] = {}
    for (a, b), shared_CC in shared.items():
        overlap_C = np.diag(shared_CC)
        low, high = interval(weights_BC @ overlap_C)
        permuted[a, b] = shared_CC[everyone, order_PC].mean(axis=1)
        rows.append(
            {
                **common,
                "lang_a": langs[a],
                "lang_b": langs[b],
                "overlap": overlap_C.mean(),
                "low": low,
                "high": high,
                "null": _off_diagonal_mean(shared_CC),
                "p_value": permutation_p(overlap_C.mean(), permuted[a, b]),
            }
        )
    different = [pair for pair in shared if pair[0] != pair[1]]
    same = [pair for pair in shared if pair[0] == pair[1]]
    for name, pairs in ((ALL, different), (SAME, same)):
        if not pairs:
            continue
        overlap_PC = np.array([np.diag(shared[pair]) for pair in pairs])
        resampled = _two_way_bootstrap(overlap_PC, pairs, len(langs), settings)
        low, high = interval(resampled)
        null = float(np.mean([_off_diagonal_mean(shared[pair]) for pair in pairs]))
        mean_permuted = np.mean([permuted[pair] for pair in pairs], axis=0)
        rows.append(
            {
                **common,
                "lang_a": name,
                "lang_b": name,
                "overlap": overlap_PC.mean(),
                "low": low,
                "high": high,
                "null": null,
                "p_value": permutation_p(float(overlap_PC.mean()), mean_permuted),
            }
        )
    return rows


def _two_way_bootstrap(
    values_PC: Floats, pairs: list[tuple[int, int]], n_langs: int, settings: AlignmentSettings
) -> Floats:
    """Means over pairs and concepts, both languages and concepts drawn anew.

    A pair counts as often as the product of how often its languages were drawn (a language with itself:
    as often as it was drawn); a language drawn twice does not make a pair with itself.
    """
    n_concepts = values_PC.shape[1]
    concepts_BC = bootstrap_weights(n_concepts, settings.bootstrap, settings.seed)
    langs_BL = bootstrap_weights(n_langs, settings.bootstrap, settings.seed + 1)
    first, second = np.array(pairs).T
    same = first == second
    pairs_BP = langs_BL[:, first] * np.where(same, 1.0, langs_BL[:, second])
    total_B = pairs_BP.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold one language only
        return np.asarray(((pairs_BP @ values_PC) * concepts_BC).sum(axis=1) / total_B)


def add_false_discovery(overlap: pd.DataFrame) -> pd.DataFrame:
    """Add ``q_value``: Benjamini-Hochberg over all steps, layers and pairs that were scanned.

    Each variant is a scan of its own; summary rows and ceilings are not tests and get none.
    """
    table = overlap.copy()
    table["q_value"] = np.nan
    tests = ~table["lang_a"].isin([ALL, SAME]) & (table["lang_a"] != table["lang_b"])
    for _, rows in table[tests].groupby("variant"):
        table.loc[rows.index, "q_value"] = benjamini_hochberg(rows["p_value"].to_numpy())
    return table


# -------------------------------------------------------------------------------------- transfer


def transfer_table(
    scores: Mapping[str, ScoreFile],
    experts: Mapping[str, pd.DataFrame],
    settings: AlignmentSettings,
) -> pd.DataFrame:
    """Average precision, in a target language, of the experts found in a source language.

    Experts are chosen on one half of the sentences and scored on the other, both ways, averaged; so a
    row whose source is its target is the held-out expertise.

    Returns:
        Columns ``source, target, concept, ap`` (mean over the experts), ``low``, ``high``,
        ``ap_other_concepts`` (the same experts for all other concepts), ``positive_rate``, ``k``,
        ``n``. Rows with concept ``*`` are means: source and target ``*`` over different languages,
        ``=`` over languages with themselves; their intervals resample concepts and languages.
    """
    langs = list(scores)
    concepts = scores[langs[0]].concepts
    n_concepts = len(concepts)
    k = 0
    own_LLC = np.zeros((len(langs), len(langs), n_concepts))
    other_LLC = np.zeros_like(own_LLC)
    for a, source in enumerate(langs):
        table = experts[source]
        for half in HALVES:
            chosen = table[(table["scope"] == "model") & (table["subset"] == half)]
            k = int(chosen["k"].iloc[0])
            number_E = chosen["concept"].map({c: i for i, c in enumerate(concepts)}).to_numpy()
            members_CE = (number_E == np.arange(n_concepts)[:, None]) / k
            for b, target in enumerate(langs):
                ap_CE = scores[target].gather(chosen, f"ap_{OTHER_HALF[half]}")
                # Row: the concept that is scored. Column: the concept whose experts are used.
                mean_CC = ap_CE @ members_CE.T
                own_C = np.diag(mean_CC)
                own_LLC[a, b] += own_C / 2
                if n_concepts > 1:
                    other_LLC[a, b] += (mean_CC.sum(axis=0) - own_C) / (n_concepts - 1) / 2
    rate_LC = np.array([scores[lang].positive_rate("all") for lang in langs])
    rows = [
        {
            "source": source,
            "target": target,
            "concept": concept,
            "ap": own_LLC[a, b, c],
            "low": np.nan,
            "high": np.nan,
            "ap_other_concepts": other_LLC[a, b, c],
            "positive_rate": rate_LC[b, c],
            "k": k,
            "n": 1,
        }
        for a, source in enumerate(langs)
        for b, target in enumerate(langs)
        for c, concept in enumerate(concepts)
    ]
    everyone = range(len(langs))
    for name, pairs in (
        (ALL, [(a, b) for a in everyone for b in everyone if a != b]),
        (SAME, [(a, a) for a in everyone]),
    ):
        if not pairs:
            continue
        values_PC = np.array([own_LLC[pair] for pair in pairs])
        low, high = interval(_two_way_bootstrap(values_PC, pairs, len(langs), settings))
        rows.append(
            {
                "source": name,
                "target": name,
                "concept": ALL,
                "ap": values_PC.mean(),
                "low": low,
                "high": high,
                "ap_other_concepts": np.mean([other_LLC[pair] for pair in pairs]),
                "positive_rate": rate_LC.mean(),
                "k": k,
                "n": values_PC.size,
            }
        )
    return pd.DataFrame(rows)


# ----------------------------------------------------------------------------------- reliability


def reliability_table(
    scores: Mapping[str, ScoreFile],
    experts: Mapping[str, pd.DataFrame],
    settings: AlignmentSettings,
) -> pd.DataFrame:
    """Single units that predict one concept in all languages, and units shared by m languages.

    ``best_unit``: for each concept the unit whose worst AP over languages is highest on one half; its
    worst and its mean AP on the other half, both ways, averaged. ``layer``, ``site`` and ``unit`` name
    the one chosen on half a. The null pairs the concepts of different languages at random and makes the
    same choice among all units, so that the best of many is not flattered.

    ``shared_units``: how many (concept, unit) are experts (all sentences) in at least ``m`` languages;
    the null counts the same with the concepts of each language permuted.

    Returns:
        Columns ``kind, metric`` (worst_ap, mean_ap, n_units), ``concept`` (``*``: mean or total),
        ``m``, ``value, null, null_low, null_high, low, high, layer, site, unit, n``.
    """
    rng = np.random.default_rng([settings.seed, 2])
    return pd.DataFrame(_best_units(scores, settings, rng) + _shared_units(scores, experts, settings, rng))


#: Permutations behind the null of the best unit; each one is a whole search.
_BEST_UNIT_NULLS = 5


def _best_units(
    scores: Mapping[str, ScoreFile], settings: AlignmentSettings, rng: np.random.Generator
) -> list[dict[str, Any]]:
    langs = list(scores)
    first = scores[langs[0]]
    n_concepts = len(first.concepts)
    n_nulls = _BEST_UNIT_NULLS if n_concepts > 1 else 0
    # Concept c in each language, then with the languages' concepts paired at random. The first
    # language keeps its own, so that each row still belongs to a concept.
    pairings_PLC = np.tile(np.arange(n_concepts), (1 + n_nulls, len(langs), 1))
    for pairing_LC in pairings_PLC[1:]:
        for lang in range(1, len(langs)):
            pairing_LC[lang] = _derangement(n_concepts, rng)
    shape = (len(pairings_PLC), n_concepts)
    halves = {}
    for half in HALVES:
        best = np.full(shape, -np.inf)
        worst, mean = np.zeros(shape), np.zeros(shape)
        place = np.zeros((*shape, 3), dtype=object)
        for layer, site, _ in first.sites:  # one site at a time bounds the memory
            chosen_on = [scores[lang].read(layer, site, f"ap_{half}") for lang in langs]
            scored_on = [scores[lang].read(layer, site, f"ap_{OTHER_HALF[half]}") for lang in langs]
            for number, pairing_LC in enumerate(pairings_PLC):
                worst_CU = np.min(
                    [ap[order] for ap, order in zip(chosen_on, pairing_LC, strict=True)], axis=0
                )
                unit_C = worst_CU.argmax(axis=1)
                better_C = worst_CU.max(axis=1) > best[number]
                for c in np.flatnonzero(better_C).tolist():
                    unit = unit_C[c]
                    held_out = [ap[order[c], unit] for ap, order in zip(scored_on, pairing_LC, strict=True)]
                    best[number, c] = worst_CU[c, unit]
                    worst[number, c], mean[number, c] = min(held_out), np.mean(held_out)
                    place[number, c] = (layer, site, int(unit))
        halves[half] = worst, mean, place
    rows = []
    place_C = halves["a"][2][0]
    for metric, at in (("worst_ap", 0), ("mean_ap", 1)):
        value_PC = (halves["a"][at] + halves["b"][at]) / 2
        value_C, null_PC = value_PC[0], value_PC[1:]
        for c, concept in enumerate(first.concepts):
            layer, site, unit = place_C[c]
            null = null_PC[:, c].mean() if n_nulls else np.nan
            rows.append(
                _row("best_unit", metric, concept, len(langs), value_C[c], null, n=1,
                     layer=layer, site=site, unit=unit)
            )  # fmt: skip
        estimate = bootstrap_mean(value_C, n_resamples=settings.bootstrap, seed=settings.seed)
        null_P = null_PC.mean(axis=1)
        summary = _row("best_unit", metric, ALL, len(langs), estimate.value,
                       null_P.mean() if n_nulls else np.nan, n=estimate.n)  # fmt: skip
        if n_nulls:
            null_estimate = bootstrap_mean(
                null_PC.mean(axis=0), n_resamples=settings.bootstrap, seed=settings.seed
            )
            summary |= {"null_low": null_estimate.low, "null_high": null_estimate.high}
        rows.append({**summary, "low": estimate.low, "high": estimate.high})
    return rows


def _derangement(n: int, rng: np.random.Generator) -> Ints:
    """A permutation without a fixed point, ``n > 1``."""
    while True:
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return order


def _shared_units(
    scores: Mapping[str, ScoreFile],
    experts: Mapping[str, pd.DataFrame],
    settings: AlignmentSettings,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    langs = list(experts)
    first = scores[langs[0]]
    sets = []
    for lang in langs:
        table = experts[lang]
        chosen = table[(table["scope"] == "model") & (table["subset"] == "all")]
        sets.append(_indicator(chosen, first.sites, first.concepts))
    counts_M = _at_least(sum(sets[1:], start=sets[0]), len(langs))
    n_nulls = min(100, settings.permutations) if len(first.concepts) > 1 else 0
    nulls = []
    for _ in range(n_nulls):
        permuted = [each[rng.permutation(each.shape[0])] for each in sets[1:]]
        nulls.append(_at_least(sum(permuted, start=sets[0]), len(langs)))
    rows = []
    for at, m in enumerate(range(2, len(langs) + 1)):
        null = [counts[at] for counts in nulls]
        row = _row("shared_units", "n_units", ALL, m, counts_M[at],
                   float(np.mean(null)) if null else np.nan, n=len(first.concepts))  # fmt: skip
        null_low, null_high = interval(np.array(null, dtype=float))
        rows.append({**row, "null_low": null_low, "null_high": null_high})
    return rows


def _at_least(languages: sparse.csr_array, n_langs: int) -> list[int]:
    """How many (concept, unit) are experts in at least 2, 3, ... languages."""
    return [int((languages.data >= m).sum()) for m in range(2, n_langs + 1)]


def _row(
    kind: str,
    metric: str,
    concept: str,
    m: int,
    value: float,
    null: float,
    *,
    n: int,
    layer: int = -1,
    site: str = "",
    unit: int = -1,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "metric": metric,
        "concept": concept,
        "m": m,
        "value": float(value),
        "null": null,
        "null_low": np.nan,
        "null_high": np.nan,
        "low": np.nan,
        "high": np.nan,
        "layer": layer,
        "site": site,
        "unit": unit,
        "n": n,
    }
