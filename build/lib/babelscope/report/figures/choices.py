"""Choices: what a study would have found with another pooling, site or number of experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from babelscope.report import summaries
from babelscope.report.captions import load_labels
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec, Tables, part, points, present, stack
from babelscope.report.figures.style import INK, PALE, Look, PlotStyle, legend, model_looks, panels
from babelscope.report.summaries import ALL, model_label
from babelscope.report.words import Statement, say

_CHOICE = ["pooling", "site", "size"]
#: Size of a marker by that of the sets of experts.
_MARKERS = {"half": 3.0, "study": 5.0, "double": 7.5}
#: Choices that a sentence names, at most.
_NAMED = 6


def _data(tables: Tables) -> pd.DataFrame:
    """Kinds ``overlap`` and ``null`` of each choice at the last step; ``way``, the share of the way, where it
    has an interval; and ``end``, null and ceiling of that."""
    table, models = tables["choices"], tables.get("models")
    rows = summaries.at_last_step(table[table["measure"] == "overlap"])
    keys = ["step", *_CHOICE]
    return stack(
        points(rows, models, keys, kind="overlap"),
        points(rows, models, keys, "null", kind="null", band=False).rename(columns={"null": "value"}),
        points(summaries.shares_of_the_way(rows.drop(columns="value")), models, keys, "way", kind="way"),
        pd.DataFrame({"kind": "end", "value": [0.0, 1.0]}),
    )


def _draw(frame: pd.DataFrame, style: PlotStyle, axis: StepAxis) -> Figure:
    """Overlap and null above, the share of the way below; a column per choice, poolings side by side."""
    figure, axes = panels(2, 1, style, height=2.9, sharey=False)
    (above,), (below,) = axes
    looks = model_looks(axis.models, style)
    columns = _columns(frame)
    for level in part(frame, kind="end")["value"]:
        below.axhline(level, zorder=0, color=PALE, linewidth=1.2)
    shown, keys = [], present(frame, axis)
    for at, key in enumerate(keys):
        aside = 0.25 * (at - (len(keys) - 1) / 2) / max(1, len(keys) - 1)
        for ax, kind in ((above, "overlap"), (above, "null"), (below, "way")):
            _points(ax, part(frame, key, kind=kind), looks[key], columns, aside)
        steps = part(frame, key, kind="overlap")["step"].unique()
        mark = "".join(axis.mark(int(step), key) for step in steps)
        shown.append(replace(looks[key], label=looks[key].label + mark, dashes=""))
    above.set_ylabel("overlap at the last step")
    below.set_ylabel("share of the way")
    for ax in (above, below):
        _name_columns(ax, columns, names=ax is above)
    sizes = load_labels("sizes")
    for size in dict.fromkeys(size for _, _, size in columns):
        shown.append(Look(sizes[size], INK, "", "o", _MARKERS[size]))
    legend(figure, [*shown, Look("null: other concepts", INK, "", "_", 8)], frame)
    return figure


def _columns(frame: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Place of each choice, with room between poolings and between sites."""
    known = frame.loc[frame["kind"] == "overlap", _CHOICE].drop_duplicates()
    poolings, sites = list(dict.fromkeys(known["pooling"])), sorted(known["site"].unique())
    sizes = list(_MARKERS)
    order = sorted(
        known.itertuples(index=False, name=None),
        key=lambda choice: (poolings.index(choice[0]), sites.index(choice[1]), sizes.index(choice[2])),
    )
    place, columns, before = 0.0, {}, None
    for choice in order:
        if before is not None:
            place += 1 + 0.5 * (choice[1] != before[1]) + 1.0 * (choice[0] != before[0])
        columns[choice] = place
        before = choice
    return columns


def _points(
    ax: Axes, rows: pd.DataFrame, look: Look, columns: dict[tuple[str, str, str], float], aside: float
) -> None:
    """The points of one model, with their intervals."""
    for row in rows.to_dict("records"):
        x = columns[row["pooling"], row["site"], row["size"]] + aside
        is_null = row["kind"] == "null"
        if not np.isnan(row["low"]):
            ax.vlines([x], [row["low"]], [row["high"]], color=look.colour, linewidth=1.2)
        marker, size = ("_", 8.0) if is_null else ("o", _MARKERS[row["size"]])
        ax.plot([x], [row["value"]], color=look.colour, marker=marker, markersize=size, linestyle="")


