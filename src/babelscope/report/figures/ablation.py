"""Ablation: what a concept's sentences cost with its experts of one language at their mean."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.analysis.damage import EXPERTS, OTHER_CONCEPT, RANDOM, RANDOM_DOSE
from babelscope.analysis.language_pairs import ACROSS, OWN
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.language_pairs import (
    draw_pairs,
    of_kind,
    of_means,
    of_pairs,
    pair_cells,
    pair_sentences,
)
from babelscope.report.figures.spec import FigureSpec, Tables, by_model, points, stack
from babelscope.report.figures.style import GREY, INK, Look, PlotStyle
from babelscope.report.summaries import at_last_step, per_model
from babelscope.report.words import say

#: Kinds of the frame, and the rows that they are: languages and condition. Controls have no band.
_KINDS = {
    "own": (OWN, EXPERTS),
    "across": (ACROSS, EXPERTS),
    "other": (ACROSS, OTHER_CONCEPT),
    "dose": (ACROSS, RANDOM_DOSE),
    "random": (ACROSS, RANDOM),
}
_EXPERTS = ("own", "across")


def _data(tables: Tables) -> pd.DataFrame:
    """A kind for each line: experts within a language and across languages, and controls across."""
    table, models = tables["ablation"], tables.get("models")
    parts = [
        points(of_kind(table, _KINDS[kind]), models, ["step"], "damage", kind=kind, band=kind in _EXPERTS)
        for kind in _KINDS
    ]
    return stack(*parts)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A panel per model."""
    own, across, *_ = style.colours()
    looks = {
        "own": Look("experts, sentences of their language", own, "-", "o"),
        "across": Look("experts, sentences of other languages", across, "-", "o"),
        "other": Look("the last with experts of another concept", INK, ":"),
        "dose": Look("random units at the experts' dose", GREY, "--"),
        "random": Look("random units at their means", GREY, "-."),
    }
    figure, axes = by_model(frame, style, axis, "kind", looks, height=3.6)
    axes[0].set_ylabel("more nats per token")
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    table = tables["ablation"]
    for label, rows in per_model(at_last_step(table), tables.get("models")):
        for model, of_model in rows.groupby("model", sort=False):
            at = {
                kind: found[0]
                for kind in _KINDS
                if (found := of_kind(of_model, _KINDS[kind]).to_dict("records"))
            }
            name = label if rows["model"].nunique() == 1 else f"{label}, {model}"
            step = int(of_model["step"].max())
            yield say("ablation", model=name, step=step, own=at["own"], across=at["across"], dose=at["dose"])


def _pair_rows(tables: Tables) -> pd.DataFrame:
    """Single pairs of languages, beside random units at the same dose."""
    pairs = of_pairs(tables["ablation"])
    return pairs[pairs["condition"] == RANDOM_DOSE]


def _pairs(tables: Tables) -> pd.DataFrame:
    """By how much the experts cost more than random units at their dose."""
    return pair_cells(_pair_rows(tables), tables.get("models"))


def _draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Languages of the experts down, those of the sentences across."""
    return draw_pairs(frame, style, axis, "more nats per token")


def _pair_sentences(tables: Tables) -> Iterator[str]:
    return pair_sentences("ablation pairs", _pair_rows(tables), tables.get("models"))


ABLATION = FigureSpec("ablation", _data, _draw, of_means, _sentences)
PAIRS = FigureSpec("ablation_pairs", _pairs, _draw_pairs, of_pairs, _pair_sentences)
