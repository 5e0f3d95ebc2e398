"""Probes must recover known truths: separable, random, shuffled, memorised, leaking."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from babelscope.analysis import probing
from babelscope.analysis.probing import (
    COLUMNS,
    anchor_types,
    cell_weights,
    fit_language_probe,
    split_groups,
    type_only_accuracy,
)
from babelscope.analysis.settings import ProbeSettings
from babelscope.analysis.softmax import fit_softmax
from babelscope.errors import BabelscopeError
from babelscope.stats import interval, named_weights

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
        "full", "pc8", "new_types", "control", "shuffled", "anchors", "between_variance"
    }  # fmt: skip
    assert set(table.seed) == {-1, 0, 1}
    full = cell(table, "full")
    assert (full.model, full.step, full.layer, full.n_languages) == ("m", 8, 3, 4)
    assert full.n_train + full.n_test == pytest.approx(4 * 200, abs=1)
    assert not table.drop(columns=["model", "probe", "metric", "c"]).isna().any(axis=None)
    assert table.c.isna().equals(table.probe == "between_variance")


def test_separable_states_are_told_apart_perfectly():
    table = probe(sample(separable))
    for name in ("full", "pc8", "new_types", "anchors"):
        row = cell(table, name)
        assert (row.value, row.low, row.high) == (1.0, 1.0, 1.0)
    assert cell(table, "full", "macro_f1").value == 1.0
    assert cell(table, "full", "train_accuracy").value == 1.0
    share = cell(table, "between_variance", "share")
    assert 0.8 < share.low < share.value < share.high < 1
    assert share.null == 0


def test_random_states_give_chance_within_the_interval():
    table = probe(sample(noise), seeds=3)
    for name in ("full", "pc8", "new_types", "control", "anchors"):
        row = cell(table, name)
        assert row.low - 0.02 <= 0.25 <= row.high + 0.02, name
    share = cell(table, "between_variance", "share")
    assert share.value == pytest.approx(0, abs=0.004)


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
    test = split_groups(50, 0.3, seed=1)
    assert len(set(test)) == 15
    assert set(test) != set(split_groups(50, 0.3, seed=2))


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


def own_types(make_states, **options):
    """A sample in which every language has its own token types."""

    def shifted(rng, label, types, sentences):
        types += 1000 * label
        return make_states(rng, label, types, sentences)

    return sample(shifted, **options)


def test_states_that_hold_only_the_token_are_not_selective():
    book = np.random.default_rng(5).normal(size=(40, 64))
    table = probe(sample(lambda rng, label, types, sentences: book[types]), c=1)
    row = cell(table, "control", "selectivity")
    assert cell(table, "control").value > 0.9
    assert row.high < 0
    assert row.value == pytest.approx(cell(table, "full").value - cell(table, "control").value)


def test_memory_of_tokens_is_no_knowledge_of_a_new_type():
    """Planted: a random vector per token type, as random weights have, and types of one language only."""
    book = np.random.default_rng(5).normal(size=(4000, 64))
    table = probe(own_types(lambda rng, label, types, sentences: book[types]), c=10)
    assert cell(table, "full").value > 0.9, "remembered"
    new = cell(table, "new_types")
    assert new.low - 0.03 <= 0.25 <= new.high + 0.03
    assert cell(table, "new_types", "train_accuracy").value > 0.9


def test_new_types_are_known_where_the_state_says_the_language():
    table = probe(own_types(separable))
    assert cell(table, "new_types").value == 1.0
    assert cell(table, "new_types").n_test < 0.2 * cell(table, "full").n_test + 40


def test_new_types_of_unequal_frequency_give_chance_to_who_guesses():
    """A language whose frequent types are held out is rare in training: weights make up for it."""

    def zipf(rng, label, types, sentences):
        types[:] = np.minimum(rng.zipf(1.5, size=types.size), 30) + 1000 * label
        return rng.normal(size=(types.size, 12))

    rows = probe(sample(zipf, n_tokens=400), seeds=8).query("probe == 'new_types' and seed >= 0")
    assert rows[rows.metric == "accuracy"].value.mean() == pytest.approx(0.25, abs=0.04)


def test_too_few_types_are_reported_not_dropped():
    row = cell(probe(sample(noise, n_types=1)), "new_types")
    assert np.isnan(row.value)
    assert row.n_test == 0


def overfitting(rng, label, types, sentences):
    """A weak signal in one dimension among many."""
    states = rng.normal(size=(types.size, 150))
    states[:, 0] += label
    return states


def test_the_training_accuracy_shows_that_a_probe_overfits():
    table = probe(sample(overfitting), c=100)
    train, test = cell(table, "full", "train_accuracy"), cell(table, "full")
    assert train.value > test.high + 0.2
    assert train.low <= train.value <= train.high


def test_c_is_chosen_within_the_training_part():
    loose, chosen = (cell(probe(sample(overfitting), c=c), "full") for c in (1, "auto"))
    assert chosen.c < 0.05
    assert loose.c == 1
    assert chosen.value > loose.value
    # Clean states call for a weak penalty.
    assert cell(probe(sample(separable)), "full").c == 1
    with pytest.raises(ValueError, match=r"`probes.c`: got 'much'; allowed: auto"):
        ProbeSettings(c="much")


def test_c_knows_nothing_of_the_test_part():
    """With the labels of the test sentences exchanged, each seed chooses the same C."""
    files = sample(overfitting)
    test = split_groups(60, 0.3, seed=0)
    names = np.unique([name for file in files.values() for name in file.token_sentence_ids])[test]
    turned = {}
    for lang, other in zip(LANGUAGES, LANGUAGES[1:] + LANGUAGES[:1], strict=True):
        here = np.isin(files[lang].token_sentence_ids, names)
        states = files[lang].array.copy()
        states[here] = 0.0 if other == "de" else 9.0
        turned[lang] = Tokens(files[lang].token_sentence_ids, files[lang].token_ids, states)
    assert cell(probe(files), "full", seed=0).c == cell(probe(turned), "full", seed=0).c


def test_all_stored_tokens_are_used():
    full = cell(probe(sample(noise, n_tokens=330), tokens_per_language=None), "full")
    assert full.n_train + full.n_test == pytest.approx(4 * 330, abs=1)
    uneven = sample(noise, n_tokens=330) | {"de": sample(noise, n_tokens=150)["de"]}
    full = cell(probe(uneven, tokens_per_language=None), "full")
    assert full.n_train + full.n_test == pytest.approx(4 * 150, abs=1)


def test_sentences_of_a_group_are_on_one_side():
    """Each document has a fingerprint: a split by sentence would be learned by heart."""

    def fingerprint(rng, label, types, sentences):
        book = np.random.default_rng(99).normal(size=(12, 60))
        return book[sentences % 12] * np.where(label % 2, 1.0, -1.0)

    files = sample(fingerprint)
    groups = {f"house-{i:04d}": f"document {i % 12}" for i in range(60)}
    settings = ProbeSettings(seeds=2, bootstrap=100)

    def accuracy(groups):
        table = fit_language_probe(files, layer=3, settings=settings, model="m", step=8, groups=groups)
        return cell(table, "full").value

    assert accuracy(None) > 0.45  # half of the languages are told from the others
    assert accuracy(groups) < 0.4
    assert accuracy({}) == accuracy(None), "a sentence that is not named is its own group"


def draws(row):
    return np.array(row.draws.split(), dtype=float)


def test_cells_are_paired_by_sentence():
    """The same sentences are drawn whatever the layer, the step or which others are there."""

    def hard_sentences(shift):
        def states(rng, label, types, sentences):
            hard = (sentences % 2)[:, None]
            return rng.normal(size=(types.size, 12)) * (0.3 + 3 * hard) + shift * 3 * np.eye(12)[label]

        return states

    a, b = (cell(probe(sample(hard_sentences(shift))), "full") for shift in (1.0, 1.1))
    assert len(draws(a)) == 100
    assert np.corrcoef(draws(a), draws(b))[0, 1] > 0.5
    paired = np.quantile(draws(b) - draws(a), [0.025, 0.975])
    assert paired[1] - paired[0] < 0.8 * ((a.high - a.low) + (b.high - b.low)) / 2 * np.sqrt(2)
    assert probe(sample(noise)).query("seed >= 0").draws.eq("").all()


def test_variance_between_languages_is_that_of_their_means_without_its_bias():
    files = sample(separable)
    states = np.stack([files[lang].array for lang in LANGUAGES])
    between = 200 * ((states.mean(axis=1) - states.mean(axis=(0, 1))) ** 2).sum()
    total = ((states - states.mean(axis=(0, 1))) ** 2).sum()
    found = cell(probe(files), "between_variance", "share").value
    assert found < between / total
    assert found == pytest.approx(between / total, abs=0.005)


@pytest.mark.parametrize("shift", [0.0, 0.6, 3.0])
def test_the_interval_of_the_variance_covers_the_truth(shift):
    """The plain bootstrap lay above its own value. 200 studies: 1.00, .995 and .935 of them are covered.

    Each language's mean is `shift` out in a dimension of its own; sentences have states that their tokens share.
    """
    between = shift**2 * (1 - 1 / len(LANGUAGES))
    truth = between / (between + 12 * (1 + 0.5))
    covered, values = 0, []
    for seed in range(40):

        def states(rng, label, types, sentences, seed=seed):
            of_sentence = np.random.default_rng([seed, label]).normal(size=(60, 12)) * np.sqrt(0.5)
            return rng.normal(size=(types.size, 12)) + of_sentence[sentences] + shift * np.eye(12)[label]

        pool = probing._pool(sample(states, seed=seed), 3, ProbeSettings(), {}, "here")
        weights = named_weights(range(len(pool.groups)), 200, seed)
        found = probing._between_variance(pool, weights, np.random.default_rng(seed))
        low, high = interval(found.resamples_B)
        assert low <= found.value <= high
        covered += low <= truth <= high
        values.append(found.value)
    assert np.mean(values) == pytest.approx(truth, abs=0.004)
    assert covered >= 34  # 1 in 800 of studies that cover 93 percent falls below


def test_same_seed_same_numbers_and_language_order_does_not_matter():
    files = sample(noise)
    backwards = {lang: files[lang] for lang in reversed(LANGUAGES)}
    assert probe(files).equals(probe(backwards))


def test_too_few_tokens_name_the_numbers():
    with pytest.raises(BabelscopeError, match=r"300 are wanted .* de: 200, en: 200.*\nhint: lower"):
        probe(sample(noise), tokens_per_language=300)
    with pytest.raises(BabelscopeError, match=r"by sentence \(or by group\), needs at least 4; got 2"):
        probe(sample(noise, n_sentences=2))
    with pytest.raises(BabelscopeError, match="2 languages; got 1"):
        probe(sample(noise, languages=("en",)))
    with pytest.raises(ValueError, match=r"`probes.test_share`: got 1\.5; allowed: less than 1"):
        ProbeSettings(test_share=1.5)


def test_a_fit_keeps_to_its_threads(monkeypatch):
    """Outside a job BLAS and OpenMP would take every core, and spin."""
    found = set()

    def watched(*args, **kwargs):
        found.update(pool["num_threads"] for pool in threadpool_info())
        return fit_softmax(*args, **kwargs)

    monkeypatch.setattr(probing, "fit_softmax", watched)
    with threadpool_limits(limits=2):
        probe(sample(noise), seeds=1)
    assert found == {1}


@pytest.mark.parametrize("c", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_fit_is_that_of_scikit_learn(c, balanced):
    rng = np.random.default_rng(1)
    y = np.sort(rng.integers(5, size=600) ** 2)  # labels 0, 1, 4, 9, 16
    x = (rng.normal(size=(600, 20)) + 0.1 * y[:, None] * rng.normal(size=20)).astype(np.float32)
    weight = "balanced" if balanced else None
    other = LogisticRegression(C=c, tol=1e-6, max_iter=2000, class_weight=weight).fit(x.astype(float), y)
    ours = fit_softmax(x, y, c=c, balanced=balanced, tolerance=1e-6, max_iter=2000)
    assert ours.converged
    np.testing.assert_allclose(ours.parameters_LE[:, :-1], other.coef_, atol=1e-2)
    assert np.mean(ours.predict(x) == other.predict(x)) > 0.995
    np.testing.assert_allclose(np.exp(ours.log_proba(x)), other.predict_proba(x), atol=2e-3)
    again = fit_softmax(x, y, c=c, balanced=balanced, tolerance=1e-6, start=ours, max_iter=3)
    np.testing.assert_allclose(again.parameters_LE, ours.parameters_LE, atol=1e-3)
