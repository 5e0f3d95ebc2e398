"""Where the sites of a loaded model are, and hooks on them that always heal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from babelscope.models.architectures import End, Part, architecture
from babelscope.models.dimensions import site_widths
from babelscope.models.experts import tap


class ModuleEnd(NamedTuple):
    """One end of a module of a loaded model."""

    module: nn.Module
    end: End
    block: nn.Module | None = None
    """Set where the module sees ``(B * S, D)``; its block sees ``(B, S, d)``."""


Watch = Callable[[torch.Tensor], torch.Tensor | None]
"""Is called with ``(B, S, D)``; a tensor returned replaces it."""

Watcher = tuple[ModuleEnd, Watch]

#: Attribute of a model: places that are no module of it, by layer and site.
DERIVED = "babelscope_derived"


class Derived(nn.Module):
    """A place that is no module of the model: what is made of the values at another place.

    It is made only while a watcher stands here. What that does to it, ``sources`` carry over to the model.

    Attributes:
        in_features: Its width.
        sources: The places that it is made of or carried over to.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_features = width
        self.sources: list[Watcher] = []
        self._n_watchers = 0
        self._handles: list[Any] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The same values, as the watchers leave them."""
        return values

    def join(self) -> Derived:
        """Begin to be made, if nothing has asked for it so far; :meth:`remove` takes it back."""
        if not self._n_watchers:
            self._handles = _hooks(self.sources)
        self._n_watchers += 1
        return self

    def remove(self) -> None:
        """One watcher less."""
        self._n_watchers -= 1
        if not self._n_watchers:
            for handle in self._handles:
                handle.remove()


def block_list(model: nn.Module) -> nn.ModuleList:
    """The blocks of a language model, first to last."""
    blocks = model.get_submodule(architecture(_model_type(model)).blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def site_modules(model: nn.Module, site: str, layer: int) -> list[ModuleEnd]:
    """The places whose values, one after the other, are the units of a site.

    Args:
        model: A language model of transformers, with its head.
        site: One of :data:`babelscope.models.architectures.SITES`, or a dictionary of the model.
        layer: 1 to L; for ``resid`` also 0, the input of block 1.

    Raises:
        ValueError: If the model has no such layer or site.
    """
    derived: dict[tuple[int, str], Derived] = getattr(model, DERIVED, {})
    if (layer, site) in derived:
        return [ModuleEnd(derived[layer, site], "in")]
    blocks = block_list(model)
    lowest = 0 if site == "resid" else 1
    if not lowest <= layer <= len(blocks):
        raise ValueError(f"site {site} has layers {lowest} to {len(blocks)}; got {layer}")
    if site == "resid":
        return [ModuleEnd(blocks[0], "in")] if layer == 0 else [ModuleEnd(blocks[layer - 1], "out")]
    sites = architecture(_model_type(model)).sites
    if site not in sites:
        raise ValueError(f"no site {site!r}; there are {', '.join([*sites, 'resid'])}")
    return [_place(blocks[layer - 1], part, part.tap) for part in sites[site]]


def _place(block: nn.Module, part: Part, name: str) -> ModuleEnd:
    module = block.get_submodule(part.module)
    return ModuleEnd(tap(module, name) if name else module, part.end, block if part.flat else None)


def mlp_input(model: nn.Module, layer: int) -> ModuleEnd:
    """What goes into the MLP of a block, as its first map sees it: after any norm.

    Args:
        model: A language model of transformers, with its head.
        layer: 1 to L.
    """
    entry, block = architecture(_model_type(model)), block_list(model)[layer - 1]
    part = entry.sites["mlp_out" if entry.experts else "mlp_in"][0]
    return ModuleEnd(block.get_submodule(part.module), "in", block if part.flat else None)


def expert_place(model: nn.Module, layer: int, name: str) -> ModuleEnd:
    """A tap of the experts of a block.

    Args:
        model: A mixture of experts of transformers, with its head.
        layer: 1 to L.
        name: One of :data:`babelscope.models.experts.TAPS`.
    """
    (part,) = architecture(_model_type(model)).sites["mlp_act"]
    return _place(block_list(model)[layer - 1], part, name)


def site_parts(model: nn.Module, site: str, layer: int) -> list[tuple[ModuleEnd, slice]]:
    """The places of a site, each with the units of the site that it holds.

    Args:
        model: A language model of transformers, with its head.
        site: As for :func:`site_modules`.
        layer: As for :func:`site_modules`.

    Raises:
        ValueError: If the model has no such layer or site.
    """
    places = site_modules(model, site, layer)
    width = site_widths(model.config.to_dict(), [site])[layer, site]  # type: ignore[operator, union-attr]
    parts, start = [], 0
    for place in places:
        own = "out_features" if place.end == "out" else "in_features"
        stop = width if len(places) == 1 else start + int(getattr(place.module, own))
        parts.append((place, slice(start, stop)))
        start = stop
    assert start == width, "the parts of a site are not as wide as the site"
    return parts


@contextmanager
def watching(watchers: Iterable[Watcher]) -> Iterator[None]:
    """Call each watcher with the values at its place, until the body ends, however it ends."""
    handles: list[Any] = []
    try:
        _hooks(watchers, handles)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hooks(watchers: Iterable[Watcher], handles: list[Any] | None = None) -> list[Any]:
    """Set the hooks; ``handles`` has those that stand, even after an error."""
    handles = [] if handles is None else handles
    shapes: dict[nn.Module, torch.Size] = {}
    for place, watch in watchers:
        if place.block is not None:
            if place.block not in shapes:
                shapes[place.block] = torch.Size()
                handles.append(place.block.register_forward_pre_hook(partial(_note_shape, shapes)))
            watch = partial(_unflattened, watch, shapes, place.block)
        if isinstance(place.module, Derived):
            handles.append(place.module.join())
        if place.end == "in":
            handles.append(place.module.register_forward_pre_hook(partial(_on_input, watch)))
        else:
            handles.append(place.module.register_forward_hook(partial(_on_output, watch)))
    return handles


def _note_shape(shapes: dict[nn.Module, torch.Size], block: nn.Module, args: tuple[Any, ...]) -> None:
    shapes[block] = args[0].shape[:2]


def _unflattened(
    watch: Watch, shapes: dict[nn.Module, torch.Size], block: nn.Module, values: torch.Tensor
) -> torch.Tensor | None:
    replaced = watch(values.view(*shapes[block], values.shape[-1]))
    return None if replaced is None else replaced.reshape(values.shape)


def _on_input(watch: Watch, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    replaced = watch(args[0])
    return None if replaced is None else (replaced, *args[1:])


def _on_output(watch: Watch, _: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
    # BLOOM's blocks return the state and the attention weights.
    if isinstance(output, tuple):
        replaced = watch(output[0])
        return None if replaced is None else (replaced, *output[1:])
    return watch(output)


def _model_type(model: nn.Module) -> str:
    return str(model.config.model_type)  # type: ignore[union-attr]
