"""Figures: pure functions from collected tables to matplotlib figures.

Conventions in every figure: training steps on an axis that is logarithmic to base 2 but has room
for step 0, with a cross at those that the audit flagged (:mod:`babelscope.report.step_axis`); a control model
dashed (or in its own panel) beside the main one; intervals as bands; null, chance and ceiling as labelled
reference lines; languages by their codes, so that no script is ever missing from a font.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from babelscope.io.files import written_whole
from babelscope.report.captions import load_captions
from babelscope.report.step_axis import FLAG, INK, StepAxis, short
from babelscope.report.summaries import (
    ALL,
    best_unit,
    component_probe,
    generation_series,
    layer_significance,
    model_ids,
    over_seeds,
    overlap_ceilings,
    overlap_layers,
    overlap_pair_rows,
    overlap_totals,
    preferred_variant,
    shared_unit_counts,
    transfer_totals,
    with_roles,
    without_flagged,
)

GREY = "#6b7280"
VARIANT_TITLES = {"disjoint_lines": "disjoint sentences", "same_lines": "same sentences"}
CONDITION_TITLES = {
    "unforced": "no forcing",
    "forced": "experts forced",
    "random": "random units forced",
    "random_units": "random units forced",
    "other_concept": "another concept forced",
}
PROBE_TITLES = {"full": "all dimensions", "anchors": "anchor tokens only"}

#: More lines than this in one panel cannot be told apart.
MAX_LINES = 9

#: More rows than this in the raster of life lines are no longer visible.
MAX_RASTER_ROWS = 200


@dataclass(frozen=True)
class PlotStyle:
    """Look of all figures of a study."""

    palette: str = "colorblind"
    """Name of a seaborn palette for categories."""
    context: str = "notebook"
    """Seaborn context: paper, notebook, talk or poster."""
    font_scale: float = 1.0
    """Factor on all font sizes."""
    dpi: int = 150
    """Dots per inch of PNG files."""

    def rc(self) -> Any:
        """Matplotlib settings of this style."""
        # The notebook context is made for one big figure; ours stand in a column of text.
        context = sns.plotting_context(self.context, font_scale=0.8 * self.font_scale)
        return {
            **sns.axes_style("ticks"),
            **context,
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": "#9aa5b1",
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.grid": True,
            "grid.color": "#e5e9ee",
            "grid.linewidth": 0.8,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.dpi": self.dpi,
            # Text stays text: small files that can be searched and follow the reader's zoom.
            "svg.fonttype": "none",
            "svg.hashsalt": "babelscope",
        }


def draw(
    name: str,
    tables: Mapping[str, pd.DataFrame | None],
    style: PlotStyle | None = None,
    *,
    exclude_flagged: bool = False,
) -> Figure:
    """Draw a figure by its name; say so in the figure if its table is missing or empty.

    Args:
        name: A key of :data:`FIGURES`.
        tables: Collected tables by name; those the figure does not need are ignored. Of ``audit`` it
            takes the steps to mark, of ``steps`` the tokens seen; both may be missing.
        style: Look of the figure.
        exclude_flagged: Leave flagged steps out in place of marking them.

    Raises:
        ValueError: If there is no such figure.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; there are: {', '.join(FIGURES)}")
    style = style or PlotStyle()
    if exclude_flagged:
        tables = without_flagged(tables)
    main = load_captions()[name].tables[0]
    table, models = tables.get(main), tables.get("models")
    if table is None or table.empty:
        return _nothing(f"This study has no table “{main}”, so there is nothing to draw.", style)
    axis = StepAxis.of(tables)
    if name in _OVERLAYS and (converted := axis.in_tokens(table, models)):
        table, axis = converted
    with mpl.rc_context(style.rc()):
        figure = FIGURES[name](table, models, style, axis)
        axis.explain(figure)
        return figure


def save_figure(figure: Figure, path: Path | str, style: PlotStyle | None = None) -> None:
    """Write a figure as ``.svg`` or ``.png``; the same figure gives the same bytes.

    Args:
        figure: The figure.
        path: Where to; the suffix chooses the format, parent folders are made.
        style: Resolution and fonts; pass the style the figure was drawn with.

    Raises:
        ValueError: If the suffix is neither.
    """
    path = Path(path)
    metadata: dict[str, dict[str, Any]] = {
        ".svg": {"Date": None, "Creator": None},
        ".png": {"Software": None},
    }
    if path.suffix not in metadata:
        raise ValueError(f"a figure is saved as .svg or .png; got {path.name!r}")
    with mpl.rc_context((style or PlotStyle()).rc()), written_whole(path) as unfinished:
        figure.savefig(
            unfinished,
            format=path.suffix[1:],
            metadata=metadata[path.suffix],
            bbox_inches="tight",
            facecolor="white",
        )


