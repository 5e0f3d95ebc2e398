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
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from babelscope.analysis.settings import ProbeSettings
from babelscope.errors import BabelscopeError, NumericsError

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


class TokenStates(Protocol):
    """What a probe reads: :class:`babelscope.activations.store.TokenFile`, or anything shaped like it."""

    @property
    def token_sentence_ids(self) -> Sequence[str]:
        """Sentence id of each sampled token, length T."""

    @property
    def token_ids(self) -> Sequence[int]:
        """Vocabulary id of each sampled token, length T."""

    def states(self, layer: int) -> Floats:
        """Hidden states of the sampled tokens, shape ``(T, D)``."""


@dataclass(frozen=True)
class _Pool:
    """The tokens of all languages of one layer, languages in sorted order."""

    languages: tuple[str, ...]
    states_TD: NDArray[np.float32]
    labels_T: Ints
    sentences_T: Ints
    types_T: Ints
    n_sentences: int


@dataclass(frozen=True)
class _Score:
    """A value with its resamples, before it becomes a row."""

    value: float
    resamples_B: Floats
    n_test: int
    null: float


def fit_language_probe(
    token_files: Mapping[str, TokenStates],
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
    n_languages = len(pool.languages)
    rng = np.random.default_rng([settings.seed, layer])
    # One draw of sentence weights serves all probes and seeds: scores on the same sentences move
    # together, so that differences and means over seeds get the interval they deserve.
    weights_BS = rng.multinomial(
        pool.n_sentences,
        np.full(pool.n_sentences, 1 / pool.n_sentences),
        size=settings.bootstrap,
    ).astype(np.float32)

    scores: dict[tuple[str, str], list[_Score]] = {}
    sizes: list[int] = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        n_train, of_seed = _probe_once(pool, seed, settings, weights_BS, where=f"layer {layer}")
        sizes.append(n_train)
        for key, score in of_seed.items():
            scores.setdefault(key, []).append(score)

    rows: list[dict[str, Any]] = []
    pick_BK = rng.integers(settings.seeds, size=(settings.bootstrap, settings.seeds))
    for (probe, metric), of_seeds in scores.items():
        for i, score in enumerate(of_seeds):
            low, high = _interval(score.resamples_B, settings.level)
            rows.append(
                {"probe": probe, "metric": metric, "seed": settings.seed + i, "value": score.value,
                 "low": low, "high": high, "null": score.null, "n_train": sizes[i],
                 "n_test": score.n_test}
            )  # fmt: skip
        resamples_KB = np.stack([score.resamples_B for score in of_seeds])
        mean_B = resamples_KB[pick_BK, np.arange(settings.bootstrap)[:, None]].mean(axis=1)
        low, high = _interval(mean_B, settings.level)
        rows.append(
            {"probe": probe, "metric": metric, "seed": -1,
             "value": float(np.mean([score.value for score in of_seeds])),
             "low": low, "high": high, "null": float(np.mean([score.null for score in of_seeds])),
             "n_train": round(np.mean(sizes)),
             "n_test": round(np.mean([score.n_test for score in of_seeds]))}
        )  # fmt: skip
    rows.append(_between_variance(pool, weights_BS, rng, settings.level))

    table = pd.DataFrame(rows).assign(model=model, step=step, layer=layer, n_languages=n_languages)
    return table[list(COLUMNS)]


def between_language_share(states_TD: Floats, labels_T: Ints) -> float:
    """Share of the total variance of ``states_TD`` that lies between the classes.

    Trace of the between-class scatter over trace of the total scatter; labels without any bearing
    on the states give about (L - 1) / (T - 1).

    Args:
        states_TD: States, shape ``(T, D)``, finite.
        labels_T: Class of each state.
    """
    states_TD = np.asarray(states_TD, dtype=np.float64)
    centred_TD = states_TD - states_TD.mean(axis=0)
    total = float((centred_TD**2).sum())
    if total == 0:
        return 0.0
    between = 0.0
    for label in np.unique(labels_T):
        members = labels_T == label
        between += members.sum() * float((centred_TD[members].mean(axis=0) ** 2).sum())
    return between / total


def split_sentences(sentence_ids: Sequence[str], test_share: float, seed: int) -> set[str]:
    """Draw the ids of the test sentences; the others are for training.

    Args:
        sentence_ids: Ids over all languages, repetitions allowed. Their order does not matter.
        test_share: Share of the distinct ids to test on.
        seed: Random seed.
    """
    ids = sorted(set(sentence_ids))
    n_test = min(max(round(test_share * len(ids)), 1), len(ids) - 1)
    chosen = np.random.default_rng(seed).permutation(len(ids))[:n_test]
    return {ids[i] for i in chosen}


def anchor_types(types_T: Ints, labels_T: Ints, min_languages: int) -> Ints:
    """Token ids that occur in at least ``min_languages`` languages, sorted."""
    cells = np.unique(np.stack([types_T, labels_T], axis=1), axis=0)
    types, n_languages = np.unique(cells[:, 0], return_counts=True)
    anchors: Ints = types[n_languages >= min_languages]
    return anchors


def cell_weights(types_T: Ints, labels_T: Ints) -> Floats:
    """Weight of each token such that every (token type, language) cell counts once.

    A full stop that is ten times as frequent in one language would otherwise hint at it.
    """
    _, cell_T, count = np.unique(
        np.stack([types_T, labels_T], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    weights_T: Floats = 1.0 / count[cell_T.reshape(-1)]
    return weights_T


def type_only_accuracy(
    types_train: Ints, labels_train: Ints, types_T: Ints, labels_T: Ints, weights_T: Floats
) -> float:
    """Weighted accuracy of guessing each token's most frequent training language.

    This is what the token's spelling gives away by itself. Of equally frequent languages each is
    guessed equally often; a type unseen in training scores 1/L.

    Args:
        types_train: Token ids of the training tokens.
        labels_train: Their languages, 0 to L - 1.
        types_T: Token ids of the tested tokens.
        labels_T: Their languages.
        weights_T: Their weights.
    """
    n_languages = int(max(labels_train.max(), labels_T.max())) + 1
    types, index = np.unique(np.concatenate([types_train, types_T]), return_inverse=True)
    counts = np.zeros((types.size, n_languages))
    np.add.at(counts, (index[: types_train.size], labels_train), 1)
    best = counts == counts.max(axis=1, keepdims=True)
    guess = best / best.sum(axis=1, keepdims=True)
    return float(np.average(guess[index[types_train.size :], labels_T], weights=weights_T))


def _pool(
    token_files: Mapping[str, TokenStates],
    layer: int,
    settings: ProbeSettings,
    model: str,
    step: int,
) -> _Pool:
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
    return _Pool(
        languages=languages,
        states_TD=np.concatenate([states[lang] for lang in languages]),
        labels_T=np.repeat(np.arange(len(languages)), [counts[lang] for lang in languages]),
        sentences_T=np.array([index[i] for lang in languages for i in ids[lang]]),
        types_T=np.concatenate([types[lang] for lang in languages]),
        n_sentences=len(index),
    )


def _probe_once(
    pool: _Pool, seed: int, settings: ProbeSettings, weights_BS: Floats, where: str
) -> tuple[int, dict[tuple[str, str], _Score]]:
    """Sample tokens, split, fit and score the probes of one seed; also the number of training
    tokens."""
    rng = np.random.default_rng(seed)
    n_languages = len(pool.languages)
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(pool.labels_T == label), settings.tokens_per_language, False)
            for label in range(n_languages)
        ]
    )
    names = [f"{i:09d}" for i in range(pool.n_sentences)]
    test_ids = {int(name) for name in split_sentences(names, settings.test_share, seed)}
    is_test = np.isin(pool.sentences_T[chosen], list(test_ids))
    train, test = chosen[~is_test], chosen[is_test]
    y_train, y_test = pool.labels_T[train], pool.labels_T[test]
    for part, labels in (("training", y_train), ("test", y_test)):
        counts = np.bincount(labels, minlength=n_languages)
        if counts.min() < 2:
            raise BabelscopeError(
                f"{where}: after the split by sentence, language "
                f"{pool.languages[int(counts.argmin())]} has only {counts.min()} {part} tokens of "
                f"{settings.tokens_per_language}\nhint: sample tokens from more sentences or "
                "change probes.test_share"
            )

    mean_D = pool.states_TD[train].mean(axis=0)
    scale_D = pool.states_TD[train].std(axis=0)
    scale_D[scale_D < 1e-8] = 1.0
    x_train = (pool.states_TD[train] - mean_D) / scale_D
    x_test = (pool.states_TD[test] - mean_D) / scale_D
    sums = _SentenceSums(pool.sentences_T[test], weights_BS)
    chance = 1.0 / n_languages
    scores: dict[tuple[str, str], _Score] = {}

    def fit(name: str, x: Floats, y: Ints) -> LogisticRegression:
        return _fit(x, y, settings, where=f"{where}, probe {name}, seed {seed}")

    predicted = fit("full", x_train, y_train).predict(x_test)
    right = predicted == y_test
    accuracy = sums.mean(right)
    scores["full", "accuracy"] = _Score(*accuracy, test.size, chance)
    scores["full", "macro_f1"] = _Score(*sums.macro_f1(y_test, predicted, n_languages), test.size, chance)

    n_components = min(settings.components, *x_train.shape)
    pca = PCA(n_components, random_state=seed).fit(x_train)
    pc_train, pc_test = pca.transform(x_train), pca.transform(x_test)
    pc_scale = pc_train.std(axis=0)
    pc_scale[pc_scale < 1e-8] = 1.0
    name = f"pc{settings.components}"
    predicted = fit(name, pc_train / pc_scale, y_train).predict(pc_test / pc_scale)
    scores[name, "accuracy"] = _Score(*sums.mean(predicted == y_test), test.size, chance)
    scores[name, "macro_f1"] = _Score(*sums.macro_f1(y_test, predicted, n_languages), test.size, chance)

    # A token type has the same control label in training and test: only memory of types helps.
    types, type_index = np.unique(pool.types_T, return_inverse=True)
    control_T = rng.integers(n_languages, size=types.size)[type_index]
    if np.unique(control_T[train]).size > 1:
        predicted = fit("control", x_train, control_T[train]).predict(x_test)
        control = sums.mean(predicted == control_T[test])
    else:  # a vocabulary of a few types may get one label only
        control = sums.mean(control_T[test] == control_T[train][0])
    scores["control", "accuracy"] = _Score(*control, test.size, chance)
    scores["control", "selectivity"] = _Score(
        accuracy[0] - control[0], accuracy[1] - control[1], test.size, 0.0
    )

    predicted = fit("shuffled", x_train, rng.permutation(y_train)).predict(x_test)
    scores["shuffled", "accuracy"] = _Score(*sums.mean(predicted == y_test), test.size, chance)

    anchors = anchor_types(pool.types_T[chosen], pool.labels_T[chosen], settings.anchor_min_languages)
    is_anchor = np.isin(pool.types_T[test], anchors)
    n_anchors = int(is_anchor.sum())
    if n_anchors < MIN_ANCHORS or np.unique(y_test[is_anchor]).size < 2:
        nothing = np.full(settings.bootstrap, np.nan)
        scores["anchors", "accuracy"] = _Score(np.nan, nothing, n_anchors, chance)
    else:
        weights = np.zeros(test.size)
        weights[is_anchor] = cell_weights(pool.types_T[test][is_anchor], y_test[is_anchor])
        null = type_only_accuracy(pool.types_T[train], y_train, pool.types_T[test], y_test, weights)
        scores["anchors", "accuracy"] = _Score(*sums.mean(right, weights), n_anchors, null)
    return train.size, scores


