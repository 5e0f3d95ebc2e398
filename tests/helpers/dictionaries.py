"""Dictionaries as their libraries write them, with known tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Tensors = dict[str, np.ndarray]


def tensors(width: int, n: int, *, written: int | None = None, seed: int = 0) -> Tensors:
    """Random tensors by what they are: the encoder has a column per latent, the decoder a row."""
    draw, written = np.random.default_rng(seed), written or width
    shapes = {
        "W_enc": (width, n), "b_enc": (n,), "W_dec": (n, written), "b_dec": (written,), "threshold": (n,),
    }  # fmt: skip
    found = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**found, "threshold": np.abs(found["threshold"])}


def write_saelens(folder: Path, of: Tensors, **config: Any) -> Path:
    """As SAELens's ``save_model`` does it."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = of if "jumprelu" in config.get("architecture", "") else without_threshold(of)
    save_file(kept, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def write_sparsify(folder: Path, of: Tensors, **config: Any) -> Path:
    """As sparsify's ``save_to_disk`` does it; the encoder is a linear map of torch."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"encoder.weight": of["W_enc"].T.copy(), "encoder.bias": of["b_enc"]}
    save_file({**names, "W_dec": of["W_dec"], "b_dec": of["b_dec"]}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def write_scope(folder: Path, of: Tensors) -> Path:
    """As Gemma Scope lies on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **of)
    return folder


def write_scope_2(folder: Path, of: Tensors) -> Path:
    """As Gemma Scope 2 does."""
    folder.mkdir(parents=True, exist_ok=True)
    lower = {"W_enc": "w_enc", "W_dec": "w_dec"}
    save_file({lower.get(name, name): tensor for name, tensor in of.items()}, folder / "params.safetensors")
    return folder


def write_file(file: Path, of: Mapping[str, np.ndarray]) -> Path:
    """One file of safetensors, without a config."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(of), file)
    return file


def without_threshold(of: Tensors) -> Tensors:
    """Those of a dictionary that is no JumpReLU."""
    return {name: tensor for name, tensor in of.items() if name != "threshold"}
