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
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri, stdtrit

from babelscope.analysis.scores import OTHER_HALF, ScoreFile
from babelscope.analysis.settings import AlignmentSettings
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


def align_experts(
    scores: Mapping[str, ScoreFile],
    experts: Mapping[str, pd.DataFrame],
    settings: AlignmentSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Overlap, transfer and reliability of one (model, step), over all languages.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        experts: Per language the table of :func:`babelscope.analysis.scores.select_experts`.
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
            if not shared:  # one language has no pairs
                continue
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
    starts, total = {}, 0
    for layer, site, n in sites:
        starts[layer, site] = total
        total += n
    row_of = {concept: row for row, concept in enumerate(concepts)}
    rows = experts["concept"].map(row_of).to_numpy()
    offsets = [starts[at] for at in zip(experts["layer"], experts["site"], strict=True)]
    columns = np.asarray(offsets, dtype=np.int64) + experts["unit"].to_numpy()
    ones = np.ones(len(experts), dtype=np.int32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(concepts), total))


def _by_site(members: sparse.csr_array, sites: list[tuple[int, str, int]]) -> list[sparse.csr_array]:
    """The columns of each (layer, site) as a matrix of their own."""
    ends = np.cumsum([n for _, _, n in sites])
    columns = members.tocsc()
    return [columns[:, end - n : end].tocsr() for end, (_, _, n) in zip(ends, sites, strict=True)]


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
        low, high = _two_way_interval(overlap_PC, pairs, len(langs), settings)
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


