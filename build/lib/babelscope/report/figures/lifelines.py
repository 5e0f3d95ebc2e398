"""Life lines of shared units: a raster of units against steps, and the most reliable ones below."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, present, stack
from babelscope.report.figures.style import PlotStyle, category_axes, heat_map, panels, thin
from babelscope.report.summaries import (
    AT_MOST,
    model_label,
    per_model,
    shared_unit_counts,
    traced_units,
    with_roles,
)
from babelscope.report.words import say

#: More rows than this in the raster are no longer visible.
MAX_ROWS = 200

#: Units whose average precision is drawn below the raster.
MAX_BEST = 4

_UNIT = ["concept", "layer", "site", "unit"]


def _data(tables: Tables) -> pd.DataFrame:
    """Kind ``unit``: languages in which a unit is an expert; kind ``best``: worst and best average precision,
    or where ``at_most`` what they are at most.

    Units of different pre-training seeds are different units: the first seed stands for the model.
    ``row`` counts units in the order of drawing, ``n_total`` is the number of units that were shared at any
    step, ``of_languages`` that of the study's languages.
    """
    table = with_roles(tables["lifelines"], tables.get("models"))
    n_languages = table["lang"].nunique()
    parts = []
    for (id_, role), of_model in table.groupby(["id", "role"], sort=False):
        run = of_model[of_model["model"] == of_model["model"].min()]
        marks = {"id": id_, "role": role, "n_total": run["n_total"].max(), "of_languages": n_languages}
        counts = shared_unit_counts(run)
        rows = counts.merge(_raster_order(counts, min(3, n_languages)).reset_index())
        rows = rows.assign(kind="unit", value=rows["n_languages"], **marks)
        last = counts[counts["step"] == counts["step"].max()].nlargest(MAX_BEST, "worst_ap")
        best = counts.merge(last[_UNIT].assign(row=range(len(last))))
        ends = {"value": best["worst_ap"], "low": best["worst_ap"], "high": best["best_ap"]}
        parts += [rows, best.assign(kind="best", **ends, **marks)]
    return stack(*parts)


def _raster_order(counts: pd.DataFrame, shared: int) -> pd.Series:
    """Place of each unit that is drawn: by the first step at which so many languages share it."""
    grid = counts.pivot_table(index=_UNIT, columns="step", values="n_languages", aggfunc="first", sort=False)
    there = grid.to_numpy() >= shared
    start = np.where(there.any(axis=1), there.argmax(axis=1), grid.shape[1])
    order = np.lexsort((-np.nan_to_num(grid.to_numpy()).sum(axis=1), start))[:MAX_ROWS]
    return pd.Series(range(len(order)), index=grid.index[order], name="row")


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A column per model."""
    keys, n_languages = present(frame, axis), int(frame["of_languages"].iloc[0])
    figure, axes = panels(2, len(keys), style, height=3.2, height_ratios=[2.2, 1.3], sharey="row")
    cmap = mpl.colors.ListedColormap(["#f3f5f7", *sns.color_palette("mako_r", n_languages).as_hex()])
    norm = mpl.colors.BoundaryNorm(np.arange(n_languages + 2) - 0.5, cmap.N)
    for (ax, below), key in zip(axes.T, keys, strict=True):
        units = part(frame, key, kind="unit")
        grid = units.pivot(index="row", columns="step", values="value")
        mesh = heat_map(ax, grid, cmap=cmap, norm=norm, rasterized=True)
        category_axes(ax, grid.columns, [])
        axis.cells(ax, grid.columns, key)
        ax.set_title(f"{model_label(key)}: {len(grid)} of {units['n_total'].iloc[0]} units")
        ax.grid(False)
        best = part(frame, key, kind="best").groupby("row")
        for (_, unit), colour in zip(best, style.colours(), strict=False):
            x = np.searchsorted(grid.columns.to_numpy(), unit["step"].to_numpy()) + 0.5
            below.fill_between(x, unit["low"], unit["high"], color=colour, alpha=0.15, lw=0)
            below.plot(x, unit["value"], "-o", ms=3, color=colour)
            hollow = unit[AT_MOST].to_numpy(dtype=bool)
            below.scatter(x[hollow], unit["value"][hollow], s=9, c="white", edgecolors=colour, zorder=3)
        category_axes(below, grid.columns, None)
        axis.cells(below, grid.columns, key)
        below.set(xlabel="training step", xlim=(0, grid.shape[1]))
    axes[0, 0].set_ylabel("unit")
    axes[0, 0].set_ylim(frame.loc[frame["kind"] == "unit", "row"].max() + 1, 0)
    axes[1, 0].set_ylabel("worst to best AP")
    bar = figure.colorbar(mesh, ax=axes[0], label="languages", pad=0.02)
    bar.set_ticks(thin(range(n_languages + 1), 9))
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    for label, rows in per_model(shared_unit_counts(tables["lifelines"]), tables.get("models")):
        rows = rows[rows["model"] == rows["model"].min()]
        step = rows["step"].max()
        last = rows.loc[rows["step"] == step, "n_languages"]
        yield say("traced", model=label, n=len(last), step=step, kept=(last >= 2).sum(), most=last.max())


LIFELINES = FigureSpec("lifelines", _data, _draw, traced_units, _sentences)
