"""Do experts align: shared experts over steps, by layer and by language pair."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from babelscope.report import summaries
from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.matrices import at_three_steps, draw_matrices
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, present, stack
from babelscope.report.figures.style import (
    GREY,
    INK,
    PALE,
    Look,
    PlotStyle,
    category_axes,
    from_zero,
    heat_map,
    legend,
    line,
    model_looks,
    on_cells,
    panels,
)
from babelscope.report.summaries import ALL, SAME, Key, model_label, overlap_totals
from babelscope.report.words import say

_NULL = Look("null: other concepts", INK, ":", lw=1.3)
_CEILING = Look("ceiling: same language", INK, "-.", lw=1.1)
_CHANCE = Look("chance K/N", PALE, lw=1.2)
_BY_WORDS = Look("ceiling over disjoint words", INK, "--", lw=1.1)

_HEAT = {"cmap": "mako_r", "vmin": 0, "edgecolor": "white"}


def _over_steps(tables: Tables) -> pd.DataFrame:
    """Kinds ``overlap``, ``run`` (each seed, where there are several), ``null``, ``ceiling``, ``chance``."""
    models, totals = tables.get("models"), overlap_totals(tables["overlap"])
    ceilings = overlap_totals(tables["overlap"], pairs=SAME)
    runs = summaries.with_roles(totals, models)
    several = runs.groupby("id")["model"].transform("nunique") > 1
    runs = runs[several][["id", "role", "model", "variant", "step", "overlap"]]
    chance = totals.groupby("variant")["chance"].median().dropna().rename("value").reset_index()
    keys = ["variant", "step"]
    return stack(
        points(totals, models, keys, "overlap", kind="overlap"),
        runs.rename(columns={"overlap": "value"}).assign(kind="run"),
        points(totals, models, keys, "null", kind="null", band=False),
        points(ceilings, models, keys, "overlap", kind="ceiling", band=False),
        chance.assign(kind="chance"),
    )


def _hero(tables: Tables) -> pd.DataFrame:
    """Of the strictest variant; null and ceiling of the first model alone."""
    frame = part(_over_steps(tables), variant=summaries.preferred_variant(tables["overlap"]))
    main, _ = summaries.model_ids(tables.get("models"), [tables["overlap"]])[0]
    of_main = frame["kind"].isin(["null", "ceiling"]) & (frame["id"] == main)
    return frame[frame["kind"].isin(["overlap", "run"]) | of_main]


def _draw_model(ax: Any, frame: pd.DataFrame, key: Key, look: Look) -> pd.DataFrame:
    """The line of a model, thin ones for its seeds; returns the points of the line."""
    rows = part(frame, key, kind="overlap")
    line(ax, rows, look)
    for _, run in part(frame, key, kind="run").groupby("model") if "model" in frame else ():
        line(ax, run, look, dashes="-", marker="", lw=0.6, alpha=0.6)
    return rows


def _draw_hero(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Overlap over steps of all models, with ceiling and null, lines labelled where they end."""
    figure, axes = panels(1, 1, style, width=9, height=4.2)
    ax = axes[0, 0]
    looks = model_looks(axis.models, style)
    drawn = [(_draw_model(ax, frame, key, look), look) for key, look in looks.items()]
    for kind, look in (("null", _NULL), ("ceiling", replace(_CEILING, colour=GREY))):
        drawn.append((part(frame, kind=kind), look))
        line(ax, *drawn[-1], lw=1.4)
    axis.lines(ax, frame["step"], {key: look.colour for key, look in looks.items()})
    ax.set_ylabel("shared experts")
    from_zero(ax, top=1.12 * float(frame[["value", "high"]].max().max()))
    _end_labels(ax, [(value, look) for rows, look in drawn for value in rows["value"].tail(1)])
    variant = load_labels("variants")[frame["variant"].iloc[0]]
    ax.set_title(f"Experts of one concept shared by two languages ({variant})")
    return figure


def _end_labels(ax: Any, ends: list[tuple[float, Look]]) -> None:
    """Write each label right of its line's end, moved apart where they would touch."""
    low, high = ax.get_ylim()
    gap = 0.065 * (high - low)
    y = low
    for value, look in sorted(ends, key=lambda end: end[0]):
        y = max(value, y + gap) if y > low else max(value, low + gap / 2)
        ax.annotate(
            look.label, (1, y), xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
            textcoords="offset points", color=look.colour, annotation_clip=False,
        )  # fmt: skip


