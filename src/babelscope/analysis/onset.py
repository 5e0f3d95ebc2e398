"""When competence comes, and when sharing: the step of half-rise of each, paired over concepts.

Three curves over training, per concept and pair of languages, are compared:

- ``competence``: the average precision of a language's own experts on sentences that did not choose them;
- ``agreement``: what the experts of one language share on two halves of its sentences, above other concepts;
- ``sharing``: what the experts of two languages share on disjoint sentences, above other concepts.

A concept that is not known well enough for a language to agree with itself cannot be shared either, so
agreement is competence on the scale of sharing. The *onset* is where a curve's monotone fit reaches the
middle between its first and its last value, in octaves of training (the binary logarithm of steps, counted
from 1), between two checkpoints on a straight line. Names of shapes: ``S`` steps, ``P`` pairs of languages,
``C`` concepts, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL, overlap_above_null
from babelscope.analysis.ranking import NOBODY
from babelscope.analysis.scores import OTHER_HALF
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import bootstrap_weights, intervals_of, permutation_p, widened_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_Curves = Mapping[str, Floats]
"""By measure the curves, ``(S, C)``."""
_Place = tuple[str, str, str]
"""Two languages and a concept, or :data:`ALL`."""

MEASURES = ("competence", "agreement", "sharing")
#: Steps below which nothing is said: with three a half-rise is a guess.
LEAST_STEPS = 4
#: Concepts below which nothing is said: fewer cannot be drawn anew.
LEAST_CONCEPTS = 3
#: A single curve has risen if its rise is so many times its spread about the monotone fit. Curves that are
#: nothing but noise have in 5 % of 8 steps, 2 % of 11 and 1 % of 15.
_CLEAR_RISE = 5.0
#: Columns of a table of experts that are read.
EXPERTS = ("model", "step", "lang", "scope", "subset", "concept", "rank", "layer", "site", "unit")
_PLACE = ["model", "lang_a", "lang_b", "concept", "measure"]
_ONSETS = [*_PLACE, "onset", "low", "high", "after", "by", "first", "rise", "rise_low", "rise_high"]
_GAPS = [*_PLACE, "behind", "octaves", "low", "high", "null_high", "p_value", "n_later", "n_concepts"]
_CURVES = ["model", "measure", "step", "value", "low", "high", "risen", "risen_low", "risen_high"]


def octaves(steps: Sequence[int] | Floats) -> Floats:
    """Steps as octaves of training: the binary logarithm, steps counted from 1, so that 0 has a place."""
    return np.asarray(np.log2(np.asarray(steps, dtype=np.float64) + 1), dtype=np.float64)


def steps_of(octave: Floats) -> Floats:
    """Octaves as steps."""
    return np.asarray(np.exp2(octave) - 1, dtype=np.float64)


def monotone(curve_XS: Floats) -> Floats:
    """The rising curves nearest to each row in least squares, shape as given.

    Source: the minimax formula of isotonic regression (Barlow, Bartholomew, Bremner and Brunk 1972), which
    takes all rows at once; the same as ``scipy.optimize.isotonic_regression``.
    """
    n_steps = curve_XS.shape[-1]
    sums = np.concatenate([np.zeros((*curve_XS.shape[:-1], 1)), np.cumsum(curve_XS, axis=-1)], axis=-1)
    start, end = np.ogrid[:n_steps, :n_steps]
    # Mean of every window from `start` to `end`; the least of those that end no earlier; then the most.
    windows = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(end - start + 1, 1)
    windows = np.where(end >= start, windows, np.inf)
    least = np.minimum.accumulate(windows[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(np.where(start <= end, least, -np.inf).max(axis=-2), dtype=np.float64)


def half_rise(octave_S: Floats, curve_XS: Floats) -> Floats:
    """Octave at which the monotone fit of each curve reaches the middle of its rise; NaN without a rise.

    Args:
        octave_S: Of the steps, rising.
        curve_XS: A curve a row; any number of axes before that of the steps.
    """
    fit = monotone(curve_XS)
    middle = (fit[..., :1] + fit[..., -1:]) / 2
    rises = fit[..., -1] > fit[..., 0]
    at = np.maximum(np.argmax(fit >= middle, axis=-1), 1)[..., None]
    below, above = (np.take_along_axis(fit, place, axis=-1) for place in (at - 1, at))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (middle - below) / (above - below)
    octave = octave_S[at - 1] + share * (octave_S[at] - octave_S[at - 1])
    return np.asarray(np.where(rises, octave[..., 0], np.nan), dtype=np.float64)


def is_clear_rise(curve_XS: Floats) -> NDArray[np.bool_]:
    """Whether single curves rise by much more than they scatter about their monotone fit."""
    fit = monotone(curve_XS)
    spread = np.sqrt(np.mean((curve_XS - fit) ** 2, axis=-1))
    rise = fit[..., -1] - fit[..., 0]
    return np.asarray((rise > _CLEAR_RISE * spread) & (rise > 0))


class Onsets(NamedTuple):
    """What :func:`measure_onsets` finds."""

    onsets: pd.DataFrame
    """Step of half-rise of each measure: of all concepts and pairs, each pair, each concept, each of both."""
    gaps: pd.DataFrame
    """How many octaves of training one measure comes behind another, paired."""
    curves: pd.DataFrame
    """The means over concepts and pairs at each step."""


def measure_onsets(
    experts: Iterable[pd.DataFrame], transfer: pd.DataFrame, settings: AlignmentSettings
) -> Onsets:
    """Onset of competence, agreement and sharing in every model.

    Args:
        experts: Tables of :func:`babelscope.analysis.experts.select_experts` (the columns of :data:`EXPERTS`
            do), each of all languages of one or more steps.
        transfer: The table of :func:`babelscope.analysis.transfer.transfer_table` of all models and steps;
            what it leaves out, such as flagged steps, is left out here.
        settings: Resamples of concepts, swaps behind p-values, seed.

    Returns:
        Tables with the columns that docs/formats.md explains. Models of fewer than :data:`LEAST_STEPS` steps
        or :data:`LEAST_CONCEPTS` concepts, and studies of one language, have no rows.
    """
    shared = {key: found for table in experts for key, found in shared_by_step(table)}
    own = transfer[(transfer["source"] == transfer["target"]) & (transfer["concept"] != ALL)]
    parts: list[tuple[list[Any], list[Any], list[Any]]] = []
    for model in own["model"].unique():
        of_model = own[own["model"] == model]
        steps = [int(step) for step in sorted(of_model["step"].unique()) if (model, step) in shared]
        langs, concepts = sorted(of_model["source"].unique()), sorted(of_model["concept"].unique())
        if len(steps) < LEAST_STEPS or len(concepts) < LEAST_CONCEPTS or len(langs) < 2:
            continue
        competence = of_model.pivot_table("ap", ["step", "source"], "concept")
        curves = _curves(competence, [shared[model, step] for step in steps], steps, langs)
        parts.append(_of_model(str(model), curves, steps, langs, concepts, settings))
    rows = [[row for part in parts for row in part[at]] for at in range(3)]
    return Onsets(*(_table(*named) for named in zip(rows, (_ONSETS, _GAPS, _CURVES), strict=True)))


def _table(rows: list[Any], columns: list[str]) -> pd.DataFrame:
    """Rows as a table whose types do not depend on what was found."""
    texts = {"model", "lang_a", "lang_b", "concept", "measure", "behind"}
    whole = {"step", "n_later", "n_concepts"}
    types = {name: np.int64 if name in whole else np.float64 for name in columns if name not in texts}
    return pd.DataFrame(rows, columns=columns).astype(types)


def shared_by_step(
    experts: pd.DataFrame,
) -> Iterator[tuple[tuple[str, int], dict[tuple[int, int], Floats]]]:
    """Overlap above the null by model and step, languages and concepts by name.

    Args:
        experts: As :func:`measure_onsets` takes one.

    Yields:
        Model and step; and by numbers of two languages, which may be one and the same, a number for each
        concept, ``(C,)``. Steps of a single concept have none.
    """
    rows = experts[(experts["scope"] == "model") & experts["subset"].isin(list(OTHER_HALF))]
    key: Any
    for key, of_step in rows.groupby(["model", "step"], sort=False):
        number = of_step.groupby(["layer", "site", "unit"], sort=False).ngroup().to_numpy()
        lang, langs = pd.factorize(of_step["lang"], sort=True)
        concept, concepts = pd.factorize(of_step["concept"], sort=True)
        rank = of_step["rank"].to_numpy()
        chosen: dict[str, dict[str, Ints]] = {}
        for at, name in enumerate(langs):
            for half in OTHER_HALF:
                here = (lang == at) & (of_step["subset"] == half).to_numpy()
                unit_CK = np.full((len(concepts), int(rank.max()) + 1), NOBODY, dtype=np.int64)
                unit_CK[concept[here], rank[here]] = number[here]
                chosen.setdefault(str(name), {})[half] = unit_CK
        if len(concepts) > 1:
            yield (str(key[0]), int(key[1])), overlap_above_null(chosen)


def _curves(
    competence: pd.DataFrame,
    shared: Sequence[Mapping[tuple[int, int], Floats]],
    steps: Sequence[int],
    langs: Sequence[str],
) -> dict[tuple[int, int], _Curves]:
    """By pair the three curves of every concept; competence and agreement are the mean of both languages."""
    own_LSC = [competence.xs(lang, level="source").loc[list(steps)].to_numpy() for lang in langs]
    agreement_LSC = [np.stack([of[at, at] for of in shared]) for at in range(len(langs))]
    return {
        (a, b): {
            "competence": (own_LSC[a] + own_LSC[b]) / 2,
            "agreement": (agreement_LSC[a] + agreement_LSC[b]) / 2,
            "sharing": np.stack([of[a, b] for of in shared]),
        }
        for a, b in combinations(range(len(langs)), 2)
    }


def _of_model(
    model: str,
    curves: Mapping[tuple[int, int], _Curves],
    steps: Sequence[int],
    langs: Sequence[str],
    concepts: Sequence[str],
    settings: AlignmentSettings,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Rows of the three tables, of one model."""
    octave_S, draws = octaves(steps), _Draws.of(len(concepts), settings)
    everyone = {name: np.mean([of[name] for of in curves.values()], axis=0) for name in MEASURES}
    places = {(ALL, ALL): everyone} | {(langs[a], langs[b]): of for (a, b), of in curves.items()}
    onsets: list[Any] = []
    gaps: list[Any] = []
    for (a, b), of in places.items():
        found = {name: _onset(octave_S, of[name], draws) for name in MEASURES}
        single = {name: _single_onsets(octave_S, of[name]) for name in MEASURES}
        for name in MEASURES:
            onsets.append((model, a, b, ALL, name, *found[name].row(octave_S)))
            rows = _single_rows(octave_S, of[name], single[name])
            onsets += [
                (model, a, b, concept, name, *row) for concept, row in zip(concepts, rows, strict=True)
            ]
        for behind, name in combinations(MEASURES, 2):
            later_C = single[name] - single[behind]
            gap = _gap(octave_S, of[behind], of[name], found[behind], found[name], draws)
            known = int(np.isfinite(later_C).sum())
            gaps.append((model, a, b, ALL, name, behind, *gap, int((later_C > 0).sum()), known))
            gaps += [
                (model, a, b, concept, name, behind, later, *[np.nan] * 4, int(later > 0), 1)
                for concept, later in zip(concepts, later_C.tolist(), strict=True)
                if np.isfinite(later)
            ]
    return onsets, gaps, _curve_rows(model, everyone, steps, draws)


