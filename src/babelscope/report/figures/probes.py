"""Language identity: accuracy of language probes over steps and over layers."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, stack
from babelscope.report.figures.style import (
    GREY,
    INK,
    MAX_LINES,
    PlotStyle,
    legend,
    line,
    panels,
    seeds_note,
    shades,
    thin,
)
from babelscope.report.summaries import component_probe, model_label, with_roles

BETWEEN = "between_variance"

_TITLES = {"full": "all dimensions", "anchors": "anchor tokens only", BETWEEN: "variance between languages"}

#: More layers than this are drawn without bands.
_MOST_BANDS = 6


def _title(probe: str) -> str:
    return _TITLES.get(probe, f"leading {probe.removeprefix('pc')} components")


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
    layers = thin(sorted(probes["layer"].unique()), MAX_LINES)
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
    names = list(frame["probe"].unique())
    figure, axes = panels(len(names), len(axis.models), style, height=2.4, sharey="row")
    layers = sorted(frame["layer"].dropna().unique())
    colours = dict(zip(layers, shades(len(layers)), strict=True))
    for row, name in enumerate(names):
        for column, key in enumerate(axis.models):
            ax, of_model = axes[row, column], part(frame, key, probe=name)
            for layer, colour in colours.items():
                line(ax, part(of_model, kind="probe", layer=layer), colour, "-", ".")
            for chance in part(of_model, kind="chance")["value"]:
                ax.axhline(chance, color=GREY, ls="--", lw=1)
            null = part(of_model, kind="null")
            ax.plot(null["step"], null["value"], ":", color=INK, lw=1.3)
            axis.lines(ax, frame["step"].dropna(), key)
            ax.set_title(model_label(key) if row == 0 else "")
            if row < len(names) - 1:
                ax.set_xlabel("")
        axes[row, 0].set_ylabel(_title(name))
        axes[row, 0].set_ylim(0, None if name == BETWEEN else 1.04)
    handles = [
        Line2D([], [], color=colour, label=f"layer {layer:.0f}" if layer else "embeddings")
        for layer, colour in colours.items()
    ]
    handles += [
        Line2D([], [], color=GREY, ls="--", lw=1, label="chance"),
        Line2D([], [], color=INK, ls=":", lw=1.3, label="null"),
    ]
    legend(figure, handles, seeds_note(frame))
    return figure


def _by_layer(tables: Tables) -> pd.DataFrame:
    """Kinds ``probe`` by layer and ``chance``, of each ``probe``."""
    probes, models = tables["probes"], tables.get("models")
    steps = thin(sorted(probes["step"].unique()), MAX_LINES)
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
    names = list(frame["probe"].unique())
    figure, axes = panels(len(names), len(axis.models), style, height=2.8, sharey=True)
    steps = [int(step) for step in sorted(frame["step"].dropna().unique())]
    colours = dict(zip(steps, shades(len(steps)), strict=True))
    for row, name in enumerate(names):
        for column, key in enumerate(axis.models):
            ax, of_model = axes[row, column], part(frame, key, probe=name)
            for step, colour in colours.items():
                profile = part(of_model, kind="probe", step=step).sort_values("layer")
                ax.plot(profile["layer"], profile["value"], "-o", ms=3, color=colour)
            for chance in part(of_model, kind="chance")["value"]:
                ax.axhline(chance, color=GREY, ls="--", lw=1)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
            ax.set_title(model_label(key) if row == 0 else "")
            ax.set_xlabel("layer" if row == len(names) - 1 else "")
        axes[row, 0].set_ylabel(_title(name))
        axes[row, 0].set_ylim(0, 1.04)
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3, label=axis.name(step, *axis.models))
        for step, colour in colours.items()
    ]
    legend(figure, [*handles, Line2D([], [], color=GREY, ls="--", lw=1, label="chance")])
    return figure


def _numbers(tables: Tables) -> pd.DataFrame:
    columns = ["model", "step", "layer", "probe", "metric", "value", "low", "high", "null",
               "n_train", "n_test"]  # fmt: skip
    return tables["probes"].loc[tables["probes"]["seed"] == -1, columns]


OVER_STEPS = FigureSpec(
    "probes_over_steps", _over_steps, _draw_over_steps, numbers=_numbers, finding="language_identity"
)
BY_LAYER = FigureSpec("probes_by_layer", _by_layer, _draw_by_layer)
