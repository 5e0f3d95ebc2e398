"""Average precision of every unit as a score for every concept, and each unit's median where it is expressed.

After Suau, Zappella and Apostoloff (2020), "Finding Experts in Transformer Models", with ties as in
``sklearn.metrics.average_precision_score``. Names of shapes: ``N`` sentences, ``U`` units, ``C`` concepts,
``S`` the subsets of the sentences: all, half a, half b; and, where the words of the positive sentences are
known, two of disjoint words: the positives of the one group of words with the negatives of half a, those of
the other with the negatives of half b.

The sentences are sorted once per unit; one walk down the sorted sentences then serves all concepts and
subsets, and passes the median on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from babelscope.errors import NumericsError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
POSITIVE, NEGATIVE, EXCLUDED = 1, 0, -1

#: Units handled at a time: their keys stay in a core's cache.
BLOCK_UNITS = 256
#: Values and places are turned around in squares of this side, so that neither is read across.
_TILE = 16
_SHIFT = np.uint64(32)
_LOW = np.int64(0xFFFFFFFF)
#: In the lower half of a key, where several concepts are scored: the bit of a sentence that expresses several
#: of them, and the place of what is above it.
_SEVERAL, _ABOVE = 8, 4


Run = Callable[[Callable[[int], None], Iterable[int]], Iterator[None]]
"""Calls a function with each number: ``map``, or that of a pool of threads."""


class Scored(NamedTuple):
    """What :func:`score_values` finds."""

    ap_SCU: Floats
    """Average precision on all sentences, on half a, on half b; with the two of disjoint words ``S`` is 5."""
    median_CU: NDArray[np.float32]
    """Median over the positive sentences."""


def average_precision(
    values_NU: NDArray[Any],
    labels_NC: NDArray[np.integer[Any]],
    *,
    block_units: int = BLOCK_UNITS,
    threads: int = 1,
) -> Floats:
    """Average precision of every unit as a score for every concept.

    Args:
        values_NU: Scores, higher means more of the concept. Shape ``(N, U)``, finite, float16 or float32.
        labels_NC: 1 positive, 0 negative, -1 not part of this concept's data. Shape ``(N, C)``.
        block_units: Units handled at a time; bounds the memory beside input and result to about
            ``threads * block_units * N * 12`` bytes.
        threads: Blocks handled side by side.

    Returns:
        Shape ``(C, U)``, equal to scikit-learn's value within rounding (1e-12).

    Raises:
        ValueError: If shapes or types do not fit, a label is another number, or a concept has no
            positive sentence.
        NumericsError: If a value is not finite.
    """
    if values_NU.ndim != 2 or labels_NC.ndim != 2 or len(values_NU) != len(labels_NC):
        shapes = values_NU.shape, labels_NC.shape
        raise ValueError(f"need values (N, U) and labels (N, C) of the same N; got {shapes}")
    with workers(threads) as run:
        found = score_values(values_NU, Labels(labels_NC), block_units=block_units, run=run)
    ap_CU: Floats = found.ap_SCU[0]
    return ap_CU


def random_ap(n_positive: int, n: int) -> float:
    """Mean average precision of scores in random order, without ties.

    A positive of rank r counts itself among the r, and of the r - 1 above it the share that positives have
    among the others. So the mean lies above the positive rate, the AP of a constant: by .03 where 16 of 128
    sentences are positive.

    Args:
        n_positive: Positive sentences, at least 1.
        n: All sentences, at least 2.
    """
    harmonic = float(np.sum(1 / np.arange(1, n + 1)))
    return (harmonic + (n_positive - 1) / (n - 1) * (n - harmonic)) / n


@contextmanager
def workers(threads: int) -> Iterator[Run]:
    """Threads that score blocks of units side by side; one is the caller's own."""
    if threads == 1:
        yield map
    else:
        with ThreadPoolExecutor(max_workers=threads) as pool:
            yield pool.map


