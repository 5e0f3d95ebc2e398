"""Language probes: how easily can the language be read off a token's hidden state?

One layer of one checkpoint goes in, one small table comes out. A single probe misleads, so several
readings stand side by side:

- ``full``: multinomial logistic regression on all (standardised) dimensions;
- ``pc8``: the same on the leading principal components, since a full probe saturates in small
  models;
- ``new_types``: the full probe, trained without a part of the vocabulary and scored on it alone: what is read
  off a state and not remembered of a token. It takes a fit of its own. The tokens of the test part whose type
  happens to be absent from training would cost none, but they are the rare ones, and few;
- ``anchors``: the full probe, scored only on tokens that are spelt the same in several languages;
- ``control``: the full probe on random labels per token type (Hewitt and Liang, 2019,
  "Designing and Interpreting Probes with Control Tasks"), with the selectivity;
- ``shuffled``: the full probe trained on shuffled labels, the null that every leak would lift;
- ``between_variance``: no probe, the share of the states' variance that lies between languages.

Sentences are split into training and test by id, or by the group (such as a document) that they stand in,
the same for all languages, so that no translation of a training sentence is ever tested. The strength of the
penalty is chosen within the training part, for the full probe; the others take the same, so that they differ
from it in nothing else.

Every interval weights the same groups of sentences in the same way, whatever the layer, step or model: so the
resamples (``draws``) of two cells can be subtracted, which pairs them by sentence.

Shape suffixes: T tokens, D dimensions, L languages, S groups of sentences, B bootstrap resamples, K seeds, b
blocks of the tokens of one group in one language.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from babelscope.analysis.settings import ProbeSettings
from babelscope.analysis.softmax import Softmax, fit_softmax
from babelscope.capture.store import TokenFile
from babelscope.errors import BabelscopeError
from babelscope.stats import interval, named_weights

logger = logging.getLogger(__name__)


class ProbeError(BabelscopeError):
    """There is too little to fit a language probe to."""

    section = "too-little-for-a-probe"


Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

#: Columns of the table that :func:`fit_language_probe` returns.
COLUMNS = (
    "model", "step", "layer", "probe", "metric", "seed", "value", "low", "high", "null", "c",
    "n_train", "n_test", "n_languages", "draws",
)  # fmt: skip

#: Fewer anchor tokens than this in the test set are not worth a number.
MIN_ANCHORS = 20

#: Label permutations behind the bias of the between-language variance.
N_PERMUTATIONS = 50

#: What C is chosen among, strongest penalty first: each fit starts where the one before ended.
C_PATH = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

#: To rank penalties a fit may end early; but with 1e-2 it ends where it starts, and the path with it.
_PATH_TOLERANCE = 3e-3

#: Metrics whose resamples are kept, of the mean over seeds: those that findings compare over cells.
_KEPT_DRAWS = ("accuracy", "share")
#: Probes that nothing is compared with.
_NO_DRAWS = ("control", "shuffled")


class _Pool(NamedTuple):
    """The tokens of all languages of one layer, languages in sorted order."""

    languages: tuple[str, ...]
    states_TD: NDArray[np.float32]
    labels_T: Ints
    """Number of each token's language."""
    groups_T: Ints
    """Number of the group of its sentence; translations have the same."""
    types_T: Ints
    """Its id in the vocabulary."""
    groups: tuple[str, ...]
    """Names of the groups, sorted."""


class _Score(NamedTuple):
    """A value with its resamples, before it becomes a row."""

    value: float
    resamples_B: Floats
    n_test: int
    null: float
    c: float = np.nan
    """Inverse strength of the penalty."""


