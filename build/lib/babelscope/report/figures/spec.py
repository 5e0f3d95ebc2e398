"""What a figure is: the tidy frame that it draws, how, and what it says of a study's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from babelscope.report.captions import Caption, load_captions
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.style import Look, PlotStyle, legend, line, panels
from babelscope.report.summaries import Key, model_label, over_seeds

Tables = Mapping[str, pd.DataFrame]
"""Collected tables by name, those that the study has."""


@dataclass(frozen=True)
class FigureSpec:
    """One figure. Its words and the list of its tables stand in ``captions.yaml``, by its name."""

    name: str
    data: Callable[[Tables], pd.DataFrame]
    """All that is drawn: a row for each point of a line, each cell of a map and each reference line. Columns
    ``id, role`` of the model (NaN for a line of all models), ``kind`` of series, ``step``, ``value``, ``low``
    and ``high`` (NaN where no band is drawn), and what else tells the rows of a kind apart."""
    draw: Callable[[pd.DataFrame, PlotStyle, StepAxis], Figure]
    """The frame as a figure."""
    numbers: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    """The numbers behind it, from its main table; the caption says which columns the page shows."""
    sentences: Callable[[Tables], Iterable[str]] | None = None
    """What it shows in this study, one sentence a model, unless a finding says it."""
    shares_panels: bool = False
    """Models stand in one panel: where their suites count steps differently, tokens seen are the axis."""

    @property
    def caption(self) -> Caption:
        """The words beside it."""
        return load_captions()[self.name]


def points(
    table: pd.DataFrame,
    models: pd.DataFrame | None,
    keys: list[str],
    value: str = "value",
    *,
    band: bool = True,
    **labels: Any,
) -> pd.DataFrame:
    """Rows of a frame: a column of a table over the seeds of each model, see :func:`over_seeds`.

    Its intervals are drawn if ``band``, else left out. ``labels`` are further columns, such as ``kind``.
    """
    rows = over_seeds(table, models, keys, value).rename(columns={value: "value"}).assign(**labels)
    return rows if band else rows.assign(low=np.nan, high=np.nan)


def stack(*parts: pd.DataFrame) -> pd.DataFrame:
    """Parts of a frame, one below the other."""
    return pd.concat([part for part in parts if not part.empty] or parts, ignore_index=True)


def part(frame: pd.DataFrame, key: Key | None = None, **wanted: Any) -> pd.DataFrame:
    """Rows of one model whose columns have the wanted values, by step."""
    if key is not None:
        wanted = {"id": key[0], "role": key[1], **wanted}
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame.sort_values("step")


def present(frame: pd.DataFrame, axis: StepAxis) -> list[Key]:
    """The models that the frame holds, in the order of all figures."""
    return [key for key in axis.models if not part(frame, key).empty]


def by_model(
    frame: pd.DataFrame,
    style: PlotStyle,
    axis: StepAxis,
    series: str,
    looks: Mapping[str, Look],
    *,
    height: float,
) -> tuple[Figure, list[Axes]]:
    """A panel per model side by side, a line for each value of the column ``series``, and their legend."""
    figure, axes = panels(1, len(axis.models), style, height=height, sharey=True)
    for ax, key in zip(axes[0], axis.models, strict=True):
        for value, look in looks.items():
            line(ax, part(frame, key, **{series: value}), look)
        axis.lines(ax, frame["step"], key)
        ax.set_title(model_label(key))
    legend(figure, [replace(look, marker="") for look in looks.values()], frame)
    return figure, list(axes[0])
