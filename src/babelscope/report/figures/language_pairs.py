"""Figures of what is measured in every pair of languages: ablation and patching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.figure import Figure

from babelscope.analysis.language_pairs import ACROSS, OWN
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.matrices import at_three_steps, draw_matrices
from babelscope.report.figures.spec import points
from babelscope.report.figures.style import PlotStyle
from babelscope.report.summaries import at_last_step, per_model
from babelscope.report.words import say


def of_means(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that are means over languages."""
    return table[table["source"].isin([ACROSS, OWN])]


def of_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of single pairs of languages."""
    return table[~table["source"].isin([ACROSS, OWN])]


def of_kind(table: pd.DataFrame, kind: tuple[str, str]) -> pd.DataFrame:
    """Rows of a mean over languages, and a condition."""
    languages, condition = kind
    return table[(table["source"] == languages) & (table["condition"] == condition)]


def pair_cells(rows: pd.DataFrame, models: pd.DataFrame | None) -> pd.DataFrame:
    """Kind ``cell``: the gain in every pair, at three steps."""
    named = rows.rename(columns={"source": "lang_a", "target": "lang_b"})
    cells = points(named, models, ["step", "lang_a", "lang_b"], "gain", kind="cell", band=False)
    return at_three_steps(cells)


def draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis, label: str) -> Figure:
    """Matrices of cells, the first language down, the second across; 0 in the middle of the colours."""
    top = float(frame["value"].abs().max()) or 1.0
    look = {"cmap": "vlag", "vmin": -top, "edgecolor": "white"}
    return draw_matrices(frame, style, axis, vmax=top, label=label, **look)


def pair_sentences(key: str, pairs: pd.DataFrame, models: pd.DataFrame | None) -> Iterator[str]:
    """How far the gains at the last step lie apart, of pairs of different languages."""
    across = at_last_step(pairs[pairs["source"] != pairs["target"]])
    for label, rows in per_model(across, models):
        values = rows.groupby(["source", "target"])["gain"].mean()
        ends: Mapping[str, object] = {
            "low": values.min(), "high": values.max(), "least": values.idxmin(), "most": values.idxmax()
        }  # fmt: skip
        yield say(key, model=label, step=int(rows["step"].max()), n=len(values), **ends)
