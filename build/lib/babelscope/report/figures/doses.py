"""Dose and response: how much languages share at the end of training, by what ties them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report import summaries
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, present, stack
from babelscope.report.figures.style import PALE, PlotStyle, legend, model_looks, panels
from babelscope.report.summaries import model_label
from babelscope.report.words import count, say


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``dose``, the share of the way of a model at its last step; ``run``, of each seed where there are
    several; and ``end``, null and ceiling. Left out are models without a dose and shares without interval."""
    models = tables.get("models")
    if models is None or "dose" not in models:
        return pd.DataFrame()
    doses = models.dropna(subset="dose")[["model", "dose"]]
    totals = summaries.overlap_totals(tables["overlap"], summaries.preferred_variant(tables["overlap"]))
    shares = summaries.shares_of_the_way(summaries.at_last_step(totals)).merge(doses, on="model")
    if shares.empty:
        return pd.DataFrame()
    keys = ["step", "dose"]
    runs = summaries.with_roles(shares, models)
    runs = runs[runs.groupby("id")["model"].transform("nunique") > 1]
    runs = runs[["id", "role", "model", *keys, "way"]].rename(columns={"way": "value"}).assign(kind="run")
    ends = pd.DataFrame({"kind": "end", "value": [0.0, 1.0]})
    return stack(points(shares, models, keys, "way", kind="dose"), runs, ends)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A point per model with its interval, dashes for its seeds; no line, since doses may be of two kinds."""
    figure, axes = panels(1, 1, style, height=3.8)
    ax, looks = axes[0, 0], model_looks(axis.models, style)
    for level in part(frame, kind="end")["value"]:
        ax.axhline(level, zorder=0, color=PALE, linewidth=1.2)
    shown = []
    for key in present(frame, axis):
        look, rows, runs = looks[key], part(frame, key, kind="dose"), part(frame, key, kind="run")
        ax.vlines(rows["dose"], rows["low"], rows["high"], color=look.colour, linewidth=1.4)
        ax.plot(rows["dose"], rows["value"], color=look.colour, marker="o", linestyle="")
        ax.plot(
            runs["dose"], runs["value"], color=look.colour, marker="_", linestyle="", markersize=9, alpha=0.7
        )
        mark = "".join(axis.mark(int(step), key) for step in rows["step"])
        shown.append(replace(look, label=look.label + mark, dashes=""))
    most = float(frame["dose"].max()) or 1.0
    ax.set(xlabel="dose", xlim=(-0.05 * most, 1.05 * most), ylabel="share of the way, null to ceiling")
    legend(figure, shown, frame)
    return figure


def _numbers(overlap: pd.DataFrame) -> pd.DataFrame:
    return summaries.at_last_step(summaries.overlap_totals(overlap, summaries.preferred_variant(overlap)))


def _sentences(tables: Tables) -> Iterator[str]:
    frame = _data(tables)
    rows = part(frame, kind="dose").sort_values("dose", kind="stable") if len(frame) else frame
    for row in rows.to_dict("records"):
        label, n = model_label((row["id"], row["role"])), count(int(row["n_seeds"]), "pre-training seed")
        yield say("dose", model=label, n=n, **{key: row[key] for key in ("dose", "value", "low", "high")})


DOSES = FigureSpec("overlap_dose", _data, _draw, _numbers, _sentences, shares_panels=True)
