"""Representations: do the states of parallel sentences align, layer by layer?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, stack
from babelscope.report.figures.style import (
    GREY,
    Look,
    PlotStyle,
    from_zero,
    legend,
    line,
    panels,
    shaded_looks,
)
from babelscope.report.summaries import ALL, at_last_step, model_label, per_model
from babelscope.report.words import say

_CHANCE = Look("chance", GREY, "-.")


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Means over pairs of languages of states less their language's mean."""
    return table[(table["lang_a"] == ALL) & table["centred"]]


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``layer``, by measure, and ``null``, the mean over layers of what chance gives."""
    rows, models = _means(tables["representations"]), tables.get("models")
    keys = ["step", "measure"]
    nulls = rows.groupby(["model", *keys], sort=False)[["null"]].mean().reset_index()
    return stack(
        points(rows, models, [*keys, "layer"], kind="layer", band=False),
        points(nulls, models, keys, "null", kind="null", band=False),
    )


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A line per layer against step; a row per measure, a column per model."""
    names, layers = load_labels("representations"), sorted(frame["layer"].dropna().unique())
    first, *_, last = names
    looks = shaded_looks({at: f"layer {at:.0f}" if at else "embeddings" for at in layers}, ".")
    figure, axes = panels(len(names), len(axis.models), style, height=2.4, sharey="row")
    for row, (name, label) in zip(axes, names.items(), strict=True):
        for ax, key in zip(row, axis.models, strict=True):
            of_model = part(frame, key, measure=name)
            for layer, look in looks.items():
                line(ax, part(of_model, kind="layer", layer=layer), look)
            line(ax, part(of_model, kind="null"), _CHANCE)
            axis.lines(ax, frame["step"], key)
            ax.set_title(model_label(key) if name == first else "")
            if name != last:
                ax.set_xlabel("")
        row[0].set_ylabel(label)
        from_zero(*row)
    legend(figure, [*(replace(look, marker="") for look in looks.values()), _CHANCE], frame)
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    rows = _means(tables["representations"])
    for label, of_model in per_model(at_last_step(rows), tables.get("models")):
        means = of_model.groupby(["measure", "layer"])[["value", "null"]].mean()
        at = {}
        for name in load_labels("representations"):
            of_measure = means.loc[name]
            best = of_measure.reset_index().iloc[int(of_measure["value"].argmax())].to_dict()
            at[name] = {**best, "layer": int(best["layer"])}
        yield say("representations", model=label, step=int(of_model["step"].max()), at=at)


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["lang_a"] == ALL]


REPRESENTATIONS = FigureSpec("representations", _data, _draw, _numbers, _sentences)
