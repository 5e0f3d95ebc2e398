"""Where the sites of a loaded model are, and hooks on them that always heal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from babelscope.architectures import End, architecture

Watcher = tuple[nn.Module, End, Callable[[torch.Tensor], torch.Tensor | None]]
"""A module, its input or output, and what is called with it; a tensor returned replaces it."""


def block_list(model: nn.Module) -> nn.ModuleList:
    """The blocks of a causal language model, first to last."""
    blocks = model.get_submodule(architecture(_model_type(model)).blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def site_modules(model: nn.Module, site: str, layer: int) -> list[tuple[nn.Module, End]]:
    """The modules whose inputs or outputs, one after the other, are the units of a site.

    Args:
        model: A causal language model of transformers.
        site: One of :data:`babelscope.architectures.SITES`.
        layer: 1 to L; for ``resid`` also 0, the input of block 1.

    Raises:
        ValueError: If the model has no such layer or site.
    """
    blocks = block_list(model)
    lowest = 0 if site == "resid" else 1
    if not lowest <= layer <= len(blocks):
        raise ValueError(f"site {site} has layers {lowest} to {len(blocks)}; got {layer}")
    if site == "resid":
        return [(blocks[0], "in")] if layer == 0 else [(blocks[layer - 1], "out")]
    sites = architecture(_model_type(model)).sites
    if site not in sites:
        raise ValueError(f"no site {site!r}; there are {', '.join([*sites, 'resid'])}")
    block = blocks[layer - 1]
    return [(block.get_submodule(part.module), part.end) for part in sites[site]]


@contextmanager
def watching(watchers: Iterable[Watcher]) -> Iterator[None]:
    """Call each watcher with its module's input or output, until the body ends, however it ends."""
    handles = []
    try:
        for module, end, function in watchers:
            if end == "in":
                handles.append(module.register_forward_pre_hook(_on_input(function)))
            else:
                handles.append(module.register_forward_hook(_on_output(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(function: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        replaced = function(args[0])
        return None if replaced is None else (replaced, *args[1:])

    return hook


def _on_output(function: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        # BLOOM's blocks return the state and the attention weights.
        if isinstance(output, tuple):
            replaced = function(output[0])
            return None if replaced is None else (replaced, *output[1:])
        return function(output)

    return hook


def _model_type(model: nn.Module) -> str:
    return str(model.config.model_type)  # type: ignore[union-attr]
