"""The demo's model and text, small, for the benchmarks that run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from babelscope.models.training.run import pretrain_steps
from babelscope.text.corpora import make_documents_file
from babelscope.text.tokenization import tokenize_corpus, train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
SEED = 1


def recipe() -> dict[str, Any]:
    """The demo's main model as its config has it."""
    return dict(yaml.safe_load((ROOT / "config/config.yaml").read_text())["models"]["bridged"])


def make_text(folder: Path, documents: int = 1500) -> dict[str, Any]:
    """A corpus of the grammar as windows, with its tokenizer.

    Returns:
        What :func:`pretrain_steps` takes: ``tokens_h5``, ``tokenizer_dir``, ``shares``.
    """
    study = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    corpus = {key: value for key, value in study["corpora"]["bridged"].items() if key != "source"}
    files = {lang: folder / f"{lang}.jsonl" for lang in study["languages"]}
    for lang, file in files.items():
        given = {**corpus, "documents": documents, "weights": dict.fromkeys(files, 1.0)}
        make_documents_file(lang, file, **given, heldout=0.05, seed=SEED)
    size = study["tokenizers"]["subword"]["vocabulary_size"]
    train_tokenizer(files, folder / "tokenizer", vocabulary_size=size, seed=SEED)
    length = recipe()["training"]["sequence_length"]
    tokenize_corpus(files, folder / "tokenizer", folder / "tokens.h5", sequence_length=length)
    return {
        "tokens_h5": folder / "tokens.h5",
        "tokenizer_dir": folder / "tokenizer",
        "shares": dict.fromkeys(files, 1.0),
    }


def train(text: dict[str, Any], folder: Path, steps: list[int], training: dict[str, Any]) -> None:
    """Train the demo's model from random weights; each step's folder has its number for a name."""
    pretrain_steps(
        **text,
        architecture=recipe()["architecture"],
        architecture_config=recipe()["architecture_config"],
        training=training,
        seed=SEED,
        steps=steps,
        previous=None,
        out_dirs={step: folder / str(step) for step in steps},
        device="cpu",
    )
