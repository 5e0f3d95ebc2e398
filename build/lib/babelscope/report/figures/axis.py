"""The axis of training steps that all figures share: its scale, its labels, what the audit flagged.

A flagged step is marked the same way everywhere: a light band over the axis of lines, a cross where the
step stands on its axis, and one entry above the figure that says what the cross means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from babelscope.report.figures.style import INK, short
from babelscope.report.summaries import Key

#: Colour of crosses; of the bands beneath lines.
FLAG = "#b3382c"
FLAG_BAND = "#f6e3df"
FLAG_LABEL = "flagged by the audit"


@dataclass
class StepAxis:
    """The models of a study, what is known of the steps of each, and which marks were drawn."""

    models: Sequence[Key] = ()
    """All models, main ones first: the order of panels, lines and colours in every figure."""
    flagged: Mapping[Key, frozenset[int]] = field(default_factory=dict)
    tokens: Mapping[Key, Mapping[int, float]] = field(default_factory=dict)
    """Tokens seen at each step, of the models of which all are known."""
    label: str = "training step"
    crosses: set[Any] = field(default_factory=set)
    """Colours of the crosses drawn so far."""

    def in_tokens(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, StepAxis]:
        """The frame of a figure with tokens seen in place of steps, and its axis.

        As they are unless there are several main models and all models' tokens are known: steps of
        different suites cannot share an axis, tokens can.
        """
        n_main = sum(role == "main" for _, role in self.models)
        if n_main < 2 or any(key not in self.tokens for key in self.models):
            return frame, self
        dated = frame[frame["step"].notna()]
        cells = zip(dated["id"], dated["role"], dated["step"], strict=True)
        known = pd.Series([self.tokens[id_, role].get(int(step), np.nan) for id_, role, step in cells])
        if known.isna().any():
            return frame, self
        flagged = {
            key: frozenset(int(self.tokens[key][step]) for step in steps if step in self.tokens[key])
            for key, steps in self.flagged.items()
            if key in self.tokens
        }
        axis = StepAxis(self.models, flagged, label="tokens seen in training")
        return frame.assign(step=known.set_axis(dated.index).reindex(frame.index)), axis

    def lines(self, ax: Axes, steps: Iterable[int], keys: Mapping[Key, Any] | Key) -> None:
        """Put training steps on the x axis: log 2 from the first step, with one octave for step 0.

        Where all models drawn here saw the same, known number of tokens, it stands beneath each step.
        ``keys`` is the model that is drawn here, or the models with the colours of their crosses.
        """
        present = sorted({int(step) for step in steps})
        models: Mapping[Key, Any] = {keys: FLAG} if isinstance(keys, tuple) else keys
        tokens = self._common_tokens(models, present)
        _scale(ax, present, tokens)
        ax.set_xlabel(f"{self.label}\ntokens seen" if tokens else self.label)
        bands: set[int] = set()
        for key, colour in models.items():
            for step in sorted(self.flagged.get(key, frozenset()) & set(present)):
                row = sum(step in self.flagged.get(other, ()) for other in models if other < key)
                self._cross(ax, step, FLAG if len(models) == 1 else colour, row)
                bands.add(step)
        if bands:
            # As a collection in the background: lines of a figure are its data.
            strips = LineCollection(
                [[(step, 0), (step, 1)] for step in sorted(bands)], colors=FLAG_BAND, linewidths=7, zorder=0,
                transform=ax.get_xaxis_transform(), capstyle="butt",
            )  # fmt: skip
            ax.add_collection(strips, autolim=False)

    def cells(self, ax: Axes, steps: Sequence[Any] | pd.Index, key: Key) -> None:
        """Mark flagged steps where each step is a column of cells."""
        for column, step in enumerate(steps):
            if int(step) in self.flagged.get(key, ()):
                self._cross(ax, column + 0.5, FLAG, 0)

    def name(self, step: int, *keys: Key) -> str:
        """A step as it is written in a title or a legend, with a cross if it is flagged."""
        return f"step {step}{self.mark(step, *keys)}"

    def mark(self, step: int, *keys: Key) -> str:
        """A cross to put behind a name if the step is flagged."""
        if any(step in self.flagged.get(key, ()) for key in keys):
            self.crosses.add(FLAG)
            return " ×"
        return ""

    def explain(self, figure: Figure) -> None:
        """Say above a figure what the crosses mean, if there are any."""
        if self.crosses:
            colour = next(iter(self.crosses)) if len(self.crosses) == 1 else INK
            handle = Line2D([], [], color=colour, marker="x", ls="", ms=5, label=FLAG_LABEL)
            figure.legend(handles=[handle], loc="outside upper right", fontsize="small", borderpad=0)

    def _cross(self, ax: Axes, x: float, colour: Any, row: int) -> None:
        self.crosses.add(colour)
        # A disc beneath it, not a halo: text with an effect is no text in an SVG file.
        disc = {"boxstyle": "circle,pad=0.05", "facecolor": "white", "edgecolor": "none"}
        ax.annotate(
            "×", (x, 0), xycoords=ax.get_xaxis_transform(), xytext=(0, 8 * row), textcoords="offset points",
            ha="center", va="center", color=colour, fontweight="bold", bbox=disc, annotation_clip=False,
            zorder=5,
        )  # fmt: skip

    def _common_tokens(self, keys: Iterable[Key], steps: Sequence[int]) -> dict[int, float]:
        """Tokens of the steps if all models saw as many; empty otherwise."""
        found: dict[int, float] = {}
        for key in keys:
            known = self.tokens.get(key, {})
            for step in steps:
                if step not in known or found.setdefault(step, known[step]) != known[step]:
                    return {}
        return found


def _scale(ax: Axes, present: Sequence[int], tokens: Mapping[int, float]) -> None:
    positive = [step for step in present if step > 0]
    if len(present) > 1 and positive:
        if present[0] == 0:
            ax.set_xscale("symlog", base=2, linthresh=positive[0], linscale=1)
        elif positive[-1] / positive[0] >= 4:
            ax.set_xscale("log", base=2)
    transform = ax.xaxis.get_transform()
    places = np.asarray(transform.transform(np.array(present, dtype=float)))
    span = float(np.ptp(places)) or 1.0
    if len(present) > 1:
        edges = np.array([places[0] - 0.03 * span, places[-1] + 0.03 * span])
        ax.set_xlim(*transform.inverted().transform(edges))
    # Labels that do not touch, that of the last step among them.
    shown = {present[-1]: places[-1]}
    for step, place in zip(present[:-1], places[:-1], strict=True):
        if min(abs(place - other) for other in shown.values()) >= span / 8:
            shown[step] = place
    ax.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())

    def text(value: float, _: Any) -> str:
        step = round(value)
        return f"{short(value)}\n{short(tokens[step])}" if step in tokens else short(value)

    ax.xaxis.set_major_formatter(text)