def hero(overlap: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis) -> Figure:
    """Overlap over steps of all models, with ceiling and null, lines labelled where they end."""
    variant = preferred_variant(overlap)
    figure, axes = _panels(1, 1, style, width=9, height=4.2)
    ax = axes[0, 0]
    labels: list[tuple[float, str, Any]] = []
    last = overlap["step"].max()
    totals = overlap_totals(overlap, variant)
    colours = _model_colours(models, [overlap], style)
    for key, colour in colours.items():
        dashes: Any = "--" if key[1] == "control" else "-"
        line = _series(over_seeds(totals, models, ["step"], "overlap"), key)
        if line.empty:
            continue
        _line(ax, line, "overlap", colour, dashes, marker="o")
        _thin_seeds(ax, totals, models, key, "overlap", colour)
        labels.append((line["overlap"].iloc[-1], _panel_title(key), colour))
    main = next(iter(colours))
    null = _series(over_seeds(totals, models, ["step"], "null"), main)
    ax.plot(null["step"], null["null"], ":", color=INK, lw=1.4)
    if not null.empty:
        labels.append((null["null"].iloc[-1], "null: other concepts", INK))
    ceiling = _series(over_seeds(overlap_ceilings(overlap), models, ["step"], "overlap"), main)
    if not ceiling.empty:
        ax.plot(ceiling["step"], ceiling["overlap"], "-.", color=GREY, lw=1.4)
        labels.append((ceiling["overlap"].iloc[-1], "ceiling: same language", GREY))
    axis.lines(ax, overlap["step"], colours)
    top = max([value for value, _, _ in labels], default=1.0)
    ax.set(ylabel="shared experts", ylim=(0, top * 1.12))
    _end_labels(ax, last, labels)
    ax.set_title(f"Experts of one concept shared by two languages ({VARIANT_TITLES[variant]})")
    return figure


