"""Units across languages: the most reliable unit of each concept, and how many units are shared."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, stack
from babelscope.report.figures.style import (
    GREY,
    INK,
    Look,
    PlotStyle,
    from_zero,
    legend,
    line,
    model_looks,
    panels,
    shaded_looks,
    short,
    thin,
)
from babelscope.report.summaries import ALL, at_last_step, best_unit


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``concept``, ``mean`` over them, ``null``, ``chance`` (scores in random order), and ``shared``
    by at least ``m`` languages with its ``shared null``."""
    table, models = tables["reliability"], tables.get("models")
    single, shared = best_unit(table), table[table["kind"] == "shared_units"]
    shared = shared[shared["m"].isin(thin(sorted(shared["m"].unique()), 6))]
    of_all = single["concept"] == ALL
    return stack(
        points(single[~of_all], models, ["step", "concept"], kind="concept", band=False),
        points(single[of_all], models, ["step"], kind="mean"),
        points(single[of_all], models, ["step"], "null", kind="null", band=False),
        points(single[of_all], models, ["step"], "chance_ap", kind="chance", band=False),
        points(shared, models, ["step", "m"], kind="shared", band=False),
        points(shared, models, ["step", "m"], "null", kind="shared null", band=False),
    )


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Worst-language average precision on the left, counts of shared units on the right; a row per model."""
    figure, axes = panels(len(axis.models), 2, style, height=3.1, sharey="col")
    shared = shaded_looks({m: f"in ≥ {m:.0f} languages" for m in sorted(frame["m"].dropna().unique())}, "o")
    mean, concept = Look("mean over concepts", INK, lw=2), Look("one concept", INK, lw=0.7, alpha=0.5)
    null = Look("null: permuted concepts", INK, ":")
    chance = Look("scores in random order", GREY, "-.")
    for (left, right), (key, look) in zip(axes, model_looks(axis.models, style).items(), strict=True):
        of_model = part(frame, key)
        for _, rows in part(of_model, kind="concept").groupby("concept"):
            line(left, rows, concept, colour=look.colour, lw=0.6, alpha=0.35)
        line(left, part(of_model, kind="mean"), look, dashes="-")
        line(left, part(of_model, kind="null"), null, lw=1.4)
        line(left, part(of_model, kind="chance"), chance, lw=1.4)
        left.set(title=look.label, ylabel="worst average precision")
        for m, shade in shared.items():
            line(right, part(of_model, kind="shared", m=m), shade)
            line(right, part(of_model, kind="shared null", m=m), shade, dashes=":", lw=1.2)
        # Logarithmic, with room for none.
        right.set(title="units shared", ylabel="units (0, then log)")
        right.set_yscale("symlog", linthresh=1)
        right.yaxis.set_major_locator(FixedLocator([0, 1, 10, 100, 1000, 10000]))
        right.yaxis.set_minor_locator(NullLocator())
        right.yaxis.set_major_formatter(lambda value, _: short(value))
        for ax in (left, right):
            axis.lines(ax, frame["step"], key)
    from_zero(*axes[:, 1])
    legend(figure, [mean, concept, null, chance, *shared.values()], frame)
    return figure


def _numbers(reliability: pd.DataFrame) -> pd.DataFrame:
    return at_last_step(best_unit(reliability)).rename(columns={"value": "worst_ap"})


RELIABILITY = FigureSpec("reliability", _data, _draw, _numbers)
