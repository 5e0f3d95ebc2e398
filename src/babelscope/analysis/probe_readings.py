"""What is read off a probe's predictions, and off the states without one.

Shape suffixes: T tokens, D dimensions, L languages, S sentence ids, B bootstrap resamples, b blocks of the
tokens of one sentence in one language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

#: Label permutations behind the null of the between-language variance.
N_PERMUTATIONS = 50


@dataclass(frozen=True)
class TokenPool:
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


@dataclass(frozen=True)
class Score:
    """A value with its resamples, before it becomes a row."""

    value: float
    resamples_B: Floats
    n_test: int
    null: float


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


class SentenceSums:
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


def between_variance(pool: TokenPool, weights_BS: Floats, rng: np.random.Generator) -> Score:
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
    return Score(share(ones, block_label), resamples_B, int(pool.labels_T.size), float(np.mean(null)))
