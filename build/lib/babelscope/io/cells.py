"""Cells: files are joined by what they say of themselves, never by their names or their place in a list.

A cell is what a study has of one step and one language of a model. A file holds one or a range of them: in
HDF5 each is a group of its own, in tables the columns ``model``, ``step`` and ``lang`` say whose a row is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import pandas as pd

from babelscope.errors import DataError, StoreError
from babelscope.io.files import AGAIN
from babelscope.io.h5 import open_h5
from babelscope.io.tables import read_table

Cell = tuple[int, str]
"""A step and a language."""
T = TypeVar("T")
_KEYS = ("model", "step", "lang")


def cell_name(step: int, lang: str) -> str:
    """Name of a cell's group in an HDF5 file, such as ``4/en``."""
    return f"{step}/{lang}"


def cell_of(file: h5py.File, cell: str) -> h5py.Group:
    """The group of a cell.

    Raises:
        StoreError: If the file has no such cell, with those that it has.
    """
    if cell not in file:
        there = ", ".join(cell_name(*each) for each in cells_of(file))
        raise StoreError(file.filename, f"has no cell {cell}; it has {there}", AGAIN)
    return file[cell]


def by_cell(
    paths: Iterable[Path | str], *, kind: str, wanted: Iterable[Cell] | None = None
) -> dict[Cell, tuple[Path, str]]:
    """Where the cells of one model lie in HDF5 files: file and name of the group.

    Args:
        paths: Files, each with one cell or several.
        kind: What they hold; see :func:`babelscope.io.h5.open_h5`.
        wanted: Cells to find, in this order; by default all, in the order of the files.

    Raises:
        StoreError: If a file cannot be read or holds no cell, or the attributes ``model``, ``step`` and
            ``lang`` of a group do not fit its name.
        DataError: If the cells are of several models, one stands twice, or a wanted one is missing.
    """
    found = []
    for path in map(Path, paths):
        with open_h5(path, kind=kind) as file:
            for cell, group in cells_of(file).items():
                found.append((str(group.attrs["model"]), cell, path, (path, cell_name(*cell))))
    return _joined(found, wanted)


def cells_of(file: h5py.File) -> dict[Cell, h5py.Group]:
    """All cells of an open file: its groups ``{step}/{lang}``, by step (HDF5 has them by name: 128, 64).

    Raises:
        StoreError: If there is none, or the attributes of one do not fit its name.
    """
    found: dict[Cell, h5py.Group] = {}
    for step in sorted((name for name in file if name.isdecimal()), key=int):
        cells = file[step].items() if isinstance(file[step], h5py.Group) else ()
        for lang, group in cells:
            name = f"{step}/{lang}"
            if not all(key in group.attrs for key in _KEYS):
                problem = f"{name} does not say of which model, step and language it is"
                raise StoreError(file.filename, problem, AGAIN)
            told = group.attrs["step"]
            if not isinstance(told, int | np.integer):
                raise StoreError(file.filename, f"{name} says that it is step {told!r}", AGAIN)
            cell = int(told), str(group.attrs["lang"])
            if cell_name(*cell) != name:
                problem = f"{name} says that it is step {cell[0]}, language {cell[1]}"
                raise StoreError(file.filename, problem, AGAIN)
            found[cell] = group
    if not found:
        raise StoreError(file.filename, "holds no step of any language", AGAIN)
    return found


class CellTables(Mapping[Cell, pd.DataFrame]):
    """The cells of one model in tables, each read when it is asked for: one file at a time is held.

    Args:
        paths: Tables with the columns ``model``, ``step`` and ``lang``, each of one cell or several.
        wanted: As in :func:`by_cell`.

    Raises:
        DataError: As :func:`by_cell`, or if a table cannot be read or lacks one of these columns.
    """

    def __init__(self, paths: Iterable[Path], wanted: Iterable[Cell] | None = None) -> None:
        found = (
            (str(model), (int(step), str(lang)), path, path)
            for path in paths
            for model, step, lang in _distinct(read_table(path, _KEYS))
        )
        self._path = _joined(found, wanted)
        self._held: tuple[Path | None, pd.DataFrame] = (None, pd.DataFrame())

    def __getitem__(self, cell: Cell) -> pd.DataFrame:
        path = self._path[cell]
        if self._held[0] != path:
            self._held = path, read_table(path)
        table = self._held[1]
        return table[(table["step"] == cell[0]) & (table["lang"] == cell[1])].reset_index(drop=True)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._path)

    def __len__(self) -> int:
        return len(self._path)


def tables_by_step(paths: Iterable[Path]) -> dict[tuple[str, int], pd.DataFrame]:
    """Tables by model and step, which their columns ``model`` and ``step`` name, in the order of the files.

    Raises:
        DataError: If a table cannot be read, lacks these columns, or has a step that another has too.
    """
    found: dict[tuple[str, int], pd.DataFrame] = {}
    origin: dict[tuple[str, int], Path] = {}
    for path in paths:
        table = read_table(path)
        if not {"model", "step"} <= set(table.columns):
            raise DataError(path, "has no columns model and step to say whose it is", AGAIN)
        for model, step in _distinct(table[["model", "step"]]):
            key = str(model), int(step)
            if key in found:
                raise DataError(path, f"holds step {step} of {model}, which {origin[key]} holds too")
            rows = (table["model"] == model) & (table["step"] == step)
            found[key], origin[key] = table[rows].reset_index(drop=True), path
    return found


def _distinct(table: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The different rows of a table, in their order."""
    return table.drop_duplicates().itertuples(index=False, name=None)


def _joined(found: Iterable[tuple[str, Cell, Path, T]], wanted: Iterable[Cell] | None) -> dict[Cell, T]:
    """Values by cell, of one model, each cell once."""
    values: dict[Cell, T] = {}
    origin: dict[Cell, tuple[str, Path]] = {}
    for model, cell, path, value in found:
        first_model, first_path = next(iter(origin.values()), (model, path))
        if model != first_model:
            raise DataError(path, f"is of model {model}, but {first_path} is of {first_model}")
        if cell in values:
            problem = f"holds step {cell[0]}, language {cell[1]}, which {origin[cell][1]} holds too"
            raise DataError(path, problem)
        values[cell], origin[cell] = value, (model, path)
    if wanted is None:
        return values
    wanted = list(wanted)
    missing = [cell for cell in wanted if cell not in values]
    if missing:
        where = next(iter(origin.values()))[1] if origin else Path("no file")
        step, lang = missing[0]
        problem = f"it and the files given with it lack step {step}, language {lang}"
        raise DataError(where, f"{problem} ({len(missing)} of {len(wanted)} cells)")
    return {cell: values[cell] for cell in wanted}
