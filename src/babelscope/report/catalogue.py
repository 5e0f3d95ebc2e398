"""What the models of a study are, and what was run through them, without loading a model."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from babelscope.capture.store import Provenance, read_provenance
from babelscope.errors import DataError
from babelscope.io.cells import cells_of
from babelscope.io.h5 import open_h5
from babelscope.models.dimensions import DICTIONARIES, n_layers, site_widths
from babelscope.models.files import read_config, weight_files
from babelscope.models.wrappers import text_name

#: What of a provenance is shown.
_ORIGIN = ("model", "step", "lang", "n_truncated", "pooling", "dtype", "weights_hash", "tokenizer_hash",
           "corpus_hash", "repo", "commit")  # fmt: skip


def describe_models(
    models: Sequence[Mapping[str, Any]],
    sites: Sequence[str],
    dictionaries: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """One row per model: what it is and how many units of the chosen sites it has.

    Args:
        models: Per model ``model`` (run id), ``id``, ``seed``, ``role``, ``dose``, ``source``, ``folder`` (of
            one of its checkpoints), ``tokens_per_step`` (None if unknown), and of models that were
            trained elsewhere ``languages`` and ``licence``.
        sites: The sites whose units are counted.
        dictionaries: Of models whose latents are units, by run id, see
            :data:`babelscope.models.dimensions.DICTIONARIES`.

    Returns:
        The given columns without the folder, and ``architecture``, ``n_parameters``, ``n_layers``,
        ``hidden_size``, ``vocabulary_size``, ``n_units``.
    """
    rows = []
    for model in models:
        folder = Path(model["folder"])
        config = {**read_config(folder), DICTIONARIES: (dictionaries or {}).get(model["model"], {})}
        rows.append(
            {
                **{key: value for key, value in model.items() if key != "folder"},
                "languages": " ".join(model.get("languages", [])),
                "architecture": config["model_type"],
                "n_parameters": count_parameters(folder),
                "n_layers": n_layers(config),
                "vocabulary_size": config["vocab_size"],
                "n_units": sum(site_widths(config, sites).values()),
            }
        )
    return pd.DataFrame(rows)


def describe_steps(tokens: Mapping[str, Mapping[int, int | None]]) -> pd.DataFrame:
    """One row per (model, step): ``model, step, tokens`` seen in training; empty where unknown."""
    rows = [(model, int(step), n) for model, steps in tokens.items() for step, n in steps.items()]
    return pd.DataFrame(rows, columns=["model", "step", "tokens"]).astype({"tokens": "Int64"})


def count_parameters(folder: Path) -> int | None:
    """Parameters in the safetensors files that are the weights of a folder, tied ones once; None if it has
    none of this format."""
    files = weight_files(folder)
    if files[0].suffix != ".safetensors":
        return None
    config, total = read_config(folder), 0
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            names = [name for name in tensors.keys() if text_name(name, config) is not None]  # noqa: SIM118
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    return total


def describe_extraction(files: Sequence[Path], languages: Sequence[str] = ()) -> pd.DataFrame:
    """One row per (model, step, language): what the activations were computed from.

    Args:
        files: Token files, see :class:`babelscope.capture.store.TokenFile`; models in their order.
        languages: Order of the languages of a step; as the files have them by default.

    Returns:
        Fields of :class:`Provenance` as columns; ``repo`` and ``commit`` are empty unless fetched from a hub.
    """
    origins: list[Provenance] = []
    for file in files:
        with open_h5(file, kind="tokens") as opened:
            origins += [read_provenance(group) for group in cells_of(opened).values()]
    models = list(dict.fromkeys(origin.model for origin in origins))
    places = {lang: place for place, lang in enumerate(languages)}
    origins.sort(key=lambda of: (models.index(of.model), of.step, places.get(of.lang, len(places))))
    return pd.DataFrame([{name: getattr(origin, name) for name in _ORIGIN} for origin in origins])


def check_same_weights(
    extraction: pd.DataFrame, audit: pd.DataFrame, study: str, files: Sequence[Path] = ()
) -> None:
    """Refuse results of other weights than a checkpoint now holds.

    Snakemake does not ask for a file that is lost while what was made from it is still there. So if a
    checkpoint changes and its extraction fails, the next run takes the old scores for good; the audit, which
    reads every checkpoint, tells them apart.

    Args:
        extraction: The table of :func:`describe_extraction`.
        audit: Columns ``model, step, weights_hash``.
        study: Name of the study.
        files: The token files that the table is of; those with results to compute anew are named.

    Raises:
        DataError: Naming the first such checkpoint and the command that mends it.
    """
    pairs = extraction.merge(
        audit[["model", "step", "weights_hash"]], on=["model", "step"], suffixes=("", "_now")
    )
    stale = pairs[pairs["weights_hash"] != pairs["weights_hash_now"]]
    if stale.empty:
        return
    cells = list(dict.fromkeys(zip(stale["model"], stale["step"], strict=True)))
    anew = [
        str(file)
        for file in files
        if not set(cells).isdisjoint(
            describe_extraction([file])[["model", "step"]].itertuples(index=False, name=None)
        )
    ]
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    raise DataError(
        f"results/{study}/models/{cells[0][0]}/{cells[0][1]}",
        f"model {cells[0][0]}, step {cells[0][1]}{more}: results are of other weights than the checkpoint "
        "holds now",
        f"compute them anew: the same command with --forcerun {shlex.join(anew)}",
    )


def extraction_warnings(
    extraction: pd.DataFrame, concepts: pd.DataFrame, *, parallel: bool = True
) -> list[str]:
    """What a reader must know of the sentences: cuts, and sentences that a language lacks.

    Args:
        extraction: The table of :func:`describe_extraction`.
        concepts: Columns ``lang, concept, n_positive, n_negative``.
        parallel: Whether sentences are translations of each other; else no language lacks any.
    """
    found = []
    cut = extraction.groupby("lang", sort=False)["n_truncated"].max()
    if cut.max() > 0:
        counts = ", ".join(f"{lang} {n}" for lang, n in cut.items() if n)
        found.append(f"Sentences cut at the maximal length: {counts}.")
    sizes = (concepts["n_positive"] + concepts["n_negative"]).groupby(concepts["lang"], sort=False).max()
    fewer = sizes[sizes < sizes.max()]
    if parallel and len(fewer):
        counts = ", ".join(f"{lang} {sizes.max() - n}" for lang, n in fewer.items())
        found.append(f"Sentences that a language lacks, such as repeated lines that were left out: {counts}.")
    same = extraction.drop_duplicates(["model", "step"]).groupby(["model", "weights_hash"], sort=False)
    for (model, _), rows in same:
        if len(rows) > 1:
            found.append(
                f"Checkpoints of {model} with equal weights: steps {', '.join(map(str, rows['step']))}."
            )
    return found