class Gap(NamedTuple):
    """By how many octaves of training a measure comes behind another; NaN unless both surely rise."""

    octaves: float
    low: float
    high: float
    null_high: float
    """What 5 % of swaps reach, whichever comes first."""
    p_value: float


def onset_gap(steps: Sequence[int], first_SC: Floats, second_SC: Floats, settings: AlignmentSettings) -> Gap:
    """By how many octaves the mean of the second curves reaches half of its rise behind that of the first.

    Args:
        steps: Rising, :data:`LEAST_STEPS` or more.
        first_SC, second_SC: A curve for each of the same concepts, :data:`LEAST_CONCEPTS` or more.
        settings: Resamples of concepts, swaps behind the p-value, seed.

    Example:
        >>> onset_gap([0, 64, 128, 256, 512], competence, sharing, AlignmentSettings()).octaves
    """
    octave_S, draws = octaves(steps), _Draws.of(first_SC.shape[1], settings)
    first, second = (_onset(octave_S, curve_SC, draws) for curve_SC in (first_SC, second_SC))
    return _gap(octave_S, first_SC, second_SC, first, second, draws)


class _Draws(NamedTuple):
    """Resamples of the concepts, and which of them swap their curves; the same for all pairs and measures."""

    weights_BC: Floats
    swaps_QC: NDArray[np.bool_]

    @classmethod
    def of(cls, n_concepts: int, settings: AlignmentSettings) -> _Draws:
        rng = np.random.default_rng([settings.seed, n_concepts])
        return cls(
            bootstrap_weights(n_concepts, settings.bootstrap, settings.seed, draws=n_concepts - 1),
            rng.integers(2, size=(settings.permutations, n_concepts)).astype(bool),
        )

    def interval(self, value: float, draws_B: Floats) -> tuple[float, float]:
        return widened_interval(value, draws_B, self.weights_BC.shape[1] - 1)


