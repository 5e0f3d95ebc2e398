"""Measures layer by layer over steps: the drawing that figures of several measures share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import part
from babelscope.report.figures.style import Look, PlotStyle, from_zero, legend, line, panels, shaded_looks
from babelscope.report.summaries import model_label


def layer_lines(
    frame: pd.DataFrame,
    style: PlotStyle,
    axis: StepAxis,
    names: Mapping[str, str],
    null: Look,
    *,
    height: float,
) -> Figure:
    """A line per layer against step; a row per measure, a column per model.

    Args:
        frame: Points of the kinds ``layer`` and ``null``, by ``measure``.
        style: Of the figure.
        axis: Steps and models.
        names: By measure the label of its row.
        null: How the kind ``null`` looks.
        height: Of a panel.
    """
    layers = sorted(frame["layer"].dropna().unique())
    first, *_, last = names
    looks = shaded_looks({at: f"layer {at:.0f}" if at else "embeddings" for at in layers}, ".")
    figure, axes = panels(len(names), len(axis.models), style, height=height, sharey="row")
    for row, (name, label) in zip(axes, names.items(), strict=True):
        for ax, key in zip(row, axis.models, strict=True):
            of_model = part(frame, key, measure=name)
            for layer, look in looks.items():
                line(ax, part(of_model, kind="layer", layer=layer), look)
            line(ax, part(of_model, kind="null"), null)
            axis.lines(ax, frame["step"], key)
            ax.set_title(model_label(key) if name == first else "")
            if name != last:
                ax.set_xlabel("")
        row[0].set_ylabel(label)
        from_zero(*row)
    legend(figure, [*(replace(look, marker="") for look in looks.values()), null], frame)
    return figure
