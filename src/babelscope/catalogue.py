"""What the models of a study are, read from their folders without loading them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from babelscope.architectures import n_layers, site_widths


def describe_models(models: Sequence[Mapping[str, Any]], sites: Sequence[str]) -> pd.DataFrame:
    """One row per model: what it is and how many units of the chosen sites it has.

    Args:
        models: Per model ``model`` (run id), ``id``, ``seed``, ``role``, ``source``, ``folder`` (of
            one of its checkpoints) and ``tokens_per_step`` (None if unknown).
        sites: The sites whose units are counted.

    Returns:
        The given columns without the folder, and ``architecture``, ``n_parameters``, ``n_layers``,
        ``hidden_size``, ``vocabulary_size``, ``n_units``.
    """
    rows = []
    for model in models:
        folder = Path(model["folder"])
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        rows.append(
            {
                **{key: value for key, value in model.items() if key != "folder"},
                "architecture": config["model_type"],
                "n_parameters": count_parameters(folder),
                "n_layers": n_layers(config),
                "vocabulary_size": config["vocab_size"],
                "n_units": sum(site_widths(config, sites).values()),
            }
        )
    return pd.DataFrame(rows)


def count_parameters(folder: Path) -> int | None:
    """Parameters in the safetensors files of a folder, tied ones once; None if there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    total = 0
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
        total += sum(math.prod(shape) for shape in shapes)
    return total
