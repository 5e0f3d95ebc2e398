"""How much overlap differs between two steps of a model, or between a model and its control.

Both share their concepts and languages, so their overlaps rise and fall together when these are resampled:
the interval of the difference takes the same draw on both sides, and is narrower than what two intervals
side by side would leave. Names of shapes: ``S`` steps, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL, way_interval, ways
from babelscope.analysis.power import detectable_excess, languages_of

Floats = NDArray[np.float64]
_Key = tuple[str, str, int, str]
"""Model, scope, layer, variant."""
_PLACE = ["scope", "layer", "variant"]
_TAIL = [*_PLACE, "measure"]
_CHANGES = ["model", "step", "since", *_TAIL, "change", "low", "high", "n_concepts", "detectable"]
_CONTRASTS = ["model", "control", "step", *_TAIL, "difference", "low", "high", "n_concepts"]


def overlap_changes(overlap: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """Change of the means over all pairs since the first step, and since the step before.

    Args:
        overlap: Tables of overlap of one or more models and steps, see
            :func:`babelscope.analysis.overlap.overlap_tables`.
        draws: Their draws.

    Returns:
        Columns ``model, step, since, scope, layer, variant, measure, change, low, high, n_concepts,
        detectable``.
        ``measure`` is ``overlap``, ``excess`` (overlap above its null) or ``way`` (share of the way from null
        to ceiling). The interval is of the difference, over concepts and languages together.
        ``detectable`` is the least rise that would be told from none with a power of 0.8.
    """
    rows = []
    for (model, *place), at in _drawn_means(overlap, draws).items():
        steps = sorted(at)
        for since, step in dict.fromkeys([*((steps[0], step) for step in steps[1:]), *pairwise(steps)]):
            for row in _differences(at[step], at[since]):
                _, change, low, _, n_concepts = row
                least = detectable_excess(change - low, at[step].n_langs, n_concepts)
                rows.append((model, step, since, *place, *row, least))
    return pd.DataFrame(rows, columns=_CHANGES)


def overlap_contrasts(
    overlap: pd.DataFrame, draws: pd.DataFrame, against: Iterable[tuple[str, str]]
) -> pd.DataFrame:
    """The means over all pairs in a model less those in a control at the same step.

    Args:
        overlap: As for :func:`overlap_changes`.
        draws: Their draws: of all models over the same concepts and languages, by the same seed.
        against: Pairs of a model and a control.

    Returns:
        Columns ``model, control, step, scope, layer, variant, measure, difference, low, high, n_concepts``;
        the rest as of :func:`overlap_changes`. Steps and layers that only one of the two has are left out.
    """
    means, rows = _drawn_means(overlap, draws), []
    for model, control in against:
        for (name, scope, layer, variant), own in means.items():
            other = means.get((control, scope, layer, variant), {}) if name == model else {}
            for step in sorted(own.keys() & other.keys()):
                at = model, control, step, scope, layer, variant
                rows += [(*at, *row) for row in _differences(own[step], other[step])]
    floats, ints = ("difference", "low", "high"), ("step", "layer", "n_concepts")
    types = dict.fromkeys(floats, np.float64) | dict.fromkeys(ints, np.int64)
    return pd.DataFrame(rows, columns=_CONTRASTS).astype(types)


class _Drawn(NamedTuple):
    """The mean over all pairs at a step and place, by measure."""

    value: dict[str, Floats]
    """Each of shape ``(1,)``."""
    draws: dict[str, Floats]
    """Each of shape ``(B,)``."""
    n_concepts: int
    n_langs: int


def _drawn_means(overlap: pd.DataFrame, draws: pd.DataFrame) -> dict[_Key, dict[int, _Drawn]]:
    """By model and place, and then by step."""
    keys = ["model", *_PLACE]
    means = overlap[(overlap["lang_a"] == ALL) & overlap["scope"].isin(["model", "layer"])]
    known = {key: of.set_index("step") for key, of in means.groupby(keys, sort=False)}
    found: dict[_Key, dict[int, _Drawn]] = {}
    place: Any
    for place, of_place in draws.groupby(keys, sort=False):
        here = known[place]
        n_concepts, n_pairs = (int(here[column].iloc[0]) for column in ("n_concepts", "n_pairs"))
        of_steps: Any = of_place.groupby("step")
        found[place] = {
            int(step): _Drawn(_measures(here.loc[[step]]), _measures(part), n_concepts, languages_of(n_pairs))
            for step, part in of_steps
        }
    return found


def _differences(one: _Drawn, other: _Drawn) -> Iterator[tuple[str, float, float, float, int]]:
    """By measure the difference with its interval, and the number of concepts."""
    for name, draws_B in one.draws.items():
        with np.errstate(invalid="ignore"):  # no room on either side
            low, high = way_interval(draws_B - other.draws[name])
            value = float((one.value[name] - other.value[name])[0])
        value, low, high = (x if np.isfinite(value) else np.nan for x in (value, low, high))
        yield name, value, low, high, one.n_concepts


def _measures(rows: pd.DataFrame) -> dict[str, Floats]:
    """What is compared, of each row."""
    overlap, null, ceiling = (
        rows[name].to_numpy(dtype=np.float64) for name in ("overlap", "null", "ceiling")
    )
    return {"overlap": overlap, "excess": overlap - null, "way": ways(overlap, null, ceiling)}
