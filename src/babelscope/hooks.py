"""Hooks on the sites of a model that always heal: they are gone when the context ends, error or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from babelscope.architectures import architecture
from babelscope.checkpoints import Checkpoint

Change = Callable[[torch.Tensor], torch.Tensor | None]
"""Sees a tensor; returns its replacement, or None to leave it."""


def site_modules(
    checkpoint: Checkpoint, layer: int, site: str
) -> list[tuple[torch.nn.Module, str]]:
    """The modules whose input (``in``) or output (``out``) a site is, in the order of its units.

    ``resid`` of layer 0 is the input of the first block, of layer i the output of block i.
    """
    if site == "resid":
        if layer == 0:
            return [(checkpoint.blocks[0], "in")]
        return [(checkpoint.blocks[layer - 1], "out")]
    block = checkpoint.blocks[layer - 1]
    parts = architecture(checkpoint.model_type).sites[site].parts
    return [(block.get_submodule(path), end) for path, end in parts]


@contextmanager
def hooked(hooks: list[tuple[torch.nn.Module, str, Change]]) -> Iterator[None]:
    """Call a function on the input or output of modules while the context lasts.

    Args:
        hooks: (module, ``in`` or ``out``, function).
    """
    handles = []
    try:
        for module, end, change in hooks:
            if end == "in":
                handles.append(
                    module.register_forward_pre_hook(_on_input(change), with_kwargs=True)
                )
            else:
                handles.append(module.register_forward_hook(_on_output(change)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(change: Change) -> Callable[..., Any]:
    def hook(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            changed = change(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        changed = change(kwargs["hidden_states"])
        return None if changed is None else (args, {**kwargs, "hidden_states": changed})

    return hook


def _on_output(change: Change) -> Callable[..., Any]:
    def hook(_: torch.nn.Module, __: Any, output: Any) -> Any:
        # Some blocks give a tuple whose first item is the residual stream.
        if isinstance(output, tuple):
            changed = change(output[0])
            return None if changed is None else (changed, *output[1:])
        return change(output)

    return hook
