"""Do whole states of parallel sentences align, layer by layer?

Of each language there are the mean states of sentences that say the same. Three measures, from strict to
lenient:

- ``retrieval``: how often the nearest sentence of the other language is the translation (cosine, both ways);
- ``neighbours``: how far the nearest sentences within the one language are those within the other;
- ``cka``: linear centred kernel alignment, debiased: as ``neighbours`` it compares how sentences lie to each
  other, and does not ask that the languages lie in one place.

Retrieval and neighbours are taken of states as they are, and of states less their language's mean, which
takes away what all sentences of a language have in common. Names of shapes: ``L`` languages, ``N`` sentences,
``D`` width of a state, ``P`` pairs of languages, ``Q`` permutations.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.settings import AlignmentSettings
from babelscope.capture.store import TokenFile
from babelscope.stats import TwoWayDraws, interval, permutation_p

Floats = NDArray[np.float64]

ALL = "*"
#: Sentences in all languages below which nothing is said.
LEAST_SENTENCES = 20
#: Neighbours of a sentence.
NEIGHBOURS = 10
#: Permutations behind the null of ``cka``, at most: each is of all pairs of languages.
_MOST_PERMUTATIONS = 39
#: Sentences that are taken, at most: the time grows with the square of their number.
MOST_SENTENCES = 300
_COLUMNS = [
    "model", "step", "layer", "measure", "centred", "lang_a", "lang_b", "value", "low", "high", "null",
    "null_high", "p_value", "n",
]  # fmt: skip
#: Of columns that are no text, whatever was found.
_TYPES: dict[str, Any] = {
    name: np.int64 if name in ("step", "layer", "n") else np.float64
    for name in _COLUMNS
    if name not in ("model", "measure", "lang_a", "lang_b", "centred")
} | {"centred": np.bool_}


def representation_table(states: Mapping[str, TokenFile], settings: AlignmentSettings) -> pd.DataFrame:
    """How far the states of parallel sentences align, at every layer of one (model, step).

    Args:
        states: Per language the file with its sentence means; sentences are joined by their ids.
        settings: Resamples of the intervals, permutations of the nulls (at most 39), seed.

    Returns:
        Columns ``model, step, layer, measure`` (``retrieval``, ``neighbours``, ``cka``), ``centred``,
        ``lang_a, lang_b`` (``*``: mean over pairs), ``value``; ``low``, ``high``, of means of the first two,
        over sentences and languages; ``null``: by chance 1 / n and k / (n - 1), of ``cka`` the mean of
        pairings of the sentences at random; ``null_high``, what 5 % of these reach, and ``p_value``, of means
        of all measures; ``n`` sentences. No rows if fewer than :data:`LEAST_SENTENCES` are in all languages.
    """
    states = dict(sorted(states.items()))
    first = next(iter(states.values()))
    common = set.intersection(*(set(file.mean_sentence_ids) for file in states.values()))
    if len(common) < LEAST_SENTENCES or len(states) < 2:
        return pd.DataFrame(columns=_COLUMNS).astype(_TYPES)
    # Evenly over the ids, which begin with the concept where there are concepts.
    places = np.linspace(0, len(common) - 1, min(len(common), MOST_SENTENCES)).round().astype(int)
    ids = [sorted(common)[place] for place in places]
    rows_of = {}
    for lang, file in states.items():
        row_of = {name: row for row, name in enumerate(file.mean_sentence_ids)}
        rows_of[lang] = [row_of[name] for name in ids]
    origin, rows = first.provenance, []
    for layer in first.layers:
        states_LND = np.stack([file.means(layer)[rows_of[lang]] for lang, file in states.items()])
        for row in layer_rows(states_LND.astype(np.float64), list(states), settings):
            rows.append((origin.model, origin.step, layer, *row))
    return pd.DataFrame(rows, columns=_COLUMNS).astype(_TYPES)


def layer_rows(states_LND: Floats, langs: list[str], settings: AlignmentSettings) -> list[tuple[Any, ...]]:
    """The measures of one layer, from ``measure`` on; see :func:`representation_table`."""
    pairs = list(combinations(range(len(langs)), 2))
    n, rng = states_LND.shape[1], np.random.default_rng(settings.seed)
    orders = [rng.permutation(n) for _ in range(min(settings.permutations, _MOST_PERMUTATIONS))]
    draws = TwoWayDraws(n, len(langs), settings.bootstrap, settings.seed)
    rows: list[tuple[Any, ...]] = []
    for centred in (False, True):
        unit_LND = _unit_length(
            states_LND - states_LND.mean(axis=1, keepdims=True) if centred else states_LND
        )
        near_LNN = nearest(unit_LND, k := min(NEIGHBOURS, n - 2))
        both_PN = np.stack([np.count_nonzero(near_LNN[a] & near_LNN[b], axis=1) / k for a, b in pairs])
        found = {"retrieval": (retrieved(unit_LND, pairs), 1 / n), "neighbours": (both_PN, k / (n - 1))}
        for measure, (values_PN, chance) in found.items():
            band = interval(draws.means(values_PN, pairs))
            mean = measure, centred, ALL, ALL, float(values_PN.mean()), *band, chance, np.nan, np.nan, n
            rows += [mean, *_pair_rows((measure, centred), langs, pairs, values_PN.mean(axis=1), chance, n)]
    kernel_LNN = u_centred(states_LND @ states_LND.transpose(0, 2, 1))
    kernel_LNN /= np.sqrt((kernel_LNN**2).sum(axis=(1, 2), keepdims=True))
    cka_P = np.array([(kernel_LNN[a] * kernel_LNN[b]).sum() for a, b in pairs])
    null_Q = _permuted(kernel_LNN, pairs, orders)
    value, null = float(cka_P.mean()), float(null_Q.mean())
    tested = float(np.quantile(null_Q, 0.95)), permutation_p(value, null_Q)
    rows.append(("cka", True, ALL, ALL, value, np.nan, np.nan, null, *tested, n))
    return rows + _pair_rows(("cka", True), langs, pairs, cka_P, null, n)


def _pair_rows(
    about: tuple[str, bool],
    langs: list[str],
    pairs: list[tuple[int, int]],
    value_P: Floats,
    null: float,
    n: int,
) -> list[tuple[Any, ...]]:
    unknown = np.nan, np.nan
    return [
        (*about, langs[a], langs[b], value, *unknown, null, *unknown, n)
        for (a, b), value in zip(pairs, value_P.tolist(), strict=True)
    ]


def _unit_length(states_LND: Floats) -> Floats:
    length_LN1 = np.linalg.norm(states_LND, axis=2, keepdims=True)
    return np.asarray(states_LND / np.maximum(length_LN1, 1e-30), dtype=np.float64)


def retrieved(unit_LND: Floats, pairs: list[tuple[int, int]]) -> Floats:
    """Share of both ways in which the nearest sentence of the other language is the translation, ``(P, N)``.

    Of several nearest ones, as where states are equal, each counts as its share.

    Args:
        unit_LND: States of length one.
        pairs: Of languages.
    """
    return np.stack([_hits(unit_LND[a] @ unit_LND[b].T) for a, b in pairs])


def _hits(cosine_NN: Floats) -> Floats:
    found = np.zeros(len(cosine_NN))
    for each_NN in (cosine_NN, cosine_NN.T):
        best_NN = each_NN >= each_NN.max(axis=1, keepdims=True) - 1e-12
        found += best_NN.diagonal() / best_NN.sum(axis=1) / 2
    return found


def nearest(unit_LND: Floats, k: int) -> NDArray[np.bool_]:
    """Which other sentences are among the ``k`` nearest of each in its language; ``(L, N, N)``."""
    cosine_LNN = unit_LND @ unit_LND.transpose(0, 2, 1)
    cosine_LNN[:, np.arange(unit_LND.shape[1]), np.arange(unit_LND.shape[1])] = -np.inf
    near_LNK = np.argsort(-cosine_LNN, axis=2, kind="stable")[:, :, :k]
    found = np.zeros(cosine_LNN.shape, dtype=bool)
    np.put_along_axis(found, near_LNK, True, axis=2)
    return found


def u_centred(kernel_LNN: Floats) -> Floats:
    """Kernels without diagonal, centred so that products of two of them are unbiased (Székely and Rizzo
    2014).

    The sum of the products of two is n (n - 3) times the unbiased HSIC of Song et al. (2012).
    """
    kernel_LNN = kernel_LNN.copy()
    n = kernel_LNN.shape[-1]
    diagonal = np.arange(n)
    kernel_LNN[:, diagonal, diagonal] = 0
    sums_LN = kernel_LNN.sum(axis=2)
    kernel_LNN -= sums_LN[:, :, None] / (n - 2) + sums_LN[:, None, :] / (n - 2)
    kernel_LNN += sums_LN.sum(axis=1)[:, None, None] / ((n - 1) * (n - 2))
    kernel_LNN[:, diagonal, diagonal] = 0
    return kernel_LNN


def _permuted(kernel_LNN: Floats, pairs: list[tuple[int, int]], orders: list[NDArray[np.intp]]) -> Floats:
    """Mean over pairs of the sums of products, the sentences of the second in another order; ``(Q,)``."""
    first, second = np.array(pairs).T
    flat = kernel_LNN.reshape(len(kernel_LNN), -1)
    means = []
    for order in orders:
        moved = kernel_LNN[:, order][:, :, order].reshape(flat.shape)
        means.append((flat @ moved.T)[first, second].mean())
    return np.array(means)