def overlap_over_steps(
    overlap: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Overlap against step, a panel per variant, with null, chance and ceiling."""
    variants = [v for v in VARIANT_TITLES if v in set(overlap["variant"])]
    figure, axes = _panels(1, max(len(variants), 1), style, height=4.0, sharey=True)
    totals = overlap_totals(overlap)
    ceilings = over_seeds(overlap_ceilings(overlap), models, ["step"], "overlap")
    colours = _model_colours(models, [overlap], style)
    several = 1
    for ax, variant in zip(axes[0], variants, strict=False):
        rows = totals[totals["variant"] == variant]
        lines, nulls = (over_seeds(rows, models, ["step"], c) for c in ("overlap", "null"))
        for key, colour in colours.items():
            line = _series(lines, key)
            if line.empty:
                continue
            several = max(several, int(line["n_seeds"].max()))
            dashes = "--" if key[1] == "control" else "-"
            _line(ax, line, "overlap", colour, dashes, marker="o")
            _thin_seeds(ax, rows, models, key, "overlap", colour)
            null = _series(nulls, key)
            ax.plot(null["step"], null["null"], ":", color=colour, lw=1.3)
            ceiling = _series(ceilings, key)
            if variant == "disjoint_lines":
                ax.plot(ceiling["step"], ceiling["overlap"], "-.", color=colour, lw=1.1, alpha=0.8)
        if rows["chance"].notna().any():
            ax.axhline(rows["chance"].median(), color="#b6bec8", lw=1.2, zorder=0)
        ax.set_title(VARIANT_TITLES[variant])
        axis.lines(ax, overlap["step"], colours)
    axes[0, 0].set_ylabel("overlap of experts")
    axes[0, 0].set_ylim(bottom=0)
    handles = _model_handles(colours)
    handles += [
        Line2D([], [], color=INK, ls=":", lw=1.3, label="null: other concepts"),
        Line2D([], [], color=INK, ls="-.", lw=1.1, label="ceiling: same language"),
        Line2D([], [], color="#b6bec8", lw=1.2, label="chance K/N"),
    ]
    _legend(figure, handles, _seeds_note(several))
    return figure


def overlap_by_layer(
    overlap: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Heat map of calibrated overlap, layer by step, a panel per model."""
    rows = overlap_layers(overlap)
    if rows.empty:
        return _nothing("The table “overlap” has no rows by layer.", style)
    ids = [key for key in model_ids(models, [overlap]) if not _series(with_roles(rows, models), key).empty]
    values = over_seeds(rows, models, ["layer", "step"], "calibrated")
    tested = with_roles(layer_significance(rows), models)
    n_layers = rows["layer"].nunique()
    columns = min(len(ids), 2)
    height = min(max(0.3 * n_layers + 1.4, 2.6), 7)
    figure, axes = _panels(math.ceil(len(ids) / columns), columns, style, height=height)
    top = max(float(values["calibrated"].max()), 0.05)
    mesh = None
    for ax, key in zip(axes.flat, ids, strict=False):
        grid = _series(values, key).pivot(index="layer", columns="step", values="calibrated")
        mesh = ax.pcolormesh(
            np.arange(grid.shape[1] + 1), np.arange(grid.shape[0] + 1), grid.to_numpy(),
            cmap="mako_r", vmin=0, vmax=top, edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        ps = _series(tested, key).pivot_table(index="layer", columns="step", values="q_value", aggfunc="max")
        y, x = np.nonzero(ps.reindex_like(grid).to_numpy() <= 0.05)
        dark = grid.to_numpy()[y, x] > 0.55 * top
        ax.scatter(x + 0.5, y + 0.5, s=5, c=np.where(dark, "white", INK), linewidths=0)
        _category_axes(ax, grid.columns, grid.index)
        axis.cells(ax, grid.columns, key)
        ax.set(title=_panel_title(key), xlabel="training step", ylabel="layer")
    for ax in list(axes.flat)[len(ids) :]:
        ax.set_visible(False)
    if mesh is not None:
        figure.colorbar(mesh, ax=axes, label="calibrated overlap", shrink=0.85, pad=0.02)
    return figure


def overlap_pairs(
    overlap: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Language by language matrices at the first, a middle and the last step."""
    pairs = overlap_pair_rows(overlap)
    if pairs.empty:
        return _nothing("The table “overlap” has no language pairs.", style)
    ids = model_ids(models, [pairs])
    values = over_seeds(pairs, models, ["step", "lang_a", "lang_b"], "overlap")
    languages = sorted({*pairs["lang_a"], *pairs["lang_b"]})
    per_id = {key: _three(sorted(_series(values, key)["step"].unique())) for key in ids}
    columns = max(len(steps) for steps in per_id.values())
    size = min(max(0.3 * len(languages) + 0.6, 2.4), 5.0)
    figure, axes = _panels(len(ids), columns, style, width=columns * size + 1.2, height=size)
    top = float(values["overlap"].max())
    mesh = None
    for row, key in enumerate(ids):
        for column in range(columns):
            ax = axes[row, column]
            if column >= len(per_id[key]):
                ax.set_visible(False)
                continue
            step = per_id[key][column]
            grid = _square(_only(_series(values, key), step=step), languages)
            mesh = ax.pcolormesh(grid, cmap="mako_r", vmin=0, vmax=top, edgecolor="white", linewidth=0.5)
            _category_axes(ax, languages, languages, most=24)
            ax.tick_params(axis="x", rotation=90 if len(languages) > 10 else 0)
            ax.invert_yaxis()
            ax.set_aspect("equal")
            ax.set_title(f"{key[0]}, {axis.name(int(step), key)}", fontsize="medium")
            if len(languages) <= 8:
                for (i, j), value in np.ndenumerate(grid):
                    if np.isfinite(value):
                        colour = "white" if value > 0.55 * top else INK
                        text = f"{value:.2f}".removeprefix("0") if value < 1 else "1"
                        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour,
                                fontsize=6.5 * style.font_scale)  # fmt: skip
    if mesh is not None:
        figure.colorbar(mesh, ax=axes, label="overlap", shrink=0.8, pad=0.02)
    return figure


def probes_over_steps(
    probes: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Accuracy per layer against step; a row per probe, a column per model."""
    names = _probe_names(probes)
    ids = model_ids(models, [probes])
    figure, axes = _panels(len(names), len(ids), style, height=2.4, sharey="row")
    layers = _thin(sorted(probes["layer"].unique()), MAX_LINES)
    shades = _shades(len(layers))
    for row, name in enumerate(names):
        rows = _probe_rows(probes, name)
        values = over_seeds(rows, models, ["layer", "step"])
        for column, key in enumerate(ids):
            ax = axes[row, column]
            for layer, colour in zip(layers, shades, strict=True):
                line = _only(_series(values, key), layer=layer)
                _line(ax, line, "value", colour, "-", marker=".", band=len(layers) <= 6)
            of_model = _series(with_roles(rows, models), key)
            if name != "between_variance":
                ax.axhline(1 / max(of_model["n_languages"].max(), 1), color=GREY, ls="--", lw=1)
            null = _probe_null(probes, name, of_model, models, key)
            ax.plot(null.index, null.to_numpy(), ":", color=INK, lw=1.3)
            axis.lines(ax, probes["step"], key)
            ax.set_title(_panel_title(key) if row == 0 else "")
            if row < len(names) - 1:
                ax.set_xlabel("")
            if column == 0:
                ax.set_ylabel(_probe_title(name))
        axes[row, 0].set_ylim(0, None if name == "between_variance" else 1.04)
    handles = [
        Line2D([], [], color=colour, label="embeddings" if layer == 0 else f"layer {layer}")
        for layer, colour in zip(layers, shades, strict=True)
    ]
    handles += [
        Line2D([], [], color=GREY, ls="--", lw=1, label="chance"),
        Line2D([], [], color=INK, ls=":", lw=1.3, label="null"),
    ]
    _legend(figure, handles, _seeds_note(_n_seeds(probes, models), "mean over pre-training seeds"))
    return figure


def probes_by_layer(
    probes: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Accuracy as a profile over layers, a line per step."""
    names = [n for n in _probe_names(probes) if n not in ("anchors", "between_variance")]
    ids = model_ids(models, [probes])
    figure, axes = _panels(len(names), len(ids), style, height=2.8, sharey=True)
    steps = _thin(sorted(probes["step"].unique()), MAX_LINES)
    shades = _shades(len(steps))
    for row, name in enumerate(names):
        rows = _probe_rows(probes, name)
        values = over_seeds(rows, models, ["layer", "step"])
        for column, key in enumerate(ids):
            ax = axes[row, column]
            for step, colour in zip(steps, shades, strict=True):
                line = _only(_series(values, key), step=step).sort_values("layer")
                ax.plot(line["layer"], line["value"], "-o", ms=3, color=colour)
            of_model = _series(with_roles(rows, models), key)
            ax.axhline(1 / max(of_model["n_languages"].max(), 1), color=GREY, ls="--", lw=1)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
            ax.set_title(_panel_title(key) if row == 0 else "")
            ax.set_xlabel("layer" if row == len(names) - 1 else "")
            if column == 0:
                ax.set_ylabel(_probe_title(name))
        axes[row, 0].set_ylim(0, 1.04)
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3, label=axis.name(int(step), *ids))
        for step, colour in zip(steps, shades, strict=True)
    ]
    _legend(figure, [*handles, Line2D([], [], color=GREY, ls="--", lw=1, label="chance")])
    return figure


def transfer_over_steps(
    transfer: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Average precision of experts in their own and in other languages, a panel per model."""
    totals = over_seeds(transfer_totals(transfer), models, ["step", "series"])
    ids = model_ids(models, [transfer])
    figure, axes = _panels(1, len(ids), style, height=3.6, sharey=True)
    colours = sns.color_palette(style.palette)
    looks: dict[str, tuple[str, Any, Any]] = {
        "own": ("own language, held out", colours[0], "-"),
        "moved": ("moved to another language", colours[1], "-"),
        "other": ("moved, other concepts", INK, ":"),
        "rate": ("positive rate", GREY, "--"),
    }
    for ax, key in zip(axes[0], ids, strict=True):
        for series, (_, colour, dashes) in looks.items():
            line = _only(_series(totals, key), series=series)
            _line(ax, line, "value", colour, dashes, marker="o" if dashes == "-" else "")
        axis.lines(ax, transfer["step"], key)
        ax.set_title(_panel_title(key))
    axes[0, 0].set_ylabel("average precision")
    axes[0, 0].set_ylim(bottom=0)
    handles = [Line2D([], [], color=c, ls=d, label=label) for label, c, d in looks.values()]
    _legend(figure, handles, _seeds_note(_n_seeds(transfer, models)))
    return figure


def reliability(table: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis) -> Figure:
    """Worst-language average precision of the best units, and how many units are shared."""
    ids = model_ids(models, [table])
    figure, axes = _panels(len(ids), 2, style, height=3.1, sharey="col")
    single = best_unit(table)
    per_concept = single[single["concept"] != ALL]
    shared = table[table["kind"] == "shared_units"]
    mean = over_seeds(
        per_concept.groupby(["model", "step"], as_index=False)[["value", "null"]].mean(),
        models,
        ["step"],
    )
    null = over_seeds(
        per_concept.groupby(["model", "step"], as_index=False)[["value", "null"]].mean(),
        models, ["step"], "null",
    )  # fmt: skip
    summary = over_seeds(single[single["concept"] == ALL], models, ["step"])
    colours = _model_colours(models, [table], style)
    counts = sorted(int(m) for m in shared["m"].dropna().unique())
    shown = _thin(counts, 6)
    shades = _shades(len(shown))
    for row, key in enumerate(ids):
        left, right = axes[row]
        concepts = over_seeds(per_concept, models, ["step", "concept"])
        for _, line in _series(concepts, key).groupby("concept"):
            left.plot(line["step"], line["value"], color=colours[key], lw=0.6, alpha=0.35)
        total = _series(summary, key)
        _line(
            left,
            total if not total.empty else _series(mean, key),
            "value",
            colours[key],
            "-",
            marker="o",
        )
        line = _series(null, key)
        left.plot(line["step"], line["null"], ":", color=INK, lw=1.4)
        left.set(title=_panel_title(key), ylabel="worst average precision")
        axis.lines(left, table["step"], key)
        totals = over_seeds(shared, models, ["step", "m"])
        for m, colour in zip(shown, shades, strict=True):
            line = _only(_series(totals, key), m=m)
            right.plot(line["step"], line["value"], "-o", ms=3, color=colour)
        right.set(title="units shared", ylabel="units (0, then log)")
        right.set_yscale("symlog", linthresh=1)
        right.set_ylim(bottom=0)
        right.yaxis.set_major_locator(FixedLocator([0, 1, 10, 100, 1000, 10000]))
        right.yaxis.set_minor_locator(NullLocator())
        right.yaxis.set_major_formatter(lambda value, _: short(value))
        axis.lines(right, table["step"], key)
    handles = [
        Line2D([], [], color=INK, lw=2, label="mean over concepts"),
        Line2D([], [], color=INK, lw=0.7, alpha=0.5, label="one concept"),
        Line2D([], [], color=INK, ls=":", label="null: permuted concepts"),
    ]
    handles += [
        Line2D([], [], color=c, marker="o", ms=3, label=f"in ≥ {m} languages")
        for m, c in zip(shown, shades, strict=True)
    ]
    _legend(figure, handles, _seeds_note(_n_seeds(table, models)))
    return figure


def lifelines(table: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis) -> Figure:
    """Raster of units against steps, coloured by number of languages; AP of the best units
    below."""
    counts = with_roles(shared_unit_counts(table), models)
    ids = model_ids(models, [table])
    ids = [key for key in ids if not _series(counts, key).empty]
    # Units of different pre-training seeds are different units: the first seed stands for the id.
    runs = {key: sorted(_series(counts, key)["model"].unique())[0] for key in ids}
    n_languages = table["lang"].nunique()
    figure, axes = _panels(2, len(ids), style, height=3.2, height_ratios=[2.2, 1.3], sharey="row")
    levels = np.arange(n_languages + 2) - 0.5
    cmap = mpl.colors.ListedColormap(["#f3f5f7", *sns.color_palette("mako_r", n_languages).as_hex()])
    norm = mpl.colors.BoundaryNorm(levels, cmap.N)
    mesh = None
    most = 1
    for column, key in enumerate(ids):
        ax, below = axes[:, column]
        rows = counts[counts["model"] == runs[key]]
        grid = rows.pivot_table(
            index=["concept", "layer", "site", "unit"], columns="step", values="n_languages",
            aggfunc="first", sort=False,
        )  # fmt: skip
        of_run = table[table["model"] == runs[key]]
        n_all = int(of_run["n_total"].max()) if "n_total" in of_run else len(grid)
        shared = grid.to_numpy() >= min(3, n_languages)
        start = np.where(shared.any(axis=1), shared.argmax(axis=1), grid.shape[1])
        order = np.lexsort((-np.nan_to_num(grid.to_numpy()).sum(axis=1), start))[:MAX_RASTER_ROWS]
        grid = grid.iloc[order]
        most = max(most, len(grid))
        mesh = ax.pcolormesh(
            np.arange(grid.shape[1] + 1), np.arange(len(grid) + 1), grid.to_numpy(), cmap=cmap,
            norm=norm, rasterized=True,
        )  # fmt: skip
        _category_axes(ax, grid.columns, [])
        axis.cells(ax, grid.columns, key)
        ax.set_title(f"{_panel_title(key)}: {len(grid)} of {n_all} units")
        ax.grid(False)
        best = _best_units(rows)
        for (_, unit), colour in zip(best, sns.color_palette(style.palette), strict=False):
            unit = unit.sort_values("step")
            x = np.searchsorted(grid.columns.to_numpy(), unit["step"].to_numpy()) + 0.5
            below.fill_between(x, unit["worst_ap"], unit["best_ap"], color=colour, alpha=0.15, lw=0)
            below.plot(x, unit["worst_ap"], "-o", ms=3, color=colour)
        _category_axes(below, grid.columns, None)
        axis.cells(below, grid.columns, key)
        below.set(xlabel="training step", xlim=(0, grid.shape[1]))
    if axes.size:
        axes[0, 0].set_ylabel("unit")
        axes[0, 0].set_ylim(most, 0)
        axes[1, 0].set_ylabel("worst to best AP")
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=axes[0], label="languages", pad=0.02)
        bar.set_ticks(list(_thin(range(n_languages + 1), 9)))
    return figure


def generation(table: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis) -> Figure:
    """Hits, languages of hits and of texts, and fluency against step."""
    series = generation_series(table)
    colours = _model_colours(models, [table], style)
    conditions = [c for c in CONDITION_TITLES if c in set(series["condition"])]
    conditions += sorted(set(series["condition"]) - set(conditions))
    palette = sns.color_palette(style.palette)
    by_condition = dict(
        zip(conditions, [GREY, palette[0], palette[1], palette[4], *palette[5:]], strict=False)
    )
    by_condition.update({c: GREY for c in conditions if c == "unforced"})
    by_target = {"source": palette[3], "en": palette[2]}
    figure, axes = _panels(2, 2, style, height=3.1)
    values = over_seeds(series, models, ["step", "condition", "metric", "target"])

    def lines(ax: Axes, metric: str, key: tuple[str, str]) -> None:
        for condition, colour in by_condition.items():
            line = _only(_series(values, key), condition=condition, metric=metric, target=ALL)
            _line(ax, line, "value", colour, "--" if key[1] == "control" else "-", marker="o")

    def shares(ax: Axes, metric: str, key: tuple[str, str]) -> None:
        for target, colour in by_target.items():
            picked = _only(_series(values, key), metric=metric, target=target)
            dashes = "--" if key[1] == "control" else "-"
            _line(ax, _only(picked, condition="forced"), "value", colour, dashes, marker="o")
            base = _only(picked, condition="unforced")
            if key[1] != "control":
                ax.plot(base["step"], base["value"], ":", color=colour, lw=1.4)

    for key in colours:
        lines(axes[0, 0], "hit_rate", key)
        shares(axes[0, 1], "hit_share", key)
        shares(axes[1, 0], "text_share", key)
        lines(axes[1, 1], "nll", key)
    titles = ["texts with a hit", "language of the hits", "language of the texts", "fluency"]
    labels = ["hit rate", "share of hits", "share of texts", "NLL per token (nats)"]
    for i, (ax, title, label) in enumerate(zip(axes.flat, titles, labels, strict=True)):
        ax.set(title=title, ylabel=label)
        axis.lines(ax, table["step"], dict.fromkeys(colours, FLAG))
        ax.set_ylim(bottom=0)
        if i < 2:
            ax.set_xlabel("")
        if not ax.lines:
            ax.text(0.5, 0.5, "not measured", ha="center", transform=ax.transAxes, color=GREY)
    handles = [
        Line2D([], [], color=c, marker="o", ms=4, label=CONDITION_TITLES.get(name, name))
        for name, c in by_condition.items()
    ]
    handles += [
        Line2D([], [], color=by_target["source"], label="in the source language"),
        Line2D([], [], color=by_target["en"], label="in English"),
        Line2D([], [], color=INK, ls=":", label="the same without forcing"),
    ]
    if any(role == "control" for _, role in colours):
        handles.append(Line2D([], [], color=INK, ls="--", label="control model"))
    _legend(figure, handles, _seeds_note(_n_seeds(table, models)))
    return figure


def losses(table: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis) -> Figure:
    """Held-out loss per language against step, a panel per model."""
    rows = table[table["split"] == "heldout"] if "split" in table else table
    rows = rows if not rows.empty else table
    ids = model_ids(models, [rows])
    figure, axes = _panels(1, len(ids), style, height=3.4, sharey=True)
    languages = sorted(rows["lang"].unique())
    values = over_seeds(rows, models, ["step", "lang"], "loss")
    looks = _language_looks(languages, style)
    for ax, key in zip(axes[0], ids, strict=True):
        for lang in languages:
            colour, dashes = looks[lang]
            line = _only(_series(values, key), lang=lang)
            _line(ax, line, "loss", colour, dashes, marker=".")
        axis.lines(ax, rows["step"], key)
        ax.set_title(_panel_title(key))
    axes[0, 0].set_ylabel("loss (nats per token)")
    handles = [Line2D([], [], color=looks[a][0], ls=looks[a][1], label=a) for a in languages]
    _legend(figure, handles, _seeds_note(_n_seeds(rows, models)))
    return figure


def audit_losses(
    table: pd.DataFrame, models: pd.DataFrame | None, style: PlotStyle, axis: StepAxis
) -> Figure:
    """Bits per byte of the analysed sentences per language against step, a panel per model."""
    ids = model_ids(models, [table])
    figure, axes = _panels(1, len(ids), style, height=3.6, sharey=True)
    languages = sorted(table["lang"].unique())
    measured = "bits_per_byte" if table["bits_per_byte"].notna().any() else "loss"
    values = over_seeds(table, models, ["step", "lang"], measured)
    looks = _language_looks(languages, style)
    for ax, key in zip(axes[0], ids, strict=True):
        for lang in languages:
            line = _only(_series(values, key), lang=lang)
            _line(ax, line, measured, *looks[lang], marker=".", band=False)
        axis.lines(ax, table["step"], key)
        ax.set_title(_panel_title(key))
    # A broken checkpoint would press all the others into a line.
    flagged = [
        step in axis.flagged.get((id_, role), ())
        for id_, role, step in values[["id", "role", "step"]].itertuples(index=False)
    ]
    sound = values.loc[~np.array(flagged, dtype=bool), measured]
    if sound.notna().any() and values[measured].max() > 3 * sound.max():
        axes[0, 0].set_ylim(0, sound.max() * 1.08)
        axes[0, 0].annotate(
            "flagged steps may lie above", (0.01, 0.98), xycoords="axes fraction", va="top", color=GREY,
            fontsize="small",
        )  # fmt: skip
    axes[0, 0].set_ylabel("bits per byte" if measured == "bits_per_byte" else "loss (nats per token)")
    handles = [Line2D([], [], color=looks[a][0], ls=looks[a][1], label=a) for a in languages]
    _legend(figure, handles, _seeds_note(_n_seeds(table, models)))
    return figure


#: Every figure by its name, in the order of ``captions.yaml``.
FIGURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame | None, PlotStyle, StepAxis], Figure]] = {
    "hero": hero,
    "losses": losses,
    "audit_losses": audit_losses,
    "probes_over_steps": probes_over_steps,
    "probes_by_layer": probes_by_layer,
    "overlap_over_steps": overlap_over_steps,
    "overlap_by_layer": overlap_by_layer,
    "overlap_pairs": overlap_pairs,
    "transfer_over_steps": transfer_over_steps,
    "reliability": reliability,
    "lifelines": lifelines,
    "generation": generation,
}


