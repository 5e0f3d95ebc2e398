"""Token traces of one model and concept: what units do on every token of their sentences, packed.

Names of shapes: ``R`` rows of the table, ``T`` texts, ``N`` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from babelscope.report.explorer.packing import pack, planes_of
from babelscope.units import unit_name

#: Most of what a value of four signed bits says.
_MOST = 7


def kept_steps(steps: Sequence[int], n: int) -> list[int]:
    """So many of the steps, the first, the last and those between evenly; all if there are no more."""
    if n >= len(steps):
        return list(steps)
    if n == 1:
        return [steps[-1]]
    return [steps[at] for at in np.round(np.linspace(0, len(steps) - 1, n)).astype(int)]


def by_concept(traces: pd.DataFrame, model: str) -> list[pd.DataFrame]:
    """The rows of a model, a table for each concept for which units are on show; last those of none."""
    rows = traces[traces["model"] == model]
    rows = rows.assign(concept=rows["concept"].fillna(""))
    return [rows[rows["concept"] == name] for name in sorted(set(rows["concept"]), key=lambda c: (not c, c))]


def traced_in(tables: Sequence[pd.DataFrame]) -> dict[str, int]:
    """Of each traced unit in which of the tables it stands; a unit is on show for one concept."""
    return {name: at for at, rows in enumerate(tables) for name in dict.fromkeys(_names(rows))}


def _names(rows: pd.DataFrame) -> list[str]:
    return [unit_name(*place) for place in rows[["layer", "site", "unit"]].itertuples(index=False)]


def trace_block(traces: pd.DataFrame, n_steps: int) -> str:
    """The block of the traces of a concept, at some of their steps.

    The header has the ``concept`` (empty: none), the ``steps``, the ``units`` with a ``scale`` each, the
    ``texts`` once each with the bounds of their tokens in UTF-16 units, and the ``rows``: unit, language,
    kind, rank, step, text, whether it expresses the concept, its value and quantile, where its values begin.
    ``values`` has two values a byte, the first in the low bits: -7 to 7 plus 8, of 7 for the unit's scale.

    Args:
        traces: Rows of ``tables/traces.parquet`` of one model and concept.
        n_steps: Steps that are kept.
    """
    steps = kept_steps(sorted(int(step) for step in traces["step"].unique()), n_steps)
    rows = traces[traces["step"].isin(steps)]
    names = _names(rows)
    units = list(dict.fromkeys(names))
    most = dict.fromkeys(units, 0.0)
    for name, values in zip(names, rows["values"], strict=True):
        most[name] = max(most[name], float(np.max(np.abs(np.nan_to_num(values)), initial=0)))
    texts: dict[tuple[str, str], int] = {}
    bounds, listed, coded, n_values = [], [], [], 0
    for name, row in zip(names, rows.to_dict("records"), strict=True):
        key = str(row["lang"]), str(row["text"])
        if key not in texts:
            texts[key] = len(texts)
            bounds.append([_spread(row["starts"]), _spread(row["ends"])])
        values_N = np.nan_to_num(np.asarray(row["values"], dtype=np.float64))
        coded.append(np.round(values_N / (most[name] or 1) * _MOST).astype(np.int64) + _MOST + 1)
        listed.append(
            [units.index(name), key[0], str(row["kind"]), int(row["rank"]), steps.index(int(row["step"])),
             texts[key], int(row["positive"]), _short(row["value"]), _short(row["quantile"]), n_values]
        )  # fmt: skip
        n_values += len(values_N)
    value_N = np.concatenate([np.empty(0, np.int64), *coded])
    value_N = np.pad(value_N, (0, len(value_N) % 2))
    header = {
        "concept": str(rows["concept"].iloc[0]),
        "steps": steps,
        "units": units,
        "scale": [float(f"{most[name]:.4g}") for name in units],
        "texts": [each for _, each in texts],
        "bounds": bounds,
        "rows": listed,
    }
    return pack(header, {"values": planes_of(value_N[::2] + 16 * value_N[1::2])[:1]})


def _spread(bounds: Sequence[int]) -> list[int]:
    """Bounds as differences to the one before, which are small."""
    return [int(each) for each in np.diff(np.asarray(bounds, dtype=np.int64), prepend=0)]


def _short(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return float(f"{number:.4g}") if np.isfinite(number) else None