class _Onset(NamedTuple):
    """The onset of the mean over concepts, in octaves; NaN unless its rise is sure and clear."""

    octave: float
    low: float
    high: float
    doubt: float
    """Half width of what is not known since checkpoints are apart."""
    draws_B: Floats
    first: float
    rise: float
    rise_low: float
    rise_high: float

    def row(self, octave_S: Floats) -> tuple[float, ...]:
        """As a row of the table, in steps."""
        between = _between(octave_S, self.octave)
        ends = (float(x) for x in steps_of(np.array([self.octave, self.low, self.high])))
        return *ends, *between, self.first, self.rise, self.rise_low, self.rise_high


def _onset(octave_S: Floats, curve_SC: Floats, draws: _Draws) -> _Onset:
    mean_S, drawn_BS = curve_SC.mean(axis=1), draws.weights_BC @ curve_SC.T
    fit_S = monotone(mean_S)
    rise = float(mean_S[-1] - mean_S[0])
    rise_low, rise_high = draws.interval(rise, drawn_BS[:, -1] - drawn_BS[:, 0])
    draws_B = half_rise(octave_S, drawn_BS)
    rises = rise_low > 0 and bool(is_clear_rise(mean_S))
    octave = float(half_rise(octave_S, mean_S)) if rises else np.nan
    doubt = between_doubt(octave_S, fit_S) if rises else np.nan
    low, high = _with_doubt(octave, *draws.interval(octave, draws_B), doubt)
    return _Onset(octave, low, high, doubt, draws_B, float(fit_S[0]), rise, rise_low, rise_high)


