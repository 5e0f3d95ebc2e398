"""Latents of dictionaries while a model runs: read off the place that they are trained on, and carried back.

A latent that is held or moved changes the model as its decoder says: the change of the latents, times their
directions, is added where the dictionary writes, and what it does not reconstruct stays as it is.

Names of shapes: ``B`` rows of a batch, ``S`` positions, ``d`` width of what is read, ``n`` latents, ``C``
those that were changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from babelscope.errors import ModelError
from babelscope.models.dictionaries import Dictionary
from babelscope.models.hooks import DERIVED, Derived, ModuleEnd, mlp_input, site_modules

_SMALL = 1e-5  # SAELens's, beside the standard deviation


class Latents(Derived):
    """The latents of one dictionary as a place for watchers; in float32, whatever the model computes in."""

    def __init__(self, dictionary: Dictionary) -> None:
        super().__init__(dictionary.n_latents)
        self.dictionary = dictionary
        self._tensors = self._read_encoder()
        self._decoder: torch.Tensor | None = None
        self._change: torch.Tensor | None = None

    def between(self, reads: ModuleEnd, writes: ModuleEnd | None) -> None:
        """Say where it reads, and where its decoder writes if elsewhere; it goes to where that runs."""
        module = reads.block or reads.module
        self._on(next(module.parameters()).device)
        self.sources = [(reads, self._at_input)]
        if writes is not None:
            self.sources = [(reads, self._keep_change), (writes, self._add_change)]

    def encode(self, x_BSd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The latents, and by what the place was scaled for them; None if by nothing."""
        of, how = self._on(x_BSd.device), self.dictionary
        x_BSd = x_BSd.float()
        scale_BS1 = None
        if how.norm == "layer_norm":
            x_BSd = x_BSd - x_BSd.mean(dim=-1, keepdim=True)
            scale_BS1 = x_BSd.std(dim=-1, keepdim=True)
            x_BSd = x_BSd / (scale_BS1 + _SMALL)
        elif how.norm == "constant_norm_rescale":
            scale_BS1 = x_BSd.norm(dim=-1, keepdim=True) / how.width**0.5
            x_BSd = x_BSd / scale_BS1
        if how.subtract_bias:
            x_BSd = x_BSd - of["output_bias"]
        pre_Tn = torch.addmm(of["bias"], x_BSd.flatten(0, 1), of["encoder"])
        pre_BSn = pre_Tn.view(*x_BSd.shape[:2], -1)
        if how.kind == "relu":
            return pre_BSn.relu(), scale_BS1
        if how.kind == "jumprelu":
            return pre_BSn.relu() * (pre_BSn > of["threshold"]), scale_BS1
        values_BSk, index_BSk = pre_BSn.topk(how.k, dim=-1, sorted=False)
        return torch.zeros_like(pre_BSn).scatter(-1, index_BSk, values_BSk.relu()), scale_BS1

    def _changed(self, x_BSd: torch.Tensor) -> torch.Tensor | None:
        """What watchers did to the latents, as a change where the decoder writes; None if nothing."""
        latents_BSn, scale_BS1 = self.encode(x_BSd)
        seen_BSn: torch.Tensor = self(latents_BSn)
        if seen_BSn is latents_BSn:
            return None
        moved_C = (seen_BSn != latents_BSn).flatten(0, 1).any(dim=0).nonzero()[:, 0]
        change_BSC = seen_BSn[..., moved_C].float() - latents_BSn[..., moved_C]
        change_BSd: torch.Tensor = change_BSC @ self._read_decoder(x_BSd.device)[moved_C]
        # What a transcoder writes is not scaled back: it is of another place.
        return change_BSd if scale_BS1 is None or len(self.sources) > 1 else change_BSd * scale_BS1

    def _at_input(self, x_BSd: torch.Tensor) -> torch.Tensor | None:
        change_BSd = self._changed(x_BSd)
        return None if change_BSd is None else (x_BSd.float() + change_BSd).to(x_BSd.dtype)

    def _keep_change(self, x_BSd: torch.Tensor) -> None:
        self._change = self._changed(x_BSd)

    def _add_change(self, x_BSd: torch.Tensor) -> torch.Tensor | None:
        change_BSd, self._change = self._change, None
        if change_BSd is None:
            return None
        return (x_BSd.float() + change_BSd.to(x_BSd.device)).to(x_BSd.dtype)

    def _on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The tensors where the block is: they go there once."""
        if self._tensors["encoder"].device != device:
            self._tensors = {role: tensor.to(device) for role, tensor in self._tensors.items()}
        return self._tensors

    def _read_encoder(self) -> dict[str, torch.Tensor]:
        how = self.dictionary
        roles = ["encoder", "bias", *(["output_bias"] if how.subtract_bias else [])]
        roles += ["threshold"] if how.kind == "jumprelu" else []
        of = {role: _read(how.file, how.names[role]) for role in roles}
        if how.by_latent:
            of["encoder"] = of["encoder"].T.contiguous()
        if how.by_decoder_norm:
            norm_n = _read(how.file, how.names["decoder"]).norm(dim=-1)
            of |= {"encoder": of["encoder"] * norm_n, "bias": of["bias"] * norm_n}
        return of

    def _read_decoder(self, device: torch.device) -> torch.Tensor:
        """Directions of the latents, ``(n, d)``: read when one is changed for the first time."""
        if self._decoder is None:
            with torch.inference_mode(False):  # a later pass may be one with gradients
                decoder_nd = _read(self.dictionary.file, self.dictionary.names["decoder"])
                if self.dictionary.by_decoder_norm:
                    decoder_nd = decoder_nd / decoder_nd.norm(dim=-1, keepdim=True)
                self._decoder = decoder_nd.to(device)
        return self._decoder


def attach(model: Any, dictionaries: Sequence[Dictionary]) -> None:
    """Make the latents of dictionaries sites of a loaded model, by their names.

    Args:
        model: A language model of transformers, with its head.
        dictionaries: Of :func:`babelscope.models.dictionaries.read_dictionary`, for this model.

    Raises:
        ModelError: If a file cannot be read, or holds a value that is not finite.
    """
    derived: dict[tuple[int, str], nn.Module] = {}
    for each in dictionaries:
        place = each.place
        latents = derived[place.layer, place.name] = Latents(each)
        if place.site == "mlp_input":
            (writes,) = site_modules(model, "mlp_out", place.layer)
            latents.between(mlp_input(model, place.layer), writes)
        else:
            (reads,) = site_modules(model, place.site, place.layer)
            latents.between(reads, None)
    setattr(model, DERIVED, derived)


def _read(file: Path, name: str) -> torch.Tensor:
    """A tensor in float32."""
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                tensor = torch.from_numpy(arrays[name].astype(np.float32))
        else:
            with safe_open(file, framework="pt") as tensors:
                tensor = tensors.get_tensor(name).float()
    except Exception as error:  # each format has errors of its own
        raise ModelError(file, f"{name} cannot be read: {error}") from error
    if tensor.isnan().any() or (
        name != "threshold" and tensor.isinf().any()
    ):  # some latents may never be active
        raise ModelError(file, f"{name} holds a value that is not finite")
    return tensor
