"""What all figures share: their look, their colours, their panels, legends and labels.

Conventions: a control model dashed (or in its own panel) beside the main one; intervals as bands; null,
chance and ceiling as labelled reference lines; languages by their codes, so that no script is ever missing
from a font.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from babelscope.io.yaml import packaged_yaml
from babelscope.report.summaries import Key, model_label

SETTINGS = packaged_yaml("babelscope.report.figures", "style.yaml")

INK: str = SETTINGS["text.color"]
GREY = "#6b7280"
PALE = "#b6bec8"

#: How the ids of what is drawn on a coloured cell begin: its colour goes with the cell's, on dark pages too.
ON_CELL = "on-cell"


@dataclass(frozen=True)
class PlotStyle:
    """Look of all figures of a study."""

    palette: str = "colorblind"
    """Name of a seaborn palette for categories."""
    context: str = "notebook"
    """Seaborn context: paper, notebook, talk or poster."""
    font_scale: float = 1.0
    """Factor on all font sizes."""
    dpi: int = 150
    """Dots per inch of PNG files."""

    def rc(self) -> Any:
        """Matplotlib settings of this style."""
        # The notebook context is made for one big figure; ours stand in a column of text.
        context = sns.plotting_context(self.context, font_scale=0.8 * self.font_scale)
        return {**sns.axes_style("ticks"), **context, **SETTINGS, "savefig.dpi": self.dpi}

    def colours(self) -> list[Any]:
        """Colours of categories."""
        return list(sns.color_palette(self.palette))


@dataclass(frozen=True)
class Look:
    """How one series is drawn and what the legend calls it."""

    label: str
    colour: Any
    dashes: str = "-"
    marker: str = ""
    ms: float = 4
    lw: float | None = None
    alpha: float | None = None

    @property
    def of_line(self) -> dict[str, Any]:
        """The same in words of Matplotlib."""
        return {
            "color": self.colour,
            "linestyle": self.dashes,
            "linewidth": self.lw,
            "alpha": self.alpha,
            "marker": self.marker,
            "markersize": self.ms,
        }


class Shown(Figure):
    """A figure that a notebook shows as the last value of a cell, though pyplot does not know of it."""

    def __init__(self, style: PlotStyle, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._style = style

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        with mpl.rc_context(self._style.rc()):
            self.savefig(file, format="png", bbox_inches="tight", facecolor="white", dpi=110)
        return file.getvalue()


def panels(
    n_rows: int,
    n_columns: int,
    style: PlotStyle,
    *,
    height: float,
    width: float = 9.0,
    sharey: Any = False,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, Any]:
    """A figure that no global state knows of, with its axes as a 2-D array; sizes in inches."""
    n_rows, n_columns = max(n_rows, 1), max(n_columns, 1)
    if n_columns == 1 and width == 9.0:
        width = 7.0
    size = (width * style.font_scale, height * n_rows * style.font_scale)
    figure = Shown(style, figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=sharey, height_ratios=height_ratios)
    return figure, axes


def nothing(message: str, style: PlotStyle) -> Figure:
    """A figure that says why there is none."""
    with mpl.rc_context(style.rc()):
        figure = Shown(style, figsize=(7 * style.font_scale, 1.2 * style.font_scale))
        figure.text(0.5, 0.5, message, ha="center", va="center", color=GREY, wrap=True)
    return figure


def line(ax: Axes, rows: pd.DataFrame, look: Look, x: str = "step", **changes: Any) -> None:
    """Draw ``value`` against ``x``, with a band where the rows have ``low`` and ``high``.

    Rows without ``x`` become lines across the panel. ``changes`` are made to the look.
    """
    look = replace(look, **changes)
    for value in rows.loc[rows[x].isna(), "value"]:
        ax.axhline(value, **look.of_line)
    rows = rows[rows[x].notna()]
    if rows.empty:
        return
    if rows["low"].notna().any():
        ax.fill_between(rows[x], rows["low"], rows["high"], color=look.colour, alpha=0.16, lw=0)
    ax.plot(rows[x], rows["value"], **look.of_line)


def from_zero(ax: Axes, *others: Axes, top: float | None = None) -> None:
    """Let an axis, and others that share it, begin at 0, or below all that is drawn there if that is less.

    Args:
        ax: With its lines and bands.
        others: Panels of the same axis.
        top: Where it ends, unless something lies above.
    """
    panels = [panel for panel in (ax, *others) if panel.has_data()]
    low = min((panel.dataLim.y0 for panel in panels), default=0.0)
    high = max((panel.dataLim.y1 for panel in panels), default=0.0)
    room = 0.04 * (high - min(low, 0.0))
    ax.set_ylim(0 if low >= 0 else low - room, None if top is None else max(top, high + room * (high > top)))


def model_looks(models: Iterable[Key], style: PlotStyle) -> dict[Key, Look]:
    """Name, colour and dashes of each model of a study, the same in all figures; controls are dashed."""
    palettes = {True: [GREY, "#a3764c", "#8a6d9b"], False: style.colours()}
    looks: dict[Key, Look] = {}
    for key in models:
        control = key[1] == "control"
        taken = sum((other[1] == "control") == control for other in looks)
        colour = palettes[control][taken % len(palettes[control])]
        looks[key] = Look(model_label(key), colour, "--" if control else "-", "o")
    return looks


def language_looks(languages: Sequence[str], style: PlotStyle, marker: str = "") -> dict[str, Look]:
    """Colour and dashes of each language."""
    palette, dashes = style.colours(), ["-", "--", ":", "-."]
    return {
        lang: Look(lang, palette[i % len(palette)], dashes[(i // len(palette)) % len(dashes)], marker)
        for i, lang in enumerate(languages)
    }


def shaded_looks(labels: Mapping[Any, str], marker: str = "") -> dict[Any, Look]:
    """Looks from light to dark, readable on white."""
    shades = sns.color_palette("flare", len(labels)) if len(labels) > 1 else ["#4878a8"]
    shaded = zip(labels.items(), shades, strict=False)
    return {key: Look(label, shade, marker=marker, ms=3) for (key, label), shade in shaded}


def legend(figure: Figure, looks: Iterable[Look], frame: pd.DataFrame | None = None) -> None:
    """A legend beneath a figure, in as many columns as its labels leave room for.

    It tells what a line and its band are if models of ``frame`` were trained with several seeds.
    """
    handles = [Line2D([], [], label=look.label, **look.of_line) for look in looks]
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    n = 1 if frame is None else int(frame["n_seeds"].max())
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(len(handles), int(105 / (longest + 6)))),
        fontsize="small",
        title=f"mean over pre-training seeds, n = {n}; band: 95 % interval of the mean" if n > 1 else None,
        title_fontsize="small",
    )


def heat_map(ax: Axes, grid: pd.DataFrame, **look: Any) -> QuadMesh:
    """Draw a table as coloured cells of size one, its first row at the bottom."""
    edges = (np.arange(n + 1) for n in grid.shape[::-1])
    return ax.pcolormesh(*edges, grid.to_numpy(), **look)


def on_cells(ax: Axes) -> str:
    """How the ids of what is drawn on the cells of a heat map begin, another for each panel."""
    return f"{ON_CELL}-{ax.figure.axes.index(ax)}"


def category_axes(
    ax: Axes, columns: Sequence[Any] | pd.Index, rows: Sequence[Any] | pd.Index | None, most: int = 12
) -> None:
    """Label cells of a mesh in their middle; ``rows`` None leaves the y axis numeric."""
    numbers = isinstance(columns[0], (int, np.integer))
    shown = ticks(len(columns), 5 if numbers and ax.get_position().width < 0.3 else most)
    ax.set_xticks(
        [i + 0.5 for i in shown], [short(columns[i]) if numbers else str(columns[i]) for i in shown]
    )
    if rows is not None:
        shown = ticks(len(rows), most)
        ax.set_yticks([i + 0.5 for i in shown], [str(rows[i]) for i in shown])
        ax.grid(False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)


def thin(values: Iterable[Any], most: int) -> list[Any]:
    """At most ``most`` of the values, first and last among them, evenly spaced."""
    values = list(values)
    if len(values) <= most:
        return values
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def ticks(n: int, most: int) -> list[int]:
    """At most ``most`` of the places 0 to n - 1, all equally far apart; the last among them where a distance
    that is not twice as large allows it."""
    least = max(1, -(-(n - 1) // max(1, most - 1)))
    distance = next((d for d in range(least, 2 * least) if (n - 1) % d == 0), least)
    return list(range(0, n, distance))


def short(value: float) -> str:
    """A number in at most five characters: 512, 2048, 10k, 1.5M, 330B."""
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (1_000, "k")):
        if value >= max(size, 10_000):
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
