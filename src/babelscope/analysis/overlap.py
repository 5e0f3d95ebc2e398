"""Do the experts of one concept in different languages coincide?

Every overlap stands beside its chance level (hypergeometric), its nulls, its ceilings, an interval, and the
share of the way from null to ceiling:

- ``null``: experts of different concepts in the two languages; ``null_near``: of concepts that are near each
  other, since concepts that share experts as a group (animals, vehicles) pass the plain null;
- ``ceiling``: one language, experts chosen on two disjoint halves of its sentences, which hold the same
  words; ``ceiling_words``: on sentences that share none of the concept's words;
- ``way``: (overlap - null) / (ceiling - null). One set of draws resamples all three, so that its interval is
  that of the ratio.

Two variants are computed:

- ``same_lines``: experts chosen on all sentences in both languages. It has no ceiling: a language agrees with
  itself wholly;
- ``disjoint_lines``: experts of the one language chosen on half a, of the other on half b, and the other
  way round, averaged. Translations of one sentence share names, digits and length, and random units see
  those; where sentences are parallel this is the variant to read.

Experts are chosen in the whole model, within each layer, and where there are several sites within each of
them, over all layers and in each. Names of shapes: ``C`` concepts, ``L`` languages, ``P`` pairs of languages,
``Q`` permutations, ``B`` resamples, ``K`` experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.neighbours import blocks_of_groups, nearest_blocks, permuted_within, relabellings
from babelscope.analysis.power import LEVEL, detectable_excess
from babelscope.analysis.ranking import ALL_LAYERS, ALL_SITES, MODEL, NOBODY, Place
from babelscope.analysis.scores import WORD_SUBSETS
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import TwoWayDraws, benjamini_hochberg, bootstrap_weights, intervals_of, permutation_p
from babelscope.text.kinship import pair_groups
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Chosen = Mapping[tuple[Place, str], Ints]
"""Numbers of the experts of one language by place and subset, each ``(C, K)``."""
#: In columns of languages: the mean over all pairs of different languages.
ALL = "*"
#: In columns of languages: the mean over languages, each with itself.
SAME = "="
#: Relabellings of neighbours below which a p-value cannot reach 0.05 and is not given.
_LEAST_RELABELLINGS = 20
#: Share of resamples without room between null and ceiling from which the share of the way has no interval.
_NO_ROOM = 0.025
_COLUMNS = (
    "scope", "layer", "site", "variant", "lang_a", "lang_b", "overlap", "low", "high", "null", "null_near",
    "chance", "calibrated", "ceiling", "way", "way_low", "way_high", "ceiling_words", "way_words",
    "way_words_low", "way_words_high", "p_value", "p_near", "n_concepts", "n_concepts_words", "n_pairs", "k",
    "n_units", "n_null", "null_high", "detectable", "tied", "lacking",
)  # fmt: skip


class Overlap(NamedTuple):
    """What :func:`overlap_tables` finds."""

    table: pd.DataFrame
    """Overlap of each pair of languages, and of groups of them, in each place."""
    draws: pd.DataFrame
    """Resamples of the means over all pairs, in the model and its layers: ``scope, layer, variant, draw,
    overlap, null, ceiling``. Draw i is the same choice of concepts and languages at every step."""


def overlap_tables(
    chosen: Mapping[str, Chosen],
    units: UnitIndex,
    concepts: Sequence[str],
    settings: AlignmentSettings,
    *,
    split_by_words: NDArray[np.bool_] | None = None,
    tied: Mapping[str, Mapping[tuple[Place, str], Floats]] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    kinship: pd.DataFrame | None = None,
) -> Overlap:
    """Overlap of expert sets for each pair of languages, in every place where experts are chosen.

    Args:
        chosen: Per language its experts, see :meth:`babelscope.analysis.ranking.BestFile.chosen`.
        units: All units of the model.
        concepts: Order of the concepts.
        settings: Resamples of the intervals, permutations of the concept labels for the p-values, seed.
        split_by_words: Whether a concept's sentences are split by words in all languages, ``(C,)``.
        tied: Per language the shares of experts chosen by lot, see
            :meth:`babelscope.analysis.ranking.BestFile.tied`; without it they are not known.
        groups: Concepts that are near each other, by group. Without it each concept's nearest one is found
            by :func:`babelscope.analysis.neighbours.nearest_blocks`.
        kinship: The table of :func:`babelscope.text.kinship.compare_languages`, for means over pairs of
            one kind; without it there are none.

    Returns:
        The table has the columns ``scope`` (model, layer, site, layer_site), ``layer`` (-1: all), ``site``
        (``*``: all), ``variant``, ``lang_a``, ``lang_b``, ``overlap`` (share of K, mean over concepts),
        ``low``, ``high``, ``null``, ``null_near``, ``chance``, ``calibrated``, ``ceiling``, ``way``,
        ``way_low``, ``way_high``, the same with ``_words``, ``p_value``, ``p_near``, ``n_concepts``,
        ``n_concepts_words`` (those with a split by words, which ``way_words`` is over), ``n_pairs``, ``k``,
        ``n_units``, ``n_null`` (permutations behind each p-value), ``null_high`` (what 5% of them reach) and
        ``detectable`` (the least excess over the null that would be told with a power of 0.8, see
        :func:`babelscope.analysis.power.detectable_excess`; of means only), ``tied`` (share of experts that
        were chosen by lot among equal ones; NaN where it is not known) and ``lacking`` (share of K that is
        not there, since the other units are as good as a constant; K is then what is there). Intervals of
        pairs resample concepts; those of the summary rows (``*``, ``=``, kinds of pairs) resample concepts
        and languages. Sites have summary rows only.
    """
    langs, n_concepts = list(chosen), len(concepts)
    split_C = np.zeros(n_concepts, bool) if split_by_words is None else split_by_words
    places = list(dict.fromkeys(place for place, _ in next(iter(chosen.values()))))
    within = _shared(chosen, places[0], ("a", "b"))
    blocks_C = blocks_of_groups(groups, concepts) if groups else nearest_blocks(_own_languages(within))
    chance = _Chance.of(n_concepts, len(langs), blocks_C, settings)
    parts, resampled = [], []
    for place in places:
        layer, site = place
        shape = next(iter(chosen.values()))[place, "a"].shape[1]
        n_units = sum(
            w for at, name, w in units.sites if layer in (ALL_LAYERS, at) and site in (ALL_SITES, name)
        )
        shared = within if place == places[0] else _shared(chosen, place, ("a", "b"))
        words_LC = _ceiling_of_words(chosen, place, split_C)
        found = [("disjoint_lines", _Pairs.disjoint(shared, words_LC), ("a", "b"))]
        if site == ALL_SITES and len(langs) > 1:
            of_all = _Pairs.same(_shared(chosen, place, ("all", "all")))
            found.insert(0, ("same_lines", of_all, ("all", "all")))
        about = {"layer": layer, "site": site, "k": shape, "n_units": n_units, "chance": shape / n_units}
        for variant, pairs, subsets in found:
            of_langs = _equal_units(chosen, tied, place, subsets)
            rows, draws = _rows(pairs, langs, chance, kinship, of_langs, singly=site == ALL_SITES)
            parts.append(rows.assign(variant=variant, **about))
            if (
                site == ALL_SITES
                and draws is not None
                and (variant == "disjoint_lines" or layer == ALL_LAYERS)
            ):
                resampled.append(draws.assign(variant=variant, layer=layer))
    table = pd.concat(parts, ignore_index=True).assign(n_concepts=n_concepts, n_null=settings.permutations)
    table["scope"] = [_scope(*place) for place in zip(table["layer"], table["site"], strict=True)]
    table["calibrated"] = (table["overlap"] - table["null"]) / (1 - table["null"])
    table["n_concepts_words"] = np.where(table["ceiling_words"].notna(), int(split_C.sum()), 0)
    columns = ["scope", "layer", "variant", "draw", "overlap", "null", "ceiling"]
    if not resampled:
        return Overlap(table[list(_COLUMNS)], pd.DataFrame(columns=columns))
    all_draws = pd.concat(resampled, ignore_index=True)
    all_draws["scope"] = [_scope(layer, ALL_SITES) for layer in all_draws["layer"]]
    return Overlap(table[list(_COLUMNS)], all_draws[columns])


def mean_overlap(
    chosen: Mapping[str, Chosen], settings: AlignmentSettings
) -> dict[Place, tuple[dict[str, Any], dict[str, Floats]]]:
    """The mean over all pairs of languages on disjoint lines: one row of :func:`overlap_tables` by place.

    Args:
        chosen: As there, on the two halves.
        settings: As there.

    Returns:
        The row, without what is known of words and near concepts; and its resamples: ``overlap``, ``null``,
        ``ceiling``.
    """
    places = list(dict.fromkeys(place for place, _ in next(iter(chosen.values()))))
    n_concepts = len(next(iter(chosen.values()))[places[0], "a"])
    chance = _Chance.of(n_concepts, len(chosen), np.arange(n_concepts), settings)
    found = {}
    for place in places:
        pairs = _Pairs.disjoint(_shared(chosen, place, ("a", "b")), None)
        members = _groups(pairs.pairs, list(chosen), None)[ALL]
        found[place] = _summary_row(pairs, members, chance)
    return found


def overlap_above_null(chosen: Mapping[str, Mapping[str, Ints]]) -> dict[tuple[int, int], Floats]:
    """What pairs of languages share of each concept above other concepts, in the model, on disjoint lines.

    Args:
        chosen: Per language its experts on half ``a`` and on half ``b``, each ``(C, K)``; two concepts or
        more.

    Returns:
        By numbers of two languages, which may be one and the same, overlap less its null: ``(C,)``. Its mean
        over concepts is that of :func:`overlap_tables`.
    """
    shared = _shared(
        {lang: {(MODEL, half): unit_CK for half, unit_CK in of.items()} for lang, of in chosen.items()},
        MODEL,
        ("a", "b"),
    )
    found = _Pairs.disjoint(shared, None)
    return dict(zip(found.pairs, found.own_PC - found.null_PC, strict=True))


def _scope(layer: int, site: str) -> str:
    if site == ALL_SITES:
        return "model" if layer == ALL_LAYERS else "layer"
    return "site" if layer == ALL_LAYERS else "layer_site"


def _shared(chosen: Mapping[str, Chosen], place: Place, subsets: tuple[str, str]) -> Floats:
    """Share of K that the experts of one concept and language, on one subset, share with another's on the
    other; ``(L, L, C, C)``. All languages and concepts in one product. Where experts are lacking, K is the
    larger of the two numbers that are there."""
    one, other = ([of[place, subset] for of in chosen.values()] for subset in subsets)
    n_langs, (n_concepts, k) = len(one), one[0].shape
    n_units = 1 + int(max(unit_CK.max() for unit_CK in (*one, *other)))
    unit_RK = np.concatenate(other)
    # Of each unit the sets that hold it; those of nobody come first.
    starts = np.bincount(unit_RK.ravel() - NOBODY, minlength=n_units + 1).cumsum()
    holders = np.argsort(unit_RK.ravel(), kind="stable") // k
    shared = np.empty((n_langs, n_langs, n_concepts, n_concepts))
    for of_lang, unit_CK in zip(shared, one, strict=True):
        count_CR = np.zeros((n_concepts, n_langs * n_concepts), dtype=np.int32)
        _count_shared(unit_CK, starts, holders, count_CR)
        share_CR = count_CR / np.maximum(_n_there(unit_CK)[:, None], _n_there(unit_RK))
        of_lang[:] = share_CR.reshape(n_concepts, n_langs, n_concepts).transpose(1, 0, 2)
    return shared


def _n_there(unit_CK: Ints) -> Ints:
    """How many experts there are, at least 1, so that none share nothing; ``(C,)``."""
    return np.asarray(np.maximum((unit_CK != NOBODY).sum(axis=1), 1), dtype=np.int64)


@numba.njit(nogil=True, cache=True)
def _count_shared(unit_CK: Ints, starts: Ints, holders: Ints, count_CR: NDArray[np.int32]) -> None:
    """Add up how many units each set of the one side shares with each of the other."""
    for row in range(len(unit_CK)):
        for unit in unit_CK[row]:
            if unit == NOBODY:
                continue
            for at in range(starts[unit], starts[unit + 1]):
                count_CR[row, holders[at]] += 1


def _own_languages(shared: Floats) -> Floats:
    """Mean over languages of what concepts share within one, ``(C, C)``."""
    return np.asarray(np.mean([shared[at, at] for at in range(len(shared))], axis=0), dtype=np.float64)


def _ceiling_of_words(
    chosen: Mapping[str, Chosen], place: Place, split_C: NDArray[np.bool_]
) -> Floats | None:
    """Share of K that a language's experts on one subset of words share with those on the other, ``(L, C)``;
    NaN for concepts that are not split, None if none is."""
    if not split_C.any():
        return None
    one, other = (np.stack([of[place, subset] for of in chosen.values()]) for subset in WORD_SUBSETS)
    # Numbers of units stand once in each: a number that stands twice in both is shared.
    both = np.sort(np.concatenate([one, other], axis=2), axis=2)
    n_LC = np.maximum(*((units != NOBODY).sum(axis=2) for units in (one, other)))
    twice = (np.diff(both, axis=2) == 0) & (both[:, :, 1:] != NOBODY)
    shared_LC = twice.sum(axis=2) / np.maximum(n_LC, 1)
    return np.where(split_C, shared_LC, np.nan)


def _equal_units(
    chosen: Mapping[str, Chosen],
    tied: Mapping[str, Mapping[tuple[Place, str], Floats]] | None,
    place: Place,
    subsets: tuple[str, str],
) -> dict[str, Floats]:
    """Of each language the share of its experts that was chosen by lot, and that is not there; ``(L,)``."""
    found: dict[str, list[float]] = {"tied": [], "lacking": []}
    for lang, of in chosen.items():
        found["lacking"].append(float(np.mean([of[place, subset] == NOBODY for subset in subsets])))
        shares = {} if tied is None else tied[lang]
        known = [shares[place, subset] for subset in subsets if (place, subset) in shares]
        found["tied"].append(float(np.mean(known)) if known else np.nan)
    return {name: np.array(values) for name, values in found.items()}


@dataclass(frozen=True)
class _Pairs:
    """What the pairs of languages share, and their ceilings."""

    pairs: list[tuple[int, int]]
    shared_PCC: Floats
    """Experts that concept i of the one language shares with j of the other."""
    ceiling_PC: Floats
    """Mean of the two languages' own; NaN where there is none, as for a language with itself."""
    words_PC: Floats
    """The same over disjoint words."""

    @classmethod
    def same(cls, shared: Floats) -> _Pairs:
        """All sentences in both languages."""
        pairs = list(combinations(range(len(shared)), 2))
        none_PC = np.full((len(pairs), shared.shape[-1]), np.nan)
        first, second = np.array(pairs).T
        return cls(pairs, shared[first, second], none_PC, none_PC)

    @classmethod
    def disjoint(cls, shared: Floats, words_LC: Floats | None) -> _Pairs:
        """Half a in the one, half b in the other, and the other way round; then languages with themselves."""
        n_langs, n_concepts = len(shared), shared.shape[-1]
        pairs = [*combinations(range(n_langs), 2), *((at, at) for at in range(n_langs))]
        own_LC = np.stack([np.diag(shared[at, at]) for at in range(n_langs)])
        none_LC = np.full((n_langs, n_concepts), np.nan)
        ceilings = [
            np.stack([(of[a] + of[b]) / 2 if a != b else none_LC[a] for a, b in pairs])
            for of in (own_LC, none_LC if words_LC is None else words_LC)
        ]
        first, second = np.array(pairs).T
        both = shared[first, second]
        both += shared[second, first].transpose(0, 2, 1)
        both /= 2
        return cls(pairs, both, *ceilings)

    @cached_property
    def own_PC(self) -> Floats:
        """Overlap of each concept."""
        return self.shared_PCC.diagonal(axis1=1, axis2=2)

    @cached_property
    def null_PC(self) -> Floats:
        """The null by concept: its mean over concepts is the mean over pairs of different ones.

        That mean is a U-statistic; these are its first-order projections (Hoeffding 1948), which resample
        like values of concepts. What is left out falls with the square of the number of concepts.
        """
        n = self.shared_PCC.shape[1]
        if n < 2:
            return np.full(self.shared_PCC.shape[:2], np.nan)
        both_PC = (self.shared_PCC.sum(axis=1) + self.shared_PCC.sum(axis=2) - 2 * self.own_PC) / (n - 1)
        return np.asarray(both_PC - both_PC.mean(axis=1, keepdims=True) / 2, dtype=np.float64)


