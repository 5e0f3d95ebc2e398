"""How small an overlap a study can tell from its null: before it runs, and of one that has run.

A finding says that experts are shared if the interval of the mean overlap (all languages, disjoint lines)
lies above its null and permuted concepts hardly ever reach it (p of 0.05 at most). Power is the share of
studies that would say so, were the overlap really so large; *detectable* is the least overlap above the null
with a power of 0.8. The formula is our own, by the usual argument (Cohen 1988): an effect is told if it is as
many standard errors away as the test asks for, and z more.

**Before** (:func:`detectable_overlap`): sets of K of N units meet by chance in a share that varies as the
hypergeometric law says, h = p (1 - p) (N - K) / (K (N - 1)) with p = K/N. Units that go together make sets
clump, which multiplies h by an inflation D. Over P pairs of languages, C concepts and both ways round the
mean has the variance n^2 = D h / (2 P C). What is shared beyond that, a mean excess of e, varies over
concepts: what is expected of each by a standard deviation of v e, and the number of shared units, which come
whole, as Poisson's law says; so the mean has the variance u^2 = (v^2 e^2 + e / K) / C besides. Then

    e = t sqrt(B n^2 + u^2) + z sqrt(n^2 + u^2),    B = 7 or 1,

t being Student's 0.975 quantile for as many languages and z the normal 0.8 quantile. B is what the
resamples of :class:`babelscope.stats.TwoWayDraws` make of noise: they draw the concept and both languages of
a cell, whose weight is a product of three counts of mean 1 and variance 1: the mean of its square is 8, so
B = 8 - 1. Two languages are not drawn. A permutation leaves one concept in its place on average, with a
variance of one:

    e (1 - 1/C) = z(0.95) sqrt(n^2 + e^2 / C^2) + z sqrt(n^2 + u^2).

The larger e counts. Before a study has run D and v are guesses. The number of sentences is not in it: that
bounds how much of what is shared can be found at all, of which :func:`ap_by_chance` speaks.

**After** (:func:`detectable_excess`): the same with the standard error and the null that the study's own
resamples and permutations gave.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Share of studies that are to see what is there.
POWER = 0.8
#: Level of the permutation test and of the intervals, as the findings have it.
LEVEL = 0.05

#: How much more the overlap of unrelated concepts varies than that of random sets. Measured where nothing or
#: little is shared in the demo study (random weights, early steps, the control): 2.2 to 5.5.
INFLATION = 4.0
#: Standard deviation over concepts of what is expected of each, in its mean. In the demo study all of the
#: spread is 0.4 at an excess of .14 and 0.8 at .07, of which whole units explain the larger part. Where a few
#: concepts share nearly all, as in a small model of real text, it is above 2, and less can be told than this
#: says.
SPREAD = 0.5
#: How often noise of single cells counts in the resamples, with more than two languages and with two.
_CELL_NOISE = {True: 7.0, False: 1.0}


@dataclass(frozen=True)
class Design:
    """What the power of a study depends on.

    Attributes:
        n_concepts: Concepts.
        n_langs: Languages.
        k: Experts of a concept.
        n_units: Units they are chosen among.
        inflation: Variance of an overlap by chance, in that of random sets.
        spread: Standard deviation of the excess over concepts, in its mean.
    """

    n_concepts: int
    n_langs: int
    k: int
    n_units: int
    inflation: float = INFLATION
    spread: float = SPREAD

    @property
    def chance(self) -> float:
        """Mean overlap of random sets, K/N."""
        return self.k / self.n_units

    @property
    def noise(self) -> float:
        """Standard deviation of the mean overlap where nothing is shared."""
        n_pairs = self.n_langs * (self.n_langs - 1) / 2
        variance = self.chance * (1 - self.chance) * (self.n_units - self.k) / (self.k * (self.n_units - 1))
        return math.sqrt(self.inflation * variance / (2 * n_pairs * self.n_concepts))


def detectable_overlap(design: Design) -> float:
    """Least excess of the mean overlap over its null that the study would tell with a power of 0.8.

    Args:
        design: The study.

    Returns:
        A share of K; infinite if there is none: with so few concepts or languages, intervals of any excess
        reach the null, or too few permutations exist.
    """
    if design.n_langs < 2 or math.factorial(min(design.n_concepts, 9)) < 1 / LEVEL:
        return math.inf
    noise2, n_concepts = design.noise**2, design.n_concepts
    found = _student(design.n_langs, n_concepts)
    extreme, power = _normal(1 - LEVEL), _normal(POWER)

    def missing(excess: float) -> float:
        """How much the excess lacks."""
        uneven2 = ((design.spread * excess) ** 2 + excess / design.k) / n_concepts
        aim = power * math.sqrt(noise2 + uneven2)
        by_interval = found * math.sqrt(_CELL_NOISE[design.n_langs > 2] * noise2 + uneven2)
        by_permutation = extreme * math.hypot(math.sqrt(noise2), excess / n_concepts) + excess / n_concepts
        return max(by_interval, by_permutation) + aim - excess

    room = 1 - design.chance
    return math.inf if missing(room) > 0 else _root(missing, 0.0, room)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that is positive at ``low`` and not at ``high`` comes to zero."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return high


def detectable_excess(half_width: float, n_langs: int, n_concepts: int, null_reach: float = 0.0) -> float:
    """Least excess over the null, or least change, that a study which has run would have told with a power of
    0.8, were its standard error what it was.

    Args:
        half_width: How far the 95% interval goes below the value, see :class:`babelscope.stats.TwoWayDraws`.
        n_langs: Languages that it resamples.
        n_concepts: Concepts.
        null_reach: How far above its mean the null comes in 5% of permutations; 0 if nothing is permuted.

    Returns:
        NaN if there is no interval.
    """
    if math.isnan(half_width):
        return math.nan
    error = half_width / _student(n_langs, n_concepts)
    return max(half_width, null_reach) + _normal(POWER) * error


def detectable_gap(half_below: float, half_above: float, n_langs: int, n_concepts: int) -> float:
    """Least distance of two values whose intervals would lie apart with a power of 0.8, the two independent.

    Args:
        half_below: How far the interval of the higher value goes below it.
        half_above: How far that of the lower one goes above it.
        n_langs: Languages that the intervals resample.
        n_concepts: Concepts.
    """
    error = math.hypot(half_below, half_above) / _student(n_langs, n_concepts)
    return half_below + half_above + _normal(POWER) * error


def languages_of(n_pairs: int) -> int:
    """How many languages have so many pairs."""
    return round((1 + math.sqrt(1 + 8 * n_pairs)) / 2)


def ap_by_chance(
    n_positive: int, n_negative: int, share: float, *, draws: int = 8000, seed: int = 0
) -> float:
    """Average precision from which on a unit is among the best by chance, where no unit knows anything.

    The fewer the sentences the higher it is: a unit of a lower average precision is no expert, whatever it
    means.

    Args:
        n_positive: Sentences that express the concept.
        n_negative: Sentences that do not.
        share: Of the units that are taken, K/N.
        draws: Random orders of the sentences.
        seed: Of these.
    """
    rng = np.random.default_rng(seed)
    keys_DN = rng.random((draws, n_positive + n_negative), dtype=np.float32)
    # Where the positive ones stand: the places of the smallest of random keys.
    rank_DP = np.sort(np.argpartition(keys_DN, n_positive - 1, axis=1)[:, :n_positive], axis=1) + 1
    ap_D = (np.arange(1, n_positive + 1) / rank_DP).mean(axis=1)
    return float(np.quantile(ap_D, 1 - share))


def _student(n_langs: int, n_concepts: int) -> float:
    """The quantile that intervals are widened to, see :class:`babelscope.stats.TwoWayDraws`."""
    from scipy.special import stdtrit  # slow to import, needed seldom

    freedom = (n_langs if n_langs > 2 else n_concepts) - 1
    return float(stdtrit(max(1, freedom), 0.975))


def _normal(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))
