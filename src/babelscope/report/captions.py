"""The words beside each figure: one file, ``captions.yaml``, read by plots, report and workflow.

Light on purpose, since the workflow reads it while it plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

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
    tables: tuple[str, ...]
    """Collected tables that it is drawn from."""
    read: str
    """How to read it: axes, lines, references."""
    alt: str
    """What a person who cannot see it needs to know of its form."""


@cache
def load_captions() -> dict[str, Caption]:
    """Captions of all figures, in the order of the report."""
    return {
        name: Caption(name=name, **{**entry, "tables": tuple(entry["tables"])})
        for name, entry in _document()["figures"].items()
    }


@cache
def load_sections() -> dict[str, str]:
    """Headings of the report that hold figures, by the key that captions use, in order."""
    return dict(_document()["sections"])


@cache
def _document() -> dict[str, Any]:
    text = files("babelscope.report").joinpath("captions.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
