"""Load and save checkpoints: folders in Hugging Face format, without a network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from babelscope.architectures import architecture
from babelscope.errors import DataError, StudyError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Checkpoint:
    """A model in evaluation mode with its tokenizer and what identifies them."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    start_token: int
    weights_hash: str
    tokenizer_hash: str

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def model_type(self) -> str:
        return str(self.model.config.model_type)

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The model's blocks; block *i* of the text is ``blocks[i - 1]``."""
        return list(self.model.get_submodule(architecture(self.model_type).blocks))  # type: ignore[arg-type]


def resolve_device(device: str) -> torch.device:
    """``auto`` is the GPU if there is one.

    Raises:
        StudyError: If a GPU is asked for and there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StudyError("extraction.device", device, "auto, cpu", "torch sees no GPU here")
    return torch.device(device)


def load_checkpoint(
    folder: Path | str,
    *,
    tokenizer: Path | str | None = None,
    dtype: str = "float32",
    device: str = "auto",
) -> Checkpoint:
    """Load a checkpoint from a folder.

    Args:
        folder: Holds ``config.json`` and weights (safetensors, or ``.bin`` read as weights only).
        tokenizer: Folder of the tokenizer; the same folder if None.
        dtype: Type to compute in: float32, bfloat16 or float16.
        device: auto, cpu or cuda.

    Raises:
        DataError: If the folder lacks a config, weights or a tokenizer.
        StudyError: If the architecture is not in the table.
    """
    folder = Path(folder)
    hash_of_weights = weights_hash(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture(config.get("model_type", ""))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[dtype], local_files_only=True, trust_remote_code=False
    )
    model.eval()
    model.to(resolve_device(device))
    tokenizer_folder = Path(tokenizer) if tokenizer is not None else folder
    loaded = load_tokenizer(tokenizer_folder)
    return Checkpoint(
        model=model,
        tokenizer=loaded,
        start_token=start_token(loaded, model.config, tokenizer_folder),
        weights_hash=hash_of_weights,
        tokenizer_hash=_hash([tokenizer_folder / "tokenizer.json"]),
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load ``tokenizer.json`` with its special tokens.

    Raises:
        DataError: If the folder has none.
    """
    if not (folder / "tokenizer.json").is_file():
        hint = "save the fast tokenizer there, or name its folder with tokenizer_path"
        raise DataError(folder, "has no tokenizer.json", hint)
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def start_token(tokenizer: PreTrainedTokenizerFast, config: Any, where: Path) -> int:
    """Id of the token that every input starts with: the tokenizer's, else the model's, bos, else eos.

    XGLM's tokenizer starts with ``</s>``; BLOOM's adds nothing, and its config names ``<s>``.

    Raises:
        DataError: If there is neither.
    """
    for holder in (tokenizer, config):
        for name in ("bos_token_id", "eos_token_id"):
            found = getattr(holder, name, None)
            if isinstance(found, int):
                return found
    raise DataError(where, "names no start token", "set bos_token in tokenizer_config.json")


def weights_hash(folder: Path) -> str:
    """SHA-256 over the weight files of a folder.

    Raises:
        DataError: If the folder, its config or its weights are missing.
    """
    if not (folder / "config.json").is_file():
        raise DataError(folder, "has no config.json", "name a folder in Hugging Face format")
    for pattern in _WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files:
            return _hash(files)
    raise DataError(folder, f"has no weights ({', '.join(_WEIGHTS)})")


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
