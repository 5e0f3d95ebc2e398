"""Units of languages: do units tell a language, whatever is said in it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from babelscope.io.tables import records
from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, stack
from babelscope.report.figures.style import (
    GREY,
    Look,
    PlotStyle,
    from_zero,
    legend,
    line,
    panels,
    shaded_looks,
)
from babelscope.report.summaries import ALL, at_last_step, model_label, per_model
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
    """A line per layer against step; a row per measure, a column per model."""
    names, layers = load_labels("language_units"), sorted(frame["layer"].dropna().unique())
    first, *_, last = names
    looks = shaded_looks({at: f"layer {at:.0f}" for at in layers}, ".")
    figure, axes = panels(len(names), len(axis.models), style, height=2.6, sharey="row")
    for row, (name, label) in zip(axes, names.items(), strict=True):
        for ax, key in zip(row, axis.models, strict=True):
            of_model = part(frame, key, measure=name)
            for layer, look in looks.items():
                line(ax, part(of_model, kind="layer", layer=layer), look)
            line(ax, part(of_model, kind="null"), _NULL)
            axis.lines(ax, frame["step"], key)
            ax.set_title(model_label(key) if name == first else "")
            if name != last:
                ax.set_xlabel("")
        row[0].set_ylabel(label)
        from_zero(*row)
    legend(figure, [*(replace(look, marker="") for look in looks.values()), _NULL], frame)
    return figure


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
