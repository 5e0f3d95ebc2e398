"""Units across languages: the most reliable unit of each concept, and how many units are shared."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, stack
from babelscope.report.figures.style import (
    INK,
    PlotStyle,
    legend,
    line,
    model_colours,
    panels,
    seeds_note,
    shades,
    short,
    thin,
)
from babelscope.report.summaries import ALL, at_last_step, best_unit, model_label


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``concept``, ``mean`` over them, ``null``, and ``shared`` by at least ``m`` languages."""
    table, models = tables["reliability"], tables.get("models")
    single, shared = best_unit(table), table[table["kind"] == "shared_units"]
    shared = shared[shared["m"].isin(thin(sorted(shared["m"].unique()), 6))]
    of_all = single["concept"] == ALL
    return stack(
        points(single[~of_all], models, ["step", "concept"], kind="concept", band=False),
        points(single[of_all], models, ["step"], kind="mean"),
        points(single[of_all], models, ["step"], "null", kind="null", band=False),
        points(shared, models, ["step", "m"], kind="shared", band=False),
    )


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Worst-language average precision on the left, counts of shared units on the right; a row per model."""
    figure, axes = panels(len(axis.models), 2, style, height=3.1, sharey="col")
    counts = [int(m) for m in sorted(frame["m"].dropna().unique())]
    looks = dict(zip(counts, shades(len(counts)), strict=True))
    for (left, right), (key, colour) in zip(axes, model_colours(axis.models, style).items(), strict=True):
        of_model = part(frame, key)
        for _, rows in part(of_model, kind="concept").groupby("concept"):
            left.plot(rows["step"], rows["value"], color=colour, lw=0.6, alpha=0.35)
        line(left, part(of_model, kind="mean"), colour, "-", "o")
        null = part(of_model, kind="null")
        left.plot(null["step"], null["value"], ":", color=INK, lw=1.4)
        left.set(title=model_label(key), ylabel="worst average precision")
        for m, shade in looks.items():
            rows = part(of_model, kind="shared", m=m)
            right.plot(rows["step"], rows["value"], "-o", ms=3, color=shade)
        _count_axis(right)
        for ax in (left, right):
            axis.lines(ax, frame["step"], key)
    handles = [
        Line2D([], [], color=INK, lw=2, label="mean over concepts"),
        Line2D([], [], color=INK, lw=0.7, alpha=0.5, label="one concept"),
        Line2D([], [], color=INK, ls=":", label="null: permuted concepts"),
    ]
    handles += [
        Line2D([], [], color=shade, marker="o", ms=3, label=f"in ≥ {m} languages")
        for m, shade in looks.items()
    ]
    legend(figure, handles, seeds_note(frame))
    return figure


def _count_axis(ax: Any) -> None:
    """Units, on a logarithmic axis with room for none."""
    ax.set(title="units shared", ylabel="units (0, then log)")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(FixedLocator([0, 1, 10, 100, 1000, 10000]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(lambda value, _: short(value))


def _numbers(tables: Tables) -> pd.DataFrame:
    columns = ["model", "step", "concept", "layer", "site", "unit", "value", "low", "high", "null"]
    return at_last_step(best_unit(tables["reliability"]))[columns].rename(columns={"value": "worst_ap"})


RELIABILITY = FigureSpec("reliability", _data, _draw, numbers=_numbers, finding="reliable_units")
