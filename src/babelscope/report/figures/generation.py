"""Forced generation: concept hits, their languages, the languages of texts, and fluency."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from babelscope.report.figures.axis import FLAG, StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points
from babelscope.report.figures.style import (
    GREY,
    INK,
    PlotStyle,
    legend,
    line,
    model_dashes,
    panels,
    seeds_note,
)
from babelscope.report.summaries import ALL, SOURCE, generation_series

CONDITION_TITLES = {
    "unforced": "no forcing",
    "forced": "experts forced",
    "random": "random units forced",
    "other_concept": "another concept forced",
}

#: Panels: metric, title, label of the axis. The first and the last compare conditions, the others languages.
PANELS = (
    ("hit_rate", "texts with a hit", "hit rate"),
    ("hit_share", "language of the hits", "share of hits"),
    ("text_share", "language of the texts", "share of texts"),
    ("nll", "fluency", "NLL per token (nats)"),
)

_SHARES = ("hit_share", "text_share")


def _data(tables: Tables) -> pd.DataFrame:
    """Kind is the metric, by ``condition`` and ``target``; of the shares forced texts, and unforced ones of
    main models."""
    series = generation_series(tables["generation"]).rename(columns={"metric": "kind"})
    rows = points(series, tables.get("models"), ["step", "condition", "kind", "target"])
    plain = rows["kind"].isin(["hit_rate", "nll"]) & (rows["target"] == ALL)
    share = rows["kind"].isin(_SHARES) & (rows["target"] != ALL)
    unforced = (rows["condition"] == "unforced") & (rows["role"] != "control")
    rows.loc[share & unforced, ["low", "high"]] = float("nan")
    return rows[plain | (share & ((rows["condition"] == "forced") | unforced))].reset_index(drop=True)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A panel per metric, all models in it."""
    palette = style.colours()
    conditions = dict(zip(CONDITION_TITLES, [GREY, palette[0], palette[1], palette[4]], strict=True))
    conditions = {name: colour for name, colour in conditions.items() if name in set(frame["condition"])}
    targets = {SOURCE: palette[3], "en": palette[2]}
    figure, axes = panels(2, 2, style, height=3.1)
    for ax, (metric, title, label) in zip(axes.flat, PANELS, strict=True):
        for key in axis.models:
            rows = part(frame, key, kind=metric)
            if metric not in _SHARES:
                for condition, colour in conditions.items():
                    line(ax, part(rows, condition=condition), colour, model_dashes(key), "o")
                continue
            for target, colour in targets.items():
                of_target = part(rows, target=target)
                line(ax, part(of_target, condition="forced"), colour, model_dashes(key), "o")
                base = part(of_target, condition="unforced")
                if key[1] != "control":
                    ax.plot(base["step"], base["value"], ":", color=colour, lw=1.4)
        ax.set(title=title, ylabel=label)
        axis.lines(ax, frame["step"], dict.fromkeys(axis.models, FLAG))
        ax.set_ylim(bottom=0)
        if not ax.lines:
            ax.text(0.5, 0.5, "not measured", ha="center", transform=ax.transAxes, color=GREY)
    for ax in axes[0]:
        ax.set_xlabel("")
    handles = [
        Line2D([], [], color=colour, marker="o", ms=4, label=CONDITION_TITLES[name])
        for name, colour in conditions.items()
    ]
    handles += [
        Line2D([], [], color=targets[SOURCE], label="in the source language"),
        Line2D([], [], color=targets["en"], label="in English"),
        Line2D([], [], color=INK, ls=":", label="the same without forcing"),
    ]
    if any(role == "control" for _, role in axis.models):
        handles.append(Line2D([], [], color=INK, ls="--", label="control model"))
    legend(figure, handles, seeds_note(frame))
    return figure


GENERATION = FigureSpec(
    "generation",
    _data,
    _draw,
    numbers=lambda tables: generation_series(tables["generation"]),
    finding="forced_generation",
    shares_panels=True,
)
