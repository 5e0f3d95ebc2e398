"""Do experts align: shared experts over steps, by layer and by language pair."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, present, stack
from babelscope.report.figures.style import (
    GREY,
    INK,
    PALE,
    PlotStyle,
    category_axes,
    legend,
    line,
    model_colours,
    model_dashes,
    model_handles,
    panels,
    seeds_note,
    thin,
)
from babelscope.report.summaries import (
    ALL,
    SAME,
    Key,
    at_last_step,
    layer_significance,
    model_ids,
    model_label,
    overlap_ceilings,
    overlap_layers,
    overlap_pair_rows,
    overlap_totals,
    per_model,
    preferred_variant,
    with_roles,
)
from babelscope.report.words import say

VARIANT_TITLES = {"disjoint_lines": "disjoint sentences", "same_lines": "same sentences"}

_REFERENCES = (
    ("null", "null: other concepts", ":", INK),
    ("ceiling", "ceiling: same language", "-.", GREY),
)

_HEAT = {"cmap": "mako_r", "vmin": 0, "edgecolor": "white"}


def _over_steps(tables: Tables) -> pd.DataFrame:
    """Kinds ``overlap``, ``run`` (each seed, where there are several), ``null``, ``ceiling``, ``chance``."""
    models, totals = tables.get("models"), overlap_totals(tables["overlap"])
    ceilings = overlap_ceilings(tables["overlap"])
    runs = with_roles(totals, models)
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
    frame = part(_over_steps(tables), variant=preferred_variant(tables["overlap"]))
    main, _ = model_ids(tables.get("models"), [tables["overlap"]])[0]
    of_main = frame["kind"].isin(["null", "ceiling"]) & (frame["id"] == main)
    return frame[frame["kind"].isin(["overlap", "run"]) | of_main]


def _draw_model(ax: Any, frame: pd.DataFrame, key: Key, colour: Any) -> pd.DataFrame:
    """The line of a model, thin ones for its seeds; returns the points of the line."""
    rows = part(frame, key, kind="overlap")
    line(ax, rows, colour, model_dashes(key), "o")
    runs = part(frame, key, kind="run")
    for _, run in runs.groupby("model") if not runs.empty else ():
        ax.plot(run["step"], run["value"], color=colour, lw=0.6, alpha=0.6)
    return rows


def _draw_hero(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Overlap over steps of all models, with ceiling and null, lines labelled where they end."""
    figure, axes = panels(1, 1, style, width=9, height=4.2)
    ax = axes[0, 0]
    labels: list[tuple[float, str, Any]] = []
    colours = model_colours(axis.models, style)
    for key, colour in colours.items():
        rows = _draw_model(ax, frame, key, colour)
        labels += [(value, model_label(key), colour) for value in rows["value"].tail(1)]
    for kind, label, dashes, colour in _REFERENCES:
        rows = part(frame, kind=kind)
        if not rows.empty:
            ax.plot(rows["step"], rows["value"], dashes, color=colour, lw=1.4)
            labels.append((rows["value"].iloc[-1], label, colour))
    axis.lines(ax, frame["step"], colours)
    ax.set(ylabel="shared experts", ylim=(0, frame[["value", "high"]].max().max() * 1.12))
    _end_labels(ax, labels)
    variant = VARIANT_TITLES[frame["variant"].iloc[0]]
    ax.set_title(f"Experts of one concept shared by two languages ({variant})")
    return figure


def _end_labels(ax: Any, labels: list[tuple[float, str, Any]]) -> None:
    """Write each label right of its line's end, moved apart where they would touch."""
    low, high = ax.get_ylim()
    gap = 0.065 * (high - low)
    y = low
    for value, text, colour in sorted(labels, key=lambda label: label[0]):
        y = max(value, y + gap) if y > low else max(value, low + gap / 2)
        ax.annotate(
            text, (1, y), xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
            textcoords="offset points", color=colour, annotation_clip=False,
        )  # fmt: skip


