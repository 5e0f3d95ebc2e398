"""Transfer of expertise: average precision of experts in their own and in other languages."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, by_model, points
from babelscope.report.figures.style import GREY, INK, Look, PlotStyle, from_zero
from babelscope.report.summaries import per_model, transfer_totals
from babelscope.report.words import say


def _data(tables: Tables) -> pd.DataFrame:
    """Kind is the series of :func:`transfer_totals`."""
    totals = transfer_totals(tables["transfer"]).rename(columns={"series": "kind"})
    return points(totals, tables.get("models"), ["step", "kind"])


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A panel per model."""
    own, moved, *_ = style.colours()
    looks = {
        "own": Look("own language, held out", own, "-", "o"),
        "moved": Look("moved to another language", moved, "-", "o"),
        "other": Look("moved, other concepts", INK, ":"),
        "chance": Look("scores in random order", GREY, "-."),
        "rate": Look("positive rate", GREY, "--"),
        "length": Look("length of the sentence", GREY, "-."),
    }
    figure, axes = by_model(frame, style, axis, "kind", looks, height=3.6)
    axes[0].set_ylabel("average precision")
    from_zero(*axes)
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    for label, rows in per_model(transfer_totals(tables["transfer"]), tables.get("models")):
        means = rows.groupby(["step", "series"])["value"].mean().unstack("series")
        means = means.reindex(columns=["own", "moved", "other", "rate", "chance", "length"])
        first, last = means.iloc[0].to_dict(), means.iloc[-1].to_dict()
        start, end = means.index[[0, -1]]
        yield say("transfer", model=label, first=first, start=start, last=last, end=end)


OVER_STEPS = FigureSpec("transfer_over_steps", _data, _draw, transfer_totals, _sentences)
