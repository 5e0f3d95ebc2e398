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

Shape suffixes: T tokens, D dimensions, L languages, S sentence ids, B bootstrap resamples, K seeds, b blocks
of the tokens of one sentence in one language.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from babelscope.activations.store import TokenFile
from babelscope.analysis.settings import ProbeSettings
from babelscope.errors import BabelscopeError
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

#: Label permutations behind the null of the between-language variance.
N_PERMUTATIONS = 50


class _Pool(NamedTuple):
    """The tokens of all languages of one layer, languages in sorted order."""

    languages: tuple[str, ...]
    states_TD: NDArray[np.float32]
    labels_T: Ints
    """Number of each token's language."""
    sentences_T: Ints
    """Number of its sentence; translations have the same."""
    types_T: Ints
    """Its id in the vocabulary."""
    n_sentences: int


class _Score(NamedTuple):
    """A value with its resamples, before it becomes a row."""

    value: float
    resamples_B: Floats
    n_test: int
    null: float


def fit_language_probe(
    token_files: Mapping[str, TokenFile],
    *,
    layer: int,
    settings: ProbeSettings,
    model: str,
    step: int,
    threads: int = 1,
) -> pd.DataFrame:
    """Fit and score all probes of one layer.

    Args:
        token_files: For each language its sampled token states.
        layer: Layer to read; 0 is the embedding output.
        settings: See :class:`ProbeSettings`.
        model: Model id, for the table; so is ``step``.
        step: Training step.
        threads: Of BLAS and OpenMP. A solver's steps are so short that more threads wait for each other most
            of the time, and beside other work on the machine for very long.

    Returns:
        Columns :data:`COLUMNS`, one row per (probe, metric, seed) and one with ``seed`` -1 that
        holds the mean over seeds. ``low`` and ``high`` bound a bootstrap interval over test
        sentences (and, for the mean, over seeds too). ``null`` is the chance level 1/L, except for
        ``anchors`` (what one who sees only the token would score), ``selectivity`` (0) and
        ``between_variance`` (mean over permuted languages). Anchors too few to score have the value
        NaN.

    Raises:
        BabelscopeError: If there are fewer than two languages, or too few tokens or sentences in one.
    """
    pool = _pool(token_files, layer, settings, f"model {model}, step {step}, layer {layer}")
    with threadpool_limits(limits=threads):
        found, n_languages = _all_scores(pool, layer, settings), len(pool.languages)
    rows = [
        (
            model, step, layer, probe, metric, seed, score.value, *interval(score.resamples_B), score.null,
            n_train, score.n_test, n_languages,
        )
        for probe, metric, seed, n_train, score in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _all_scores(pool: _Pool, layer: int, settings: ProbeSettings) -> list[tuple[str, str, int, int, _Score]]:
    """Probe, metric, seed, training tokens and score of everything that is said of a layer."""
    rng = np.random.default_rng([settings.seed, layer])
    # One draw of sentence weights serves all probes and seeds: scores on the same sentences move
    # together, so that differences and means over seeds get the interval they deserve.
    n = pool.n_sentences
    weights_BS = rng.multinomial(n, np.full(n, 1 / n), size=settings.bootstrap).astype(np.float32)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    scores, sizes = [], []
    for seed in seeds:  # one at a time bounds the memory
        split = _split(pool, seed, settings, where=f"layer {layer}")
        scores.append(_scores(pool, split, settings, weights_BS))
        sizes.append(split.train.size)
    pick_BK = rng.integers(settings.seeds, size=(settings.bootstrap, settings.seeds))
    found: list[tuple[str, str, int, int, _Score]] = []
    for probe, metric in scores[0]:
        of_seeds = [each[probe, metric] for each in scores]
        for seed, size, score in zip(seeds, sizes, of_seeds, strict=True):
            found.append((probe, metric, seed, size, score))
        found.append((probe, metric, -1, round(np.mean(sizes)), _mean_over_seeds(of_seeds, pick_BK)))
    found.append(("between_variance", "share", -1, 0, _between_variance(pool, weights_BS, rng)))
    return found


def _mean_over_seeds(scores: Sequence[_Score], pick_BK: Ints) -> _Score:
    """The mean of the scores of all seeds; its resamples draw seeds too."""
    values, resamples, sizes, nulls = zip(*scores, strict=True)
    resamples_B = np.stack(resamples)[pick_BK, np.arange(len(pick_BK))[:, None]].mean(axis=1)
    return _Score(float(np.mean(values)), resamples_B, round(np.mean(sizes)), float(np.mean(nulls)))


def split_sentences(n_sentences: int, test_share: float, seed: int) -> Ints:
    """Draw the numbers of the test sentences; the others are for training.

    Not by scikit-learn's ``GroupShuffleSplit``: for a seed it draws other sentences, so tables would change.
    """
    n_test = min(max(round(test_share * n_sentences), 1), n_sentences - 1)
    return np.random.default_rng(seed).permutation(n_sentences)[:n_test]


def _pool(token_files: Mapping[str, TokenFile], layer: int, settings: ProbeSettings, where: str) -> _Pool:
    languages = tuple(sorted(token_files))
    if len(languages) < 2:
        raise BabelscopeError(f"{where}: a language probe needs 2 languages; got {len(languages)}")
    files = [token_files[lang] for lang in languages]
    states = [np.asarray(file.states(layer), dtype=np.float32) for file in files]
    counts = {lang: len(of_lang) for lang, of_lang in zip(languages, states, strict=True)}
    poor = {lang: n for lang, n in counts.items() if n < settings.tokens_per_language}
    if poor:
        listed = ", ".join(f"{lang}: {n}" for lang, n in poor.items())
        raise BabelscopeError(
            f"{where}: too few token states for the probe, {settings.tokens_per_language} are "
            f"wanted of each language but there are {listed}\n"
            "hint: lower probes.tokens_per_language, raise extraction.tokens_per_language, or add "
            "sentences"
        )
    names, sentences_T = np.unique(
        np.concatenate([file.token_sentence_ids for file in files]), return_inverse=True
    )
    if len(names) < 4:
        raise BabelscopeError(
            f"{where}: the probe splits by sentence, needs at least 4 sentences; got {len(names)}"
        )
    return _Pool(
        languages=languages,
        states_TD=np.concatenate(states),
        labels_T=np.repeat(np.arange(len(languages)), list(counts.values())),
        sentences_T=sentences_T,
        types_T=np.concatenate([file.token_ids for file in files]),
        n_sentences=len(names),
    )


class _Split(NamedTuple):
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


def _split(pool: _Pool, seed: int, settings: ProbeSettings, where: str) -> _Split:
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
    pool: _Pool, split: _Split, settings: ProbeSettings, weights_BS: Floats
) -> dict[tuple[str, str], _Score]:
    """Fit and score the probes of one seed, by probe and metric."""
    train, test, n_languages = split.train, split.test, len(pool.languages)
    y_train, y_test = pool.labels_T[train], pool.labels_T[test]
    sums = _SentenceSums(pool.sentences_T[test], weights_BS)
    chance = 1.0 / n_languages
    scores: dict[tuple[str, str], _Score] = {}

    def predict(name: str, y: Ints, x: Floats = split.x_train, x_new: Floats = split.x_test) -> Ints:
        # Single precision halves the time; the predictions differ in the odd token at a boundary.
        probe = LogisticRegression(C=settings.l2_c, max_iter=settings.max_iter, tol=1e-3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(np.ascontiguousarray(x, dtype=np.float32), y)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            where = f"{split.where}, probe {name}, seed {split.seed}"
            logger.info("%s: the solver stopped at max_iter = %d", where, settings.max_iter)
        return np.asarray(probe.predict(x_new))

    full = predict("full", y_train)
    name = f"pc{settings.components}"
    pca = PCA(min(settings.components, *split.x_train.shape), random_state=split.seed).fit(split.x_train)
    components = _standardised(pca.transform(split.x_train), pca.transform(split.x_test), centre=0.0)
    leading = predict(name, y_train, *components)
    for probe, predicted in (("full", full), (name, leading)):
        scores[probe, "accuracy"] = _Score(*sums.mean(predicted == y_test), test.size, chance)
        scores[probe, "macro_f1"] = _Score(*sums.macro_f1(y_test, predicted, n_languages), test.size, chance)

    # A token type has the same control label in training and test: only memory of types helps.
    types, type_index = np.unique(pool.types_T, return_inverse=True)
    control_T = split.rng.integers(n_languages, size=types.size)[type_index]
    one_label = np.unique(control_T[train]).size == 1  # a vocabulary of a few types may get one only
    predicted = control_T[train][:1] if one_label else predict("control", control_T[train])
    control = _Score(*sums.mean(control_T[test] == predicted), test.size, chance)
    accuracy = scores["full", "accuracy"]
    scores["control", "accuracy"] = control
    scores["control", "selectivity"] = _Score(
        accuracy.value - control.value, accuracy.resamples_B - control.resamples_B, test.size, 0.0
    )
    shuffled = predict("shuffled", split.rng.permutation(y_train))
    scores["shuffled", "accuracy"] = _Score(*sums.mean(shuffled == y_test), test.size, chance)
    scores["anchors", "accuracy"] = _score_anchors(pool, split, settings, sums, full == y_test)
    return scores


def _score_anchors(
    pool: _Pool, split: _Split, settings: ProbeSettings, sums: _SentenceSums, right: NDArray[np.bool_]
) -> _Score:
    """The full probe on tokens that are spelt the same in several languages."""
    types, labels = pool.types_T, pool.labels_T
    chosen, test = np.concatenate([split.train, split.test]), split.test
    is_anchor = np.isin(
        types[test], anchor_types(types[chosen], labels[chosen], settings.anchor_min_languages)
    )
    n_anchors = int(is_anchor.sum())
    if n_anchors < MIN_ANCHORS or np.unique(labels[test][is_anchor]).size < 2:
        return _Score(np.nan, np.full(settings.bootstrap, np.nan), n_anchors, 1.0 / len(pool.languages))
    weights = np.zeros(test.size)
    weights[is_anchor] = cell_weights(types[test][is_anchor], labels[test][is_anchor])
    null = type_only_accuracy(types[split.train], labels[split.train], types[test], labels[test], weights)
    return _Score(*sums.mean(right, weights), n_anchors, null)


def anchor_types(types_T: Ints, labels_T: Ints, min_languages: int) -> Ints:
    """Token ids that occur in at least ``min_languages`` languages, sorted."""
    n_languages = pd.Series(labels_T).groupby(types_T).nunique()
    return n_languages.index[n_languages >= min_languages].to_numpy()


def cell_weights(types_T: Ints, labels_T: Ints) -> Floats:
    """Weight of each token such that every (token type, language) cell counts once.

    A full stop that is ten times as frequent in one language would otherwise hint at it.
    """
    return 1.0 / pd.Series(types_T).groupby([types_T, labels_T]).transform("size").to_numpy()


def type_only_accuracy(
    types_train: Ints, labels_train: Ints, types_T: Ints, labels_T: Ints, weights_T: Floats
) -> float:
    """Weighted accuracy of guessing each token's most frequent training language.

    This is what the token's spelling gives away by itself. Of equally frequent languages each is
    guessed equally often; a type unseen in training scores 1/L.
    """
    n_languages = int(max(labels_train.max(), labels_T.max())) + 1
    types, index = np.unique(np.concatenate([types_train, types_T]), return_inverse=True)
    counts = np.zeros((types.size, n_languages))
    np.add.at(counts, (index[: types_train.size], labels_train), 1)
    best = counts == counts.max(axis=1, keepdims=True)
    guess = best / best.sum(axis=1, keepdims=True)
    return float(np.average(guess[index[types_train.size :], labels_T], weights=weights_T))


class _SentenceSums:
    """Scores of test tokens, and the same under resampled test sentences."""

    def __init__(self, sentences_T: Ints, weights_BS: Floats) -> None:
        present, self._index_T = np.unique(sentences_T, return_inverse=True)
        self._n = present.size
        self._weights_BS = weights_BS[:, present].astype(np.float64)

    def _sum(self, values_T: Floats) -> Floats:
        return np.bincount(self._index_T, weights=values_T, minlength=self._n).astype(np.float64)

    def mean(self, right_T: NDArray[Any], weights_T: Floats | None = None) -> tuple[float, Floats]:
        """Weighted mean over tokens, and its resamples over sentences."""
        weights_T = np.ones(right_T.size) if weights_T is None else weights_T
        above_S, below_S = self._sum(right_T * weights_T), self._sum(weights_T)
        below_B = self._weights_BS @ below_S
        with np.errstate(invalid="ignore"):
            resamples_B = np.where(below_B > 0, (self._weights_BS @ above_S) / below_B, np.nan)
        return float(above_S.sum() / below_S.sum()), resamples_B

    def macro_f1(self, true_T: Ints, predicted_T: Ints, n_classes: int) -> tuple[float, Floats]:
        """Unweighted mean of the F1 of each class, and its resamples over sentences."""
        right_T = true_T == predicted_T
        hit, true, predicted = (  # each (classes, S)
            np.stack([self._sum(counted & (labels_T == label)) for label in range(n_classes)])
            for labels_T, counted in ((true_T, right_T), (true_T, True), (predicted_T, True))
        )

        def f1(hit_: Floats, true_: Floats, predicted_: Floats) -> Floats:
            below = true_ + predicted_
            each = np.where(below > 0, 2 * hit_ / np.maximum(below, 1), 0.0)
            return np.asarray(each.mean(axis=-1))

        value = f1(hit.sum(axis=1), true.sum(axis=1), predicted.sum(axis=1))
        resampled = f1(*(self._weights_BS @ c.T for c in (hit, true, predicted)))
        return float(value), resampled


def _between_variance(pool: _Pool, weights_BS: Floats, rng: np.random.Generator) -> _Score:
    """Share of the states' variance that lies between languages, over all pooled tokens.

    Trace of the between-language scatter over trace of the total scatter. The null is the mean over
    permutations, in which whole (sentence, language) blocks change their language, since tokens of one
    are alike.
    """
    n_languages = len(pool.languages)
    centred_TD = pool.states_TD - pool.states_TD.mean(axis=0)
    blocks, block_T = np.unique(pool.sentences_T * n_languages + pool.labels_T, return_inverse=True)
    block_label, block_sentence = blocks % n_languages, blocks // n_languages
    order = np.argsort(block_T, kind="stable")
    starts = np.searchsorted(block_T[order], np.arange(blocks.size))
    sum_bD = np.add.reduceat(centred_TD[order], starts, axis=0).astype(np.float64)
    square_b = np.add.reduceat((centred_TD[order].astype(np.float64) ** 2).sum(axis=1), starts)
    count_b = np.bincount(block_T).astype(np.float64)

    def share(weight_b: Floats, label_b: Ints) -> float:
        onehot_Lb = np.zeros((n_languages, blocks.size))
        onehot_Lb[label_b, np.arange(blocks.size)] = weight_b
        sum_LD, count_L = onehot_Lb @ sum_bD, onehot_Lb @ count_b
        correction = float((sum_LD.sum(axis=0) ** 2).sum() / count_L.sum())
        total = float(weight_b @ square_b) - correction
        present = count_L > 0
        between = float(((sum_LD[present] ** 2).sum(axis=1) / count_L[present]).sum()) - correction
        return between / total if total > 0 else 0.0

    resamples_B = np.array([share(w[block_sentence].astype(float), block_label) for w in weights_BS])
    ones = np.ones(blocks.size)
    null = [share(ones, rng.permutation(block_label)) for _ in range(N_PERMUTATIONS)]
    return _Score(share(ones, block_label), resamples_B, int(pool.labels_T.size), float(np.mean(null)))
