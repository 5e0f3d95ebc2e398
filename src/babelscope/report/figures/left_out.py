"""Left-out languages: units chosen in some languages, tested in the others."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, by_model, points, stack
from babelscope.report.figures.style import GREY, INK, Look, PlotStyle, from_zero
from babelscope.report.summaries import ALL, at_last_step, per_model
from babelscope.report.words import say

#: Kinds of the frame and the columns that they are.
_LEVELS = {"other": "ap_other_concepts", "random": "ap_random_units", "chance": "chance_ap"}


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Rows over all languages and concepts, of units chosen by their worst language."""
    return table[(table["lang"] == ALL) & (table["concept"] == ALL) & (table["rule"] == "worst")]


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``one``, ``half`` and ``most``, by how many languages chose, and what the last stands beside."""
    models, rows = tables.get("models"), _means(tables["left_out"])
    sizes = sorted(rows["chosen_in"].unique())
    kinds = dict(zip(sizes, ("one", "half", "most"), strict=False)) | {size: "most" for size in sizes[-1:]}
    parts = [
        points(rows[rows["chosen_in"] == size], models, ["step"], "ap", kind=kind)
        for size, kind in kinds.items()
    ]
    most = rows[rows["chosen_in"] == max(sizes, default=0)]
    for kind, column in _LEVELS.items():
        parts.append(points(most, models, ["step"], column, kind=kind, band=False))
    return stack(*parts)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """A panel per model."""
    one, half, most, *_ = style.colours()
    looks = {
        "one": Look("chosen in one language", one, "-", "o"),
        "half": Look("chosen in half of them", half, "-", "o"),
        "most": Look("chosen in all but one", most, "-", "o"),
        "other": Look("the last for other concepts", INK, ":"),
        "random": Look("units at random", GREY, "--"),
        "chance": Look("scores in random order", GREY, "-."),
    }
    figure, axes = by_model(frame, style, axis, "kind", looks, height=3.6)
    axes[0].set_ylabel("average precision, languages left out")
    from_zero(*axes)
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    for label, rows in per_model(at_last_step(_means(tables["left_out"])), tables.get("models")):
        for row in rows[rows["chosen_in"] == rows["chosen_in"].max()].to_dict("records"):
            name = label if rows["model"].nunique() == 1 else f"{label}, {row['model']}"
            yield say("left out", **{**row, "model": name})


def _numbers(left_out: pd.DataFrame) -> pd.DataFrame:
    return left_out[(left_out["lang"] == ALL) & (left_out["concept"] == ALL)]


LEFT_OUT = FigureSpec("left_out", _data, _draw, _numbers, _sentences)
