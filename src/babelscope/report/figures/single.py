"""Figures of one unit, and of one concept in two languages; the report has them in its explorer."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.style import GREY, INK, PlotStyle, language_looks, legend, panels

#: Experts of both languages, of the first and of the second alone, and where in its band a mark stands.
_MARKS = ((INK, 0.04, 0.96), ("#1f6eb5", 0.5, 0.96), ("#b8560f", 0.04, 0.5))
_BAND = "#ece7df"


def draw_course(course: pd.DataFrame, title: str, style: PlotStyle | None = None) -> Figure:
    """Average precision of one unit for one concept over steps, a line per language.

    Args:
        course: Columns ``step, lang, ap, at_most, chance``; where ``at_most`` the unit was not kept and has
            no more than ``ap``: a hollow point, and no line leads there.
        title: Above it.
        style: How.
    """
    style = style or PlotStyle()
    looks = language_looks(list(dict.fromkeys(course["lang"])), style, "o")
    with mpl.rc_context(style.rc()):
        figure, axes = panels(1, 1, style, height=3.6)
        ax = axes[0, 0]
        for lang, rows in course.sort_values("step").groupby("lang", sort=False):
            look = looks[str(lang)]
            ax.plot(rows["step"], rows["ap"].mask(rows["at_most"]), **look.of_line)
            bound = rows[rows["at_most"]]
            ax.plot(bound["step"], bound["ap"], "o", mec=look.colour, mfc="white", ms=look.ms)
        ax.axhline(course["chance"].mean(), color=GREY, ls="--", lw=1)
        StepAxis().lines(ax, course["step"], {})
        ax.set(ylim=(0, 1.02), ylabel="average precision", title=title)
        figure.legend(
            handles=[
                Line2D([], [], color=GREY, marker="o", mfc="white", ls="", ms=4, label="at most"),
                Line2D([], [], color=GREY, ls="--", lw=1, label="scores in random order"),
            ],
            loc="outside upper right", ncols=2, fontsize="small",
        )  # fmt: skip
        legend(figure, looks.values())
    return figure


def draw_raster(
    experts: pd.DataFrame,
    sites: Sequence[tuple[int, str, int]],
    langs: tuple[str, str],
    title: str,
    style: PlotStyle | None = None,
) -> Figure:
    """The experts of a concept in two languages, each at its place: a band per layer and site.

    Args:
        experts: Columns ``layer, site, unit``, and ``found``: ``both``, or the language that has it alone.
        sites: (layer, site, number of units) of all bands, from the top.
        langs: The two languages.
        title: Above it.
        style: How.
    """
    style = style or PlotStyle()
    row = {(layer, site): len(sites) - 1 - at for at, (layer, site, _) in enumerate(sites)}
    widest = max(width for _, _, width in sites)
    thick = max(1.0, 400.0 / widest)  # points; the marks of small models touch, those of large ones are seen
    labels = ("in both", f"{langs[0]} alone", f"{langs[1]} alone")
    with mpl.rc_context(style.rc()):
        figure, axes = panels(1, 1, style, height=0.9 + 0.3 * len(sites))
        ax = axes[0, 0]
        for layer, site, width in sites:
            ax.fill_between([0, width], row[layer, site] + 0.04, row[layer, site] + 0.96, color=_BAND, lw=0)
        handles = []
        for found, label, (colour, bottom, top) in zip(("both", *langs), labels, _MARKS, strict=True):
            rows = experts[experts["found"] == found]
            at = pd.Series(
                [row[place] for place in zip(rows["layer"], rows["site"], strict=True)], dtype=float
            )
            ax.vlines(rows["unit"] + 0.5, at + bottom, at + top, colors=colour, linewidths=thick)
            handles.append(Line2D([], [], color=colour, lw=6, label=f"{label} ({len(rows)})"))
        ax.set_yticks([at + 0.5 for at in row.values()], [f"L{layer:02d} {site}" for layer, site in row])
        ax.set(xlim=(0, widest), ylim=(0, len(sites)), xlabel="unit", title=title)
        ax.grid(False)
        ax.tick_params(axis="y", length=0)
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    return figure
