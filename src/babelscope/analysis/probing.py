"""Language probes: how easily can the language be read off a token's hidden state?

One layer of one checkpoint goes in, one small table comes out. A single probe misleads, so several
readings stand side by side:

- ``full``: multinomial logistic regression on all (standardised) dimensions;
- ``pc8``: the same on the leading principal components, since a full probe saturates in small
  models;
- ``anchors``: the full probe, scored only on tokens that are spelt the same in several languages;
- ``control``: the full probe on random labels per token type (Hewitt and Liang, 2019,
  "Designing and Interpreting Probes with Control Tasks"), with the selectivity;
- ``shuffled``: the full probe trained on shuffled labels, the null that every leak would lift;
- ``between_variance``: no probe, the share of the states' variance that lies between languages.

Sentences are split into training and test by id, the same ids for all languages, so that no
translation of a training sentence is ever tested.

Shape suffixes: T tokens, D dimensions, L languages, S sentence ids, B bootstrap resamples.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from babelscope.activations.store import TokenFile
from babelscope.analysis.probe_readings import (
    Score,
    SentenceSums,
    TokenPool,
    anchor_types,
    between_variance,
    cell_weights,
    type_only_accuracy,
)
from babelscope.analysis.settings import ProbeSettings
from babelscope.errors import BabelscopeError, NumericsError
from babelscope.stats import interval

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

#: Columns of the table that :func:`fit_language_probe` returns.
COLUMNS = (
    "model", "step", "layer", "probe", "metric", "seed", "value", "low", "high", "null",
    "n_train", "n_test", "n_languages",
)  # fmt: skip

#: Fewer anchor tokens than this in the test set are not worth a number.
MIN_ANCHORS = 20


def fit_language_probe(
    token_files: Mapping[str, TokenFile],
    *,
    layer: int,
    settings: ProbeSettings,
    model: str,
    step: int,
) -> pd.DataFrame:
    """Fit and score all probes of one layer.

    Args:
        token_files: For each language its sampled token states.
        layer: Layer to read; 0 is the embedding output.
        settings: See :class:`ProbeSettings`.
        model: Model id, copied into the table.
        step: Training step, copied into the table.

    Returns:
        Columns :data:`COLUMNS`, one row per (probe, metric, seed) and one with ``seed`` -1 that
        holds the mean over seeds. ``low`` and ``high`` bound a bootstrap interval over test
        sentences (and, for the mean, over seeds too). ``null`` is the chance level 1/L, except for
        ``anchors`` (what one who sees only the token would score), ``selectivity`` (0) and
        ``between_variance`` (mean over permuted languages). Anchors too few to score have the value
        NaN.

    Raises:
        BabelscopeError: If there are fewer than two languages, or too few tokens or sentences in
        one.
        NumericsError: If a state is not finite.
    """
    pool = _pool(token_files, layer, settings, model, step)
    rng = np.random.default_rng([settings.seed, layer])
    # One draw of sentence weights serves all probes and seeds: scores on the same sentences move
    # together, so that differences and means over seeds get the interval they deserve.
    weights_BS = rng.multinomial(
        pool.n_sentences,
        np.full(pool.n_sentences, 1 / pool.n_sentences),
        size=settings.bootstrap,
    ).astype(np.float32)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    scores, sizes = [], []
    for seed in seeds:  # one at a time bounds the memory
        split = _split(pool, seed, settings, where=f"layer {layer}")
        scores.append(_scores(pool, split, settings, weights_BS))
        sizes.append(split.train.size)
    pick_BK = rng.integers(settings.seeds, size=(settings.bootstrap, settings.seeds))
    rows = []
    for probe, metric in scores[0]:
        of_seeds = [each[probe, metric] for each in scores]
        for seed, score, size in zip(seeds, of_seeds, sizes, strict=True):
            rows.append(_row(probe, metric, seed, score, size, settings.level))
        mean = _mean_over_seeds(of_seeds, pick_BK)
        rows.append(_row(probe, metric, -1, mean, round(np.mean(sizes)), settings.level))
    share = between_variance(pool, weights_BS, rng)
    rows.append(_row("between_variance", "share", -1, share, 0, settings.level))
    table = pd.DataFrame(rows).assign(model=model, step=step, layer=layer, n_languages=len(pool.languages))
    return table[list(COLUMNS)]


def _row(probe: str, metric: str, seed: int, score: Score, n_train: int, level: float) -> dict[str, Any]:
    low, high = interval(score.resamples_B, level)
    return {
        "probe": probe, "metric": metric, "seed": seed, "value": score.value, "low": low, "high": high,
        "null": score.null, "n_train": n_train, "n_test": score.n_test,
    }  # fmt: skip


def _mean_over_seeds(scores: Sequence[Score], pick_BK: Ints) -> Score:
    """The mean of the scores of all seeds; its resamples draw seeds too."""
    resamples_KB = np.stack([score.resamples_B for score in scores])
    return Score(
        float(np.mean([score.value for score in scores])),
        resamples_KB[pick_BK, np.arange(len(pick_BK))[:, None]].mean(axis=1),
        round(np.mean([score.n_test for score in scores])),
        float(np.mean([score.null for score in scores])),
    )


def split_sentences(n_sentences: int, test_share: float, seed: int) -> Ints:
    """Draw the numbers of the test sentences; the others are for training.

    Not by scikit-learn's ``GroupShuffleSplit``: for a seed it draws other sentences, so tables would change.
    """
    n_test = min(max(round(test_share * n_sentences), 1), n_sentences - 1)
    return np.random.default_rng(seed).permutation(n_sentences)[:n_test]


def _pool(
    token_files: Mapping[str, TokenFile],
    layer: int,
    settings: ProbeSettings,
    model: str,
    step: int,
) -> TokenPool:
    languages = tuple(sorted(token_files))
    where = f"model {model}, step {step}, layer {layer}"
    if len(languages) < 2:
        raise BabelscopeError(f"{where}: a language probe needs 2 languages; got {len(languages)}")
    states, ids, types = {}, {}, {}
    for lang in languages:
        states[lang] = np.asarray(token_files[lang].states(layer), dtype=np.float32)
        ids[lang] = [str(i) for i in token_files[lang].token_sentence_ids]
        types[lang] = np.asarray(token_files[lang].token_ids, dtype=np.int64)
        n_tokens = states[lang].shape[0]
        assert n_tokens == len(ids[lang]) == types[lang].size, f"{where}, {lang}: ragged rows"
        if not np.isfinite(states[lang]).all():
            row = int(np.flatnonzero(~np.isfinite(states[lang]).all(axis=1))[0])
            raise NumericsError(
                f"{where}, language {lang}: the state of a token of sentence {ids[lang][row]} is not finite"
            )
    counts = {lang: states[lang].shape[0] for lang in languages}
    poor = {lang: n for lang, n in counts.items() if n < settings.tokens_per_language}
    if poor:
        listed = ", ".join(f"{lang}: {n}" for lang, n in poor.items())
        raise BabelscopeError(
            f"{where}: too few token states for the probe, {settings.tokens_per_language} are "
            f"wanted of each language but there are {listed}\n"
            "hint: lower probes.tokens_per_language, raise extraction.tokens_per_language, or add "
            "sentences"
        )
    index = {name: i for i, name in enumerate(sorted({i for lang in languages for i in ids[lang]}))}
    if len(index) < 4:
        raise BabelscopeError(
            f"{where}: the probe splits by sentence, needs at least 4 sentences; got {len(index)}"
        )
    return TokenPool(
        languages=languages,
        states_TD=np.concatenate([states[lang] for lang in languages]),
        labels_T=np.repeat(np.arange(len(languages)), [counts[lang] for lang in languages]),
        sentences_T=np.array([index[i] for lang in languages for i in ids[lang]]),
        types_T=np.concatenate([types[lang] for lang in languages]),
        n_sentences=len(index),
    )


@dataclass(frozen=True)
class _Split:
    """The tokens of one seed, and their states, split by sentence."""

    seed: int
    rng: np.random.Generator
    where: str
    train: Ints
    """Rows of the pool."""
    test: Ints
    x_train: Floats
    """Standardised states."""
    x_test: Floats

    @property
    def both(self) -> Ints:
        """Rows of all tokens of this seed."""
        return np.concatenate([self.train, self.test])


def _split(pool: TokenPool, seed: int, settings: ProbeSettings, where: str) -> _Split:
    """Sample tokens and split them by sentence."""
    rng = np.random.default_rng(seed)
    n_languages = len(pool.languages)
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(pool.labels_T == label), settings.tokens_per_language, False)
            for label in range(n_languages)
        ]
    )
    is_test = np.isin(pool.sentences_T[chosen], split_sentences(pool.n_sentences, settings.test_share, seed))
    train, test = chosen[~is_test], chosen[is_test]
    for part, rows in (("training", train), ("test", test)):
        counts = np.bincount(pool.labels_T[rows], minlength=n_languages)
        if counts.min() < 2:
            raise BabelscopeError(
                f"{where}: after the split by sentence, language "
                f"{pool.languages[int(counts.argmin())]} has only {counts.min()} {part} tokens of "
                f"{settings.tokens_per_language}\nhint: sample tokens from more sentences or "
                "change probes.test_share"
            )
    states = pool.states_TD[train], pool.states_TD[test]
    return _Split(seed, rng, where, train, test, *_standardised(*states, states[0].mean(axis=0)))


def _standardised(train_TD: Floats, test_TD: Floats, centre: Floats | float) -> tuple[Floats, Floats]:
    """States of unit variance in training; a constant dimension stays.

    In single precision: scikit-learn's ``StandardScaler`` sums in double, which turns the odd prediction.
    """
    scale_D = train_TD.std(axis=0)
    scale_D[scale_D < 1e-8] = 1.0
    return (train_TD - centre) / scale_D, (test_TD - centre) / scale_D


def _scores(
    pool: TokenPool, split: _Split, settings: ProbeSettings, weights_BS: Floats
) -> dict[tuple[str, str], Score]:
    """Fit and score the probes of one seed, by probe and metric."""
    train, test, n_languages = split.train, split.test, len(pool.languages)
    y_train, y_test = pool.labels_T[train], pool.labels_T[test]
    sums = SentenceSums(pool.sentences_T[test], weights_BS)
    chance = 1.0 / n_languages
    scores: dict[tuple[str, str], Score] = {}

    def predict(name: str, y: Ints, x: Floats = split.x_train, x_new: Floats = split.x_test) -> Ints:
        where = f"{split.where}, probe {name}, seed {split.seed}"
        predicted: Ints = _fit(x, y, settings, where).predict(x_new)
        return predicted

    full = predict("full", y_train)
    name = f"pc{settings.components}"
    leading = predict(name, y_train, *_leading_components(split, settings.components))
    for probe, predicted in (("full", full), (name, leading)):
        scores[probe, "accuracy"] = Score(*sums.mean(predicted == y_test), test.size, chance)
        scores[probe, "macro_f1"] = Score(*sums.macro_f1(y_test, predicted, n_languages), test.size, chance)

    # A token type has the same control label in training and test: only memory of types helps.
    types, type_index = np.unique(pool.types_T, return_inverse=True)
    control_T = split.rng.integers(n_languages, size=types.size)[type_index]
    one_label = np.unique(control_T[train]).size == 1  # a vocabulary of a few types may get one only
    predicted = control_T[train][:1] if one_label else predict("control", control_T[train])
    control = Score(*sums.mean(control_T[test] == predicted), test.size, chance)
    accuracy = scores["full", "accuracy"]
    scores["control", "accuracy"] = control
    scores["control", "selectivity"] = Score(
        accuracy.value - control.value, accuracy.resamples_B - control.resamples_B, test.size, 0.0
    )
    shuffled = predict("shuffled", split.rng.permutation(y_train))
    scores["shuffled", "accuracy"] = Score(*sums.mean(shuffled == y_test), test.size, chance)
    scores["anchors", "accuracy"] = _score_anchors(pool, split, settings, sums, full == y_test)
    return scores


def _leading_components(split: _Split, components: int) -> tuple[Floats, Floats]:
    """Training and test states on the leading principal components, of unit variance."""
    pca = PCA(min(components, *split.x_train.shape), random_state=split.seed).fit(split.x_train)
    return _standardised(pca.transform(split.x_train), pca.transform(split.x_test), centre=0.0)


def _score_anchors(
    pool: TokenPool, split: _Split, settings: ProbeSettings, sums: SentenceSums, right: NDArray[np.bool_]
) -> Score:
    """The full probe on tokens that are spelt the same in several languages."""
    types_train, types_test = pool.types_T[split.train], pool.types_T[split.test]
    y_train, y_test = pool.labels_T[split.train], pool.labels_T[split.test]
    anchors = anchor_types(pool.types_T[split.both], pool.labels_T[split.both], settings.anchor_min_languages)
    is_anchor = np.isin(types_test, anchors)
    n_anchors = int(is_anchor.sum())
    if n_anchors < MIN_ANCHORS or np.unique(y_test[is_anchor]).size < 2:
        return Score(np.nan, np.full(settings.bootstrap, np.nan), n_anchors, 1.0 / len(pool.languages))
    weights = np.zeros(split.test.size)
    weights[is_anchor] = cell_weights(types_test[is_anchor], y_test[is_anchor])
    null = type_only_accuracy(types_train, y_train, types_test, y_test, weights)
    return Score(*sums.mean(right, weights), n_anchors, null)


def _fit(x: Floats, y: Ints, settings: ProbeSettings, where: str) -> LogisticRegression:
    # Single precision halves the time; the predictions differ in the odd token at a boundary.
    probe = LogisticRegression(C=settings.l2_c, max_iter=settings.max_iter, tol=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(np.ascontiguousarray(x, dtype=np.float32), y)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        logger.info("%s: the solver stopped at max_iter = %d", where, settings.max_iter)
    return probe
