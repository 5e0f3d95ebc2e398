"""Confounds: what could pass for expertise and for sharing, beside both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from babelscope.io.tables import records
from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, by_model, part, points, present, stack
from babelscope.report.figures.style import (
    GREY,
    INK,
    Look,
    PlotStyle,
    from_zero,
    legend,
    model_looks,
    panels,
)
from babelscope.report.summaries import ALL, at_last_step, per_model
from babelscope.report.words import say


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Rows over all languages and concepts."""
    return table[(table["lang"] == ALL) & (table["concept"] == ALL)]


def _data(tables: Tables) -> pd.DataFrame:
    """Kind ``ap`` by ``term``, what predicts; and ``chance``. All traits together have the interval."""
    models, rows = tables.get("models"), _means(tables["confounds"])
    bare = rows.drop(columns=["low", "high"])
    parts = [
        points(rows if term == "ap_all" else bare, models, ["step"], term, kind="ap", term=term)
        for term in load_labels("confounds")
    ]
    return stack(*parts, points(bare, models, ["step"], "chance_ap", kind="chance", band=False))


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A column for each trait and for the experts, models side by side."""
    figure, axes = panels(1, 1, style, height=3.2)
    ax, looks, labels = axes[0, 0], model_looks(axis.models, style), load_labels("confounds")
    keys, shown = present(frame, axis), []
    for at, key in enumerate(keys):
        aside = 0.3 * (at - (len(keys) - 1) / 2) / max(1, len(keys) - 1)
        for x, term in enumerate(labels):
            for row in part(frame, key, kind="ap", term=term).to_dict("records"):
                ax.vlines([x + aside], [row["low"]], [row["high"]], color=looks[key].colour, linewidth=1.2)
                ax.plot([x + aside], [row["value"]], color=looks[key].colour, marker="o", linestyle="")
        for level in part(frame, key, kind="chance")["value"]:
            ax.axhline(level, color=GREY, linestyle="-.", linewidth=1)
        steps = part(frame, key, kind="ap")["step"].unique()
        mark = "".join(axis.mark(int(step), key) for step in steps)
        shown.append(replace(looks[key], label=looks[key].label + mark, dashes=""))
    ax.set_xticks(range(len(labels)), list(labels.values()))
    ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.set_ylabel("average precision")
    from_zero(ax)
    legend(figure, [*shown, Look("scores in random order", GREY, "-.")], frame)
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    for label, rows in per_model(_means(tables["confounds"]), tables.get("models")):
        for row in records(rows):
            name = label if rows["model"].nunique() == 1 else f"{label}, {row['model']}"
            yield say("confounds", **{**row, "model": name})


CONFOUNDS = FigureSpec("confounds", _data, _draw, _means, _sentences, shares_panels=True)


# ----------------------------------------------------------------------------------------- pairs


def _pair_data(tables: Tables) -> pd.DataFrame:
    """Kinds by the means over pairs of languages."""
    rows, models = tables["confound_pairs"], tables.get("models")
    terms = load_labels("confound_pairs")
    return stack(*(points(rows[rows["term"] == term], models, ["step"], kind=term) for term in terms))


def _draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A panel per model."""
    other, left, *_ = style.colours()
    labels = load_labels("confound_pairs")
    colours = zip(labels.items(), (INK, other, left), (":", "-", "-"), strict=True)
    looks = {term: Look(label, colour, dashes, "o") for (term, label), colour, dashes in colours}
    figure, axes = by_model(frame, style, axis, "kind", looks, height=3.4)
    axes[0].set_ylabel("overlap above other concepts")
    from_zero(*axes)
    return figure


def _pair_sentences(tables: Tables) -> Iterator[str]:
    for label, of_model in per_model(at_last_step(tables["confound_pairs"]), tables.get("models")):
        for name, of_run in of_model.groupby("model", sort=False):
            at = {str(row["term"]): row for row in of_run.to_dict("records")}
            if {"other_script", "other_script_left"} <= at.keys():
                shown = label if of_model["model"].nunique() == 1 else f"{label}, {name}"
                yield say("confound pairs", model=shown, step=int(of_run["step"].max()), at=at)


CONFOUND_PAIRS = FigureSpec("confound_pairs", _pair_data, _draw_pairs, at_last_step, _pair_sentences)
