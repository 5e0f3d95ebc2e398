"""A checkpoint of the same sizes with random weights: step 0 of a series that does not publish one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from babelscope.models.architectures import is_encoder
from babelscope.models.checkpoints import load_tokenizer, save_model
from babelscope.models.files import read_config


def initialise_checkpoint(folder: Path, *, tokenizer: Path, out: Path, seed: int) -> None:
    """Write a model with the config of another checkpoint and weights as its class draws them.

    It is a baseline for what random weights show, not the model that the training started from: its
    seed, and often its initialisation, are not known.

    Args:
        folder: A checkpoint, for its config.
        tokenizer: Folder of its tokenizer.
        out: Hugging Face folder to write.
        seed: Of the weights.

    Raises:
        DataError: If the config cannot be used.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    encoder = is_encoder(read_config(folder))
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    torch.manual_seed(seed)
    kind: Any = AutoModelForMaskedLM if encoder else AutoModelForCausalLM
    # In float32, whatever the series is stored in: 16 bits would round the random numbers.
    model = kind.from_config(config, dtype=torch.float32)
    save_model(model, load_tokenizer(tokenizer), out)