#: Figures with several models in one panel. Where suites count steps differently, tokens seen are the axis.
_OVERLAYS = frozenset({"hero", "overlap_over_steps", "generation"})


def _panels(
    n_rows: int,
    n_columns: int,
    style: PlotStyle,
    *,
    height: float,
    width: float = 9.0,
    sharey: Any = False,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, Any]:
    """A figure that no global state knows of, with its axes as a 2-D array."""
    n_rows, n_columns = max(n_rows, 1), max(n_columns, 1)
    if n_columns == 1 and width == 9.0:
        width = 7.0
    size = (width * style.font_scale, height * n_rows * style.font_scale)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=sharey, height_ratios=height_ratios)
    return figure, axes


def _nothing(message: str, style: PlotStyle) -> Figure:
    with mpl.rc_context(style.rc()):
        figure = Figure(figsize=(7 * style.font_scale, 1.2 * style.font_scale))
        figure.text(0.5, 0.5, message, ha="center", va="center", color=GREY, wrap=True)
    return figure


def _series(table: pd.DataFrame, key: tuple[str, str]) -> pd.DataFrame:
    rows = table[(table["id"] == key[0]) & (table["role"] == key[1])]
    return rows.sort_values("step") if "step" in rows else rows


def _only(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Rows whose columns have the wanted values."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def _line(
    ax: Axes,
    line: pd.DataFrame,
    y: str,
    colour: Any,
    dashes: Any,
    *,
    marker: str = "",
    band: bool = True,
) -> None:
    if line.empty:
        return
    if band and line["low"].notna().any():
        ax.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.16, lw=0)
    ax.plot(line["step"], line[y], ls=dashes, marker=marker, ms=4, color=colour)


