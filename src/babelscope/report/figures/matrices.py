"""Language by language matrices: the drawing that figures of pairs share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import part
from babelscope.report.figures.style import (
    INK,
    PlotStyle,
    category_axes,
    heat_map,
    on_cells,
    panels,
    thin,
)


def at_three_steps(cells: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first, a middle and the last step of each model."""
    of_model = cells.groupby(["id", "role"])["step"]
    return cells[of_model.transform(lambda steps: steps.isin(thin(sorted(steps.unique()), 3))).astype(bool)]


def draw_matrices(
    frame: pd.DataFrame, style: PlotStyle, axis: StepAxis, *, vmax: float, label: str, **look: Any
) -> Figure:
    """A matrix for each step, a row of them per model, in one scale of colours.

    Args:
        frame: Rows of ``lang_a`` (rows of a matrix), ``lang_b`` (columns) and ``value``.
        style: Of all figures.
        axis: Names the steps.
        vmax: Top of the scale.
        label: What the colours mean.
        look: Of the cells, as matplotlib's ``pcolormesh`` takes it.
    """
    languages = sorted(frame["lang_a"].unique())
    steps = {key: sorted(part(frame, key)["step"].unique()) for key in axis.models}
    columns = max(map(len, steps.values()))
    size = min(max(0.3 * len(languages) + 0.6, 2.4), 5.0)
    figure, axes = panels(len(steps), columns, style, width=columns * size + 1.2, height=size)
    for row, key in enumerate(steps):
        for ax in axes[row, len(steps[key]) :]:
            ax.set_visible(False)
        for ax, step in zip(axes[row], steps[key], strict=False):
            cells = part(frame, key, step=step).pivot(index="lang_a", columns="lang_b", values="value")
            grid = cells.reindex(index=languages, columns=languages)
            mesh = heat_map(ax, grid, vmax=vmax, linewidth=0.5, **look)
            category_axes(ax, languages, languages, most=24)
            ax.tick_params(axis="x", rotation=90 if len(languages) > 10 else 0)
            ax.invert_yaxis()
            ax.set_aspect("equal")
            ax.set_title(f"{key[0]}, {axis.name(int(step), key)}", fontsize="medium")
            if len(languages) <= 8:
                _write_cells(ax, grid.to_numpy(), vmax, 6.5 * style.font_scale)
    figure.colorbar(mesh, ax=axes, label=label, shrink=0.8, pad=0.02)
    return figure


def _write_cells(ax: Any, grid: np.ndarray[Any, Any], top: float, size: float) -> None:
    for (i, j), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.55 * top else INK
            text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.0f}"
            place = {"ha": "center", "va": "center", "gid": f"{on_cells(ax)}-{i}-{j}"}
            ax.text(j + 0.5, i + 0.5, text, color=colour, fontsize=size, **place)
