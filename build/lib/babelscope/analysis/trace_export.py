"""Traces in the formats of others.

Neuronpedia takes batches of the features of one *source*, such as ``3-mlp_act``: a layer, and after the dash
what else tells it from others (``uploadBatchSchema`` in hijohnnylin/neuronpedia). It has no axes of steps and
languages. So the step stands in the source, and the languages of a unit stand together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.errors import DataError
from babelscope.io.files import write_text

#: What Neuronpedia takes at a time, at most.
FEATURES_PER_BATCH, TOKENS_PER_ACTIVATION = 128, 1024


def write_jsonl(traces: pd.DataFrame, out: Path) -> list[Path]:
    """Write a file per model, a row of the table a line.

    Args:
        traces: The table ``traces``.
        out: Folder to write to.

    Returns:
        The files.
    """
    files = []
    for model, rows in traces.groupby("model", sort=False):
        lines = (json.dumps(row, ensure_ascii=False) for row in _plain_rows(rows))
        files.append(_write("".join(f"{line}\n" for line in lines), out / f"{model}.jsonl"))
    return files


def write_neuronpedia(traces: pd.DataFrame, out: Path) -> list[Path]:
    """Write batches of Neuronpedia's upload: ``MODEL/SOURCE.NUMBER.json``.

    Args:
        traces: The table ``traces``.
        out: Folder to write to.

    Returns:
        The files.

    Raises:
        DataError: If two models have one name there, where names are in lower case.
    """
    models = list(dict.fromkeys(traces["model"]))
    if len({model.lower() for model in models}) < len(models):
        raise DataError(
            out,
            f"would have one folder for two of {models}: Neuronpedia's names are in lower case",
            "name --model",
        )
    files = []
    numbers: Counter[Path] = Counter()
    for batch in neuronpedia_batches(traces):
        name = out / batch["modelId"] / batch["source"]
        text = json.dumps(batch, ensure_ascii=False) + "\n"
        files.append(_write(text, name.with_name(f"{name.name}.{numbers[name]:03d}.json")))
        numbers[name] += 1
    return files


def neuronpedia_batches(traces: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """What is uploaded, by model, step, layer and site.

    A token has with it what stands before it in the text, such as a space. Of a sentence ``quantileMax`` is
    its pooled value and ``quantileFraction`` its quantile: the share of the sentences of its language from
    the lowest up to it.

    Args:
        traces: The table ``traces``.
    """
    for (model, step, layer, site), rows in traces.groupby(["model", "step", "layer", "site"]):
        of_unit: dict[int, list[dict[str, Any]]] = {}
        for row in _plain_rows(rows.sort_values("unit", kind="stable")):
            of_unit.setdefault(row["unit"], []).append(_activation(row))
        features = [{"index": unit, "activations": found} for unit, found in of_unit.items()]
        for start in range(0, len(features), FEATURES_PER_BATCH):
            yield {
                "modelId": str(model).lower(),
                "source": f"{layer}-{site}-step{step}",
                "features": features[start : start + FEATURES_PER_BATCH],
            }


def _activation(row: dict[str, Any]) -> dict[str, Any]:
    """A trace, cut where Neuronpedia would refuse it."""
    units = row["text"].encode("utf-16-le")
    begins = [0, *row["ends"][:-1]]
    tokens = [units[2 * a : 2 * b].decode("utf-16-le") for a, b in zip(begins, row["ends"], strict=True)]
    return {
        "tokens": tokens[:TOKENS_PER_ACTIVATION],
        "values": row["values"][:TOKENS_PER_ACTIVATION],
        "quantileMax": row["value"],
        "quantileFraction": row["quantile"],
    }


def _plain_rows(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as JSON has them."""
    for row in rows.to_dict("records"):
        lists = {name: row[name].tolist() for name in ("starts", "ends", "values")}
        yield {str(name): value for name, value in row.items()} | lists


def _write(text: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(text, path)
    return path