def between_doubt(octave_S: Floats, fit_S: Floats) -> float:
    """How far the onset may lie from the straight line between its two checkpoints, in octaves.

    Half of their distance where the whole rise lies between them, and little where it does not: times the
    square of the share that does, which for logistic curves is too little by a twentieth of the
    distance at most (a test tries them).
    """
    at = max(1, int(np.argmax(fit_S >= (fit_S[0] + fit_S[-1]) / 2)))
    share = (fit_S[at] - fit_S[at - 1]) / (fit_S[-1] - fit_S[0])
    return float((octave_S[at] - octave_S[at - 1]) / 2 * share**2)


def _with_doubt(value: float, low: float, high: float, *doubts: float) -> tuple[float, float]:
    """An interval widened by further half widths: the root of the sum of the squares."""
    doubt = np.hypot.reduce(doubts)
    return float(value - np.hypot(value - low, doubt)), float(value + np.hypot(high - value, doubt))


def _single_onsets(octave_S: Floats, curve_SC: Floats) -> Floats:
    """Onset of every concept by itself, in octaves; NaN of those that do not rise clearly. ``(C,)``."""
    return np.where(is_clear_rise(curve_SC.T), half_rise(octave_S, curve_SC.T), np.nan)


def _single_rows(octave_S: Floats, curve_SC: Floats, octave_C: Floats) -> Iterator[tuple[float, ...]]:
    """The rows of single concepts, which have no intervals."""
    first_C, rise_C = monotone(curve_SC.T)[:, 0], curve_SC[-1] - curve_SC[0]
    ends = zip(steps_of(octave_C).tolist(), first_C.tolist(), rise_C.tolist(), strict=True)
    for octave, (onset, first, rise) in zip(octave_C.tolist(), ends, strict=True):
        yield onset, np.nan, np.nan, *_between(octave_S, octave), first, rise, np.nan, np.nan


