"""Average precision and medians against scikit-learn and NumPy, on all sentences and on each half."""

import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from sklearn.metrics import average_precision_score

from babelscope.analysis.precision import Labels, average_precision, random_ap, score_values, workers
from babelscope.analysis.ranking import top
from babelscope.errors import NumericsError


def by_sklearn(values, labels):
    """One call per unit and concept; NaN where a concept has no positive sentence."""
    found = np.full((labels.shape[1], values.shape[1]), np.nan)
    for concept in range(labels.shape[1]):
        used = labels[:, concept] >= 0
        truth = labels[used, concept]
        for unit in range(values.shape[1] if truth.any() else 0):
            found[concept, unit] = average_precision_score(truth, values[used, unit].astype(float))
    return found


@st.composite
def labelled_values(draw):
    """Values with ties, labels of one concept or several that use all sentences or some, and halves."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_concepts, n_units = draw(st.integers(4, 60)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    levels, dtype = draw(st.integers(1, 40)), draw(st.sampled_from([np.float16, np.float32]))
    values = (rng.integers(-levels, levels + 1, size=(n, n_units)) / 3).astype(dtype)
    values[rng.random(values.shape) < 0.1] = -0.0
    labels = (rng.random((n, n_concepts)) < 0.4).astype(np.int8)
    if draw(st.booleans()):
        labels[rng.random(labels.shape) < 0.3] = -1
    if draw(st.booleans()):  # every concept brings sentences of its own
        labels[np.arange(n)[:, None] % n_concepts != np.arange(n_concepts)] = -1
    for concept in range(n_concepts):
        labels[rng.integers(n), concept] = 1
    return values, labels, rng.integers(0, 2, size=n)


@given(data=labelled_values())
@settings(max_examples=60)
def test_equals_scikit_learn_with_ties(data):
    values, labels, _ = data
    found = average_precision(values, labels, block_units=2, threads=2)
    assert np.abs(found - by_sklearn(values, labels)).max() < 1e-12


@given(data=labelled_values(), block_units=st.integers(1, 4), threads=st.sampled_from([1, 3]))
@settings(max_examples=100)
def test_every_subset_equals_scikit_learn_and_the_median_is_numpys(data, block_units, threads):
    values, labels, half = data
    with workers(threads) as run:
        found = score_values(values, Labels(labels, half), block_units=block_units, run=run)
    for ap, rows in zip(found.ap_SCU, (half >= 0, half == 0, half == 1), strict=True):
        expected = by_sklearn(values[rows], labels[rows])
        assert np.allclose(ap, expected, rtol=0, atol=1e-12, equal_nan=True)
    medians = [np.median(values[label == 1].astype(np.float32), axis=0) for label in labels.T]
    assert found.median_CU.dtype == np.float32
    assert np.array_equal(found.median_CU, medians)


@given(data=labelled_values(), seed=st.integers(0, 99))
@settings(max_examples=100)
def test_subsets_of_disjoint_words_equal_scikit_learn(data, seed):
    """The positives of the one group of words with the negatives of half a, of the other with those of b."""
    values, labels, half = data
    words = np.random.default_rng(seed).integers(0, 3, size=labels.shape)
    found = score_values(values, Labels(labels, half, words))
    plain = score_values(values, Labels(labels, half))
    assert np.array_equal(found.ap_SCU[:3], plain.ap_SCU, equal_nan=True)
    assert np.array_equal(found.median_CU, plain.median_CU)
    for group, ap in zip((1, 2), found.ap_SCU[3:], strict=True):
        chosen = np.where(labels == 1, words == group, half[:, None] == group - 1)
        expected = by_sklearn(values, np.where(chosen, labels, -1))
        assert np.allclose(ap, expected, rtol=0, atol=1e-12, equal_nan=True)


@given(data=labelled_values(), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_a_concept_scores_the_same_alone_and_beside_others(data, seed):
    """One concept and several of the same sentences take different ways down the sorted sentences."""
    values, labels, half = data
    own = labels[:, :1]
    other = np.random.default_rng(seed).integers(0, 2, size=own.shape).astype(np.int8)
    other[np.flatnonzero(own[:, 0] >= 0)[0]] = 1
    alone = score_values(values, Labels(own, half))
    beside = score_values(values, Labels(np.concatenate([own, np.where(own < 0, -1, other)], axis=1), half))
    assert np.allclose(alone.ap_SCU[:, 0], beside.ap_SCU[:, 0], rtol=0, atol=1e-12, equal_nan=True)
    assert np.array_equal(alone.median_CU[0], beside.median_CU[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_minus_zero_ties_with_zero(dtype):
    values = np.array([[0.0], [-0.0], [0.0], [-0.0]], dtype=dtype)
    labels = np.array([[1], [0], [0], [1]], dtype=np.int8)
    assert average_precision(values, labels)[0, 0] == 0.5


def test_known_values():
    values = np.array([[3.0], [2.0], [1.0], [0.0]], dtype=np.float32)
    perfect = np.array([[1], [1], [0], [0]], dtype=np.int8)
    worst = 1 - perfect
    assert average_precision(values, perfect)[0, 0] == 1.0
    assert average_precision(values, worst)[0, 0] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision(values * 0, perfect)[0, 0] == 0.5  # the positive rate


def test_a_half_without_a_positive_sentence_has_no_score():
    values = np.array([[3.0], [2.0], [1.0], [0.0]], dtype=np.float32)
    for labels in ([[1], [0], [1], [0]], [[1, 1], [0, 0], [1, 1], [0, 0]]):
        found = score_values(values, Labels(np.array(labels), np.array([0, 1, 0, 1])))
        assert (found.ap_SCU[1] == 1).all()
        assert np.isnan(found.ap_SCU[2]).all()
        assert (found.median_CU == 2).all()


def test_values_at_the_ends_of_their_type_keep_their_order():
    largest, smallest = np.finfo(np.float32).max / 2, np.finfo(np.float32).smallest_subnormal
    falling = np.array([largest, 1.0, smallest, 0.0, -smallest, -1.0, -largest], dtype=np.float32)
    labels = np.eye(7, dtype=np.int8)
    found = score_values(falling[:, None], Labels(labels))
    assert found.ap_SCU[0][:, 0].tolist() == pytest.approx(1 / np.arange(1, 8))
    assert found.median_CU[:, 0].tolist() == falling.tolist()


def test_does_not_depend_on_the_order_of_sentences_or_on_blocks():
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(size=(50, 9)), 0).astype(np.float32)
    labels = (rng.random((50, 3)) < 0.3).astype(np.int8)
    order = rng.permutation(50)
    whole = average_precision(values, labels)
    assert np.array_equal(whole, average_precision(values[order], labels[order], block_units=4, threads=2))


def test_refuses_what_has_no_answer():
    values = np.zeros((4, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"none in columns \[1\]"):
        average_precision(values, np.array([[1, 0]] * 4, dtype=np.int8))
    with pytest.raises(ValueError, match="same N"):
        average_precision(values, np.ones((3, 1), dtype=np.int8))
    with pytest.raises(ValueError, match="a label is 1, 0 or -1; got 2"):
        average_precision(values, np.array([[1], [0], [2], [0]], dtype=np.int8))
    with pytest.raises(ValueError, match="float16 or float32; got int64"):
        average_precision(values.astype(int), np.ones((4, 1), dtype=np.int8))
    values[2, 1] = np.nan
    with pytest.raises(NumericsError, match="sentence 2, unit 1 is nan"):
        average_precision(values, np.ones((4, 1), dtype=np.int8))


def test_sentences_sorted_by_concept_give_ties_to_no_one():
    """Rectified random units tie at 0; a sort that keeps the order of sentences, here grouped by
    concept, gives the ties to the first concepts in every language alike."""
    n_concepts, n_units, k = 8, 400, 20
    labels = np.repeat(np.eye(n_concepts, dtype=np.int8), 10, axis=0)

    def by_stable_sort(values):
        ap = np.empty((n_concepts, n_units))
        for unit in range(n_units):
            hits = labels[np.argsort(-values[:, unit], kind="stable")]
            precision = hits.cumsum(axis=0) / np.arange(1, len(hits) + 1)[:, None]
            ap[:, unit] = (precision * hits).sum(axis=0) / 10
        return ap

    def surplus(score_of):
        """Overlap of the same concept minus that of different ones, mean over four sets of units."""
        found = []
        for study in range(4):
            # A unit that rarely fires does so in every language: so do real ones.
            threshold = np.random.default_rng(study).uniform(0.5, 2.5, size=n_units)
            sets = []
            for lang in range(3):
                values = np.random.default_rng([study, lang]).normal(size=(80, n_units)) - threshold
                ap = score_of(np.maximum(values, 0).astype(np.float32))
                sets.append([set(top(row, np.arange(n_units), k).tolist()) for row in ap])
            shared = np.mean(
                [[[len(a & b) / k for b in sets[j]] for a in sets[i]] for i, j in ((0, 1), (0, 2), (1, 2))],
                axis=0,
            )
            same = np.trace(shared)
            found.append(same / n_concepts - (shared.sum() - same) / (n_concepts * (n_concepts - 1)))
        return np.mean(found)

    noise = hypergeom(n_units, k, k).std() / k / np.sqrt(4 * 3 * n_concepts)
    assert surplus(by_stable_sort) > 8 * noise
    assert abs(surplus(lambda values: average_precision(values, labels))) < 4 * noise


def test_memory_is_bounded_by_the_block():
    values = np.random.default_rng(0).normal(size=(500, 1024)).astype(np.float32)
    labels = np.zeros((500, 2), dtype=np.int8)
    labels[:50] = 1
    average_precision(values[:, :1], labels)

    def peak(block_units):
        tracemalloc.start()
        average_precision(values, labels, block_units=block_units)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # Beside a block there are the result (three subsets, a median) and the check for finite values.
    rest = 2 * 1024 * (3 * 8 + 4) + values.size
    for block_units in (64, 512):
        assert peak(block_units) < block_units * 500 * 12 + rest + 100_000


@pytest.mark.parametrize(("n_positive", "n"), [(1, 2), (2, 5), (3, 7), (5, 5)])
def test_mean_ap_of_random_scores_is_that_over_all_orders(n_positive, n):
    labels = [1] * n_positive + [0] * (n - n_positive)
    each = [average_precision_score(labels, scores) for scores in permutations(range(n))]
    assert random_ap(n_positive, n) == pytest.approx(np.mean(each))


def test_shuffled_labels_score_at_the_positive_rate():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 200)).astype(np.float32)
    labels = np.zeros((400, 1), dtype=np.int8)
    labels[rng.choice(400, 100, replace=False)] = 1
    mean = average_precision(values, labels).mean()
    assert mean == pytest.approx(0.25, abs=0.01)
