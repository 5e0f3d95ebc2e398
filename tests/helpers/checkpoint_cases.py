"""What cases of checkpoints are made with; see tests/cases/checkpoints/README.md."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

CASES = Path(__file__).parents[1] / "cases" / "checkpoints"
Tensors = dict[str, torch.Tensor]


class Case(NamedTuple):
    """A function that spoils a folder, and what must come of it."""

    spoil: Callable[[Path], None]
    architecture: str
    expected: str
    late: bool
    """Seen only when the weights are loaded."""


def case(architecture: str, expected: str = "", *, late: bool = False) -> Callable[[Any], Case]:
    """Make a case of a function."""
    return lambda spoil: Case(spoil, architecture, expected, late)


def cases(kind: str) -> dict[str, Case]:
    """The cases of a file, by name."""
    spec = importlib.util.spec_from_file_location(f"checkpoint_cases_{kind}", CASES / f"{kind}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: each for name, each in vars(module).items() if isinstance(each, Case)}


def edit(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the tensors of model.safetensors."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file, {"format": "pt"})


def edit_config(folder: Path, **keys: Any) -> None:
    """Change keys of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def as_bin(folder: Path) -> None:
    """Store the weights as older versions did."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_shards(folder: Path) -> tuple[Path, Path]:
    """Store the weights in two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, half = sorted(tensors), len(tensors) // 2
    parts = {f"model-0000{at}-of-00002.safetensors": of for at, of in ((1, names[:half]), (2, names[half:]))}
    for file, of in parts.items():
        save_file({name: tensors[name] for name in of}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, of in parts.items() for name in of}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    first, second = (folder / file for file in parts)
    return first, second
