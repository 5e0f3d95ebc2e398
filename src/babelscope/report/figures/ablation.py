"""Ablation: what a concept's sentences cost with its experts of one language at their mean."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.analysis.damage import ACROSS, EXPERTS, OTHER_CONCEPT, OWN, RANDOM, RANDOM_DOSE
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.matrices import at_three_steps, draw_matrices
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


def _rows(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    languages, condition = _KINDS[kind]
    return table[(table["source"] == languages) & (table["condition"] == condition)]


def _data(tables: Tables) -> pd.DataFrame:
    """A kind for each line: experts within a language and across languages, and controls across."""
    table, models = tables["ablation"], tables.get("models")
    parts = [
        points(_rows(table, kind), models, ["step"], "damage", kind=kind, band=kind in _EXPERTS)
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
            at = {kind: found[0] for kind in _KINDS if (found := _rows(of_model, kind).to_dict("records"))}
            name = label if rows["model"].nunique() == 1 else f"{label}, {model}"
            step = int(of_model["step"].max())
            yield say("ablation", model=name, step=step, own=at["own"], across=at["across"], dose=at["dose"])


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["source"].isin([ACROSS, OWN])]


def _pair_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Single pairs of languages, beside random units at the same dose."""
    return table[~table["source"].isin([ACROSS, OWN]) & (table["condition"] == RANDOM_DOSE)]


def _pairs(tables: Tables) -> pd.DataFrame:
    """Kind ``cell``: by how much the experts cost more than random units at their dose, at three steps."""
    rows = _pair_rows(tables["ablation"]).rename(columns={"source": "lang_a", "target": "lang_b"})
    cells = points(rows, tables.get("models"), ["step", "lang_a", "lang_b"], "gain", kind="cell", band=False)
    return at_three_steps(cells)


def _draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Matrices, languages of the experts down, those of the sentences across."""
    top = float(frame["value"].abs().max()) or 1.0
    look = {"cmap": "vlag", "vmin": -top, "edgecolor": "white"}
    return draw_matrices(frame, style, axis, vmax=top, label="more nats per token", **look)


def _pair_sentences(tables: Tables) -> Iterator[str]:
    pairs = _pair_rows(tables["ablation"])
    for label, rows in per_model(
        at_last_step(pairs[pairs["source"] != pairs["target"]]), tables.get("models")
    ):
        values = rows.groupby(["source", "target"])["gain"].mean()
        ends = {"low": values.min(), "high": values.max(), "least": values.idxmin(), "most": values.idxmax()}
        yield say("ablation pairs", model=label, step=int(rows["step"].max()), n=len(values), **ends)


def _all_pairs(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["source"].isin([ACROSS, OWN])]


ABLATION = FigureSpec("ablation", _data, _draw, _numbers, _sentences)
PAIRS = FigureSpec("ablation_pairs", _pairs, _draw_pairs, _all_pairs, _pair_sentences)
