"""Units that tell a language, whatever is said in it.

Two notions. By expertise, the language is a concept: its sentences are positive, their translations in the
other languages negative, and a unit whose average precision is high tells the language and not what is said.
By LAPE (Tang et al. 2024), a neuron is of a language if it fires there and seldom elsewhere. Names of shapes:
``L`` languages, ``N`` sentences of a language, ``U`` units, ``K`` units that are kept, ``C`` concepts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL
from babelscope.analysis.precision import Labels, score_values
from babelscope.analysis.ranking import ALL_LAYERS
from babelscope.analysis.scores import OTHER_HALF
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import two_way_interval
from babelscope.units import UnitIndex

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LayerSite = tuple[int, str]
#: A unit tells a language if its average precision is at least that, on either half of the sentences.
TELLS = 0.9
#: Sentences of each language that are taken, at most, and at least.
MOST_SENTENCES, LEAST_SENTENCES = 200, 20
#: Of LAPE, as published: the share of neurons that are chosen, and the quantile of all firing rates above
#: which a neuron counts as active.
LAPE_SHARE, LAPE_ACTIVE = 0.01, 0.95
#: Columns of the tables of experts that are read.
EXPERTS = ["model", "step", "lang", "scope", "subset", "concept", "layer", "site", "unit"]
_COUNTS = [
    "model", "step", "lang", "layer", "share", "low", "high", "null", "ap", "ap_low", "ap_high", "null_ap",
    "lape", "n_units", "n_neurons", "n",
]  # fmt: skip
_BEST = ["model", "step", "lang", "subset", "rank", "layer", "site", "unit", "ap", "held_out_ap"]
_OVERLAP = [
    "model", "step", "lang", "overlap", "low", "high", "other_languages", "difference", "difference_low",
    "difference_high", "chance", "k", "n_units", "n_concepts",
]  # fmt: skip


class Pooled(Protocol):
    """What units do on the sentences of one language, see :class:`babelscope.capture.firing.OfLanguage`."""

    values: Mapping[LayerSite, NDArray[Any]]
    fired: Mapping[int, Ints]
    n_tokens: int


class LanguageUnits(NamedTuple):
    """What :func:`language_units` finds."""

    counts: pd.DataFrame
    """Per language and layer, how many units tell the language."""
    best: pd.DataFrame
    """The units that tell each language best, on each half."""


def parallel_sentences(
    sentences: Mapping[str, Sequence[tuple[str, str]]],
) -> dict[str, list[tuple[str, str]]]:
    """Some sentences that all languages have, evenly over their ids; none if there are few.

    Args:
        sentences: Per language id and text.
    """
    texts = {lang: dict(of) for lang, of in sentences.items()}
    common = sorted(set.intersection(*(set(of) for of in texts.values())))
    if len(common) < LEAST_SENTENCES or len(texts) < 2:
        logger.warning("%d sentences are in all of %d languages: too few", len(common), len(texts))
        return {}
    places = np.linspace(0, len(common) - 1, min(len(common), MOST_SENTENCES)).round().astype(int)
    return {lang: [(common[at], of[common[at]]) for at in places] for lang, of in texts.items()}


def language_units(
    pooled: Mapping[str, Pooled], halves: Sequence[str], *, model: str, step: int, k: int, seed: int
) -> LanguageUnits:
    """Units that tell each language from the others, of one (model, step).

    Args:
        pooled: Per language what units do on the same sentences, in one order.
        halves: The half of each sentence, ``a`` or ``b``.
        model: Run id.
        step: Training step.
        k: Units that are kept of each language.
        seed: Of the languages that are given to sentences at random.

    Returns:
        ``counts``: ``model, step, lang`` (``*``: mean), ``layer`` (-1: all); ``share`` of units whose average
        precision is :data:`TELLS` or more on both halves, with ``low`` and ``high`` of the mean, over
        languages; ``null``, the same where the translations of every sentence have their languages at
        random; ``ap``, of the unit that is best on one half, on the other, with interval and ``null_ap``;
        ``lape``, share of neurons, see :func:`lape`; ``n_units, n_neurons``; ``n`` sentences.
        ``best``: ``model, step, lang, subset`` (half), ``rank, layer, site, unit, ap,
        held_out_ap``, on the other half; of equal ones the first by number.
    """
    pooled = dict(sorted(pooled.items()))
    langs, n, first = list(pooled), len(halves), next(iter(pooled.values()))
    units = UnitIndex.of((layer, site, of.shape[1]) for (layer, site), of in sorted(first.values.items()))
    labels = _labels(len(langs), n, seed)
    half_N = np.array([list(OTHER_HALF).index(half) for half in halves])
    walks = Labels(labels, np.tile(half_N, len(langs)))
    parts = []
    for layer, site, _ in units.sites:
        values_MU = np.concatenate([of.values[layer, site] for of in pooled.values()])
        parts.append(score_values(values_MU, walks).ap_SCU[1:])
    ap_HCU = np.concatenate(parts, axis=2)
    own_HLU, shuffled_HLU = ap_HCU[:, : len(langs)], ap_HCU[:, len(langs) :]
    layer_U = np.repeat([layer for layer, _, _ in units.sites], [width for _, _, width in units.sites])
    special = lape(
        {layer: np.stack([of.fired[layer] for of in pooled.values()]) for layer in first.fired},
        np.array([of.n_tokens for of in pooled.values()]),
    )
    counts = [
        (model, step, *row, n)
        for layer in (ALL_LAYERS, *sorted({*units.layers, *special}))
        for row in _count_rows(
            layer,
            langs,
            [ap_HLU[:, :, (layer == ALL_LAYERS) | (layer_U == layer)] for ap_HLU in (own_HLU, shuffled_HLU)],
            [found for where, found in special.items() if layer in (ALL_LAYERS, where)],
        )
    ]
    best = [_best(own_HLU[:, at], units, k).assign(lang=lang) for at, lang in enumerate(langs)]
    return LanguageUnits(
        pd.DataFrame(counts, columns=_COUNTS),
        pd.concat(best, ignore_index=True).assign(model=model, step=step)[_BEST],
    )


def _labels(n_langs: int, n: int, seed: int) -> NDArray[np.int8]:
    """Of the sentences of all languages, one after the other, whether each is of each language; then the same
    with the languages of each sentence's translations in another order."""
    rng = np.random.default_rng(seed)
    lang_LN = np.repeat(np.arange(n_langs)[:, None], n, axis=1)
    both = [lang_LN.ravel(), rng.permuted(lang_LN, axis=0).ravel()]
    return np.concatenate([lang_M[:, None] == np.arange(n_langs) for lang_M in both], axis=1).astype(np.int8)


