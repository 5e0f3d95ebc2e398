"""Onset: when competence comes, and when sharing."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, present, stack
from babelscope.report.figures.style import (
    GREY,
    INK,
    Look,
    PlotStyle,
    from_zero,
    legend,
    line,
    model_looks,
    panels,
)
from babelscope.report.summaries import ALL, per_model, with_roles
from babelscope.report.words import say


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``curve``, share of its rise that a measure has made; ``concept`` and ``mean``, octaves by which
    sharing comes behind competence, at the step of its onset; and the levels ``middle`` and ``together``."""
    models, curves, onsets = tables.get("models"), tables["onset_curves"], tables["onset"]
    bands = {"risen_low": "low", "risen_high": "high"}
    curves = curves.drop(columns=["low", "high"]).rename(columns=bands)
    onsets = onsets[(onsets["measure"] == "sharing") & (onsets["lang_a"] == ALL)]
    onsets = points(onsets[["model", "concept", "onset"]], models, ["concept"], "onset")
    gaps = points(_behind_competence(tables["onset_gaps"]), models, ["concept"], "octaves")
    at = onsets[["id", "role", "concept", "value"]].rename(columns={"value": "step"})
    gaps = gaps.merge(at, on=["id", "role", "concept"]).dropna(subset=["step", "value"])
    gaps["kind"] = gaps["concept"].map(lambda concept: "mean" if concept == ALL else "concept")
    levels = curves.drop_duplicates("model").pipe(with_roles, models)[["id", "role"]].drop_duplicates()
    levels = levels.merge(pd.DataFrame({"kind": ["middle", "together"], "value": [0.5, 0.0]}), how="cross")
    return stack(points(curves, models, ["step", "measure"], "risen", kind="curve"), gaps, levels)


def _behind_competence(gaps: pd.DataFrame) -> pd.DataFrame:
    """Of the table of gaps sharing behind competence, over all pairs of languages."""
    return gaps[(gaps["measure"] == "sharing") & (gaps["behind"] == "competence") & (gaps["lang_a"] == ALL)]


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Curves on the left, octaves by which sharing comes behind on the right; a row per model."""
    keys, looks_of = present(frame, axis), model_looks(axis.models, style)
    figure, axes = panels(len(keys), 2, style, height=3.1, sharey="col")
    names, colours = load_labels("onset"), style.colours()
    looks = {name: Look(label, colours[at], "-", "o") for at, (name, label) in enumerate(names.items())}
    concept, mean = Look("one concept", INK, "", "o", 3, alpha=0.5), Look("all concepts", INK, "", "D", 6)
    for (left, right), key in zip(axes, keys, strict=True):
        of_model, shown = part(frame, key), looks_of[key]
        curves, of_all = part(of_model, kind="curve"), part(of_model, kind="mean")
        for name, look in looks.items():
            line(left, part(curves, measure=name), look)
        line(right, part(of_model, kind="concept"), concept, colour=shown.colour)
        right.vlines(of_all["step"], of_all["low"], of_all["high"], color=shown.colour, linewidth=1.4)
        line(right, of_all.assign(low=float("nan"), high=float("nan")), mean, colour=shown.colour)
        for ax, level in ((left, "middle"), (right, "together")):
            line(ax, part(of_model, kind=level), Look("", GREY, ":"))
        left.set(title=shown.label, ylabel="share of its rise")
        right.set(title="sharing behind competence", ylabel="octaves of training")
        for ax in (left, right):
            axis.lines(ax, curves["step"], key)
    from_zero(*axes[:, 0])
    from_zero(*axes[:, 1])
    legend(figure, [*looks.values(), concept, mean], frame)
    return figure


def _sentences(tables: Tables) -> Iterator[str]:
    over_all = (tables[name] for name in ("onset", "onset_gaps"))
    onsets, gaps = (table[(table["lang_a"] == ALL) & (table["concept"] == ALL)] for table in over_all)
    for label, rows in per_model(onsets, tables.get("models")):
        for run, of_run in rows.groupby("model", sort=False):
            at = of_run.set_index("measure")[["onset", "low", "high"]].to_dict("index")
            gap = _behind_competence(gaps[gaps["model"] == run]).iloc[0].to_dict()
            name = label if rows["model"].nunique() == 1 else f"{label}, {run}"
            yield say(
                "onset" if gap["octaves"] == gap["octaves"] else "onset none", model=name, at=at, gap=gap
            )


def _numbers(gaps: pd.DataFrame) -> pd.DataFrame:
    return gaps[(gaps["lang_a"] == ALL) & (gaps["concept"] == ALL)]


ONSET = FigureSpec("onset", _data, _draw, _numbers, _sentences)