def _name_columns(ax: Axes, columns: dict[tuple[str, str, str], float], *, names: bool) -> None:
    """Sites below the axis; poolings above it, if ``names``."""
    of_sites: dict[tuple[str, str], list[float]] = {}
    of_poolings: dict[str, list[float]] = {}
    for (pooling, site, _), x in columns.items():
        of_sites.setdefault((pooling, site), []).append(x)
        of_poolings.setdefault(pooling, []).append(x)
    several = len({site for _, site in of_sites}) > 1
    ticks = [(float(np.mean(xs)), _site(site) if several else "") for (_, site), xs in of_sites.items()]
    ax.set_xticks(*zip(*ticks, strict=True), fontsize="small", rotation=25 if len(ticks) > 6 else 0)
    ax.set_xlim(min(columns.values()) - 1, max(columns.values()) + 1)
    at_top = blended_transform_factory(ax.transData, ax.transAxes)
    for pooling, xs in of_poolings.items() if names else ():
        ax.text(float(np.mean(xs)), 1.03, pooling, transform=at_top, ha="center", va="bottom")


def _site(site: str) -> str:
    return "all sites" if site == ALL else site


def _numbers(choices: pd.DataFrame) -> pd.DataFrame:
    return summaries.at_last_step(choices)


# -------------------------------------------------------------------------------- how many choices agree


def _sentences(tables: Tables) -> Iterator[str]:
    """A sentence for each model and measure: in how many choices each question is answered with yes."""
    found = tables.get("choice_conclusions")
    if found is None:
        return
    # A cell that is empty in the file comes back as a number.
    named = {name: found[name].astype(object).fillna("") for name in [*_CHOICE, "probe"]}
    rows = summaries.with_roles(found.assign(**named), tables.get("models"))
    for key in summaries.model_ids(tables.get("models"), [found]):
        of_model = rows[(rows["id"] == key[0]) & (rows["role"] == key[1])]
        for measure, of in of_model.groupby("measure", sort=False):
            told = [_counted(asked, str(asks)) for asks, asked in of.groupby("asks", sort=False)]
            yield say("choices", model=model_label(key), measure=str(measure), told=told)


def _counted(rows: pd.DataFrame, asks: str) -> Statement:
    """How many choices say yes in every run of the model, and which do not, or which alone do."""
    keys = [*_CHOICE, "probe"]
    answers = {
        choice: None if of["holds"].isna().any() else bool(of["holds"].all())
        for choice, of in rows.groupby(keys, sort=False)
    }
    known = {choice: holds for choice, holds in answers.items() if holds is not None}
    n, of = sum(known.values()), len(known)
    few = n <= of / 2
    named = _named([choice for choice, holds in known.items() if holds == few], list(known))
    given: dict[str, Any] = {"asks": asks, "n": n, "of": of, "unknown": len(answers) - of}
    if 0 < n < of:
        given["rest"] = say("choices only" if few else "choices but", named=named)
    else:
        given["rest"] = ""
    return Statement("choices agree" if of == len(answers) else "choices agree, some unknown", given)


def _named(wanted: list[Any], known: list[Any]) -> list[str]:
    """Names of some of the known choices; a pooling or a site as a whole, where all of it is meant."""
    left, names = list(wanted), []
    for depth in (1, 2, 3):
        for head in dict.fromkeys(choice[:depth] for choice in left):
            of = [choice for choice in known if choice[:depth] == head]
            if all(choice in left for choice in of) and (depth == 3 or len(of) > 1):
                names.append(_name(of[0], depth))
                left = [choice for choice in left if choice not in of]
    more = len(names) - _NAMED
    return names if more <= 0 else [*names[:_NAMED], say("choices more", n=more)]


def _name(choice: tuple[str, str, str, str], depth: int) -> str:
    pooling, site, size, probe = choice
    if probe:
        return probe
    parts = [pooling, f"at {_site(site)}", load_labels("sizes")[size]]
    return " ".join(parts[:depth])


CHOICES = FigureSpec("choices", _data, _draw, _numbers, _sentences, shares_panels=True)