def _count_rows(
    layer: int, langs: Sequence[str], ap: Sequence[Floats], neurons: Sequence[NDArray[np.bool_]]
) -> Iterator[tuple[object, ...]]:
    """Of one layer or all: the rows of each language and of their mean, from ``lang`` on.

    Args:
        layer: Its number, or :data:`babelscope.analysis.ranking.ALL_LAYERS`.
        langs: The languages.
        ap: Average precision of its units on each half, for the languages and with them at random,
            ``(2, L, U)`` each; without units where a study has no site there.
        neurons: Of :func:`lape`, those of the layer, or of all.
    """
    n_langs, n_units = ap[0].shape[1:]
    unknown_L = np.full(n_langs, np.nan)
    lape_L = np.concatenate(neurons, axis=1).mean(axis=1) if neurons else unknown_L
    n_neurons = sum(of.shape[1] for of in neurons)
    share_L, null_L = ((of_HLU >= TELLS).all(axis=0).mean(axis=1) if n_units else unknown_L for of_HLU in ap)
    ap_L, null_ap_L = (_held_out(of_HLU) if n_units else unknown_L for of_HLU in ap)
    nothing = np.nan, np.nan
    for at, lang in enumerate(langs):
        share = share_L[at], *nothing, null_L[at], ap_L[at], *nothing, null_ap_L[at]
        yield lang, layer, *share, lape_L[at], n_units, n_neurons
    share = share_L.mean(), *_band(share_L), null_L.mean(), ap_L.mean(), *_band(ap_L), null_ap_L.mean()
    yield ALL, layer, *share, lape_L.mean(), n_units, n_neurons