@dataclass(frozen=True)
class _Chance:
    """All that is random, drawn once for all places."""

    draws: TwoWayDraws
    weights_BC: Floats
    order_QC: NDArray[np.intp]
    """Permutations of the concepts."""
    near_QC: NDArray[np.intp] | None
    """Permutations among neighbours; None if there are too few."""
    near_CC: NDArray[np.bool_]
    """Different concepts that are neighbours."""

    @classmethod
    def of(cls, n_concepts: int, n_langs: int, blocks_C: Ints, settings: AlignmentSettings) -> _Chance:
        """Draw."""
        rng = np.random.default_rng([settings.seed, 1])
        order_QC = np.array([rng.permutation(n_concepts) for _ in range(settings.permutations)])
        near_QC = permuted_within(blocks_C, settings.permutations, rng)
        near_CC = (blocks_C[:, None] == blocks_C) & ~np.eye(n_concepts, dtype=bool)
        return cls(
            TwoWayDraws(n_concepts, n_langs, settings.bootstrap, settings.seed),
            bootstrap_weights(n_concepts, settings.bootstrap, settings.seed),
            order_QC,
            near_QC if relabellings(blocks_C) >= _LEAST_RELABELLINGS else None,
            near_CC,
        )

    def p_values(self, shared_PCC: Floats) -> dict[str, Floats]:
        """Of each pair the p-values by permuted concepts and by permuted neighbours, and what neighbours
        share, NaN where unknown; and the overlap that 5% of permutations of concepts reach."""
        n_pairs, n = shared_PCC.shape[:2]
        own_P = np.trace(shared_PCC, axis1=1, axis2=2) / n
        found = {}
        for name, order_QC in (("p_value", self.order_QC), ("p_near", self.near_QC)):
            if order_QC is None:
                found[name] = np.full(n_pairs, np.nan)
                continue
            null_PQ = np.zeros((n_pairs, len(order_QC)))
            _sum_permuted(shared_PCC, np.ascontiguousarray(order_QC.T), null_PQ)
            null_PQ /= n
            found[name] = np.array(
                [permutation_p(own, null_Q) for own, null_Q in zip(own_P, null_PQ, strict=True)]
            )
            if name == "p_value":
                found["null_high"] = np.quantile(null_PQ, 1 - LEVEL, axis=1)
        at = np.flatnonzero(self.near_CC)
        near_P = shared_PCC.reshape(n_pairs, -1)[:, at].mean(axis=1) if len(at) else np.full(n_pairs, np.nan)
        return {**found, "null_near": near_P}


