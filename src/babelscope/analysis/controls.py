"""Random units to force beside a concept's experts: as many, at the same sites of the same layers.

Experts are held at a value that is high for them: the median over the sentences of their concept lies about
two standard deviations above their mean. Random units at their own median over these sentences are hardly
moved, since the concept means nothing to them: such a control does not tell what is due to the experts from
what is due to the push. So random units are forced a second time, as far from their mean as the experts are
from theirs.

Legend: B sentences of a batch, S of the sample, U units of a site, N of the model, K random units.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.forcing import UnitSet
from babelscope.capture.extraction import pooled_batches
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import StudyError
from babelscope.models.checkpoints import LoadedModel
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Sentences of a language over which means and standard deviations are taken, at most: this many give a
#: standard deviation to 2 percent.
MOMENT_SENTENCES = 1000


class Held(NamedTuple):
    """The random units of a concept in a language, at two doses."""

    at_medians: UnitSet
    """At their medians over the sentences of the concept."""
    at_dose: UnitSet
    """As many of their standard deviations from their mean as the experts."""


class Measured(NamedTuple):
    """What units do over the sentences of a language."""

    mean_N: Floats
    sd_N: Floats
    """Population standard deviation over the same sentences."""
    medians: dict[str, Floats]
    """By concept the medians of its random units over its sentences, ``(K,)``."""


def draw_random(
    forced: pd.DataFrame,
    experts: pd.DataFrame,
    units: UnitIndex,
    *,
    lang: str,
    concept: str,
    seed: int,
    parts: Iterable[tuple[int, str, slice]] | None = None,
) -> Ints:
    """Random units to force: their numbers, one for each expert that is forced.

    They are at the same sites of the same layers, in the same order, and none is an expert of the concept.

    Args:
        forced: The experts of a concept in a language that are forced: ``layer, site, unit``.
        experts: All its experts, and ``k``.
        units: All units of the model.
        lang: The language; it and the concept seed the draw.
        concept: The concept.
        seed: Of the study.
        parts: Layer, site and numbers of the units that a random one is drawn from in place of an expert
            among them; whole sites by default.

    Raises:
        StudyError: If there are too few other units.
    """
    numbers, excluded = (numbers_of(table, units) for table in (forced, experts))
    rng = np.random.default_rng([seed, zlib.crc32(f"random/{lang}/{concept}".encode())])
    drawn = np.empty_like(numbers)
    for layer, site, part in sorted(units.parts() if parts is None else parts, key=lambda part: part[:2]):
        here = (part.start <= numbers) & (numbers < part.stop)
        count, free = int(here.sum()), np.setdiff1d(np.arange(part.start, part.stop), excluded)
        if len(free) < count:
            raise StudyError(
                "experts.k",
                int(experts["k"].max()),
                f"so few that {count} units of layer {layer}, site {site}, are no experts",
                "the random control draws from the units that are no experts of the concept",
            )
        if count:
            drawn[here] = rng.choice(free, size=count, replace=False)
    return drawn


def numbers_of(experts: pd.DataFrame, units: UnitIndex) -> Ints:
    """Numbers of the units of a table of experts, row by row."""
    return units.numbers(experts["layer"], experts["site"], experts["unit"])


def hold_random(
    loaded: LoadedModel,
    forced: Mapping[str, pd.DataFrame],
    drawn: Mapping[str, Ints],
    units: UnitIndex,
    sentences: Sequence[tuple[str, str]],
    positive: Mapping[str, Sequence[tuple[str, str]]],
    settings: ExtractionSettings,
    *,
    where: str,
) -> dict[str, Held]:
    """The random units of every concept in one language, with the values that they are held at.

    Scores of all units are gone by now (:mod:`babelscope.analysis.ranking`), so the model runs once over the
    sentences of these concepts and a sample of the others.

    Args:
        loaded: The checkpoint.
        forced: By concept the experts that are forced, and their ``forced_value``.
        drawn: By concept as many random units, see :func:`draw_random`.
        units: All units of the model.
        sentences: Id and text of the sentences of the language.
        positive: By concept those that express it.
        settings: How activations were extracted.
        where: Names the sentences in an error.

    Returns:
        By concept. A unit that is constant over the sample has no dose: it is held at its mean.
    """
    chosen = {concept: [name for name, _ in positive[concept]] for concept in drawn}
    measured = measure_units(loaded, drawn, units, sentences, chosen, settings, where=where)
    held = {}
    for concept, numbers in drawn.items():
        z_K = z_scores(numbers_of(forced[concept], units), forced[concept]["forced_value"], measured)
        places = units.places(numbers)
        held[concept] = Held(
            UnitSet(*places, measured.medians[concept]),
            UnitSet(*places, measured.mean_N[numbers] + z_K * measured.sd_N[numbers]),
        )
    return held


def z_scores(numbers: Ints, values: Any, measured: Measured) -> Floats:
    """How many standard deviations a unit's value lies above its mean; 0 for a unit that is constant."""
    sd_K = measured.sd_N[numbers]
    above_K = np.asarray(values, dtype=np.float64) - measured.mean_N[numbers]
    return np.divide(above_K, sd_K, out=np.zeros_like(above_K), where=sd_K > 0)


