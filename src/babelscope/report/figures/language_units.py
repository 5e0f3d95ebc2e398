"""Units of languages: do units tell a language, whatever is said in it?"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.io.tables import records
from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.layer_lines import layer_lines
from babelscope.report.figures.spec import FigureSpec, Tables, points, stack
from babelscope.report.figures.style import GREY, Look, PlotStyle
from babelscope.report.summaries import ALL, at_last_step, per_model
from babelscope.report.words import say

_NULL = Look("languages at random", GREY, "-.")
#: The column that is the null of a measure.
_NULLS = {"ap": "null_ap", "share": "null"}
_WHOLE = -1


def _means(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["lang"] == ALL]


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``layer``, by measure, and ``null``, of all layers."""
    rows, models = _means(tables["language_units"]), tables.get("models")
    layers = rows[(rows["layer"] != _WHOLE) & (rows["n_units"] > 0)]
    whole, parts = rows[rows["layer"] == _WHOLE], []
    for name, null in _NULLS.items():
        keys = ["step", "layer"]
        parts.append(points(layers, models, keys, name, kind="layer", measure=name, band=False))
        parts.append(points(whole, models, ["step"], null, kind="null", measure=name, band=False))
    return stack(*parts)


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    return layer_lines(frame, style, axis, load_labels("language_units"), _NULL, height=2.6)


def _sentences(tables: Tables) -> Iterator[str]:
    models = tables.get("models")
    rows, overlap = _means(tables["language_units"]), tables.get("language_overlap")
    shares = [] if overlap is None else records(_means(overlap))
    known = {(row["model"], row["step"]): row for row in shares}
    for label, of_model in per_model(at_last_step(rows[rows["layer"] == _WHOLE]), models):
        for row in records(of_model):
            name = label if of_model["model"].nunique() == 1 else f"{label}, {row['model']}"
            yield say("language units", **{**row, "model": name})
            if shared := known.get((row["model"], row["step"])):
                yield say("language overlap", **{**shared, "model": name})


LANGUAGE_UNITS = FigureSpec("language_units", _data, _draw, _means, _sentences)