@numba.njit(nogil=True, cache=True)
def _sum_permuted(shared_PCC: Floats, order_CQ: NDArray[np.intp], sum_PQ: Floats) -> None:
    """Add up what each concept shares with the one that a permutation puts in its place."""
    for pair in range(len(shared_PCC)):
        for concept in range(len(order_CQ)):  # its row stays in the cache
            for q in range(order_CQ.shape[1]):
                sum_PQ[pair, q] += shared_PCC[pair, concept, order_CQ[concept, q]]


def _rows(
    pairs: _Pairs,
    langs: Sequence[str],
    chance: _Chance,
    kinship: pd.DataFrame | None,
    of_langs: Mapping[str, Floats],
    *,
    singly: bool,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """A row per pair (if ``singly``), then the means over groups of pairs; and the draws of the first."""
    of_pairs = {name: values_L[np.array(pairs.pairs)].mean(axis=1) for name, values_L in of_langs.items()}
    rows = _pair_rows(pairs, langs, chance, of_pairs) if singly else []
    draws = None
    for name, members in _groups(pairs.pairs, langs, kinship).items():
        row, drawn = _summary_row(pairs, members, chance)
        means = {column: values_P[members].mean() for column, values_P in of_pairs.items()}
        rows.append({"lang_a": name, "lang_b": name, **row, **means})
        if name == ALL:
            draws = pd.DataFrame(drawn, dtype=np.float32).rename_axis("draw").reset_index()
    return pd.DataFrame(rows), draws


def _pair_rows(
    pairs: _Pairs, langs: Sequence[str], chance: _Chance, of_pairs: Mapping[str, Floats]
) -> list[dict[str, Any]]:
    own_PC, null_PC = pairs.own_PC, pairs.null_PC
    means = {"overlap": own_PC.mean(axis=1), "null": null_PC.mean(axis=1)}
    drawn = {"overlap": own_PC @ chance.weights_BC.T, "null": null_PC @ chance.weights_BC.T}
    low_P, high_P = np.array(intervals_of(drawn["overlap"])).T
    columns: dict[str, Any] = {**means, "low": low_P, "high": high_P}
    for end, ceiling_PC in (("", pairs.ceiling_PC), ("_words", pairs.words_PC)):
        # A concept that is not split by words counts in neither of the three.
        known_C = np.isfinite(ceiling_PC).any(axis=0)
        weights_BC = chance.weights_BC * known_C
        weights_BC = weights_BC / np.maximum(weights_BC.sum(axis=1, keepdims=True), 1e-9)
        three = [values_PC[:, known_C] for values_PC in (own_PC, null_PC, ceiling_PC)]
        if not known_C.any():
            columns |= dict.fromkeys((f"ceiling{end}", *_way_names(end)), np.nan)
            continue
        ways_PB = ways(*(values @ weights_BC[:, known_C].T for values in three))
        way_P = _finite(ways(*(values.mean(axis=1) for values in three)))
        bounds = [way_interval(ways_B) for ways_B in ways_PB]
        columns |= {f"ceiling{end}": three[2].mean(axis=1)}
        columns |= dict(zip(_way_names(end), (way_P, *np.array(bounds).T), strict=True))
    columns |= chance.p_values(pairs.shared_PCC)
    names = np.array(langs, dtype=object)[np.array(pairs.pairs)]
    columns |= {"lang_a": names[:, 0], "lang_b": names[:, 1], "n_pairs": 1, "detectable": np.nan, **of_pairs}
    table = pd.DataFrame(columns)
    return table.to_dict("records")  # type: ignore[return-value]


def _summary_row(
    pairs: _Pairs, members: Sequence[int], chance: _Chance
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The mean over some of the pairs, and its resamples."""
    at, of = list(members), [pairs.pairs[member] for member in members]
    own_PC, null_PC = pairs.own_PC[at], pairs.null_PC[at]
    drawn = {"overlap": chance.draws.means(own_PC, of), "null": chance.draws.means(null_PC, of)}
    low, high = intervals_of(drawn["overlap"][None, np.isfinite(drawn["overlap"])])[0]
    weights_P = np.bincount(at, minlength=len(pairs.pairs)) / len(at)
    mean_CC = np.tensordot(weights_P, pairs.shared_PCC, axes=1)
    tests = {name: float(value) for name, (value,) in chance.p_values(mean_CC[None]).items()}
    overlap, null = float(own_PC.mean()), float(null_PC.mean())
    n_langs, n_concepts = len({lang for pair in of for lang in pair}), own_PC.shape[1]
    row: dict[str, Any] = {
        "overlap": overlap, "low": max(0.0, low), "high": min(1.0, high), "null": null, **tests,
        "n_pairs": len(at),
        "detectable": detectable_excess(overlap - low, n_langs, n_concepts, tests["null_high"] - null),
    }  # fmt: skip
    for end, ceiling_PC in (("", pairs.ceiling_PC[at]), ("_words", pairs.words_PC[at])):
        known_C: NDArray[np.bool_] = np.asarray(np.isfinite(ceiling_PC).any(axis=0))
        if not known_C.any():
            row |= dict.fromkeys((f"ceiling{end}", *_way_names(end)), np.nan)
            continue
        three = [values_PC[:, known_C] for values_PC in (own_PC, null_PC, ceiling_PC)]
        resamples = [chance.draws.means(values_PC, of, known_C) for values_PC in three]
        way = float(_finite(ways(*(np.asarray(values_PC.mean()) for values_PC in three))))
        row[f"ceiling{end}"] = three[2].mean()
        row |= dict(zip(_way_names(end), (way, *way_interval(ways(*resamples))), strict=True))
        if not end:
            drawn["ceiling"] = resamples[2]
    drawn.setdefault("ceiling", np.full_like(drawn["null"], np.nan))
    return row, drawn


def _way_names(end: str) -> tuple[str, str, str]:
    return f"way{end}", f"way{end}_low", f"way{end}_high"


def ways(overlap: Floats, null: Floats, ceiling: Floats) -> Floats:
    """Share of the way from null to ceiling; infinite where the ceiling leaves no room, NaN where unknown."""
    room = ceiling - null
    with np.errstate(divide="ignore", invalid="ignore"):
        way = np.where(room > 0, (overlap - null) / room, np.inf)
    return np.where(np.isfinite(room), way, np.nan)


def _finite(way: Floats) -> Floats:
    """NaN where the ceiling leaves no room: there is no way to go."""
    return np.where(np.isfinite(way), way, np.nan)


def way_interval(ways_B: Floats) -> tuple[float, float]:
    """95% interval of a share of the way, or of a difference of two; NaN if too many draws leave no room."""
    known = ways_B[~np.isnan(ways_B)]
    if not np.isfinite(known).any() or np.isinf(known).mean() > _NO_ROOM:
        return np.nan, np.nan
    low, high = np.quantile(known[np.isfinite(known)], [0.025, 0.975])
    return float(low), float(high)


def _groups(
    pairs: Sequence[tuple[int, int]], langs: Sequence[str], kinship: pd.DataFrame | None
) -> dict[str, list[int]]:
    """Rows of pairs by the name of a group: all, languages with themselves, kinds of pairs."""
    place = {pair: at for at, pair in enumerate(pairs)}
    found = {name: [place[pair] for pair in of] for name, of in summarised_pairs(pairs).items()}
    if kinship is not None and ALL in found:
        named = {(langs[a], langs[b]): at for (a, b), at in place.items() if a != b}
        kinds = pair_groups(kinship, named)
        found |= {name: [named[pair] for pair in of] for name, of in kinds.items()}
    return found


def summarised_pairs(pairs: Sequence[tuple[int, int]]) -> dict[str, list[tuple[int, int]]]:
    """Pairs of different languages, and of languages with themselves, by :data:`ALL` and :data:`SAME`."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for a, b in sorted(pairs, key=lambda pair: pair[0] == pair[1]):
        groups.setdefault(SAME if a == b else ALL, []).append((a, b))
    return groups


def is_summary(langs: pd.Series) -> pd.Series:
    """Whether a column of languages names a group of pairs."""
    return langs.str.startswith((ALL, SAME))


def add_false_discovery(overlap: pd.DataFrame) -> pd.DataFrame:
    """Add ``q_value``: Benjamini-Hochberg over all steps, layers and pairs that were scanned.

    Each variant is a scan of its own; summary rows and ceilings are not tests and get none.
    """
    table = overlap.reset_index(drop=True)
    table["q_value"] = np.nan
    tests = ~is_summary(table["lang_a"]) & (table["lang_a"] != table["lang_b"])
    for _, rows in table[tests].groupby("variant"):
        table.loc[rows.index, "q_value"] = benjamini_hochberg(rows["p_value"].to_numpy())
    return table
