"""The one order of units: by layer, then by site, then by index in the site.

A unit has a place, (layer, site, index), a number in this order, and a name such as ``L03.mlp_act.117``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
UnitPlace = tuple[int, str, int]
"""Layer, site and index in the site."""


@dataclass(frozen=True)
class UnitIndex:
    """Numbers, places and names of the units of a model. Names of shapes: ``P`` units, any.

    Attributes:
        sites: (layer, site, number of units) in the order in which the units are numbered.

    Raises:
        ValueError: If a (layer, site) stands twice or has no units.
    """

    sites: tuple[tuple[int, str, int], ...]

    def __post_init__(self) -> None:
        places = [(layer, site) for layer, site, _ in self.sites]
        if len(set(places)) != len(places) or any(width < 1 for _, _, width in self.sites):
            raise ValueError(f"each (layer, site) stands once and has units; got {self.sites}")

    @classmethod
    def of(cls, sites: Iterable[tuple[int, str, int]]) -> UnitIndex:
        """The index of sites in any sequence."""
        return cls(tuple((int(layer), str(site), int(width)) for layer, site, width in sites))

    def __len__(self) -> int:
        return sum(width for _, _, width in self.sites)

    @cached_property
    def starts(self) -> Ints:
        """Number of the first unit of each site."""
        widths = np.array([width for _, _, width in self.sites], dtype=np.int64)
        return np.cumsum(widths) - widths

    @property
    def layers(self) -> list[int]:
        """The layers, rising."""
        return sorted({layer for layer, _, _ in self.sites})

    def width(self, layer: int) -> int:
        """Number of units of a layer."""
        return sum(width for at, _, width in self.sites if at == layer)

    def parts(self) -> Iterator[tuple[int, str, slice]]:
        """(layer, site, the numbers of its units) of each site."""
        for (layer, site, width), start in zip(self.sites, self.starts.tolist(), strict=True):
            yield layer, site, slice(start, start + width)

    def numbers(self, layers: Any, sites: Any, units: Any) -> Ints:
        """Numbers of units by their places.

        Args:
            layers: Layer of each unit, length ``P``.
            sites: Its site.
            units: Its index in the site.

        Raises:
            ValueError: If there is no such unit.
        """
        layers_P, units_P = np.asarray(layers, dtype=np.int64), np.asarray(units, dtype=np.int64)
        names, name_P = np.unique(np.asarray(sites, dtype=np.str_), return_inverse=True)
        number_P = np.full(len(layers_P), -1, dtype=np.int64)
        code = {name: at for at, name in enumerate(names.tolist())}
        for at, (layer, site, width) in enumerate(self.sites):
            here = (layers_P == layer) & (name_P == code.get(site, -1))
            number_P[here & (units_P >= 0) & (units_P < width)] = self.starts[at]
        if (number_P < 0).any():
            wrong = int(np.argmin(number_P))
            name = unit_name(int(layers_P[wrong]), str(names[name_P[wrong]]), int(units_P[wrong]))
            raise ValueError(
                f"there is no unit {name} among the {len(self)} units of {len(self.sites)} sites"
            )
        return number_P + units_P

    def split(self, numbers: Any) -> tuple[Ints, Ints]:
        """For each number the place of its site in ``sites``, and the index of the unit in it.

        Raises:
            ValueError: If a number is none of 0 to ``len(self) - 1``.
        """
        number_P = np.asarray(numbers, dtype=np.int64)
        if len(number_P) and not 0 <= number_P.min() <= number_P.max() < len(self):
            raise ValueError(
                f"units have the numbers 0 to {len(self) - 1}; got {number_P.min()} to {number_P.max()}"
            )
        site_P = np.searchsorted(self.starts, number_P, side="right") - 1
        return site_P.astype(np.int64), number_P - self.starts[site_P]

    def places(self, numbers: Any) -> tuple[Ints, NDArray[np.object_], Ints]:
        """Layer, site and index in the site of each number; the inverse of :meth:`numbers`."""
        site_P, unit_P = self.split(numbers)
        layers = np.array([layer for layer, _, _ in self.sites], dtype=np.int64)
        names = np.array([site for _, site, _ in self.sites], dtype=object)
        return layers[site_P], names[site_P], unit_P

    def names(self, numbers: Any) -> list[str]:
        """Names such as ``L03.mlp_act.117``."""
        return [
            unit_name(*place) for place in zip(*(part.tolist() for part in self.places(numbers)), strict=True)
        ]


def place_of(name: str) -> UnitPlace:
    """Layer, site and index in the site of a unit by its name.

    Raises:
        ValueError: If it is no name of a unit.
    """
    match = re.fullmatch(r"L(\d+)\.(.+)\.(\d+)", name)
    if match is None:
        raise ValueError(f"a unit is named as L03.mlp_act.117; got {name!r}")
    return int(match[1]), match[2], int(match[3])


def expert_place(name: str) -> tuple[int, int, int] | None:
    """Layer, expert and neuron by a name such as ``L03.mlp_act.e5.117``; None if it is no such name."""
    match = re.fullmatch(r"L(\d+)\.mlp_act\.e(\d+)\.(\d+)", name)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def expert_name(layer: int, unit: int, width: int) -> str:
    """The name by its expert of a unit at ``mlp_act`` of a mixture of experts.

    Args:
        layer: Its layer.
        unit: Its index in the site.
        width: Neurons of an expert.
    """
    return f"L{layer:02d}.mlp_act.e{unit // width}.{unit % width}"


def unit_name(layer: int, site: str, unit: int) -> str:
    """The name of a unit by its place."""
    return f"L{layer:02d}.{site}.{unit}"
