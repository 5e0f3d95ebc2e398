"""Transfer of expertise: average precision of experts in their own and in other languages."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, by_model, points
from babelscope.report.figures.style import GREY, INK, Look, PlotStyle
from babelscope.report.summaries import per_model, transfer_totals


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
        "rate": Look("positive rate", GREY, "--"),
    }
    figure, axes = by_model(frame, style, axis, "kind", looks, height=3.6)
    axes[0].set_ylabel("average precision")
    axes[0].set_ylim(bottom=0)
    return figure


def _sentences(tables: Tables) -> list[str]:
    out = []
    for label, rows in per_model(transfer_totals(tables["transfer"]), tables.get("models")):
        means = rows.groupby(["step", "series"])["value"].mean().unstack("series")
        first, last = means.iloc[0], means.iloc[-1]
        out.append(
            f"{label}: own {first.get('own', np.nan):.3f} at step {means.index[0]} and "
            f"{last.get('own', np.nan):.3f} at step {means.index[-1]}; moved to another language "
            f"{first.get('moved', np.nan):.3f} and {last.get('moved', np.nan):.3f} (there for "
            f"other concepts {last.get('other', np.nan):.3f}, positive rate "
            f"{last.get('rate', np.nan):.3f})."
        )
    return out


OVER_STEPS = FigureSpec(
    "transfer_over_steps",
    _data,
    _draw,
    numbers=lambda tables: transfer_totals(tables["transfer"]),
    sentences=_sentences,
)
