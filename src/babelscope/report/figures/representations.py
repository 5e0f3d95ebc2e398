"""Representations: do the states of parallel sentences align, layer by layer?"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.layer_lines import layer_lines
from babelscope.report.figures.spec import FigureSpec, Tables, points, stack
from babelscope.report.figures.style import GREY, Look, PlotStyle
from babelscope.report.summaries import ALL, at_last_step, per_model
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
    return layer_lines(frame, style, axis, load_labels("representations"), _CHANCE, height=2.4)


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