def _fit(x: Floats, y: Ints, settings: ProbeSettings, where: str) -> LogisticRegression:
    # Single precision halves the time; the predictions differ in the odd token at a boundary.
    probe = LogisticRegression(C=settings.l2_c, max_iter=settings.max_iter, tol=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(np.ascontiguousarray(x, dtype=np.float32), y)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        logger.info("%s: the solver stopped at max_iter = %d", where, settings.max_iter)
    return probe


class _SentenceSums:
    """Scores of test tokens, and the same under resampled test sentences."""

    def __init__(self, sentences_T: Ints, weights_BS: Floats) -> None:
        present, self._index_T = np.unique(sentences_T, return_inverse=True)
        self._n = present.size
        self._weights_BS = weights_BS[:, present].astype(np.float64)

    def _sum(self, values_T: Floats) -> Floats:
        sums_S = np.bincount(self._index_T, weights=values_T, minlength=self._n)
        return sums_S.astype(np.float64)

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
        counts_S3 = []
        for label in range(n_classes):
            is_true, is_predicted = true_T == label, predicted_T == label
            counts_S3.append(
                [self._sum(v.astype(float)) for v in (is_true & is_predicted, is_true, is_predicted)]
            )
        hit, true, predicted = np.array(counts_S3).transpose(1, 0, 2)  # each (classes, S)

        def f1(hit_: Floats, true_: Floats, predicted_: Floats) -> Floats:
            below = true_ + predicted_
            each = np.where(below > 0, 2 * hit_ / np.maximum(below, 1), 0.0)
            return np.asarray(each.mean(axis=-1))

        value = f1(hit.sum(axis=1), true.sum(axis=1), predicted.sum(axis=1))
        resampled = f1(*(self._weights_BS @ c.T for c in (hit, true, predicted)))
        return float(value), resampled


def _between_variance(
    pool: _Pool, weights_BS: Floats, rng: np.random.Generator, level: float
) -> dict[str, Any]:
    """Row of the between-language share of variance, over all pooled tokens."""
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
    # Whole (sentence, language) blocks change their language, since tokens of one are alike.
    null = [share(ones, rng.permutation(block_label)) for _ in range(N_PERMUTATIONS)]
    low, high = _interval(resamples_B, level)
    return {
        "probe": "between_variance", "metric": "share", "seed": -1,
        "value": share(ones, block_label), "low": low, "high": high, "null": float(np.mean(null)),
        "n_train": 0, "n_test": int(pool.labels_T.size),
    }  # fmt: skip


def _interval(resamples_B: Floats, level: float) -> tuple[float, float]:
    if not np.isfinite(resamples_B).any():
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.nanquantile(resamples_B, [tail, 1 - tail])
    return float(low), float(high)
