"""Language identity: accuracy of language probes over steps and over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from babelscope.report.captions import load_labels
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
    panels,
    shaded_looks,
    thin,
)
from babelscope.report.summaries import component_probe, model_label, with_roles

BETWEEN = "between_variance"

_CHANCE, _NULL = Look("chance", GREY, "--", lw=1), Look("null", INK, ":", lw=1.3)

#: More lines than this in one panel cannot be told apart.
_MOST_LINES = 9

#: More layers than this are drawn without bands.
_MOST_BANDS = 6


def _rows(probes: pd.DataFrame, name: str) -> pd.DataFrame:
    metric = "share" if name == BETWEEN else "accuracy"
    return probes[(probes["probe"] == name) & (probes["metric"] == metric) & (probes["seed"] == -1)]


def _frame(tables: Tables, names: Sequence[str], by: str, most_bands: int = 0) -> pd.DataFrame:
    """Kinds ``probe`` by layer and ``chance``, of each ``probe`` that is there, at some values of ``by``."""
    probes, models = tables["probes"], tables.get("models")
    shown = thin(sorted(probes[by].unique()), _MOST_LINES)
    parts = []
    for name in [name for name in names if name in set(probes["probe"])]:
        rows, keys = _rows(probes, name), ["layer", "step"]
        some, band = rows[rows[by].isin(shown)], len(shown) <= most_bands
        parts.append(points(some, models, keys, kind="probe", band=band, probe=name))
        if name != BETWEEN:
            n_languages = with_roles(rows, models).groupby(["id", "role"], sort=False)["n_languages"].max()
            chance = (1 / n_languages.clip(lower=1)).rename("value").reset_index()
            parts.append(chance.assign(kind="chance", probe=name))
    return stack(*parts)


def _over_steps(tables: Tables) -> pd.DataFrame:
    """Also kind ``null``: accuracy with shuffled labels or, of some probes, their own null."""
    probes, models = tables["probes"], tables.get("models")
    names = ["full", component_probe(probes) or "", "new_types", "anchors", BETWEEN]
    frame = _frame(tables, names, "layer", _MOST_BANDS)
    nulls = []
    for name in frame["probe"].unique():
        own = name in ("anchors", BETWEEN)
        rows = with_roles(_rows(probes, name if own else "shuffled"), models)
        null = rows.groupby(["id", "role", "step"])["null" if own else "value"].mean()
        nulls.append(null.rename("value").reset_index().assign(kind="null", probe=name))
    return stack(frame, *nulls)


def _draw_over_steps(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Accuracy per layer against step; a row per probe, a column per model."""
    layers = sorted(frame["layer"].dropna().unique())
    looks = shaded_looks({layer: f"layer {layer:.0f}" if layer else "embeddings" for layer in layers})
    dotted = {layer: replace(look, marker=".", ms=4) for layer, look in looks.items()}
    figure = _grid(frame, style, axis, "step", "layer", dotted, height=2.4)
    legend(figure, [*looks.values(), _CHANCE, _NULL], frame)
    return figure


def _grid(
    frame: pd.DataFrame,
    style: PlotStyle,
    axis: StepAxis,
    x: str,
    by: str,
    looks: Mapping[Any, Look],
    *,
    height: float,
) -> Figure:
    """A row per probe, a column per model, in each a line against ``x`` for each value of ``by``."""
    names, labels = list(frame["probe"].unique()), load_labels("probes")
    figure, axes = panels(len(names), len(axis.models), style, height=height, sharey="row")
    for row, name in zip(axes, names, strict=True):
        for ax, key in zip(row, axis.models, strict=True):
            of_model = part(frame, key, probe=name)
            for value, look in looks.items():
                line(ax, part(of_model, kind="probe", **{by: value}).sort_values(x), look, x)
            line(ax, part(of_model, kind="chance"), _CHANCE)
            line(ax, part(of_model, kind="null"), _NULL)
            ax.set_title(model_label(key) if name == names[0] else "")
            if x == "step":
                axis.lines(ax, frame["step"].dropna(), key)
            else:
                ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
                ax.set_xlabel("layer")
            if name != names[-1]:
                ax.set_xlabel("")
        row[0].set_ylabel(labels.get(name, f"leading {name.removeprefix('pc')} components"))
        from_zero(*row, top=None if name == BETWEEN else 1.04)
    return figure


def _by_layer(tables: Tables) -> pd.DataFrame:
    return _frame(tables, ["full", component_probe(tables["probes"]) or "", "anchors"], "step")


def _draw_by_layer(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Accuracy as a profile over layers, a line per step."""
    steps = [int(step) for step in sorted(frame["step"].dropna().unique())]
    looks = shaded_looks({step: axis.name(step, *axis.models) for step in steps}, "o")
    figure = _grid(frame, style, axis, "layer", "step", looks, height=2.8)
    legend(figure, [*looks.values(), _CHANCE])
    return figure


def _numbers(probes: pd.DataFrame) -> pd.DataFrame:
    return probes[probes["seed"] == -1]


OVER_STEPS = FigureSpec("probes_over_steps", _over_steps, _draw_over_steps, _numbers)
BY_LAYER = FigureSpec("probes_by_layer", _by_layer, _draw_by_layer, _numbers)