def _draw_over_steps(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Overlap against step, a panel per variant, with null, chance and ceiling."""
    variants = [variant for variant in VARIANT_TITLES if variant in set(frame["variant"])]
    figure, axes = panels(1, len(variants), style, height=4.0, sharey=True)
    colours = model_colours(axis.models, style)
    for ax, variant in zip(axes[0], variants, strict=True):
        of_variant = part(frame, variant=variant)
        for key, colour in colours.items():
            if _draw_model(ax, of_variant, key, colour).empty:
                continue
            for kind, dashes, width, alpha in (("null", ":", 1.3, 1.0), ("ceiling", "-.", 1.1, 0.8)):
                rows = part(of_variant, key, kind=kind)
                if not rows.empty:
                    ax.plot(rows["step"], rows["value"], dashes, color=colour, lw=width, alpha=alpha)
        for chance in part(of_variant, kind="chance")["value"]:
            ax.axhline(chance, color=PALE, lw=1.2, zorder=0)
        ax.set_title(VARIANT_TITLES[variant])
        axis.lines(ax, frame["step"].dropna(), colours)
    axes[0, 0].set_ylabel("overlap of experts")
    axes[0, 0].set_ylim(bottom=0)
    handles = model_handles(colours)
    handles += [
        Line2D([], [], color=INK, ls=":", lw=1.3, label="null: other concepts"),
        Line2D([], [], color=INK, ls="-.", lw=1.1, label="ceiling: same language"),
        Line2D([], [], color=PALE, lw=1.2, label="chance K/N"),
    ]
    legend(figure, handles, seeds_note(frame))
    return figure


def _by_layer(tables: Tables) -> pd.DataFrame:
    """Kind ``cell``: calibrated overlap of a layer at a step, and the largest ``q_value`` of its runs."""
    models, rows = tables.get("models"), overlap_layers(tables["overlap"])
    keys = ["layer", "step"]
    cells = points(rows, models, keys, "calibrated", kind="cell", band=False)
    tested = with_roles(layer_significance(rows), models)
    tested = tested.groupby(["id", "role", *keys])["q_value"].max().reset_index()
    return cells.merge(tested, how="left")


def _draw_by_layer(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Heat map of calibrated overlap, layer by step, a panel per model; a dot where it is significant."""
    keys = present(frame, axis)
    columns = min(len(keys), 2)
    height = min(max(0.3 * frame["layer"].nunique() + 1.4, 2.6), 7)
    figure, axes = panels(math.ceil(len(keys) / columns), columns, style, height=height)
    top = max(float(frame["value"].max()), 0.05)
    for ax, key in zip(axes.flat, keys, strict=False):
        rows = part(frame, key)
        grid = rows.pivot(index="layer", columns="step", values="value")
        edges = (np.arange(n + 1) for n in grid.shape[::-1])
        mesh = ax.pcolormesh(*edges, grid.to_numpy(), vmax=top, linewidth=0.6, **_HEAT)
        q_value = rows.pivot(index="layer", columns="step", values="q_value")
        y, x = np.nonzero(q_value.to_numpy() <= 0.05)
        dark = grid.to_numpy()[y, x] > 0.55 * top
        ax.scatter(x + 0.5, y + 0.5, s=5, c=np.where(dark, "white", INK), linewidths=0)
        category_axes(ax, grid.columns, grid.index)
        axis.cells(ax, grid.columns, key)
        ax.set(title=model_label(key), xlabel="training step", ylabel="layer")
    for ax in list(axes.flat)[len(keys) :]:
        ax.set_visible(False)
    figure.colorbar(mesh, ax=axes, label="calibrated overlap", shrink=0.85, pad=0.02)
    return figure


def _pairs(tables: Tables) -> pd.DataFrame:
    """Kind ``cell``: overlap of two languages in both orders, at three steps of each model; ``top`` is the
    largest of any step."""
    rows, keys = overlap_pair_rows(tables["overlap"]), ["step", "lang_a", "lang_b"]
    cells = points(rows, tables.get("models"), keys, "overlap", kind="cell", band=False)
    cells = cells.assign(top=cells["value"].max())
    shown = [
        of_model[of_model["step"].isin(thin(sorted(of_model["step"].unique()), 3))]
        for _, of_model in cells.groupby(["id", "role"], sort=False)
    ]
    cells = stack(cells.head(0), *shown)
    turned = cells.rename(columns={"lang_a": "lang_b", "lang_b": "lang_a"})
    return stack(cells, turned[turned["lang_a"] != turned["lang_b"]])


def _draw_pairs(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Language by language matrices at the first, a middle and the last step, a row per model."""
    languages = sorted(frame["lang_a"].unique())
    steps = {key: sorted(part(frame, key)["step"].unique()) for key in axis.models}
    columns = max(map(len, steps.values()))
    size = min(max(0.3 * len(languages) + 0.6, 2.4), 5.0)
    figure, axes = panels(len(steps), columns, style, width=columns * size + 1.2, height=size)
    top = float(frame["top"].iloc[0])
    for row, key in enumerate(steps):
        for ax in axes[row, len(steps[key]) :]:
            ax.set_visible(False)
        for ax, step in zip(axes[row], steps[key], strict=False):
            cells = part(frame, key, step=step).pivot(index="lang_a", columns="lang_b", values="value")
            grid = cells.reindex(index=languages, columns=languages).to_numpy()
            mesh = ax.pcolormesh(grid, vmax=top, linewidth=0.5, **_HEAT)
            category_axes(ax, languages, languages, most=24)
            ax.tick_params(axis="x", rotation=90 if len(languages) > 10 else 0)
            ax.invert_yaxis()
            ax.set_aspect("equal")
            ax.set_title(f"{key[0]}, {axis.name(int(step), key)}", fontsize="medium")
            if len(languages) <= 8:
                _write_cells(ax, grid, top, 6.5 * style.font_scale)
    figure.colorbar(mesh, ax=axes, label="overlap", shrink=0.8, pad=0.02)
    return figure


def _write_cells(ax: Any, grid: np.ndarray[Any, Any], top: float, size: float) -> None:
    for (i, j), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "white" if value > 0.55 * top else INK
            text = f"{value:.2f}".removeprefix("0") if value < 1 else "1"
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=size)


def _pair_sentences(tables: Tables) -> list[str]:
    out = []
    pairs = overlap_pair_rows(tables["overlap"])
    pairs = pairs[pairs["lang_a"] != pairs["lang_b"]]
    for label, rows in per_model(pairs, tables.get("models")):
        last = rows[rows["step"] == rows["step"].max()]
        by_pair = last.groupby(["lang_a", "lang_b"])["overlap"].mean()
        given = {
            "least": by_pair.idxmin(),
            "low": by_pair.min(),
            "most": by_pair.idxmax(),
            "high": by_pair.max(),
        }
        out.append(say("pairs", model=label, step=rows["step"].max(), n=len(by_pair), **given))
    return out


def _total_numbers(tables: Tables) -> pd.DataFrame:
    rows = pd.concat([overlap_totals(tables["overlap"]), overlap_ceilings(tables["overlap"])])
    rows = rows.assign(pairs=rows["lang_a"].map({ALL: "between languages"}).fillna("same language"))
    columns = ["model", "step", "variant", "pairs", "overlap", "low", "high", "null", "chance",
               "calibrated", "p_value", "q_value", "n_concepts", "k", "n_units"]  # fmt: skip
    return rows.sort_values(["model", "variant", "pairs", "step"])[columns]


def _layer_numbers(tables: Tables) -> pd.DataFrame:
    columns = ["model", "step", "layer", "overlap", "low", "high", "null", "calibrated", "p_value",
               "q_value", "k"]  # fmt: skip
    return overlap_layers(tables["overlap"]).sort_values(["model", "step", "layer"])[columns]


def _pair_numbers(tables: Tables) -> pd.DataFrame:
    overlap = tables["overlap"]
    rows = overlap[(overlap["scope"] == "model") & ~overlap["lang_a"].isin([ALL, SAME])]
    columns = ["model", "step", "variant", "lang_a", "lang_b", "overlap", "low", "high", "null",
               "calibrated", "p_value", "q_value"]  # fmt: skip
    return at_last_step(rows)[columns]


HERO = FigureSpec("hero", _hero, _draw_hero, shares_panels=True)
OVER_STEPS = FigureSpec(
    "overlap_over_steps",
    _over_steps,
    _draw_over_steps,
    numbers=_total_numbers,
    finding="expert_overlap",
    shares_panels=True,
)
BY_LAYER = FigureSpec(
    "overlap_by_layer",
    _by_layer,
    _draw_by_layer,
    rows="rows by layer",
    numbers=_layer_numbers,
    finding="middle_layers",
)
PAIRS = FigureSpec(
    "overlap_pairs",
    _pairs,
    _draw_pairs,
    rows="language pairs",
    numbers=_pair_numbers,
    sentences=_pair_sentences,
)
