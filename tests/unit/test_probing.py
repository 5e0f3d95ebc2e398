"""Probes must recover known truths: separable, random, shuffled, memorised, leaking."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from babelscope.analysis.probing import (
    COLUMNS,
    anchor_types,
    cell_weights,
    fit_language_probe,
    split_sentences,
    type_only_accuracy,
)
from babelscope.analysis.settings import ProbeSettings
from babelscope.errors import BabelscopeError

LANGUAGES = ("de", "en", "hi", "zh")


@dataclass
class Tokens:
    token_sentence_ids: list[str]
    token_ids: np.ndarray
    array: np.ndarray

    def states(self, layer):
        return self.array


def sample(make_states, *, n_tokens=200, n_sentences=60, n_types=40, languages=LANGUAGES, seed=0):
    """Token samples whose states are ``make_states(rng, label, types, sentences)``."""
    rng = np.random.default_rng(seed)
    files = {}
    for label, lang in enumerate(languages):
        sentences = rng.integers(n_sentences, size=n_tokens)
        types = rng.integers(n_types, size=n_tokens)
        files[lang] = Tokens(
            [f"house-{i:04d}" for i in sentences], types, make_states(rng, label, types, sentences)
        )
    return files


def noise(rng, label, types, sentences):
    return rng.normal(size=(types.size, 12))


def separable(rng, label, types, sentences):
    return rng.normal(size=(types.size, 12)) + 20 * np.eye(12)[label]


def probe(files, **changes):
    settings = ProbeSettings(**({"tokens_per_language": 200, "seeds": 2, "bootstrap": 100} | changes))
    return fit_language_probe(files, layer=3, settings=settings, model="m", step=8)


def cell(table, probe_name, metric="accuracy", seed=-1):
    rows = table.query("probe == @probe_name and metric == @metric and seed == @seed")
    assert len(rows) == 1
    return rows.iloc[0]


def test_columns_and_bookkeeping():
    table = probe(sample(noise))
    assert list(table.columns) == list(COLUMNS)
    assert set(table.probe) == {
        "full", "pc8", "control", "shuffled", "anchors", "between_variance"
    }  # fmt: skip
    assert set(table.seed) == {-1, 0, 1}
    full = cell(table, "full")
    assert (full.model, full.step, full.layer, full.n_languages) == ("m", 8, 3, 4)
    assert full.n_train + full.n_test == pytest.approx(4 * 200, abs=1)
    assert not table.drop(columns=["model", "probe", "metric"]).isna().any(axis=None)


def test_separable_states_are_told_apart_perfectly():
    table = probe(sample(separable))
    for name in ("full", "pc8", "anchors"):
        row = cell(table, name)
        assert (row.value, row.low, row.high) == (1.0, 1.0, 1.0)
    assert cell(table, "full", "macro_f1").value == 1.0
    share = cell(table, "between_variance", "share")
    assert 0.8 < share.low < share.value < share.high < 1
    assert share.null < 0.05


def test_random_states_give_chance_within_the_interval():
    table = probe(sample(noise), seeds=3)
    for name in ("full", "pc8", "control", "anchors"):
        row = cell(table, name)
        assert row.low - 0.02 <= 0.25 <= row.high + 0.02, name
    share = cell(table, "between_variance", "share")
    assert share.value == pytest.approx(share.null, abs=0.004)


def test_shuffled_labels_give_chance_even_for_separable_states():
    # Averaged over seeds: one fit on shuffled labels may map a whole cluster to one wrong label.
    rows = probe(sample(separable), seeds=12).query("probe == 'shuffled' and seed >= 0")
    assert rows.value.mean() == pytest.approx(0.25, abs=0.15)
    rows = probe(sample(noise), seeds=3).query("probe == 'shuffled' and seed >= 0")
    assert rows.value.mean() == pytest.approx(0.25, abs=0.05)


def test_a_translation_of_a_training_sentence_is_never_tested():
    # Each sentence has a fingerprint, shared by its translations up to a sign that half of the
    # languages flip: a split that leaks sentences would be learned by heart.
    def fingerprint(rng, label, types, sentences):
        book = np.random.default_rng(99).normal(size=(60, 60))
        return book[sentences] * np.where(label % 2, 1.0, -1.0)

    assert cell(probe(sample(fingerprint)), "full").value < 0.35  # 0.5 with a leak
    test = split_sentences(50, 0.3, seed=1)
    assert len(set(test)) == 15
    assert set(test) != set(split_sentences(50, 0.3, seed=2))


def test_anchor_set_by_hand():
    #                 . . . .   7 7 7   A A   b
    types = np.array([1, 1, 1, 1, 2, 2, 2, 3, 3, 4])
    langs = np.array([0, 1, 2, 2, 0, 1, 1, 0, 0, 2])
    assert anchor_types(types, langs, 3).tolist() == [1]
    assert anchor_types(types, langs, 2).tolist() == [1, 2]
    weights = cell_weights(types, langs)
    assert weights.tolist() == [1, 1, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 0.5, 1]
    # Guessing from the token: 1 -> 2 (twice in training), 2 -> 1, 3 -> 0, 4 -> 2.
    by_token = type_only_accuracy(types, langs, types, langs, weights)
    assert by_token == pytest.approx((1 + 1 + 1 + 1) / 7)
    unseen = type_only_accuracy(types, langs, np.array([9]), np.array([1]), np.ones(1))
    assert unseen == pytest.approx(1 / 3)


def test_anchors_too_few_are_reported_not_dropped():
    files = sample(noise)
    for label, file in enumerate(files.values()):
        file.token_ids = file.token_ids + 1000 * label
    row = cell(probe(files), "anchors")
    assert np.isnan(row.value)
    assert np.isnan(row.low)
    assert row.n_test == 0


def test_states_that_hold_only_the_token_are_not_selective():
    book = np.random.default_rng(5).normal(size=(40, 64))
    table = probe(sample(lambda rng, label, types, sentences: book[types]))
    row = cell(table, "control", "selectivity")
    assert cell(table, "control").value > 0.9
    assert row.high < 0
    assert row.value == pytest.approx(cell(table, "full").value - cell(table, "control").value)


def test_variance_between_languages_is_that_of_their_means():
    files = sample(separable)
    states = np.stack([files[lang].array for lang in LANGUAGES])
    between = 200 * ((states.mean(axis=1) - states.mean(axis=(0, 1))) ** 2).sum()
    total = ((states - states.mean(axis=(0, 1))) ** 2).sum()
    assert cell(probe(files), "between_variance", "share").value == pytest.approx(between / total, 1e-4)


def test_same_seed_same_numbers_and_language_order_does_not_matter():
    files = sample(noise)
    backwards = {lang: files[lang] for lang in reversed(LANGUAGES)}
    assert probe(files).equals(probe(backwards))


def test_too_few_tokens_name_the_numbers():
    with pytest.raises(BabelscopeError, match=r"300 are wanted .* de: 200, en: 200.*\nhint: lower"):
        probe(sample(noise), tokens_per_language=300)
    with pytest.raises(BabelscopeError, match="at least 4 sentences; got 2"):
        probe(sample(noise, n_sentences=2))
    with pytest.raises(BabelscopeError, match="2 languages; got 1"):
        probe(sample(noise, languages=("en",)))
    with pytest.raises(ValueError, match=r"`probes.test_share`: got 1\.5; allowed: less than 1"):
        ProbeSettings(test_share=1.5)


def test_a_fit_keeps_to_its_threads(monkeypatch):
    """Outside a job BLAS and OpenMP would take every core, and spin."""
    fit, found = LogisticRegression.fit, set()

    def watched(self, *args):
        found.update(pool["num_threads"] for pool in threadpool_info())
        return fit(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    with threadpool_limits(limits=2):
        probe(sample(noise), seeds=1)
    assert found == {1}