def _held_out(ap_HLU: Floats) -> Floats:
    """AP on one half of the unit that is best on the other, mean of both ways; ``(L,)``."""
    best_HL1 = ap_HLU.argmax(axis=2)[:, :, None]
    other_HL = np.take_along_axis(ap_HLU[::-1], best_HL1, axis=2)[:, :, 0]
    return np.asarray(other_HL.mean(axis=0), dtype=np.float64)


def _band(share_L: Floats) -> tuple[float, float]:
    """95 % interval of a mean over languages, by Student's law, within 0 and 1."""
    from scipy.special import stdtrit  # slow to import, needed seldom

    half = float(stdtrit(len(share_L) - 1, 0.975) * share_L.std(ddof=1) / np.sqrt(len(share_L)))
    return max(0.0, float(share_L.mean()) - half), min(1.0, float(share_L.mean()) + half)


def _best(ap_HU: Floats, units: UnitIndex, k: int) -> pd.DataFrame:
    parts = []
    for at, half in enumerate(OTHER_HALF):
        number_K = np.argsort(-ap_HU[at], kind="stable")[:k]
        places = dict(zip(("layer", "site", "unit"), units.places(number_K), strict=True))
        scores = {"ap": ap_HU[at, number_K], "held_out_ap": ap_HU[1 - at, number_K]}
        parts.append(pd.DataFrame({"subset": half, "rank": np.arange(len(number_K)), **places, **scores}))
    return pd.concat(parts, ignore_index=True)


def lape(fired: Mapping[int, Ints], tokens_L: Ints) -> dict[int, NDArray[np.bool_]]:
    """Neurons of each language by language activation probability entropy (Tang et al. 2024).

    Of the probabilities that a neuron fires at a token of each language, those that add up to one with the
    least entropy are chosen: a hundredth of all neurons, of those that are active in some language. A chosen
    neuron is of every language in which it is active. So many are chosen whatever a model has learnt: where
    they lie says something, their number does not.

    Args:
        fired: By layer how often each neuron fires in each language, ``(L, U)``.
        tokens_L: Tokens of each language.

    Returns:
        By layer which neurons are of which language, ``(L, U)``.
    """
    rate = {layer: counts_LU / np.maximum(tokens_L, 1)[:, None] for layer, counts_LU in sorted(fired.items())}
    if not rate:
        return {}
    every_LU = np.concatenate(list(rate.values()), axis=1)
    is_active_LU = every_LU > np.quantile(every_LU, LAPE_ACTIVE)
    share_LU = every_LU / np.maximum(every_LU.sum(axis=0), 1e-30)
    entropy_U = -(share_LU * np.log(np.maximum(share_LU, 1e-30))).sum(axis=0)
    entropy_U[~is_active_LU.any(axis=0)] = np.inf
    chosen_U = np.zeros(len(entropy_U), dtype=bool)
    lowest = np.argsort(entropy_U, kind="stable")[: round(LAPE_SHARE * len(entropy_U))]
    chosen_U[lowest[np.isfinite(entropy_U[lowest])]] = True
    ends = np.cumsum([of.shape[1] for of in rate.values()])[:-1]
    return dict(zip(rate, np.split(chosen_U & is_active_LU, ends, axis=1), strict=True))


