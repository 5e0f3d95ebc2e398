"""The table of overlap of one model as arrays: steps x layers x variants x pairs of languages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from babelscope.report.explorer.packing import pack, words_of
from babelscope.report.summaries import ALL, OVERLAP_VARIANTS, SAME


def matrix_block(overlap: pd.DataFrame) -> str | None:
    """The block of a model's overlaps.

    ``overlap`` and ``null``, each (steps, layers, variants, pairs), hold shares in 16 bits. The header has
    the four axes; layer -1 is the whole model, the pair ``*, *`` the mean over different languages and
    ``=, =`` that over languages with themselves.

    Args:
        overlap: The rows of one model in the table of overlap.

    Returns:
        None if there are no rows.
    """
    rows = overlap[overlap["scope"].isin(["model", "layer"])]
    kinds = rows["lang_a"].str.startswith((ALL, SAME)) & ~rows["lang_a"].isin([ALL, SAME])
    rows = rows[~kinds]
    if rows.empty:
        return None
    variants = [name for name in OVERLAP_VARIANTS if name in set(rows["variant"])]
    rows = rows.assign(pair=rows["lang_a"] + " " + rows["lang_b"])
    axes: dict[str, list[Any]] = {
        "step": sorted(set(rows["step"].tolist())),
        "layer": sorted(set(rows["layer"].tolist())),
        "variant": variants,
        "pair": sorted(set(rows["pair"].tolist())),
    }
    at = [pd.Index(values).get_indexer(pd.Index(rows[name])) for name, values in axes.items()]
    arrays = {}
    for name in ("overlap", "null"):
        values = np.full([len(axis) for axis in axes.values()], np.nan)
        values[tuple(at)] = rows[name]
        arrays[name] = words_of(values)
    pairs = [pair.split(" ") for pair in axes["pair"]]
    named = {f"{name}s": values for name, values in axes.items()}
    return pack({**named, "pairs": pairs}, arrays)
