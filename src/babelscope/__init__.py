"""Trace how multilingual language models move from language-specific to shared neurons.

``import babelscope as bs`` offers what a notebook needs; each name is loaded when it is first used, and
none of them needs Snakemake. docs/library.md shows how they go together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from babelscope.notebook import (
        ablate,
        activations,
        experts,
        force,
        generate,
        load_model,
        overlap,
        probe_language,
        routing,
        score_units,
    )
    from babelscope.results import open_studies, open_study

__version__ = "0.1.0"

#: Where each public name lives.
_HOME = {
    **dict.fromkeys(
        (
            *("load_model", "activations", "score_units", "experts", "overlap"),
            *("probe_language", "force", "ablate", "generate", "routing"),
        ),
        "notebook",
    ),
    **dict.fromkeys(("open_study", "open_studies"), "results"),
}

__all__ = [
    "__version__",
    "ablate",
    "activations",
    "experts",
    "force",
    "generate",
    "load_model",
    "open_studies",
    "open_study",
    "overlap",
    "probe_language",
    "routing",
    "score_units",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