def fit_language_probe(
    token_files: Mapping[str, TokenFile],
    *,
    layer: int,
    settings: ProbeSettings,
    model: str,
    step: int,
    groups: Mapping[str, str] | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """Fit and score all probes of one layer.

    Args:
        token_files: For each language its sampled token states.
        layer: Layer to read; 0 is the embedding output.
        settings: See :class:`ProbeSettings`.
        model: Model id, for the table; so is ``step``.
        step: Training step.
        groups: Group of each sentence id, such as its document; sentences of a group are on one side of
            every split, and drawn together for the intervals. A sentence that is not named is its own group.
        threads: Of BLAS and OpenMP. A solver's steps are so short that more threads wait for each other most
            of the time, and beside other work on the machine for very long.

    Returns:
        Columns :data:`COLUMNS`, one row per (probe, metric, seed) and one with ``seed`` -1 that holds the
        mean over seeds. ``low`` and ``high`` bound a bootstrap interval over groups of test sentences (of
        ``new_types``: over token types; and, for the mean, over seeds too). ``null`` is the chance level
        1/L, except for ``anchors`` (what one who sees only the token would score), ``selectivity`` and
        ``between_variance`` (0). ``train_accuracy`` is that on the training part. ``c`` is the inverse
        strength of the penalty (of the mean over seeds: their geometric mean). ``draws`` holds the
        resamples of a mean over seeds, separated by spaces. Too few anchors to score have the value NaN.

    Raises:
        ProbeError: If there are fewer than two languages, or too few tokens or sentences in one.
    """
    where = f"model {model}, step {step}, layer {layer}"
    pool = _pool(token_files, layer, settings, groups or {}, where)
    with threadpool_limits(limits=threads):
        found, n_languages = _all_scores(pool, settings, where), len(pool.languages)
    rows = [
        (
            model, step, layer, probe, metric, seed, score.value, *interval(score.resamples_B), score.null,
            score.c, n_train, score.n_test, n_languages, _as_text(probe, metric, seed, score.resamples_B),
        )
        for probe, metric, seed, n_train, score in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _as_text(probe: str, metric: str, seed: int, draws_B: Floats) -> str:
    kept = seed == -1 and metric in _KEPT_DRAWS and probe not in _NO_DRAWS
    return " ".join(f"{draw:.5g}" for draw in draws_B) if kept else ""


def _all_scores(pool: _Pool, settings: ProbeSettings, where: str) -> list[tuple[str, str, int, int, _Score]]:
    """Probe, metric, seed, training tokens and score of everything that is said of a layer."""
    # One draw of weights serves all probes and seeds: scores on the same sentences move together, so that
    # differences and means over seeds get the interval they deserve.
    names = [zlib.crc32(name.encode()) for name in pool.groups]
    weights_BS = named_weights(names, settings.bootstrap, settings.seed)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    scores, sizes = [], []
    for seed in seeds:  # one at a time bounds the memory
        split = _split(pool, seed, settings, where)
        scores.append(_scores(pool, split, settings, weights_BS))
        sizes.append(split.train.size)
    rng = np.random.default_rng([settings.seed, settings.seeds])
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
    values, resamples, sizes, nulls, cs = zip(*scores, strict=True)
    resamples_B = np.stack(resamples)[pick_BK, np.arange(len(pick_BK))[:, None]].mean(axis=1)
    c = float(np.exp(np.mean(np.log(cs))))
    return _Score(float(np.mean(values)), resamples_B, round(np.mean(sizes)), float(np.mean(nulls)), c)


def split_groups(n_groups: int, test_share: float, seed: int | Sequence[int]) -> Ints:
    """Draw the numbers of the test groups; the others are for training.

    Not by scikit-learn's ``GroupShuffleSplit``: for a seed it draws other groups, so tables would change.

    Args:
        n_groups: How many there are, at least 2.
        test_share: Share of them that is for the test; at least one is, and one is not.
        seed: Of the draw.
    """
    n_test = min(max(round(test_share * n_groups), 1), n_groups - 1)
    return np.random.default_rng(seed).permutation(n_groups)[:n_test]


def _pool(
    token_files: Mapping[str, TokenFile],
    layer: int,
    settings: ProbeSettings,
    groups: Mapping[str, str],
    where: str,
) -> _Pool:
    languages = tuple(sorted(token_files))
    if len(languages) < 2:
        raise ProbeError(f"{where}: a language probe needs 2 languages; got {len(languages)}")
    files = [token_files[lang] for lang in languages]
    states = [np.asarray(file.states(layer), dtype=np.float32) for file in files]
    counts = {lang: len(of_lang) for lang, of_lang in zip(languages, states, strict=True)}
    wanted = settings.tokens_per_language or 1
    poor = {lang: n for lang, n in counts.items() if n < wanted}
    if poor:
        listed = ", ".join(f"{lang}: {n}" for lang, n in poor.items())
        raise ProbeError(
            f"{where}: too few token states for the probe, {wanted} are "
            f"wanted of each language but there are {listed}\n"
            "hint: lower probes.tokens_per_language, raise extraction.tokens_per_language, or add "
            "sentences"
        )
    group_of = [groups.get(name, name) for file in files for name in file.token_sentence_ids]
    names, groups_T = np.unique(group_of, return_inverse=True)
    if len(names) < 4:
        raise ProbeError(
            f"{where}: the probe splits by sentence (or by group), needs at least 4; got {len(names)}"
        )
    return _Pool(
        languages=languages,
        states_TD=np.concatenate(states),
        labels_T=np.repeat(np.arange(len(languages)), list(counts.values())),
        groups_T=groups_T,
        types_T=np.concatenate([file.token_ids for file in files]),
        groups=tuple(names.tolist()),
    )


class _Split(NamedTuple):
    """The tokens of one seed, and their states, split by group of sentences."""

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
    """Sample as many tokens of every language and split them by group."""
    rng = np.random.default_rng(seed)
    n_languages = len(pool.languages)
    n = settings.tokens_per_language or int(np.bincount(pool.labels_T).min())
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(pool.labels_T == label), n, False) for label in range(n_languages)]
    )
    is_test = np.isin(pool.groups_T[chosen], split_groups(len(pool.groups), settings.test_share, seed))
    train, test = chosen[~is_test], chosen[is_test]
    for part, rows in (("training", train), ("test", test)):
        counts = np.bincount(pool.labels_T[rows], minlength=n_languages)
        if counts.min() < 2:
            raise ProbeError(
                f"{where}: after the split by sentence, language "
                f"{pool.languages[int(counts.argmin())]} has only {counts.min()} {part} tokens of "
                f"{n}\nhint: sample tokens from more sentences or change probes.test_share"
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


class _Fitter:
    """Fits probes with one penalty."""

    def __init__(self, settings: ProbeSettings, where: str) -> None:
        self._settings, self._where = settings, where
        self.c = np.nan if settings.c == "auto" else float(settings.c)

    def fit(self, name: str, x_TD: Floats, y_T: Ints, **how: Any) -> Softmax:
        """A probe; ``how`` goes to :func:`babelscope.analysis.softmax.fit_softmax`."""
        most = self._settings.max_iter
        x_TD = np.ascontiguousarray(x_TD, dtype=np.float32)
        probe = fit_softmax(x_TD, y_T, c=self.c, max_iter=most, **how)
        if not probe.converged:
            logger.info("%s, probe %s: the solver stopped at max_iter = %d", self._where, name, most)
        return probe

    def choose_c(self, x_TD: Floats, y_T: Ints, groups_T: Ints, seed: int) -> Softmax | None:
        """Choose C within a training part, and give the probe of that C to go on from.

        Groups are split once more; C is that of :data:`C_PATH` with the least log loss on the inner test
        part. The path ends where the loss rises: weaker penalties fit longest, and worse.

        Returns:
            None if C was given, or an inner part lacks a language: then C is 1.
        """
        if self._settings.c != "auto":
            return None
        present, group_T = np.unique(groups_T, return_inverse=True)
        tested = split_groups(max(2, present.size), self._settings.test_share, (seed, 1))
        inner_T = np.isin(group_T, tested)
        self.c, best, least = 1.0, None, np.inf
        if np.unique(y_T[~inner_T]).size < np.unique(y_T).size or not inner_T.any():
            return None
        x_inner, y_inner = x_TD[~inner_T], y_T[~inner_T]
        label_T = np.unique(y_T, return_inverse=True)[1]
        probe = None
        for c in C_PATH:
            self.c = c
            probe = self.fit("choice of C", x_inner, y_inner, start=probe, tolerance=_PATH_TOLERANCE)
            log_TL = probe.log_proba(x_TD[inner_T])
            loss = -float(log_TL[np.arange(len(log_TL)), label_T[inner_T]].mean())
            if loss >= least:
                break
            best, least = (c, probe), loss
        assert best is not None, "the first loss is finite"
        self.c, probe = best
        return probe


def _scores(
    pool: _Pool, split: _Split, settings: ProbeSettings, weights_BS: Floats
) -> dict[tuple[str, str], _Score]:
    """Fit and score the probes of one seed, by probe and metric."""
    train, test, n_languages = split.train, split.test, len(pool.languages)
    y_train, y_test = pool.labels_T[train], pool.labels_T[test]
    sums, sums_train = (_Sums(pool.groups_T[part], weights_BS) for part in (test, train))
    chance = 1.0 / n_languages
    fitter = _Fitter(settings, f"{split.where}, seed {split.seed}")
    start = fitter.choose_c(split.x_train, y_train, pool.groups_T[train], split.seed)
    scores: dict[tuple[str, str], _Score] = {}

    def score(name: str, x: Floats, x_new: Floats, start: Softmax | None = None) -> Ints:
        """Fit a probe for the language and score it."""
        probe = fitter.fit(name, x, y_train, start=start)
        predicted = probe.predict(x_new)
        scores[name, "accuracy"] = _Score(*sums.mean(predicted == y_test), test.size, chance)
        scores[name, "macro_f1"] = _Score(*sums.macro_f1(y_test, predicted, n_languages), test.size, chance)
        known = probe.predict(x) == y_train
        scores[name, "train_accuracy"] = _Score(*sums_train.mean(known), train.size, chance)
        return predicted

    full = score("full", split.x_train, split.x_test, start)
    name = f"pc{settings.components}"
    pca = PCA(min(settings.components, *split.x_train.shape), random_state=split.seed).fit(split.x_train)
    score(name, *_standardised(pca.transform(split.x_train), pca.transform(split.x_test), centre=0.0))
    scores |= _score_new_types(pool, split, settings, fitter)

    scores |= _score_control(pool, split, fitter, sums, scores["full", "accuracy"])
    shuffled = fitter.fit("shuffled", split.x_train, split.rng.permutation(y_train)).predict(split.x_test)
    scores["shuffled", "accuracy"] = _Score(*sums.mean(shuffled == y_test), test.size, chance)
    scores["anchors", "accuracy"] = _score_anchors(pool, split, settings, sums, full == y_test)
    return {key: score._replace(c=fitter.c) for key, score in scores.items()}


def _score_control(
    pool: _Pool, split: _Split, fitter: _Fitter, sums: _Sums, full: _Score
) -> dict[tuple[str, str], _Score]:
    """The full probe on random labels per token type, and how much better it is on the language."""
    train, test, n_languages = split.train, split.test, len(pool.languages)
    # A token type has the same control label in training and test: only memory of types helps.
    types, type_index = np.unique(pool.types_T, return_inverse=True)
    control_T = split.rng.integers(n_languages, size=types.size)[type_index]
    guessed: Ints = control_T[train][:1]  # a vocabulary of a few types may get one label only
    if np.unique(control_T[train]).size > 1:
        guessed = fitter.fit("control", split.x_train, control_T[train]).predict(split.x_test)
    control = _Score(*sums.mean(control_T[test] == guessed), test.size, 1.0 / n_languages)
    selectivity = _Score(full.value - control.value, full.resamples_B - control.resamples_B, test.size, 0.0)
    return {("control", "accuracy"): control, ("control", "selectivity"): selectivity}


def _score_new_types(
    pool: _Pool, split: _Split, settings: ProbeSettings, fitter: _Fitter
) -> dict[tuple[str, str], _Score]:
    """The full probe on tokens whose type, and whose sentence, was not trained on.

    Held-out types are not equally frequent in all languages, so every language weighs the same, in training
    and in the accuracy: whoever guesses blindly scores 1/L. The interval draws types, since it is they that
    were held out.
    """
    n_languages, labels = len(pool.languages), pool.labels_T
    types, type_T = np.unique(pool.types_T, return_inverse=True)
    nothing = _Score(np.nan, np.full(settings.bootstrap, np.nan), 0, 1.0 / n_languages)
    if types.size < 2:
        return {("new_types", metric): nothing for metric in ("accuracy", "train_accuracy")}
    is_new_T = np.isin(type_T, split_groups(types.size, settings.test_share, (split.seed, 2)))
    known, new = ~is_new_T[split.train], is_new_T[split.test]
    train, test = split.train[known], split.test[new]
    if any(np.unique(labels[rows]).size < n_languages for rows in (train, test)):
        return {("new_types", metric): nothing for metric in ("accuracy", "train_accuracy")}
    probe = fitter.fit("new_types", split.x_train[known], labels[train], balanced=True)
    found = {}
    for metric, rows, x in (
        ("accuracy", test, split.x_test[new]),
        ("train_accuracy", train, split.x_train[known]),
    ):
        present, index_T = np.unique(pool.types_T[rows], return_inverse=True)
        sums = _Sums(index_T, named_weights(present, settings.bootstrap, settings.seed))
        balance_T = 1.0 / np.bincount(labels[rows])[labels[rows]]
        scored = sums.mean(probe.predict(x) == labels[rows], balance_T)
        found["new_types", metric] = _Score(*scored, int(rows.size), 1.0 / n_languages)
    return found


def _score_anchors(
    pool: _Pool, split: _Split, settings: ProbeSettings, sums: _Sums, right: NDArray[np.bool_]
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


class _Sums:
    """Scores of tokens, and the same under resampled groups of them."""

    def __init__(self, groups_T: Ints, weights_BS: Floats) -> None:
        present, self._index_T = np.unique(groups_T, return_inverse=True)
        self._n = present.size
        self._weights_BS = weights_BS[:, present].astype(np.float64)

    def _sum(self, values_T: Floats) -> Floats:
        return np.bincount(self._index_T, weights=values_T, minlength=self._n).astype(np.float64)

    def mean(self, right_T: NDArray[Any], weights_T: Floats | None = None) -> tuple[float, Floats]:
        """Weighted mean over tokens, and its resamples over groups."""
        weights_T = np.ones(right_T.size) if weights_T is None else weights_T
        above_S, below_S = self._sum(right_T * weights_T), self._sum(weights_T)
        below_B = self._weights_BS @ below_S
        with np.errstate(invalid="ignore"):
            resamples_B = np.where(below_B > 0, (self._weights_BS @ above_S) / below_B, np.nan)
        return float(above_S.sum() / below_S.sum()), resamples_B

    def macro_f1(self, true_T: Ints, predicted_T: Ints, n_classes: int) -> tuple[float, Floats]:
        """Unweighted mean of the F1 of each class, and its resamples over groups."""
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
    """Share of the states' variance that lies between languages, over all pooled tokens, without its bias.

    Trace of the between-language scatter over trace of the total scatter. The means of a finite sample differ
    even where those of the languages do not: the share's mean over permutations, in which whole (group,
    language) blocks change their language since tokens of one are alike, is this bias, which is taken off. So
    0 is expected where languages do not differ, and the value may be below.

    A resample differs from the sample as the sample from the truth, so it has the bias twice and its values
    lie too high: the interval is their spread about their own mean, laid about the value. Where languages do
    not differ it is too wide (by the square root of 3), elsewhere it covers as it should; a test counts.
    """
    n_languages = len(pool.languages)
    centred_TD = pool.states_TD - pool.states_TD.mean(axis=0)
    blocks, block_T = np.unique(pool.groups_T * n_languages + pool.labels_T, return_inverse=True)
    block_label, block_group = blocks % n_languages, blocks // n_languages
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

    drawn_B = np.array([share(w[block_group], block_label) for w in weights_BS])
    ones = np.ones(blocks.size)
    bias = float(np.mean([share(ones, rng.permutation(block_label)) for _ in range(N_PERMUTATIONS)]))
    if bias >= 1:  # every language is one point
        return _Score(np.nan, np.full(len(weights_BS), np.nan), int(pool.labels_T.size), 0.0)
    value = (share(ones, block_label) - bias) / (1 - bias)
    resamples_B = value + (drawn_B - drawn_B.mean()) / (1 - bias)
    return _Score(value, resamples_B, int(pool.labels_T.size), 0.0)