def _draw_over_steps(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Overlap against step, a panel per variant, with null, chance and ceiling."""
    variants = {v: title for v, title in load_labels("variants").items() if v in set(frame["variant"])}
    figure, axes = panels(1, len(variants), style, height=4.0, sharey=True)
    looks = model_looks(axis.models, style)
    for ax, (variant, title) in zip(axes[0], variants.items(), strict=True):
        of_variant = part(frame, variant=variant)
        for key, look in looks.items():
            _draw_model(ax, of_variant, key, look)
            line(ax, part(of_variant, key, kind="null"), _NULL, colour=look.colour)
            line(ax, part(of_variant, key, kind="ceiling"), _CEILING, colour=look.colour, alpha=0.8)
        for chance in part(of_variant, kind="chance")["value"]:
            ax.axhline(chance, zorder=0, **_CHANCE.of_line)
        ax.set_title(title)
        axis.lines(ax, frame["step"].dropna(), {key: look.colour for key, look in looks.items()})
    axes[0, 0].set_ylabel("overlap of experts")
    from_zero(*axes[0])
    legend(figure, [*looks.values(), _NULL, _CEILING, _CHANCE], frame)
    return figure


def _way(tables: Tables) -> pd.DataFrame:
    """Kinds ``halves`` and ``words`` by what the ceiling is over, of steps whose share has an interval; and
    ``end``, null and ceiling."""
    models, totals = tables.get("models"), overlap_totals(tables["overlap"])
    shares = [
        points(summaries.shares_of_the_way(totals, end), models, ["step"], "way", kind=kind, band=band)
        for kind, end, band in (("halves", "", True), ("words", "_words", False))
    ]
    known = stack(*shares)
    return known if known.empty else stack(known, pd.DataFrame({"kind": "end", "value": [0.0, 1.0]}))


def _draw_way(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Share of the way from null to ceiling against step."""
    figure, axes = panels(1, 1, style, height=4.0)
    ax, looks = axes[0, 0], model_looks(axis.models, style)
    for key, look in looks.items():
        line(ax, part(frame, key, kind="halves"), look)
        line(ax, part(frame, key, kind="words"), _BY_WORDS, colour=look.colour)
    for level in part(frame, kind="end")["value"]:
        ax.axhline(level, zorder=0, **replace(_CHANCE, label="").of_line)
    axis.lines(ax, frame["step"].dropna(), {key: look.colour for key, look in looks.items()})
    ax.set_ylabel("share of the way, null to ceiling")
    legend(figure, [*looks.values(), _BY_WORDS], frame)
    return figure


def _by_layer(tables: Tables) -> pd.DataFrame:
    """Kind ``cell``: share of the way of a layer at a step, and the largest ``q_value`` of its runs.

    It corrects ``p_value`` over all runs, layers and steps. Cells whose share has no interval are left out:
    their ceiling is not surely above the null.
    """
    models, rows = tables.get("models"), summaries.overlap_layers(tables["overlap"])
    shares = summaries.shares_of_the_way(rows)
    cells = points(shares, models, ["layer", "step"], "way", kind="cell", band=False)
    runs = summaries.with_roles(rows, models).assign(q_value=np.nan)
    tested = runs["p_value"].notna()
    if tested.any():
        runs.loc[tested, "q_value"] = stats.false_discovery_control(runs.loc[tested, "p_value"])
    q_values = runs.groupby(["id", "role", "layer", "step"])["q_value"].max()
    return cells.merge(q_values.reset_index(), how="left")


def _draw_by_layer(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Heat map of the share of the way, layer by step, a panel per model; a dot where it is significant."""
    keys = present(frame, axis)
    columns = min(len(keys), 2)
    height = min(max(0.3 * frame["layer"].nunique() + 1.4, 2.6), 7)
    figure, axes = panels(math.ceil(len(keys) / columns), columns, style, height=height)
    top = max(float(frame["value"].max()), 0.05)
    for ax, key in zip(axes.flat, keys, strict=False):
        grid, q_value = (
            part(frame, key).pivot(index="layer", columns="step", values=of) for of in ("value", "q_value")
        )
        mesh = heat_map(ax, grid, vmax=top, linewidth=0.6, **_HEAT)
        y, x = np.nonzero(q_value.to_numpy() <= 0.05)
        dark = grid.to_numpy()[y, x] > 0.55 * top
        ax.scatter(x + 0.5, y + 0.5, s=5, c=np.where(dark, "white", INK), linewidths=0, gid=on_cells(ax))
        category_axes(ax, grid.columns, grid.index)
        axis.cells(ax, grid.columns, key)
        ax.set(title=model_label(key), xlabel="training step", ylabel="layer")
    for ax in list(axes.flat)[len(keys) :]:
        ax.set_visible(False)
    figure.colorbar(mesh, ax=axes, label="share of the way, null to ceiling", shrink=0.85, pad=0.02)
    return figure


def _pair_rows(tables: Tables) -> pd.DataFrame:
    """Rows of single language pairs over all layers, of the strictest variant."""
    rows = tables["overlap"]
    keep = (rows["scope"] == "model") & (rows["layer"] == -1) & ~rows["lang_a"].str.startswith((ALL, SAME))
    return rows[keep & (rows["variant"] == summaries.preferred_variant(rows))]


def _pairs(tables: Tables) -> pd.DataFrame:
    """Kind ``cell``: overlap of two languages in both orders, at three steps of each model; ``top`` is the
    largest of any step."""
    rows, keys = _pair_rows(tables), ["step", "lang_a", "lang_b"]
    cells = points(rows, tables.get("models"), keys, "overlap", kind="cell", band=False)
    cells = cells.assign(top=cells["value"].max())
    cells = at_three_steps(cells)
    turned = cells.rename(columns={"lang_a": "lang_b", "lang_b": "lang_a"})
    return stack(cells, turned[turned["lang_a"] != turned["lang_b"]])


def _draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Language by language matrices at the first, a middle and the last step, a row per model."""
    return draw_matrices(frame, style, axis, vmax=float(frame["top"].iloc[0]), label="overlap", **_HEAT)


def _pair_sentences(tables: Tables) -> Iterator[str]:
    pairs = _pair_rows(tables)
    pairs = pairs[pairs["lang_a"] != pairs["lang_b"]]
    for label, rows in summaries.per_model(pairs, tables.get("models")):
        step = rows["step"].max()
        values = rows[rows["step"] == step].groupby(["lang_a", "lang_b"])["overlap"].mean()
        ends = {"least": values.idxmin(), "low": values.min(), "most": values.idxmax(), "high": values.max()}
        yield say("pairs", model=label, step=step, n=len(values), **ends)


def _total_numbers(overlap: pd.DataFrame) -> pd.DataFrame:
    between = overlap_totals(overlap).assign(pairs="between languages")
    within = overlap_totals(overlap, pairs=SAME).assign(pairs="same language")
    return pd.concat([between, within]).sort_values(["model", "variant", "pairs", "step"])


def _layer_numbers(overlap: pd.DataFrame) -> pd.DataFrame:
    return summaries.overlap_layers(overlap).sort_values(["model", "step", "layer"])


def _pair_numbers(overlap: pd.DataFrame) -> pd.DataFrame:
    """Single pairs, and the means over kinds of pairs."""
    rows = overlap[(overlap["scope"] == "model") & ~overlap["lang_a"].isin([ALL, SAME])]
    return summaries.at_last_step(rows)


HERO = FigureSpec("hero", _hero, _draw_hero, _total_numbers, shares_panels=True)
OVER_STEPS = FigureSpec(
    "overlap_over_steps", _over_steps, _draw_over_steps, _total_numbers, shares_panels=True
)
WAY = FigureSpec("overlap_way", _way, _draw_way, _total_numbers, shares_panels=True)
BY_LAYER = FigureSpec("overlap_by_layer", _by_layer, _draw_by_layer, _layer_numbers)
PAIRS = FigureSpec("overlap_pairs", _pairs, _draw_pairs, _pair_numbers, _pair_sentences)
