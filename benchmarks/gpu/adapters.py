"""All that these measurements call of the library: where its functions change, this module does.

Names of shapes: ``N`` sentences, ``U`` units, ``C`` concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray

from babelscope.activations.extraction import extract_language
from babelscope.activations.inputs import InputBatch, encode_sentences, forward, make_batches
from babelscope.activations.parity import PARITY_TOLERANCE
from babelscope.activations.pooling import Recorder
from babelscope.activations.settings import ExtractionSettings
from babelscope.activations.store import TokenFile, UnitFile
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.generation import TextRequest, generate_texts
from babelscope.analysis.scores import average_precision
from babelscope.analysis.settings import GenerationSettings
from babelscope.io.h5 import atomic_h5
from babelscope.models.checkpoints import LoadedModel, load_checkpoint, save_model
from babelscope.models.dimensions import dimensions, n_parameters, site_widths
from babelscope.models.hooks import site_modules, watching
from babelscope.models.training.run import pretrain_steps
from babelscope.models.training.settings import TrainingSettings
from babelscope.models.training.steps import read_progress
from babelscope.ops import sizes
from babelscope.ops.costs import CostModel
from babelscope.ops.stages import JobCells
from babelscope.study.loading import load_study
from babelscope.study.suites import load_suite
from babelscope.text.tokenization import tokenize_corpus

__all__ = [
    "PARITY_TOLERANCE", "ExtractionSettings", "GenerationSettings", "LoadedModel", "TextRequest",
    "TrainingSettings", "UnitSet", "dimensions", "force_units", "load_checkpoint", "n_parameters",
    "pretrain_steps", "read_progress", "save_model", "site_modules", "site_widths", "sizes",
    "tokenize_corpus", "watching",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
Sentences = Sequence[tuple[str, str]]
CELL = "1/en"


def batches_of(loaded: LoadedModel, sentences: Sentences, settings: ExtractionSettings) -> list[InputBatch]:
    """The batches that extraction makes of sentences, on the device."""
    encoded = encode_sentences(loaded, sentences, max_length=settings.max_length, where="the benchmark")
    return list(make_batches(loaded, encoded.rows, batch_size=settings.batch_size))


@torch.inference_mode()
def bare_forward(loaded: LoadedModel, batches: Sequence[InputBatch]) -> None:
    """Run the blocks and keep nothing."""
    for batch in batches:
        forward(loaded, batch)


@torch.inference_mode()
def hooked_forward(
    loaded: LoadedModel, batches: Sequence[InputBatch], settings: ExtractionSettings, *, read: bool
) -> None:
    """Run the blocks and pool; with ``read`` copy what was pooled to the host, too. Nothing is written."""
    recorder = Recorder(loaded, settings.sites, settings.pooling)
    with watching(recorder.watchers()):
        for batch in batches:
            recorder.run(batch, means=True)
            if read:
                recorder.pooled()


def extract(loaded: LoadedModel, sentences: Sentences, settings: ExtractionSettings, folder: Path) -> Path:
    """Extraction as a job does it; the folder receives ``units.h5`` and ``tokens.h5``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_h5(folder / "units.h5", kind="units") as units,
        atomic_h5(folder / "tokens.h5", kind="tokens") as tokens,
    ):
        extract_language(
            loaded, sentences, units=units.create_group(CELL), tokens=tokens.create_group(CELL),
            model="m", step=1, lang="en", settings=settings, seed=1,
        )  # fmt: skip
    return folder


def extracted(folder: Path) -> dict[str, NDArray[Any]]:
    """All arrays that extraction wrote, by a name that says which."""
    units, tokens = UnitFile(folder / "units.h5", CELL), TokenFile(folder / "tokens.h5", CELL)
    found = {f"units of {site}, layer {layer}": units.read(layer, site) for layer, site, _ in units.sites}
    found |= {f"token states, layer {layer}": tokens.states(layer) for layer in tokens.layers}
    return found | {f"means, layer {layer}": tokens.means(layer) for layer in tokens.layers}


def unit_block(folder: Path, n_sentences: int) -> NDArray[Any]:
    """Pooled units of the first sentences, all layers and sites side by side, shape ``(N, U)``."""
    units = UnitFile(folder / "units.h5", CELL)
    return np.concatenate([units.read(layer, site)[:n_sentences] for layer, site, _ in units.sites], axis=1)


def score(values_NU: NDArray[Any], labels_NC: NDArray[np.int8], *, threads: int) -> NDArray[np.float64]:
    """Average precision as the study computes it, shape ``(C, U)``."""
    return average_precision(values_NU, labels_NC, threads=threads)


def texts(loaded: LoadedModel, requests: Sequence[TextRequest], settings: GenerationSettings) -> pd.DataFrame:
    """Let a model write; columns ``token_ids``, ``n_tokens``, ``nll`` among others."""
    return generate_texts(loaded, requests, settings, seed=1, where="the benchmark")


def suite_shape(name: str) -> dict[str, Any]:
    """The config of a suite of the registry, with ``model_type``."""
    suite = load_suite(name)
    return {"model_type": suite.architecture, **suite.architecture_config}


def study_shape(path: str, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config, with ``model_type``, and the training of a model that a study of ours pre-trains."""
    study = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    given = study["models"][model]
    vocabulary = study["tokenizers"][given["tokenizer"]]["vocabulary_size"]
    config = {"model_type": given["architecture"], **given["architecture_config"], "vocab_size": vocabulary}
    return config, given["training"]


def planned_extraction(
    study: str, model: str, settings: ExtractionSettings, *, n_sentences: int, n_tokens: int, data: Path
) -> tuple[float, float]:
    """What ``babelscope plan --device gpu`` says of extracting one step and language of a study.

    Args:
        study: Path of the study, below the root.
        model: Run id.
        settings: Replace those of the study, also for this model.
        n_sentences: Sentences of the language.
        n_tokens: Tokens of each, about, with the start token.
        data: Folder to write their stand-ins in.

    Returns:
        Seconds of the job and bytes of the host.
    """
    given = yaml.safe_load((ROOT / study).read_text(encoding="utf-8"))
    (data / "ntrex").mkdir(parents=True, exist_ok=True)
    line = "x" * (4 * (n_tokens - 1) - 5)  # four bytes a token
    for lang in ("en", "es", "zh", "sw"):
        lines = "".join(f"{row:05d}{line}\n" for row in range(n_sentences))
        (data / "ntrex" / f"{lang}.txt").write_text(lines, encoding="utf-8")
    own = settings.model_dump(include={"sites", "dtype", "compute_dtype", "batch_size", "max_length",
                                       "tokens_per_language", "mean_sentences"})  # fmt: skip
    given |= {"data": str(data), "languages": ["en", "es", "zh", "sw"]}
    given["extraction"] = given["extraction"] | own | {"sites": list(settings.sites)}
    given["probes"] = {"tokens_per_language": 1000, "anchor_min_languages": 2}
    given["experts"] = {"k": 500, "min_languages": 3}
    given["concepts"] |= {"lists": str(ROOT / given["concepts"]["lists"])}
    costs = CostModel(load_study(given), gpu=True)
    cost = costs.cost(JobCells("extract_activations", model, (costs.study.models[model].steps[0],), ("en",)))
    return cost.seconds, cost.memory