def _thin_seeds(
    ax: Axes,
    rows: pd.DataFrame,
    models: pd.DataFrame | None,
    key: tuple[str, str],
    y: str,
    colour: Any,
) -> None:
    of_model = _series(with_roles(rows, models), key)
    if of_model["model"].nunique() > 1:
        for _, run in of_model.groupby("model"):
            ax.plot(run["step"], run[y], color=colour, lw=0.6, alpha=0.6)


def _model_colours(
    models: pd.DataFrame | None, tables: Sequence[pd.DataFrame], style: PlotStyle
) -> dict[tuple[str, str], Any]:
    ids = model_ids(models, tables)
    palette = sns.color_palette(style.palette)
    controls = [GREY, "#a3764c", "#8a6d9b"]
    colours, n_main, n_control = {}, 0, 0
    for key in ids:
        if key[1] == "control":
            colours[key] = controls[n_control % len(controls)]
            n_control += 1
        else:
            colours[key] = palette[n_main % len(palette)]
            n_main += 1
    return colours


def _model_handles(colours: Mapping[tuple[str, str], Any]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker="o", ms=4, label=_panel_title(key),
               ls="--" if key[1] == "control" else "-")
        for key, colour in colours.items()
    ]  # fmt: skip


def _panel_title(key: tuple[str, str]) -> str:
    return f"{key[0]} (control)" if key[1] == "control" else key[0]


