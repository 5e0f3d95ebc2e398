"""How much overlap changed from one step to another, with the interval of the difference.

Two steps share their concepts and languages, so their overlaps rise and fall together when these are
resampled: the interval of the difference takes the same draw at both steps, and is narrower than what two
intervals side by side would leave. Names of shapes: ``S`` steps, ``B`` resamples.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL, way_interval, ways
from babelscope.analysis.power import detectable_excess, languages_of

Floats = NDArray[np.float64]
_PLACE = ["model", "scope", "layer", "variant"]
_COLUMNS = [
    "model", "step", "since", "scope", "layer", "variant", "measure", "change", "low", "high", "n_concepts",
    "detectable",
]  # fmt: skip


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
    means = overlap[(overlap["lang_a"] == ALL) & overlap["scope"].isin(["model", "layer"])]
    rows = []
    for place, of_place in draws.groupby(_PLACE, sort=False):
        here = means[(means[_PLACE] == list(place)).all(axis=1)].set_index("step")
        steps = sorted(of_place["step"].unique().tolist())
        drawn = {step: _measures(part) for step, part in of_place.groupby("step")}
        known = {step: _measures(here.loc[[step]]) for step in steps}
        n_concepts, n_pairs = (int(here[column].iloc[0]) for column in ("n_concepts", "n_pairs"))
        for since, step in dict.fromkeys([*((steps[0], step) for step in steps[1:]), *pairwise(steps)]):
            for name, now_B in drawn[step].items():
                with np.errstate(invalid="ignore"):  # no room at either step
                    low, high = way_interval(now_B - drawn[since][name])
                    change = float((known[step][name] - known[since][name])[0])
                change, low, high = (x if np.isfinite(change) else np.nan for x in (change, low, high))
                model, scope, layer, variant = place
                least = detectable_excess(change - low, languages_of(n_pairs), n_concepts)
                row = (model, step, since, scope, layer, variant, name, change, low, high, n_concepts, least)
                rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _measures(rows: pd.DataFrame) -> dict[str, Floats]:
    """What is compared, of each row."""
    overlap, null, ceiling = (
        rows[name].to_numpy(dtype=np.float64) for name in ("overlap", "null", "ceiling")
    )
    return {"overlap": overlap, "excess": overlap - null, "way": ways(overlap, null, ceiling)}
