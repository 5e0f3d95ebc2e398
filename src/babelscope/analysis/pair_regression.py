"""Regression over pairs of languages, which are no independent cases: each language is in many of them.

Coefficients are those of least squares. Their p-values are of the multiple regression quadratic assignment
procedure with double semi-partialling (Dekker, Krackhardt and Snijders 2007): what is left of a predictor
given the others is kept as a matrix over languages, whose rows and columns are permuted together.
Intervals are of the jackknife that leaves out a language, and a concept. Names of shapes: ``P`` pairs, ``X``
predictors, ``C`` concepts, ``L`` languages, ``Q`` permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import permutation_p

Floats = NDArray[np.float64]
Pairs = NDArray[np.intp]
#: Rows that are no predictors.
ALL_PAIRS, OTHER_SCRIPT, LEFT, R_SQUARED = "all_pairs", "other_script", "other_script_left", "r_squared"
#: The predictor that tells the pairs of two scripts, and the one that counts from 0 and not from its mean.
_SCRIPT, _TOKENS = "same_script", "shared_tokens"
#: Pairs that each coefficient needs, in a sample that lacks a language.
_PAIRS_PER_COEFFICIENT = 2
#: Of what :func:`regress_pairs` returns.
COLUMNS = ["term", "value", "low", "high", "null_high", "p_value", "n_pairs", "n_langs", "n_concepts"]


class _Design(NamedTuple):
    """Predictors that vary, with a constant before them."""

    names: list[str]
    raw_PX: Floats
    scaled_PX: Floats
    """The same with mean 0 and standard deviation 1."""


def regress_pairs(
    values: Mapping[tuple[int, int], Floats], predictors: pd.DataFrame, settings: AlignmentSettings
) -> pd.DataFrame:
    """Regress what pairs of languages share on what they have in common outside the model.

    Args:
        values: By numbers of two languages, the smaller first, a number for each concept, ``(C,)``.
        predictors: A row for each pair, in their order of numbers. Columns with NaN are left out, those that
            do not vary without some language, and the last ones if pairs are few.
        settings: Permutations, seed.

    Returns:
        Columns ``term, value, low, high, null_high, p_value, n_pairs, n_langs, n_concepts``. Terms are the
        predictors (``value``: change per standard deviation of the predictor over pairs, the others held);
        ``r_squared``; and means over pairs: ``all_pairs``, ``other_script``, and ``other_script_left``, what
        a pair of two scripts is expected to share that has no token in common and is else as the mean
        of all pairs. The last is missing where the script is no predictor and not all pairs are of two.
        ``null_high`` is what 5 % of permutations reach, of either sign; NaN of means, whose null is 0. Of
        ``r_squared`` there is no interval.

    Raises:
        ValueError: If a pair lacks a row or values.
    """
    pairs = np.array(sorted(values))
    value_PC = np.stack([values[a, b] for a, b in pairs.tolist()])
    n_langs, n_concepts = int(pairs.max()) + 1, value_PC.shape[1]
    if len(pairs) != n_langs * (n_langs - 1) // 2 or len(predictors) != len(pairs):
        raise ValueError(f"need a row and values for each pair of {n_langs} languages, got {len(predictors)}")
    design = _design(predictors, pairs, n_langs)
    other_P = (predictors[_SCRIPT] == 0).to_numpy()
    estimates = _estimates(value_PC, design, other_P)
    half = _half_widths(value_PC, design, other_P, pairs, n_langs) | {R_SQUARED: np.nan}
    tested = _tests(value_PC.mean(axis=1), design, pairs, n_langs, settings)
    rows = [
        (term, value, value - half[term], value + half[term], *tested.get(term, (np.nan, np.nan)))
        for term, value in estimates.items()
    ]
    found = pd.DataFrame(rows, columns=COLUMNS[:6])
    return found.assign(n_pairs=len(pairs), n_langs=n_langs, n_concepts=n_concepts)[COLUMNS]


def _design(predictors: pd.DataFrame, pairs: Pairs, n_langs: int) -> _Design:
    """As many predictors as the pairs of one language less allow.

    None that others already say, and none that hangs on one language: without any of them it must vary by
    itself.
    """
    most = (n_langs - 1) * (n_langs - 2) // 2 // _PAIRS_PER_COEFFICIENT - 1
    names: list[str] = []
    for name in predictors:
        tried_PX = predictors[[*names, name]].to_numpy(np.float64)
        if len(names) < most and np.isfinite(tried_PX).all() and _is_determined(tried_PX, pairs, n_langs):
            names.append(str(name))
    raw_PX = predictors[names].to_numpy(np.float64)
    return _Design(names, raw_PX, (raw_PX - raw_PX.mean(axis=0)) / raw_PX.std(axis=0))


def _is_determined(raw_PX: Floats, pairs: Pairs, n_langs: int) -> bool:
    """Whether the coefficients are, without any one language."""
    with_constant_PX = np.column_stack([np.ones(len(raw_PX)), raw_PX])
    samples = (with_constant_PX[(pairs != lang).all(axis=1)] for lang in range(n_langs))
    return all(np.linalg.matrix_rank(of_PX) == of_PX.shape[1] for of_PX in samples)


def _estimates(value_PC: Floats, design: _Design, other_P: NDArray[np.bool_]) -> dict[str, float]:
    """The terms of one sample of pairs and concepts."""
    mean_P, found = value_PC.mean(axis=1), {}
    constant_P1 = np.ones((len(mean_P), 1))
    if design.names:
        scaled_PX = np.hstack([constant_P1, design.scaled_PX])
        slope_X = np.linalg.lstsq(scaled_PX, mean_P)[0]
        found = dict(zip(design.names, slope_X[1:].tolist(), strict=True))
        rest_P = mean_P - scaled_PX @ slope_X
        total = float(np.square(mean_P - mean_P.mean()).sum())
        found[R_SQUARED] = 1 - float(rest_P @ rest_P) / total if total > 0 else np.nan
    found[ALL_PAIRS] = float(mean_P.mean())
    if other_P.any():
        found[OTHER_SCRIPT] = float(mean_P[other_P].mean())
        # Without the script among the predictors what is expected would not be of two scripts.
        if design.names and (_SCRIPT in design.names or other_P.all()):
            from_zero = [name in (_SCRIPT, _TOKENS) for name in design.names]
            based_PX = design.raw_PX - np.where(from_zero, 0, design.raw_PX.mean(axis=0))
            fitted_X = np.linalg.lstsq(np.hstack([constant_P1, based_PX]), mean_P)[0]
            found[LEFT] = float(fitted_X[0])
    return found


def _half_widths(
    value_PC: Floats, design: _Design, other_P: NDArray[np.bool_], pairs: Pairs, n_langs: int
) -> dict[str, float]:
    """Half of each 95 % interval: the variances of leaving out a language and a concept, added.

    Student's quantile is for as many languages. What they vary together counts twice, on the wide side.
    Of two languages the interval is over concepts alone.
    """
    from scipy.special import stdtrit  # slow to import, needed once

    def without_language(lang: int) -> dict[str, float]:
        kept_P = (pairs != lang).all(axis=1)
        # Predictors keep their scale, so that coefficients stay comparable.
        part = _Design(design.names, design.raw_PX[kept_P], design.scaled_PX[kept_P])
        return _estimates(value_PC[kept_P], part, other_P[kept_P])

    def without_concept(concept: int) -> dict[str, float]:
        return _estimates(np.delete(value_PC, concept, axis=1), design, other_P)

    concepts = _jackknife(without_concept, value_PC.shape[1])
    # Of two languages none can be left out.
    languages = _jackknife(without_language, n_langs) if n_langs > 2 else dict.fromkeys(concepts, 0.0)
    freedom = (n_langs if n_langs > 2 else value_PC.shape[1]) - 1
    factor = float(stdtrit(max(1, freedom), 0.975))
    return {term: factor * np.sqrt(languages.get(term, np.nan) + concepts[term]) for term in concepts}


def _jackknife(without: Callable[[int], dict[str, float]], n: int) -> dict[str, float]:
    """Variance of each term by leaving out one of ``n`` at a time; NaN if a term is not known without one."""
    if n < 2:
        return {}
    left = pd.DataFrame([without(at) for at in range(n)])
    spread = (left - left.mean()) ** 2
    return {str(term): float((n - 1) / n * of.sum(skipna=False)) for term, of in spread.items()}


def _tests(
    mean_P: Floats, design: _Design, pairs: Pairs, n_langs: int, settings: AlignmentSettings
) -> dict[str, tuple[float, float]]:
    """Of each predictor, and of all together, what 5 % of permutations reach and the p-value."""
    if not design.names:
        return {}
    rng = np.random.default_rng(settings.seed)
    orders_QL = np.array([rng.permutation(n_langs) for _ in range(settings.permutations)])
    constant_P1 = np.ones((len(pairs), 1))
    full_PX = np.hstack([constant_P1, design.scaled_PX])
    found = {}
    for at, name in enumerate(design.names):
        others_PX = np.delete(full_PX, at + 1, axis=1)
        rest_P = _residuals(others_PX, mean_P)
        own_P = _residuals(others_PX, design.scaled_PX[:, at])
        moved_QP = _residuals(others_PX, _permuted(own_P, pairs, orders_QL).T).T
        freedom = len(pairs) - full_PX.shape[1]
        t, scale = (x[0] for x in _t(rest_P, own_P[None], freedom))
        null_Q = np.abs(_t(rest_P, moved_QP, freedom)[0])
        found[name] = float(np.quantile(null_Q, 0.95) * scale), permutation_p(abs(float(t)), null_Q)
    moved_QP = _permuted(mean_P - mean_P.mean(), pairs, orders_QL)
    total = float(np.square(mean_P - mean_P.mean()).sum())
    if total > 0:
        null_Q = 1 - np.square(_residuals(full_PX, moved_QP.T)).sum(axis=0) / total
        observed = 1 - float(np.square(_residuals(full_PX, mean_P)).sum()) / total
        found[R_SQUARED] = float(np.quantile(null_Q, 0.95)), permutation_p(observed, null_Q)
    return found


def _t(rest_P: Floats, predictor_QP: Floats, freedom: int) -> tuple[Floats, Floats]:
    """Coefficients of single predictors over their standard errors, and these."""
    size_Q = np.square(predictor_QP).sum(axis=1)
    slope_Q = predictor_QP @ rest_P / size_Q
    wrong_Q = np.maximum(rest_P @ rest_P - slope_Q**2 * size_Q, 1e-30)
    scale_Q = np.sqrt(wrong_Q / max(1, freedom) / size_Q)
    return slope_Q / scale_Q, scale_Q


def _residuals(predictors_PX: Floats, values: Floats) -> Floats:
    """What is left of values, ``(P,)`` or ``(P, Q)``, given predictors."""
    return np.asarray(values - predictors_PX @ np.linalg.lstsq(predictors_PX, values)[0], dtype=np.float64)


def _permuted(values_P: Floats, pairs: Pairs, orders_QL: Pairs) -> Floats:
    """Values of pairs as those of the languages in other orders, ``(Q, P)``."""
    n_langs = orders_QL.shape[1]
    matrix_LL = np.zeros((n_langs, n_langs))
    matrix_LL[pairs[:, 0], pairs[:, 1]] = matrix_LL[pairs[:, 1], pairs[:, 0]] = values_P
    return np.asarray(matrix_LL[orders_QL[:, pairs[:, 0]], orders_QL[:, pairs[:, 1]]], dtype=np.float64)
