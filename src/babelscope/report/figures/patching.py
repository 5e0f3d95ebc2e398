"""Patching: whether sentences that are patched move to another concept, and leave their language."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.analysis.language_pairs import ACROSS, OWN
from babelscope.analysis.movement import EXPERTS, RANDOM_DOSE, SOURCE_EXPERTS
from babelscope.io.tables import records
from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.language_pairs import (
    draw_pairs,
    of_kind,
    of_means,
    of_pairs,
    pair_cells,
    pair_sentences,
)
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, stack
from babelscope.report.figures.style import GREY, Look, PlotStyle, from_zero, legend, line, panels
from babelscope.report.summaries import at_last_step, model_label, per_model
from babelscope.report.words import say

#: Kinds of the frame, and the rows that they are: languages and condition. The control has no band.
_KINDS = {
    "own": (OWN, EXPERTS),
    "across": (ACROSS, EXPERTS),
    "theirs": (ACROSS, SOURCE_EXPERTS),
    "dose": (ACROSS, RANDOM_DOSE),
}
_CONTROL = "dose"


def _data(tables: Tables) -> pd.DataFrame:
    """A kind for each line, by measure; within a language there is no other to go to."""
    table, models = tables["patching"], tables.get("models")
    parts = []
    for measure in load_labels("patching"):
        bounds = {f"{measure}_low": "low", f"{measure}_high": "high"}
        named = table.drop(columns=["low", "high"]).rename(columns=bounds)
        for kind in _KINDS:
            rows, band = of_kind(named, _KINDS[kind]).dropna(subset=measure), kind != _CONTROL
            parts.append(points(rows, models, ["step"], measure, band=band, kind=kind, measure=measure))
    return stack(*parts)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A row per measure, a column per model."""
    own, across, theirs, *_ = style.colours()
    looks = {
        "own": Look("experts, values of a sentence of their language", own, "-", "o"),
        "across": Look("experts, values of a sentence of another language", across, "-", "o"),
        "theirs": Look("experts of that language, with its values", theirs, "-", "o"),
        "dose": Look("random units at the experts' dose", GREY, "--"),
    }
    names = load_labels("patching")
    figure, axes = panels(len(names), len(axis.models), style, height=2.6, sharey="row")
    for row, (name, label) in zip(axes, names.items(), strict=True):
        for ax, key in zip(row, axis.models, strict=True):
            for kind, look in looks.items():
                line(ax, part(frame, key, measure=name, kind=kind), look)
            axis.lines(ax, frame["step"], key)
            ax.set_title(model_label(key) if name == next(iter(names)) else "")
            if name != list(names)[-1]:
                ax.set_xlabel("")
        row[0].set_ylabel(label)
        from_zero(*row)
    legend(figure, looks.values(), frame)
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    table = tables["patching"]
    for label, rows in per_model(at_last_step(table), tables.get("models")):
        for model, of_model in rows.groupby("model", sort=False):
            at = {kind: found[0] for kind in _KINDS if (found := records(of_kind(of_model, _KINDS[kind])))}
            name = label if rows["model"].nunique() == 1 else f"{label}, {model}"
            yield say("patching", model=name, step=int(of_model["step"].max()), **at)


def _pair_rows(tables: Tables) -> pd.DataFrame:
    """Single pairs of languages: experts of the target's language."""
    pairs = of_pairs(tables["patching"])
    return pairs[pairs["condition"] == EXPERTS]


def _pairs(tables: Tables) -> pd.DataFrame:
    """What moves beyond the control."""
    return pair_cells(_pair_rows(tables), tables.get("models"))


def _draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Languages of the source down, those of the target across."""
    return draw_pairs(frame, style, axis, "nats towards the source's concept")


def _pair_sentences(tables: Tables) -> Iterator[str]:
    return pair_sentences("patching pairs", _pair_rows(tables), tables.get("models"))


PATCHING = FigureSpec("patching", _data, _draw, of_means, _sentences)
PAIRS = FigureSpec("patching_pairs", _pairs, _draw_pairs, of_pairs, _pair_sentences)