def _two_way_interval(
    values_PC: Floats, pairs: list[tuple[int, int]], n_langs: int, settings: AlignmentSettings
) -> tuple[float, float]:
    """95% interval of a mean over pairs and concepts; both languages and concepts are drawn anew.

    A pair counts as often as the product of how often its languages were drawn (a language with itself:
    as often as it was drawn); a language drawn twice does not make a pair with itself.

    Languages are few, and the plain bootstrap is then too narrow: over 8 languages and 16 concepts it
    covers the truth in 86 to 92% of simulated studies, over 4 in 78 to 90%. So of n items n - 1 are drawn,
    which makes the variance of the resamples unbiased (Rao and Wu 1988), and deviations from the mean are
    widened from the normal to Student's quantile for as many languages. This covers 94 to 99%. Two
    languages cannot be resampled; the interval is then one over concepts.

    Args:
        values_PC: Shares or average precisions, between 0 and 1.
        pairs: Numbers of the two languages of each row.
        n_langs: Number of languages.
        settings: Resamples and seed.
    """
    n_concepts = values_PC.shape[1]
    concepts_BC = bootstrap_weights(
        n_concepts, settings.bootstrap, settings.seed, draws=max(1, n_concepts - 1)
    )
    if n_langs > 2:
        langs_BL = bootstrap_weights(n_langs, settings.bootstrap, settings.seed + 1, draws=n_langs - 1)
    else:
        langs_BL = np.full((settings.bootstrap, n_langs), 1 / n_langs)
    first, second = np.array(pairs).T
    same = first == second
    pairs_BP = langs_BL[:, first] * np.where(same, 1.0, langs_BL[:, second])
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold one language only
        means_B = ((pairs_BP @ values_PC) * concepts_BC).sum(axis=1) / pairs_BP.sum(axis=1)
    mean = float(values_PC.mean())
    low, high = interval(means_B)
    freedom = (n_langs if n_langs > 2 else n_concepts) - 1
    widened = stdtrit(max(1, freedom), 0.975) / ndtri(0.975)
    return max(0.0, mean - (mean - low) * widened), min(1.0, mean + (high - mean) * widened)


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
    concepts, sites = scores[langs[0]].concepts, scores[langs[0]].sites
    n_concepts = len(concepts)
    k = 0
    own_LLC = np.zeros((len(langs), len(langs), n_concepts))
    other_LLC = np.zeros_like(own_LLC)
    sets: dict[tuple[str, str], list[sparse.csr_array]] = {}  # per (layer, site) a matrix (C, units)
    for source, table in experts.items():
        for half in HALVES:
            chosen = table[(table["scope"] == "model") & (table["subset"] == half)]
            k = int(chosen["k"].iloc[0])
            sets[source, half] = _by_site(_indicator(chosen, sites, concepts), sites)
    for b, target in enumerate(langs):
        for half in HALVES:
            total_LCC = np.zeros((len(langs), n_concepts, n_concepts))
            for number, (layer, site, _) in enumerate(sites):  # one site at a time bounds the memory
                ap_UC = scores[target].read(layer, site, f"ap_{OTHER_HALF[half]}").T
                for a, source in enumerate(langs):
                    # Row: the concept whose experts are used. Column: the concept that is scored.
                    total_LCC[a] += sets[source, half][number] @ ap_UC
            for a in range(len(langs)):
                mean_CC = total_LCC[a] / k
                own_C = np.diag(mean_CC)
                own_LLC[a, b] += own_C / 2
                if n_concepts > 1:
                    other_LLC[a, b] += (mean_CC.sum(axis=1) - own_C) / (n_concepts - 1) / 2
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
        low, high = _two_way_interval(values_PC, pairs, len(langs), settings)
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
    the one chosen on half a. The null takes a different concept in every language and makes the same
    choice among all units, so that the best of many is not flattered.

    ``shared_units``: how many (concept, unit) are experts (all sentences) in at least ``m`` languages;
    the null counts the same with a different concept in every language.

    ``null`` is the mean over several random pairings of concepts, ``null_low`` and ``null_high`` are
    their 95% quantiles; ``low`` and ``high`` resample concepts. With fewer concepts than languages the
    null has to use a concept in several languages, and is too high.

    Returns:
        Columns ``kind, metric`` (worst_ap, mean_ap, n_units), ``concept`` (``*``: mean or total),
        ``m``, ``value, null, null_low, null_high, low, high, layer, site, unit, n``.
    """
    rng = np.random.default_rng([settings.seed, 2])
    return pd.DataFrame(_best_units(scores, settings, rng) + _shared_units(scores, experts, settings, rng))


#: Pairings behind the null of the best unit; each one is a whole search.
_BEST_UNIT_NULLS = 20
#: Pairings behind the null of the shared units, at most.
_SHARED_UNITS_NULLS = 100
#: Units searched at a time; bounds the memory to ``languages * concepts * 1024 * 8 * 2`` bytes.
_BLOCK_UNITS = 1024


def _best_units(
    scores: Mapping[str, ScoreFile], settings: AlignmentSettings, rng: np.random.Generator
) -> list[dict[str, Any]]:
    langs = list(scores)
    first = scores[langs[0]]
    n_concepts = len(first.concepts)
    n_nulls = _BEST_UNIT_NULLS if n_concepts > 1 and len(langs) > 1 else 0
    # First every language's own concept, then the pairings of the null.
    own_LC = np.tile(np.arange(n_concepts), (len(langs), 1))
    pairings = [own_LC, *(_pair_concepts(n_concepts, len(langs), rng) for _ in range(n_nulls))]
    shape = (len(pairings), n_concepts)
    halves = {}
    for half in HALVES:
        best = np.full(shape, -np.inf)
        worst, mean = np.zeros(shape), np.zeros(shape)
        place = np.zeros((n_concepts, 2), dtype=np.intp)  # number of the site, unit
        for number, (layer, site, width) in enumerate(first.sites):
            for start in range(0, width, _BLOCK_UNITS):
                block = slice(start, start + _BLOCK_UNITS)
                chosen_on, scored_on = (
                    [scores[lang].read(layer, site, f"ap_{name}", block) for lang in langs]
                    for name in (half, OTHER_HALF[half])
                )
                for at, pairing_LC in enumerate(pairings):
                    worst_CU = chosen_on[0][pairing_LC[0]]
                    for ap_CU, order_C in zip(chosen_on[1:], pairing_LC[1:], strict=True):
                        np.minimum(worst_CU, ap_CU[order_C], out=worst_CU)
                    unit_C = worst_CU.argmax(axis=1)
                    value_C = worst_CU[np.arange(n_concepts), unit_C]
                    # The first in unit order keeps its place among equals.
                    rows_C = np.flatnonzero(value_C > best[at])
                    held_out = np.stack(
                        [
                            ap_CU[order_C[rows_C], unit_C[rows_C]]
                            for ap_CU, order_C in zip(scored_on, pairing_LC, strict=True)
                        ]
                    )
                    best[at, rows_C] = value_C[rows_C]
                    worst[at, rows_C], mean[at, rows_C] = held_out.min(axis=0), held_out.mean(axis=0)
                    if at == 0:
                        place[rows_C, 0], place[rows_C, 1] = number, start + unit_C[rows_C]
        halves[half] = worst, mean, place
    rows = []
    place_C = halves["a"][2]
    for metric, which in (("worst_ap", 0), ("mean_ap", 1)):
        value_PC = (halves["a"][which] + halves["b"][which]) / 2
        value_C, null_PC = value_PC[0], value_PC[1:]
        for c, concept in enumerate(first.concepts):
            number, unit = place_C[c].tolist()
            layer, site, _ = first.sites[number]
            row = _row("best_unit", metric, concept, len(langs), value_C[c], n=1,
                       layer=layer, site=site, unit=unit)  # fmt: skip
            rows.append({**row, **_null_columns(null_PC[:, c])})
        estimate = bootstrap_mean(value_C, n_resamples=settings.bootstrap, seed=settings.seed)
        summary = _row("best_unit", metric, ALL, len(langs), estimate.value, n=estimate.n)
        summary |= _null_columns(null_PC.mean(axis=1))
        rows.append({**summary, "low": estimate.low, "high": estimate.high})
    return rows


def _null_columns(null_P: Floats) -> dict[str, float]:
    low, high = interval(null_P)
    return {
        "null": float(np.mean(null_P)) if len(null_P) else np.nan,
        "null_low": low,
        "null_high": high,
    }


def _pair_concepts(n_concepts: int, n_langs: int, rng: np.random.Generator) -> Ints:
    """For each language and row a concept: random, and in one row a different one in each language.

    The first language keeps its order, each language has each concept once, and no language has the
    first one's concept in the same row. With more languages than concepts some must meet.

    Returns:
        Shape ``(L, C)``.
    """
    circle_C = rng.permutation(n_concepts)
    position_C = np.argsort(circle_C)
    shifts = np.resize(rng.permutation(np.arange(1, n_concepts)), n_langs - 1)
    return np.stack([circle_C[(position_C + shift) % n_concepts] for shift in (0, *shifts.tolist())])


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
    possible = len(first.concepts) > 1 and len(langs) > 1
    n_nulls = min(_SHARED_UNITS_NULLS, settings.permutations) if possible else 0
    nulls = []
    for _ in range(n_nulls):
        pairing_LC = _pair_concepts(len(first.concepts), len(langs), rng)
        paired = [each[order_C] for each, order_C in zip(sets, pairing_LC, strict=True)]
        nulls.append(_at_least(sum(paired[1:], start=paired[0]), len(langs)))
    rows = []
    for at, m in enumerate(range(2, len(langs) + 1)):
        row = _row("shared_units", "n_units", ALL, m, counts_M[at], n=len(first.concepts))
        rows.append({**row, **_null_columns(np.array([counts[at] for counts in nulls], dtype=float))})
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
        "null": np.nan,
        "null_low": np.nan,
        "null_high": np.nan,
        "low": np.nan,
        "high": np.nan,
        "layer": layer,
        "site": site,
        "unit": unit,
        "n": n,
    }
