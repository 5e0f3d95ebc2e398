"""All that these measurements call of the library: where its functions change, this module does.

Names of shapes: ``N`` sentences, ``U`` units, ``C`` concepts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray

from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.generation import TextRequest, generate_texts
from babelscope.analysis.precision import average_precision
from babelscope.analysis.scores import ScoreFile, ScoreSettings, score_blocks, score_units
from babelscope.analysis.settings import GenerationSettings
from babelscope.capture.extraction import extract_language
from babelscope.capture.inputs import InputBatch, encode_sentences, forward, make_batches
from babelscope.capture.parity import PARITY_TOLERANCE
from babelscope.capture.pooling import Recorder
from babelscope.capture.settings import ExtractionSettings
from babelscope.capture.store import TokenFile, UnitFile, write_units
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
from made_up_text import write_all

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
    """Extraction into the store; the folder receives ``units.h5`` and ``tokens.h5``."""
    _extract("units", write_units, loaded, sentences, settings, folder)
    return folder


def extract_scored(
    loaded: LoadedModel,
    sentences: Sentences,
    concepts: pd.DataFrame,
    settings: ExtractionSettings,
    folder: Path,
    *,
    threads: int,
    background: bool,
) -> Path:
    """Extraction with scoring in its stream; the folder receives ``scores.h5`` and ``tokens.h5``."""
    how = ScoreSettings(threads=threads, background=background)

    def sink(group: Any, *stream: Any) -> None:
        score_blocks(group, concepts, how, *stream)

    _extract("scores", sink, loaded, sentences, settings, folder)
    return folder


def _extract(
    kind: str,
    sink: Any,
    loaded: LoadedModel,
    sentences: Sentences,
    settings: ExtractionSettings,
    folder: Path,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_h5(folder / f"{kind}.h5", kind=kind) as units,
        atomic_h5(folder / "tokens.h5", kind="tokens") as tokens,
    ):
        extract_language(
            loaded, sentences, units=partial(sink, units.create_group(CELL)),
            tokens=tokens.create_group(CELL), model="m", step=1, lang="en", settings=settings, seed=1,
        )  # fmt: skip


def score_store(folder: Path, concepts: pd.DataFrame, *, threads: int) -> Path:
    """Score what :func:`extract` wrote; the folder receives ``scores.h5``."""
    with atomic_h5(folder / "scores.h5", kind="scores") as file:
        units = UnitFile(folder / "units.h5", CELL)
        score_units(units, concepts, file.create_group(CELL), ScoreSettings(threads=threads))
    return folder


def scores_of(folder: Path) -> dict[str, NDArray[Any]]:
    """All arrays of ``scores.h5``, by a name that says which; each ``(C, U)``."""
    file = ScoreFile(folder / "scores.h5", CELL)
    return {
        f"{what} of {site}, layer {layer}": file.read(layer, site, what)
        for layer, site, _ in file.units.sites
        for what in ("ap_all", "ap_a", "ap_b", "median")
    }


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


class PaperStudy:
    """The paper's study over made-up sentences: its settings, and what ``babelscope plan`` says of it.

    Args:
        data: Folder to write the sentences in.
        n_concepts: Concepts, each with sentences of its own.
        n_sentences: Sentences of a concept, half of them positive.
        n_tokens: Tokens of each, about, with the start token.
        threads: Cores of a job, at most.
    """

    def __init__(self, data: Path, *, n_concepts: int, n_sentences: int, n_tokens: int, threads: int) -> None:
        length = 4 * (n_tokens - 1)  # the plan takes four bytes for a token
        write_all(data, concepts=n_concepts, sentences=n_sentences // 2, length=length)
        paper = str(ROOT / "config/studies/paper.yaml")
        few = {"concepts": min(12, n_concepts)}
        before = Path.cwd()
        os.chdir(ROOT)  # studies extend each other by paths below the root
        try:
            study = {"extends": paper, "data": str(data.resolve()), "study": "planned", "generation": few}
            self.study = load_study(study)
        finally:
            os.chdir(before)
        self._costs = CostModel(self.study, gpu=True, max_threads=threads)

    def settings(self, model: str) -> ExtractionSettings:
        """How a model's units are extracted."""
        given = self.study.models[model]
        own = {"batch_size": given.batch_size, "compute_dtype": given.compute_dtype}
        return self.study.extraction.model_copy(update={name: value for name, value in own.items() if value})

    def extraction(self, model: str) -> tuple[float, float]:
        """Seconds of a GPU and bytes of the host, for one step and one language."""
        step = self.study.models[model].steps[0]
        cost = self._costs.cost(JobCells("extract_activations", model, (step,), ("en",)))
        return cost.seconds, cost.memory

    def training_rate(self, model: str) -> float:
        """Tokens a second of a run of pre-training."""
        run = self.study.models[model]
        step, before = 2**14, self.study.previous_step(model, 2**14)
        cost = self._costs.cost(JobCells("pretrain_step", model, (step,)))
        tokens = run.training.batch_size * run.training.sequence_length
        return (step - before) * tokens / cost.seconds
