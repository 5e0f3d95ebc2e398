"""How well models learnt: held-out loss, and the loss of every checkpoint on the analysed sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, by_model, points
from babelscope.report.figures.style import GREY, PlotStyle, language_looks
from babelscope.report.summaries import per_model
from babelscope.report.words import say


def _held_out_rows(tables: Tables) -> pd.DataFrame:
    return tables["losses"][tables["losses"]["split"] == "heldout"]


def _held_out(tables: Tables) -> pd.DataFrame:
    """Kind ``loss``, by language."""
    return points(_held_out_rows(tables), tables.get("models"), ["step", "lang"], "loss", kind="loss")


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis, height: float = 3.4) -> Figure:
    """Loss per language against step, a panel per model."""
    looks = language_looks(sorted(frame["lang"].unique()), style, ".")
    figure, axes = by_model(frame, style, axis, "lang", looks, height=height)
    axes[0].set_ylabel(load_labels("losses")[frame["kind"].iloc[0]])
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    for label, rows in per_model(_held_out_rows(tables), tables.get("models")):
        step = rows["step"].max()
        last = rows[rows["step"] == step].groupby("lang")["loss"].mean()
        ends = {"lowest": last.idxmin(), "low": last.min(), "highest": last.idxmax(), "high": last.max()}
        yield say("losses", model=label, step=step, mean=last.mean(), **ends)


def _audit(tables: Tables) -> pd.DataFrame:
    """Kind ``bits_per_byte``, or ``loss`` where these are not known, by language."""
    table = tables["audit_losses"]
    measured = "bits_per_byte" if table["bits_per_byte"].notna().any() else "loss"
    return points(table, tables.get("models"), ["step", "lang"], measured, kind=measured, band=False)


def _draw_audit(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    figure = _draw(frame, style, axis, height=3.6)
    # A broken checkpoint would press all the others into a line.
    cells = zip(frame["id"], frame["role"], frame["step"], strict=True)
    flagged = [step in axis.flagged.get((id_, role), ()) for id_, role, step in cells]
    top = frame.loc[[not bad for bad in flagged], "value"].max()
    if frame["value"].max() > 3 * top:
        figure.axes[0].set_ylim(0, top * 1.08)
        figure.axes[0].annotate(
            "flagged steps may lie above", (0.01, 0.98), xycoords="axes fraction", va="top", color=GREY,
            fontsize="small",
        )  # fmt: skip
    return figure


HELD_OUT = FigureSpec("losses", _held_out, _draw, lambda losses: losses, _sentences)
AUDIT = FigureSpec("audit_losses", _audit, _draw_audit, lambda losses: losses)