def measure_units(
    loaded: LoadedModel,
    drawn: Mapping[str, Ints],
    units: UnitIndex,
    sentences: Sequence[tuple[str, str]],
    positive: Mapping[str, Collection[str]],
    settings: ExtractionSettings,
    *,
    where: str,
) -> Measured:
    """Means and standard deviations of all units over a sample of sentences; medians of some over others.

    Args:
        loaded: The checkpoint.
        drawn: By concept the units whose medians are wanted.
        units: All units of the model.
        sentences: Id and text of the sentences of the language.
        positive: By concept the ids over which its medians are taken.
        settings: How activations were extracted.
        where: Names the sentences in an error.
    """
    sample = sample_sentences(sentences)
    wanted = sample.union(*positive.values())
    kept = [(name, text) for name, text in sentences if name in wanted]
    in_sample_S = np.array([name in sample for name, _ in kept])
    names = np.array([name for name, _ in kept], dtype=object)
    rows = {concept: np.flatnonzero(np.isin(names, list(ids))) for concept, ids in positive.items()}
    values = {concept: np.empty((len(rows[concept]), len(drawn[concept])), np.float32) for concept in drawn}
    parts, moments = list(units.parts()), Moments(len(units))
    for batch, pooled in pooled_batches(loaded, kept, settings, where=where):
        values_BN = np.concatenate([pooled[layer, site] for layer, site, _ in parts], axis=1)
        moments.add(values_BN[in_sample_S[batch]])
        for concept, numbers in drawn.items():
            there_B = np.isin(batch, rows[concept])
            at = np.searchsorted(rows[concept], batch[there_B])
            values[concept][at] = values_BN[np.ix_(there_B, numbers)]
    medians = {
        concept: np.median(of_concept, axis=0).astype(np.float64) for concept, of_concept in values.items()
    }
    return Measured(moments.mean_N, moments.sd_N, medians)


def sample_sentences(sentences: Sequence[tuple[str, str]]) -> set[str]:
    """The first sentences in the order of a hash: whatever else a study analyses."""
    names = sorted((name for name, _ in sentences), key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(names[:MOMENT_SENTENCES])


class Moments:
    """Mean and standard deviation of columns, a batch of rows at a time.

    Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".
    """

    def __init__(self, width: int) -> None:
        self.n, self.mean_N, self._squares_N = 0, np.zeros(width), np.zeros(width)

    def add(self, values_BN: NDArray[Any]) -> None:
        """Take in a batch, which may be empty."""
        n = len(values_BN)
        if not n:
            return
        mean_N = values_BN.mean(axis=0, dtype=np.float64)
        shift_N = mean_N - self.mean_N
        self._squares_N += values_BN.var(axis=0, dtype=np.float64) * n
        self._squares_N += shift_N**2 * (self.n * n / (self.n + n))
        self.n += n
        self.mean_N += shift_N * (n / self.n)

    @property
    def sd_N(self) -> Floats:
        """Population standard deviation."""
        return np.sqrt(self._squares_N / max(1, self.n))