def _between(octave_S: Floats, octave: float) -> tuple[float, float]:
    """The two checkpoints between which an onset lies."""
    if not np.isfinite(octave):
        return np.nan, np.nan
    at = int(np.clip(np.searchsorted(octave_S, octave), 1, len(octave_S) - 1))
    after, by = np.round(steps_of(octave_S[at - 1 : at + 1]))
    return float(after), float(by)


def _gap(
    octave_S: Floats, first_SC: Floats, second_SC: Floats, first: _Onset, second: _Onset, draws: _Draws
) -> Gap:
    """The gap of two curves whose onsets are known.

    If both came together for every concept, it would not matter which curve is called which: so concepts that
    are drawn by lot swap the two, each on the scale of its mean rise.
    """
    octave = second.octave - first.octave
    if not np.isfinite(octave):
        return Gap(*[np.nan] * 5)
    low, high = draws.interval(octave, second.draws_B - first.draws_B)
    low, high = _with_doubt(octave, low, high, first.doubt, second.doubt)
    one_SC, other_SC = (_on_own_scale(curve_SC) for curve_SC in (first_SC, second_SC))
    swap_QC = draws.swaps_QC.astype(np.float64)
    moved_QS = swap_QC @ (other_SC - one_SC).T / swap_QC.shape[1]
    one_QS, other_QS = one_SC.mean(axis=1) + moved_QS, other_SC.mean(axis=1) - moved_QS
    null_Q = np.abs(half_rise(octave_S, other_QS) - half_rise(octave_S, one_QS))
    null_Q = null_Q[np.isfinite(null_Q)]
    null_high = float(np.quantile(null_Q, 0.95))
    return Gap(octave, low, high, null_high, permutation_p(abs(octave), null_Q))


def _on_own_scale(curve_SC: Floats) -> Floats:
    """Curves of which the mean over concepts rises from 0 to 1."""
    fit_S = monotone(curve_SC.mean(axis=1))
    return np.asarray((curve_SC - fit_S[0]) / (fit_S[-1] - fit_S[0]), dtype=np.float64)


def _curve_rows(model: str, curves: _Curves, steps: Sequence[int], draws: _Draws) -> list[Any]:
    """Means over concepts and pairs, and the same as a share of their rise where there is one."""
    rows: list[Any] = []
    for name, curve_SC in curves.items():
        drawn_SB = curve_SC @ draws.weights_BC.T
        bounds = intervals_of(drawn_SB)
        rise = float(curve_SC[-1].mean() - curve_SC[0].mean())
        rises = draws.interval(rise, drawn_SB[-1] - drawn_SB[0])[0] > 0
        rises = rises and bool(is_clear_rise(curve_SC.mean(axis=1)))
        fit_S = monotone(curve_SC.mean(axis=1))
        scale = float(fit_S[-1] - fit_S[0]) if rises else np.nan
        for step, value, band in zip(steps, curve_SC.mean(axis=1).tolist(), bounds, strict=True):
            values = (value, *band)
            rows.append((model, name, step, *values, *((x - fit_S[0]) / scale for x in values)))
    return rows
