"""All figures by name: draw one, save one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from babelscope.errors import shown
from babelscope.io.files import written_whole
from babelscope.io.tables import columns_asked
from babelscope.report.figures import (
    ablation,
    choices,
    confounds,
    doses,
    generation,
    language_units,
    left_out,
    lifelines,
    losses,
    onset,
    overlap,
    patching,
    probes,
    reliability,
    representations,
    transfer,
)
from babelscope.report.figures.axis import StepAxis
from babelscope.report.figures.spec import FigureSpec
from babelscope.report.figures.style import PlotStyle, nothing
from babelscope.report.summaries import flagged_steps, model_ids, tokens_seen, without_flagged

_NO_SVG = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

#: Every figure by its name, in the order of ``captions.yaml``.
FIGURES: dict[str, FigureSpec] = {
    spec.name: spec
    for spec in (
        overlap.HERO,
        losses.HELD_OUT,
        losses.AUDIT,
        probes.OVER_STEPS,
        probes.BY_LAYER,
        overlap.OVER_STEPS,
        overlap.WAY,
        overlap.BY_LAYER,
        overlap.PAIRS,
        doses.DOSES,
        transfer.OVER_STEPS,
        reliability.RELIABILITY,
        lifelines.LIFELINES,
        generation.GENERATION,
        onset.ONSET,
        left_out.LEFT_OUT,
        representations.REPRESENTATIONS,
        confounds.CONFOUNDS,
        confounds.CONFOUND_PAIRS,
        language_units.LANGUAGE_UNITS,
        ablation.ABLATION,
        ablation.PAIRS,
        patching.PATCHING,
        patching.PAIRS,
        choices.CHOICES,
    )
}

#: By the suffix of a file, what would say when and by which version it was written.
_METADATA: dict[str, dict[str, None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def draw(
    name: str,
    tables: Mapping[str, pd.DataFrame | None],
    style: PlotStyle | None = None,
    *,
    exclude_flagged: bool = False,
) -> Figure:
    """Draw a figure by its name; say so in the figure if its table is missing or empty.

    Of the table ``audit`` it takes the steps to mark, or to leave out with ``exclude_flagged``, and of
    ``steps`` the tokens seen; both may be missing.

    Raises:
        ValueError: If there is no such figure.
    """
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}; there are: {', '.join(FIGURES)}")
    spec, style = FIGURES[name], style or PlotStyle()
    if exclude_flagged:
        tables = without_flagged(tables)
    there = {key: _shown(table) for key, table in tables.items() if table is not None and not table.empty}
    main = spec.caption.tables[0]
    if main not in there:
        return nothing(f"This study has no table “{main}”, so there is nothing to draw.", style)
    with columns_asked(f"the figure {name}"):
        frame = spec.data(there)
    if frame.empty:
        return nothing(f"The table “{main}” has no {spec.caption.lacks}.", style)
    models = there.get("models")
    flagged, tokens = flagged_steps(there.get("audit"), models), tokens_seen(there.get("steps"), models)
    axis = StepAxis(model_ids(models, [there[main]]), flagged, tokens)
    if spec.shares_panels:
        frame, axis = axis.in_tokens(frame)
    with mpl.rc_context(style.rc()):
        figure = spec.draw(frame, style, axis)
        axis.explain(figure)
        return figure


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts may stand in SVG, which holds no control characters."""
    changed = {}
    for name, column in table.items():
        if pd.api.types.is_numeric_dtype(column):
            continue
        odd = {
            text: shown(text) for text in column.unique() if isinstance(text, str) and _NO_SVG.search(text)
        }
        if odd:
            changed[str(name)] = column.replace(odd)
    return table.assign(**changed) if changed else table


def save_figure(figure: Figure, path: Path | str, style: PlotStyle | None = None) -> None:
    """Write a figure as ``.svg``, ``.png`` or ``.pdf``; the same figure gives the same bytes.

    Parent folders are made. Pass the style the figure was drawn with.

    Raises:
        ValueError: If the suffix is none of them.
    """
    path = Path(path)
    if path.suffix not in _METADATA:
        raise ValueError(f"a figure is saved as {', '.join(_METADATA)}; got {path.name!r}")
    form: dict[str, Any] = {"format": path.suffix[1:], "metadata": _METADATA[path.suffix]}
    with mpl.rc_context((style or PlotStyle()).rc()), written_whole(path) as unfinished:
        figure.savefig(unfinished, **form, bbox_inches="tight", facecolor="white")