def _legend(figure: Figure, handles: list[Line2D], note: str = "") -> None:
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    columns = max(1, min(len(handles), int(105 / (longest + 6))))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize="small",
        title=note or None,
        title_fontsize="small",
    )


def _end_labels(ax: Axes, step: float, labels: list[tuple[float, str, Any]]) -> None:
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


def _category_axes(
    ax: Axes,
    columns: Sequence[Any] | pd.Index,
    rows: Sequence[Any] | pd.Index | None,
    most: int = 12,
) -> None:
    """Label cells of a mesh in their middle; ``rows`` None leaves the y axis numeric."""
    names = list(columns)
    shown = list(_thin(range(len(names)), most))
    width = ax.get_position().width
    if width < 0.3 and isinstance(names[0], (int, np.integer)):
        shown = list(_thin(range(len(names)), 5))
    ax.set_xticks(
        [i + 0.5 for i in shown],
        [short(names[i]) if isinstance(names[i], (int, np.integer)) else str(names[i]) for i in shown],
    )
    if rows is not None:
        labels = list(rows)
        ticks = list(_thin(range(len(labels)), most))
        ax.set_yticks([i + 0.5 for i in ticks], [str(labels[i]) for i in ticks])
        ax.grid(False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)


def _thin(values: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` of the values, first and last among them, evenly spaced."""
    values = list(values)
    if len(values) <= most:
        return values
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def _three(values: Sequence[Any]) -> list[Any]:
    return _thin(values, 3)


def _shades(n: int) -> list[Any]:
    """Light to dark, readable on white."""
    return list(sns.color_palette("flare", n)) if n > 1 else ["#4878a8"]


def _language_looks(languages: Sequence[str], style: PlotStyle) -> dict[str, tuple[Any, Any]]:
    palette = sns.color_palette(style.palette)
    dashes = ["-", "--", ":", "-."]
    return {
        lang: (palette[i % len(palette)], dashes[(i // len(palette)) % len(dashes)])
        for i, lang in enumerate(languages)
    }


def _square(rows: pd.DataFrame, languages: Sequence[str]) -> np.ndarray[Any, Any]:
    index = {lang: i for i, lang in enumerate(languages)}
    grid = np.full((len(languages), len(languages)), np.nan)
    for a, b, value in rows[["lang_a", "lang_b", "overlap"]].itertuples(index=False):
        grid[index[a], index[b]] = grid[index[b], index[a]] = value
    return grid


def _probe_names(probes: pd.DataFrame) -> list[str]:
    present = set(probes["probe"])
    wanted = ["full", component_probe(probes), "anchors", "between_variance"]
    return [name for name in wanted if name in present]  # type: ignore[misc]


def _probe_title(name: str) -> str:
    if name == "between_variance":
        return "variance between languages"
    return PROBE_TITLES.get(name, f"leading {name.removeprefix('pc')} components")


def _probe_rows(probes: pd.DataFrame, name: str) -> pd.DataFrame:
    metric = "share" if name == "between_variance" else "accuracy"
    return probes[(probes["probe"] == name) & (probes["metric"] == metric) & (probes["seed"] == -1)]


def _probe_null(
    probes: pd.DataFrame,
    name: str,
    of_model: pd.DataFrame,
    models: pd.DataFrame | None,
    key: tuple[str, str],
) -> pd.Series:
    """Shuffled-label accuracy for ordinary probes, else the null of the probe itself."""
    if name in ("anchors", "between_variance"):
        return of_model.groupby("step")["null"].mean()
    shuffled = _series(with_roles(_probe_rows(probes, "shuffled"), models), key)
    return shuffled.groupby("step")["value"].mean()


def _best_units(rows: pd.DataFrame, n: int = 4) -> list[tuple[Any, pd.DataFrame]]:
    """Units with the highest worst AP at the last step, with their rows."""
    last = rows[rows["step"] == rows["step"].max()].nlargest(n, "worst_ap")
    keys = ["concept", "layer", "site", "unit"]
    wanted = [tuple(k) for k in last[keys].itertuples(index=False)]
    groups = {tuple(k): part for k, part in rows.groupby(keys, sort=False)}
    return [(k, groups[k]) for k in wanted]


def _n_seeds(table: pd.DataFrame, models: pd.DataFrame | None) -> int:
    runs = with_roles(table[["model"]].drop_duplicates(), models)
    return int(runs.groupby("id")["model"].nunique().max())


def _seeds_note(n: int, text: str = "mean over pre-training seeds") -> str:
    if n <= 1:
        return ""
    band = "their range" if n == 2 else "95 % interval of the mean"
    return f"{text}, n = {n}; band: {band}"