class Labels:
    """Which sentences express which concepts, ready to be walked down: made once, used at every site.

    Args:
        labels_NC: 1 positive, 0 negative, -1 not part of this concept's data.
        half_N: 0 or 1: the half of each sentence. Without it all are in the first.
        words_NC: 1 or 2: the group of words of a positive sentence; 0: of neither.

    Raises:
        ValueError: If a label is another number, or a concept has no positive sentence.
    """

    def __init__(
        self,
        labels_NC: NDArray[np.integer[Any]],
        half_N: NDArray[np.integer[Any]] | None = None,
        words_NC: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        unknown = labels_NC[(labels_NC < EXCLUDED) | (labels_NC > POSITIVE)]
        if len(unknown):
            raise ValueError(f"a label is 1, 0 or -1; got {unknown[0]}")
        without = np.flatnonzero(~(labels_NC == POSITIVE).any(axis=0)).tolist()
        if without:
            raise ValueError(f"average precision needs a positive sentence; none in columns {without}")
        self.shape = labels_NC.shape
        self.n_subsets = 3 if words_NC is None else 5
        half = np.zeros(len(labels_NC), np.int64) if half_N is None else np.asarray(half_N, np.int64)
        patterns, group_C = np.unique(labels_NC != EXCLUDED, axis=1, return_inverse=True)
        self.walks: list[tuple[Ints, Ints, _Walk]] = []
        for number, pattern_N in enumerate(patterns.T):
            # Concepts that use the same sentences: one sort serves them all.
            rows, columns = np.flatnonzero(pattern_N), np.flatnonzero(group_C.reshape(-1) == number)
            here = np.ix_(rows, columns)
            groups = None if words_NC is None else np.asarray(words_NC[here], np.int64)
            walk = _Walk(labels_NC[here] == POSITIVE, half[rows], groups)
            self.walks.append((rows, columns, walk))


def score_values(
    values_NU: NDArray[Any], labels: Labels, *, block_units: int = BLOCK_UNITS, run: Run = map
) -> Scored:
    """Average precision on every subset of the sentences, and the median over the positive ones.

    Args:
        values_NU: As for :func:`average_precision`.
        labels: Of these sentences.
        block_units: As there.
        run: Calls the blocks, see :func:`workers`.

    Returns:
        Of a concept without a positive sentence in a subset, the AP on that subset is NaN.

    Raises:
        ValueError: If the values are of another type.
        NumericsError: If a value is not finite.
    """
    n_concepts, n_units = labels.shape[1], values_NU.shape[1]
    if values_NU.dtype not in (np.float16, np.float32):
        raise ValueError(f"values must be float16 or float32; got {values_NU.dtype}")
    if not np.isfinite(values_NU).all():
        row, unit = np.argwhere(~np.isfinite(values_NU))[0]
        raise NumericsError(f"value of sentence {row}, unit {unit} is {values_NU[row, unit]}")
    shape = n_concepts, n_units
    found = Scored(np.empty((labels.n_subsets, *shape)), np.empty(shape, np.float32))
    for rows, columns, walk in labels.walks:

        def score(first: int, rows: Ints = rows, columns: Ints = columns, walk: _Walk = walk) -> None:
            units = slice(first, min(first + block_units, n_units))
            bits_NU = values_NU[:, units].astype(np.float32, copy=False).view(np.int32)
            ap_UCS, median_UC = walk.down(bits_NU, rows)
            found.ap_SCU[:, columns, units] = ap_UCS.T
            found.median_CU[columns, units] = median_UC.T

        list(run(score, range(0, n_units, block_units)))
    return found


class _Walk:
    """The way down the sorted sentences, for concepts that use the same ones."""

    def __init__(self, positive_NC: NDArray[np.bool_], half_N: Ints, words_NC: Ints | None) -> None:
        self.n = len(half_N)
        self.inverse = np.concatenate([[0.0], 1 / np.arange(1, self.n + 1)])
        counts = [positive_NC.sum(axis=0), *(positive_NC[half_N == half].sum(axis=0) for half in (0, 1))]
        if words_NC is None:
            words_NC = np.zeros(positive_NC.shape, np.int64)
        else:
            counts += [(positive_NC & (words_NC == group)).sum(axis=0) for group in (1, 2)]
        self.n_positive_CS = np.stack(counts, axis=1).astype(np.int64)
        self.one = positive_NC.shape[1] == 1
        if self.one:  # what is asked of a sentence fits beside its value
            self.low_N = positive_NC[:, 0] + 2 * half_N + 4 * words_NC[:, 0]
        else:
            # The concepts that the sentences express, sentence by sentence; where each sentence's start.
            n_N = positive_NC.sum(axis=1)
            self.starts = np.cumsum([0, *n_N])
            self.concepts = np.nonzero(positive_NC)[1]
            self.words = words_NC[positive_NC]
            # Most sentences express one concept or none: then all that is asked of them is beside the value.
            at = self.starts[:-1][n_N == 1]
            self.low_N = np.where(n_N > 1, _SEVERAL | np.arange(self.n) << _ABOVE, 0)
            self.low_N[n_N == 1] = (self.concepts[at] + 1) << _ABOVE | self.words[at] << 1
            self.low_N |= half_N

    def down(self, bits_NU: NDArray[np.int32], rows: Ints) -> tuple[Floats, NDArray[np.float32]]:
        """AP ``(U, C, S)`` and medians ``(U, C)`` of a block of units."""
        n_units, (n_concepts, n_subsets) = bits_NU.shape[1], self.n_positive_CS.shape
        keys_UN = np.empty((n_units, self.n), np.uint64)
        _keys(bits_NU, rows, self.low_N, keys_UN)
        keys_UN.sort(axis=1)
        ap_UCS = np.empty((n_units, n_concepts, n_subsets))
        median_UC = np.empty((n_units, n_concepts, 2), np.uint32)
        if self.one:
            _walk_one(keys_UN, self.inverse, self.n_positive_CS[0], ap_UCS[:, 0], median_UC[:, 0])
        else:
            sentences = (self.starts, self.concepts, self.words)
            _walk_many(keys_UN, *sentences, self.inverse, self.n_positive_CS, ap_UCS, median_UC)
        middle = _values(median_UC)
        return ap_UCS, (middle[..., 0] + middle[..., 1]) / np.float32(2)


@numba.njit(nogil=True, cache=True)
def _keys(bits_NU: NDArray[np.int32], rows: Ints, low_N: Ints, keys_UN: NDArray[np.uint64]) -> None:
    """Value and sentence in one integer, which rises as the value falls; equal values share the upper half.

    Sorting integers is several times faster than argsort. The bits of a float of positive sign rise with its
    value, those of negative sign fall; turning the first round makes all of them fall. -0.0 is taken as 0.0.
    """
    n_rows, n_units = len(rows), bits_NU.shape[1]
    for first_row in range(0, n_rows, _TILE):
        for first_unit in range(0, n_units, _TILE):
            for unit in range(first_unit, min(n_units, first_unit + _TILE)):
                for at in range(first_row, min(n_rows, first_row + _TILE)):
                    bits = np.int64(bits_NU[rows[at], unit])
                    bits = bits * np.int64(bits != -2147483648)
                    turned = (bits ^ (~(bits >> 31) & 0x7FFFFFFF)) & _LOW
                    keys_UN[unit, at] = np.uint64((turned << 32) | low_N[at])


def _values(upper: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The values of which :func:`_keys` made these upper halves of keys."""
    negative = upper.view(np.int32) < 0
    return np.where(negative, upper, upper ^ np.uint32(0x7FFFFFFF)).view(np.float32)


@numba.njit(nogil=True, cache=True)
def _walk_one(
    keys_UN: NDArray[np.uint64],
    inverse: Floats,
    n_positive_S: Ints,
    ap_US: Floats,
    median_U2: NDArray[np.uint32],
) -> None:
    """One concept: the lowest bits of a key say whether its sentence is positive, its half, and its words."""
    n_units, n_rows = keys_UN.shape
    low, high = (n_positive_S[0] - 1) // 2 + 1, n_positive_S[0] // 2 + 1
    for unit in range(n_units):
        sum_all, sum_a, sum_b = 0.0, 0.0, 0.0
        sum_1, sum_2 = 0.0, 0.0
        positives, positives_b, rows_b = 0, 0, 0
        positives_1, positives_2 = 0, 0
        group, group_b, group_1, group_2 = 0, 0, 0, 0
        key = keys_UN[unit, 0]
        for rank in range(n_rows):
            following = keys_UN[unit, rank + 1] if rank + 1 < n_rows else ~key
            positive = int(key & np.uint64(1))
            in_b = int((key >> np.uint64(1)) & np.uint64(1))
            rows_b += in_b
            positives += positive
            positives_b += positive & in_b
            group += positive
            group_b += positive & in_b
            if positive:
                words = (key >> np.uint64(2)) & np.uint64(3)
                group_1 += int(words == 1)
                group_2 += int(words == 2)
                if positives == low:
                    median_U2[unit, 0] = np.uint32(key >> _SHIFT)
                if positives == high:
                    median_U2[unit, 1] = np.uint32(key >> _SHIFT)
            if following >> _SHIFT != key >> _SHIFT:  # the last of its equals
                sum_all += group * positives * inverse[rank + 1]
                sum_a += (group - group_b) * (positives - positives_b) * inverse[rank + 1 - rows_b]
                sum_b += group_b * positives_b * inverse[rows_b]
                if group_1 + group_2:  # their sentences: these positives, and the negatives of a half
                    positives_1 += group_1
                    positives_2 += group_2
                    negatives_a = rank + 1 - rows_b - (positives - positives_b)
                    sum_1 += group_1 * positives_1 * inverse[negatives_a + positives_1]
                    sum_2 += group_2 * positives_2 * inverse[rows_b - positives_b + positives_2]
                group, group_b, group_1, group_2 = 0, 0, 0, 0
            key = following
        ap_US[unit, 0] = sum_all / n_positive_S[0]
        ap_US[unit, 1] = sum_a / n_positive_S[1] if n_positive_S[1] else np.nan
        ap_US[unit, 2] = sum_b / n_positive_S[2] if n_positive_S[2] else np.nan
        if len(n_positive_S) > 3:
            ap_US[unit, 3] = sum_1 / n_positive_S[3] if n_positive_S[3] else np.nan
            ap_US[unit, 4] = sum_2 / n_positive_S[4] if n_positive_S[4] else np.nan


@numba.njit(nogil=True, cache=True)
def _walk_many(
    keys_UN: NDArray[np.uint64],
    starts: Ints,
    concepts: Ints,
    words: Ints,
    inverse: Floats,
    n_positive_CS: Ints,
    ap_UCS: Floats,
    median_UC2: NDArray[np.uint32],
) -> None:
    """Several concepts. The lower half of a key says of its sentence, from the lowest bit: the half (1 bit),
    the group of words (2 bits), whether it expresses several concepts (1 bit), and then its number, else the
    concept and one, or 0 for none. Half a is 1, half b 2, and so are the groups of words, whose sentences are
    their positives and the negatives of that half."""
    n_units, n_rows = keys_UN.shape
    n_concepts, n_subsets = n_positive_CS.shape
    so_far = np.zeros((n_concepts, 5), dtype=np.int64)
    group = np.zeros((n_concepts, 5), dtype=np.int64)
    touched = np.empty(n_concepts, dtype=np.int64)
    n_seen = np.zeros(3, dtype=np.int64)
    lower = (n_positive_CS[:, 0] - 1) // 2
    upper = n_positive_CS[:, 0] // 2
    for unit in range(n_units):
        sums = ap_UCS[unit]
        sums[:] = 0.0
        so_far[:] = 0
        n_seen[:] = 0
        n_touched = 0
        key = keys_UN[unit, 0]
        for rank in range(n_rows):
            following = keys_UN[unit, rank + 1] if rank + 1 < n_rows else ~key
            low = np.int64(key & np.uint64(0xFFFFFFFF))
            half = (low & 1) + 1
            n_seen[0] += 1
            n_seen[half] += 1
            last = following >> _SHIFT != key >> _SHIFT  # of its equals
            several, above = low & _SEVERAL, low >> _ABOVE
            first, end = (starts[above], starts[above + 1]) if several else (0, np.int64(above > 0))
            alone = last and n_touched == 0  # the usual case, and half the work
            for at in range(first, end):
                concept, of = (concepts[at], words[at]) if several else (above - 1, low >> 1 & 3)
                if alone:
                    before = so_far[concept, 0]
                    so_far[concept, 0] += 1
                    so_far[concept, half] += 1
                    sums[concept, 0] += so_far[concept, 0] * inverse[n_seen[0]]
                    sums[concept, half] += so_far[concept, half] * inverse[n_seen[half]]
                    if of:
                        so_far[concept, 2 + of] += 1
                        seen = n_seen[of] - so_far[concept, of] + so_far[concept, 2 + of]
                        sums[concept, 2 + of] += so_far[concept, 2 + of] * inverse[seen]
                    if before == lower[concept]:
                        median_UC2[unit, concept, 0] = np.uint32(key >> _SHIFT)
                    if before == upper[concept]:
                        median_UC2[unit, concept, 1] = np.uint32(key >> _SHIFT)
                    continue
                if group[concept, 0] == 0:
                    touched[n_touched] = concept
                    n_touched += 1
                group[concept, 0] += 1
                group[concept, half] += 1
                if of:
                    group[concept, 2 + of] += 1
            if last and n_touched:
                for at in range(n_touched):
                    concept = touched[at]
                    before = so_far[concept, 0]
                    for subset in range(3):
                        so_far[concept, subset] += group[concept, subset]
                        both = group[concept, subset] * so_far[concept, subset]
                        sums[concept, subset] += both * inverse[n_seen[subset]]
                        group[concept, subset] = 0
                    for of in range(1, 3):
                        if group[concept, 2 + of]:
                            so_far[concept, 2 + of] += group[concept, 2 + of]
                            both = group[concept, 2 + of] * so_far[concept, 2 + of]
                            seen = n_seen[of] - so_far[concept, of] + so_far[concept, 2 + of]
                            sums[concept, 2 + of] += both * inverse[seen]
                            group[concept, 2 + of] = 0
                    if before <= lower[concept] < so_far[concept, 0]:
                        median_UC2[unit, concept, 0] = np.uint32(key >> _SHIFT)
                    if before <= upper[concept] < so_far[concept, 0]:
                        median_UC2[unit, concept, 1] = np.uint32(key >> _SHIFT)
                n_touched = 0
            key = following
        for concept in range(n_concepts):
            for subset in range(n_subsets):
                n_positive = n_positive_CS[concept, subset]
                sums[concept, subset] = sums[concept, subset] / n_positive if n_positive else np.nan
