"""Language identity: accuracy of language probes over steps and over layers."""

from __future__ import annotations

from collections.abc import Mapping
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


def _names(probes: pd.DataFrame) -> list[str]:
    there = set(probes["probe"])
    return [name for name in ("full", component_probe(probes), "anchors", BETWEEN) if name and name in there]


def _chance(probes: pd.DataFrame, models: pd.DataFrame | None, name: str) -> pd.DataFrame:
    by_model = with_roles(_rows(probes, name), models).groupby(["id", "role"], sort=False)
    chance = 1 / by_model["n_languages"].max().clip(lower=1)
    return chance.rename("value").reset_index().assign(kind="chance", probe=name)


def _null(probes: pd.DataFrame, models: pd.DataFrame | None, name: str) -> pd.DataFrame:
    """Shuffled-label accuracy for ordinary probes, else the null of the probe itself."""
    own = name in ("anchors", BETWEEN)
    rows = with_roles(_rows(probes, name if own else "shuffled"), models)
    null = rows.groupby(["id", "role", "step"])["null" if own else "value"].mean()
    return null.rename("value").reset_index().assign(kind="null", probe=name)


def _over_steps(tables: Tables) -> pd.DataFrame:
    """Kinds ``probe`` by layer, ``chance`` and ``null``, of each ``probe``."""
    probes, models = tables["probes"], tables.get("models")
    layers = thin(sorted(probes["layer"].unique()), _MOST_LINES)
    parts = []
    for name in _names(probes):
        rows = _rows(probes, name)
        rows = rows[rows["layer"].isin(layers)]
        band = len(layers) <= _MOST_BANDS
        parts.append(points(rows, models, ["layer", "step"], kind="probe", band=band, probe=name))
        if name != BETWEEN:
            parts.append(_chance(probes, models, name))
        parts.append(_null(probes, models, name))
    return stack(*parts)


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
        row[0].set_ylim(0, None if name == BETWEEN else 1.04)
    return figure


def _by_layer(tables: Tables) -> pd.DataFrame:
    """Kinds ``probe`` by layer and ``chance``, of each ``probe``."""
    probes, models = tables["probes"], tables.get("models")
    steps = thin(sorted(probes["step"].unique()), _MOST_LINES)
    parts = []
    for name in _names(probes):
        if name not in ("anchors", BETWEEN):
            rows = _rows(probes, name)
            rows = rows[rows["step"].isin(steps)]
            parts.append(points(rows, models, ["layer", "step"], kind="probe", band=False, probe=name))
            parts.append(_chance(probes, models, name))
    return stack(*parts)


def _draw_by_layer(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Accuracy as a profile over layers, a line per step."""
    steps = [int(step) for step in sorted(frame["step"].dropna().unique())]
    looks = shaded_looks({step: axis.name(step, *axis.models) for step in steps}, "o")
    figure = _grid(frame, style, axis, "layer", "step", looks, height=2.8)
    legend(figure, [*looks.values(), _CHANCE])
    return figure


def _numbers(tables: Tables) -> pd.DataFrame:
    return tables["probes"][tables["probes"]["seed"] == -1]


OVER_STEPS = FigureSpec("probes_over_steps", _over_steps, _draw_over_steps, _numbers)
BY_LAYER = FigureSpec("probes_by_layer", _by_layer, _draw_by_layer)
