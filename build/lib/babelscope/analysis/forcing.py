"""Hold chosen units at a value while a model runs.

Legend: B rows of a batch, T positions, U units of a site.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.models.dimensions import site_widths
from babelscope.models.hooks import Watcher, site_parts, watching


class UnitSet:
    """Units, each by its layer, its site and its index in the site, and the values that they are held at.

    Attributes:
        cells: Per (layer, site) the indices and the values of its units.
    """

    def __init__(
        self, layers: Iterable[int], sites: Iterable[str], units: Iterable[int], values: Iterable[float]
    ) -> None:
        held: dict[tuple[int, str], dict[int, float]] = {}
        for layer, site, unit, value in zip(layers, sites, units, values, strict=True):
            held.setdefault((int(layer), str(site)), {})[int(unit)] = float(value)
        self.cells: dict[tuple[int, str], tuple[NDArray[np.int64], NDArray[np.float64]]] = {
            cell: (np.array([*of], dtype=np.int64), np.array([*of.values()])) for cell, of in held.items()
        }

    def __len__(self) -> int:
        return sum(len(units) for units, _ in self.cells.values())


@contextmanager
def force_units(model: Any, held: UnitSet | Sequence[UnitSet | None]) -> Iterator[None]:
    """Hold units at their values, at every position, while the body runs.

    Args:
        model: A language model of transformers.
        held: Units that are held in every row of whatever the body runs; or, row by row of its batches, what
            is held in each, None for nothing.

    Raises:
        ValueError: If the model has no such unit, or a batch has another number of rows.
    """
    sets, every_row = ([held], True) if isinstance(held, UnitSet) else (held, False)
    watchers: list[Watcher] = []
    for layer, site in sorted({cell for units in sets if units is not None for cell in units.cells}):
        held_BU, value_BU = _rows(model, sets, layer, site)
        for place, part in site_parts(model, site, layer):
            if held_BU[:, part].any():
                force = _forcing(held_BU[:, part], value_BU[:, part], model, every_row=every_row)
                watchers.append((place, force))
    with watching(watchers):
        yield


def _rows(
    model: Any, sets: Sequence[UnitSet | None], layer: int, site: str
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which units of a site are held in each row, and their values."""
    width = site_widths(model.config.to_dict(), [site]).get((layer, site), 0)
    held_BU = np.zeros((len(sets), width), dtype=bool)
    value_BU = np.zeros((len(sets), width), dtype=np.float64)
    for row, units in enumerate(sets):
        if units is None or (layer, site) not in units.cells:
            continue
        indices, values = units.cells[layer, site]
        if indices.max() >= width or indices.min() < 0:
            raise ValueError(f"unit {indices.max()} is not in layer {layer}, site {site}, of {width} units")
        held_BU[row, indices] = True
        value_BU[row, indices] = values
    return held_BU, value_BU


def _forcing(
    held_BU: NDArray[np.bool_], value_BU: NDArray[np.float64], model: Any, *, every_row: bool
) -> Any:
    held_B1U = torch.from_numpy(held_BU[:, None]).to(model.device)
    value_B1U = torch.from_numpy(value_BU[:, None]).to(model.device, model.dtype)

    def force(values_BTU: torch.Tensor) -> torch.Tensor:
        if values_BTU.ndim != 3 or not (every_row or len(values_BTU) == len(held_B1U)):
            raise ValueError(
                f"units are forced in {len(held_B1U)} rows; the model got {tuple(values_BTU.shape)}"
            )
        # A model may be spread over several devices.
        held, value = held_B1U.to(values_BTU.device), value_B1U.to(values_BTU.device, values_BTU.dtype)
        return torch.where(held, value, values_BTU)

    return force
