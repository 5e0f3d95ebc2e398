"""Lists of units in files that other tools write and read.

Two formats:

- CSV with the columns ``layer, site, unit`` and whatever else (``lang``, ``concept``, ...), a unit a row;
- LAPE's ``.pth`` (Tang et al. 2024): of each language, in an order that the file does not tell, a list of
  blocks, each a tensor of the numbers of neurons of the MLP (our site ``mlp_act``). Their blocks count from
  0, our layers from 1. Of such a file weights alone are read: nothing in it is run.

What is read has names such as ``L03.mlp_act.117``, so it can be traced (``traces.units``), forced and ablated
(:func:`babelscope.force`, :func:`babelscope.ablate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from babelscope.errors import DataError
from babelscope.io.files import written_whole
from babelscope.io.formulas import as_cell, of_cell
from babelscope.units import unit_name

_PLACE = ["layer", "site", "unit"]
#: The site that LAPE's numbers are of.
LAPE_SITE = "mlp_act"


def read_unit_csv(path: Path | str) -> pd.DataFrame:
    """Units of a CSV file.

    Args:
        path: The file.

    Returns:
        Its columns, ``layer`` and ``unit`` as whole numbers, and ``name``.

    Raises:
        DataError: If it is no table, lacks a column, or has a layer or unit that is no whole number from 0
        on.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(
            path, f"is not a readable table: {error}", "write a CSV file with a header"
        ) from error
    if lacking := [name for name in _PLACE if name not in table]:
        problem = f"lacks the columns {lacking}; it has {list(table.columns)}"
        raise DataError(path, problem, "name them layer, site and unit")
    for name in ("layer", "unit"):
        wrong = ~table[name].str.fullmatch(r"[0-9]{1,9}")
        if wrong.any():
            row = int(wrong.argmax())
            problem = f"line {row + 2}: `{name}` is {table[name].iloc[row]!r}"
            raise DataError(path, problem, "a whole number from 0 on is allowed")
        table[name] = table[name].astype("int64")
    for name in table.columns.difference(["layer", "unit"]):
        table[name] = table[name].map(of_cell)
    return _named(table)


def write_unit_csv(units: pd.DataFrame, path: Path | str) -> None:
    """Write units as CSV, whole or not at all; a text that a spreadsheet would run stands behind an
    apostrophe.

    Args:
        units: With the columns ``layer, site, unit``, such as ``open_study(...).experts(...)``.
        path: The file.

    Raises:
        ValueError: If it lacks one of these.
    """
    _check_columns(units, _PLACE)
    cells = units.copy()
    for name in cells.columns:
        if not pd.api.types.is_numeric_dtype(cells[name]):
            cells[name] = [as_cell(str(value), beside_words=True) for value in cells[name]]
    with written_whole(Path(path)) as unfinished:
        cells.to_csv(unfinished, index=False)


def read_lape(path: Path | str, langs: Sequence[str]) -> pd.DataFrame:
    """Units of LAPE's file.

    Args:
        path: The ``.pth`` file.
        langs: Its languages, in its order.

    Returns:
        Columns ``lang, layer, site, unit, name``.

    Raises:
        DataError: If it is not what LAPE writes, or of another number of languages.
    """
    found = _load(Path(path))
    if len(found) != len(langs):
        problem = f"is of {len(found)} languages; got {len(langs)}: {list(langs)}"
        raise DataError(path, problem, "name the languages that LAPE was run with, in its order")
    rows = [
        (lang, block + 1, LAPE_SITE, unit)
        for lang, blocks in zip(langs, found, strict=True)
        for block, numbers in enumerate(blocks)
        for unit in numbers
    ]
    return _named(pd.DataFrame(rows, columns=["lang", *_PLACE]))


def write_lape(units: pd.DataFrame, path: Path | str, langs: Sequence[str], *, n_blocks: int) -> None:
    """Write units as LAPE's code reads them, whole or not at all.

    Args:
        units: With the columns ``lang, layer, site, unit``; each unit counts once for a language.
        path: The file.
        langs: In which order their languages stand there; others are left out.
        n_blocks: Of the model.

    Raises:
        ValueError: If a column is lacking, a site is not ``mlp_act``, or a layer is none of 1 to
        ``n_blocks``.
    """
    import torch  # slow to import, needed seldom

    _check_columns(units, ["lang", *_PLACE])
    wrong = units[(units["site"] != LAPE_SITE) | ~units["layer"].between(1, n_blocks)]
    if len(wrong):
        name = unit_name(*wrong[_PLACE].iloc[0])
        raise ValueError(f"LAPE's file holds units of {LAPE_SITE} in layers 1 to {n_blocks}; got {name}")
    lists = [
        [
            torch.tensor(
                sorted(set(units.loc[(units["lang"] == lang) & (units["layer"] == at + 1), "unit"])),
                dtype=torch.int64,
            )
            for at in range(n_blocks)
        ]
        for lang in langs
    ]
    with written_whole(Path(path)) as unfinished:
        torch.save(lists, unfinished)


def _load(path: Path) -> list[list[list[int]]]:
    """By language and block the numbers of the units."""
    import torch  # slow to import, needed seldom

    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have many kinds
        problem = f"cannot be read as weights only: {str(error).splitlines()[0]}"
        raise DataError(path, problem, "give the file that LAPE's identify.py writes") from error
    is_lape = isinstance(found, list) and bool(found) and all(isinstance(blocks, list) for blocks in found)
    if not is_lape or len({len(blocks) for blocks in found}) != 1:
        raise DataError(path, "is no list of blocks for each language", "see LAPE's identify.py")
    for lang, blocks in enumerate(found):
        for block, numbers in enumerate(blocks):
            whole = (
                isinstance(numbers, torch.Tensor) and numbers.ndim == 1 and not numbers.is_floating_point()
            )
            if not whole or (numbers < 0).any():
                problem = f"language {lang}, block {block} holds no list of whole numbers from 0 on"
                raise DataError(path, problem, "see LAPE's identify.py")
    return [[numbers.tolist() for numbers in blocks] for blocks in found]


def _check_columns(units: pd.DataFrame, wanted: Sequence[str]) -> None:
    if lacking := [name for name in wanted if name not in units]:
        raise ValueError(f"units need the columns {', '.join(wanted)}; lacking: {', '.join(lacking)}")


def _named(units: pd.DataFrame) -> pd.DataFrame:
    names = [unit_name(*place) for place in units[_PLACE].itertuples(index=False, name=None)]
    return units.assign(name=names)
