"""The words beside each figure: one file, ``captions.yaml``, read by plots, report and workflow.

Light on purpose, since the workflow reads it while it plans.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from babelscope.io.yaml import packaged_yaml

#: Tables that every figure takes where the study has them: which steps the audit flagged, and the tokens
#: that each step has seen.
STEP_TABLES = ("audit", "steps")


@dataclass(frozen=True)
class Caption:
    """What is said about one figure."""

    name: str
    """Name of the figure and of its file."""
    section: str
    """Heading of the report under which it stands."""
    title: str
    """Title, a noun phrase."""
    tables: list[str]
    """Collected tables that it is drawn from."""
    read: str
    """How to read it: axes, lines, references."""
    alt: str
    """What a person who cannot see it needs to know of its form."""
    formula: str = ""
    """Its formula, null and interval, in plain text."""
    asks: str = ""
    """Key of a model that only some studies have; where no model has it there is no such figure."""
    decoders: bool = False
    """Encoders have no such numbers; a study of encoders alone has no such figure."""
    trained: bool = False
    """Only models that are trained here have such numbers; a study without one has no such figure."""
    view: str = ""
    """Setting below ``views`` that asks for it; a study that does not has no such figure."""
    lacks: str = "rows for this figure"
    """What its main table lacks if there is nothing to draw."""
    columns: list[str] = field(default_factory=list)
    """Columns that are shown of the numbers behind it, all by default."""
    settings: list[str] = field(default_factory=list)
    """Keys of the config that say how its numbers are made."""
    finding: str = ""
    """Key of the finding that says what it shows."""


@cache
def load_captions() -> dict[str, Caption]:
    """Captions of all figures, in the order of the report."""
    return {name: Caption(name=name, **entry) for name, entry in _document()["figures"].items()}


def load_sections() -> dict[str, str]:
    """Headings of the report that hold figures, by the key that captions use, in order."""
    return dict(_document()["sections"])


def load_labels(kind: str) -> dict[str, Any]:
    """Titles of panels and lines, by what they stand for, in order."""
    return dict(_document()["labels"][kind])


def _document() -> dict[str, Any]:
    return dict(packaged_yaml("babelscope.report", "captions.yaml"))