def stacked(parts: Sequence[LanguageUnits]) -> LanguageUnits:
    """Those of several steps, one below the other; of none without rows."""
    nothing = LanguageUnits(pd.DataFrame(columns=_COUNTS), pd.DataFrame(columns=_BEST))
    tables = (pd.concat(of, ignore_index=True) for of in zip(*(parts or [nothing]), strict=True))
    return LanguageUnits(*(_typed(table) for table in tables))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose types do not depend on what was found."""
    whole = {"step", "layer", "rank", "unit", "k", "n_units", "n_neurons", "n_concepts", "n"}
    texts = {"model", "lang", "subset", "site"}
    return table.astype({c: np.int64 if c in whole else np.float64 for c in table if c not in texts})


def language_overlap(
    best: pd.DataFrame, experts: Iterable[pd.DataFrame], counts: pd.DataFrame, settings: AlignmentSettings
) -> pd.DataFrame:
    """How many of the units that tell a language best are experts of concepts in it.

    Units and experts are chosen on different halves, both ways, averaged.

    Args:
        best, counts: The tables of :func:`language_units`, of any models and steps.
        experts: Tables of :func:`babelscope.analysis.experts.select_experts` (the columns of :data:`EXPERTS`
            do), each of all languages of one or more steps.
        settings: Resamples of the intervals, seed.

    Returns:
        Columns ``model, step, lang`` (``*``: mean), ``overlap`` (share of K, mean over concepts) with ``low``
        and ``high`` of the mean, over concepts and languages; ``other_languages``, the same with experts of
        the same concepts in the other languages, and ``difference``, with interval; ``chance``, K over the
        number of units; ``k, n_units, n_concepts``.
    """
    n_units = counts[counts["layer"] == ALL_LAYERS].groupby(["model", "step"])["n_units"].first().to_dict()
    own = dict(iter(best.groupby(["model", "step"])))
    rows: list[tuple[object, ...]] = []
    for table in experts:
        of_model = table[(table["scope"] == "model") & table["subset"].isin(list(OTHER_HALF))]
        for cell, of_step in of_model.groupby(["model", "step"]):
            if cell in own:
                rows += [(*cell, *row) for row in _overlap_rows(own[cell], of_step, n_units[cell], settings)]
    return _typed(pd.DataFrame(rows, columns=_OVERLAP))


def _overlap_rows(
    best: pd.DataFrame, experts: pd.DataFrame, n_units: int, settings: AlignmentSettings
) -> Iterator[tuple[object, ...]]:
    """The rows of one (model, step), from ``lang`` on."""
    langs, concepts = sorted(best["lang"].unique()), sorted(experts["concept"].unique())
    own_LL = _shared(best, experts, langs, concepts)
    k, n_langs = int(best["rank"].max()) + 1, len(langs)
    own_LC = own_LL[np.arange(n_langs), np.arange(n_langs)]
    other_LC = (own_LL.sum(axis=1) - own_LC) / max(1, n_langs - 1)
    themselves = [(at, at) for at in range(n_langs)]

    def band(values_LC: Floats) -> tuple[float, float]:
        # The interval is made for shares, so that numbers from -1 to 1 are moved between 0 and 1 and back.
        given = (values_LC + 1) / 2, themselves, n_langs, settings.bootstrap, settings.seed
        low, high = two_way_interval(*given)
        return 2 * low - 1, 2 * high - 1

    counts = k / n_units, k, n_units, len(concepts)
    for lang, own, other in [*zip(langs, own_LC, other_LC, strict=True), (ALL, own_LC, other_LC)]:
        bands = (*band(own), *band(own - other)) if lang == ALL else (np.nan,) * 4
        means = float(own.mean()), float(other.mean())
        yield lang, means[0], *bands[:2], means[1], means[0] - means[1], *bands[2:], *counts


def _shared(
    best: pd.DataFrame, experts: pd.DataFrame, langs: Sequence[str], concepts: Sequence[str]
) -> Floats:
    """Share of a language's units that are experts of each concept in each language, ``(L, L, C)``."""
    places = ["layer", "site", "unit"]
    both = pd.concat([best[places], experts[places]])
    number = both.groupby(places, sort=False).ngroup().to_numpy()
    of_best, of_experts = number[: len(best)], number[len(best) :]
    found = np.zeros((len(langs), len(langs), len(concepts)))
    lang_E = pd.Index(langs).get_indexer(pd.Index(experts["lang"]))
    concept_E = pd.Index(concepts).get_indexer(pd.Index(experts["concept"]))
    for half, other in OTHER_HALF.items():
        on_half = (experts["subset"] == other).to_numpy()
        for at, lang in enumerate(langs):
            own = of_best[((best["lang"] == lang) & (best["subset"] == half)).to_numpy()]
            hit_E = on_half & np.isin(of_experts, own)
            np.add.at(found[at], (lang_E[hit_E], concept_E[hit_E]), 1 / len(own) / len(OTHER_HALF))
    return found
