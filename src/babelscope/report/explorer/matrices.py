"""The table of overlap of one model as arrays: steps x layers x variants x pairs of languages."""

from __future__ import annotations

import numpy as np
import pandas as pd

from babelscope.report.explorer.packing import pack, words_of
from babelscope.report.summaries import ALL, OVERLAP_VARIANTS, SAME


def matrix_block(overlap: pd.DataFrame) -> str | None:
    """The block of a model's overlaps.

    ``overlap`` and ``null``, each (steps, layers, variants, pairs), hold shares in 16 bits. The header has the
    four axes; layer -1 is the whole model, the pair ``*, *`` the mean over different languages and ``=, =``
    that over languages with themselves.

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
    axes = {
        "steps": sorted(int(step) for step in rows["step"].unique()),
        "layers": sorted(int(layer) for layer in rows["layer"].unique()),
        "variants": variants,
        "pairs": sorted(set(zip(rows["lang_a"], rows["lang_b"], strict=True))),
    }
    at = [
        pd.Index(axes["steps"]).get_indexer(pd.Index(rows["step"])),
        pd.Index(axes["layers"]).get_indexer(pd.Index(rows["layer"])),
        pd.Index(variants).get_indexer(pd.Index(rows["variant"])),
        pd.MultiIndex.from_tuples(axes["pairs"]).get_indexer(
            pd.MultiIndex.from_frame(rows[["lang_a", "lang_b"]])
        ),
    ]
    arrays = {}
    for name in ("overlap", "null"):
        values = np.full([len(axis) for axis in axes.values()], np.nan)
        values[tuple(at)] = rows[name]
        arrays[name] = words_of(values)
    return pack({**axes, "pairs": [list(map(str, pair)) for pair in axes["pairs"]]}, arrays)
