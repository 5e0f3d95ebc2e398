"""Forced generation: concept hits, their languages, the languages of texts, and fluency."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import FLAG, StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points
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
)
from babelscope.report.summaries import ALL, SOURCE, generation_series
from babelscope.text.languages import ENGLISH, english_among


def _data(tables: Tables) -> pd.DataFrame:
    """Kind is the metric, by ``condition`` and ``target``; of the shares forced texts, and unforced ones of
    main models."""
    series = generation_series(tables["generation"]).rename(columns={"metric": "kind"})
    rows = points(series, tables.get("models"), ["step", "condition", "kind", "target"])
    plain = rows["kind"].isin(["hit_rate", "nll"]) & (rows["target"] == ALL)
    share = rows["kind"].isin(["hit_share", "text_share"]) & (rows["target"] != ALL)
    unforced = (rows["condition"] == "unforced") & (rows["role"] != "control")
    rows.loc[share & unforced, ["low", "high"]] = float("nan")
    return rows[plain | (share & ((rows["condition"] == "forced") | unforced))].reset_index(drop=True)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A panel per metric, all models in it: conditions are compared, or the languages of forced texts."""
    palette = style.colours()
    colours = zip(
        load_labels("conditions").items(), [GREY, palette[0], palette[1], palette[5], palette[4]], strict=True
    )
    conditions = {
        name: Look(title, colour, marker="o")
        for (name, title), colour in colours
        if name in set(frame["condition"])
    }
    english = english_among(frame["target"].unique()) or ENGLISH
    targets = {SOURCE: Look("in the source language", palette[3]), english: Look("in English", palette[2])}
    unforced = Look("the same without forcing", INK, ":")
    models = model_looks(axis.models, style)
    figure, axes = panels(2, 2, style, height=3.1)
    for ax, (metric, (title, label)) in zip(axes.flat, load_labels("generation").items(), strict=True):
        for key, model in models.items():
            rows = part(frame, key, kind=metric)
            for condition, look in conditions.items():
                line(ax, part(rows, condition=condition, target=ALL), look, dashes=model.dashes)
            for target, look in targets.items():
                of_target = part(rows, target=target)
                line(ax, part(of_target, condition="forced"), look, dashes=model.dashes, marker="o")
                line(ax, part(of_target, condition="unforced"), unforced, colour=look.colour, lw=1.4)
        ax.set(title=title, ylabel=label)
        axis.lines(ax, frame["step"], dict.fromkeys(axis.models, FLAG))
        from_zero(ax)
        if not ax.lines:
            ax.text(0.5, 0.5, "not measured", ha="center", transform=ax.transAxes, color=GREY)
    for ax in axes[0]:
        ax.set_xlabel("")
    looks = [*conditions.values(), *targets.values(), unforced]
    if any(role == "control" for _, role in axis.models):
        looks.append(Look("control model", INK, "--"))
    legend(figure, looks, frame)
    return figure


GENERATION = FigureSpec("generation", _data, _draw, generation_series, shares_panels=True)
