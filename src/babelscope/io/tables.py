"""Tables on disk: Parquet, or TSV where a person should be able to read it; written whole or not at all.

A person may read TSV in a spreadsheet, which runs a text that begins with ``=``, and texts are of models and
of others. A name such as ``007`` or ``1e5`` is a text too, and would be read as a number. So such a text
stands behind an apostrophe in TSV, and our readers take it away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from babelscope.errors import DataError
from babelscope.io.files import AGAIN, written_whole
from babelscope.io.formulas import as_cell, like_number, of_cell

#: Bytes that a table may always have in memory, and how many one of its file may stand for beyond that.
_SMALL, _MOST_PACKED = 2**28, 1000


def tsv_of(table: pd.DataFrame, *, float_format: str) -> str:
    """A table as TSV; numbers stay numbers."""
    cells = _texts(table, _cells)
    # Only quoted texts may hold a carriage return, which ends a row elsewhere, and pandas does not see to it.
    ends = any("\r" in value for _, column in cells.items() for value in column if isinstance(value, str))
    quoting: Literal[0, 2] = 2 if ends else 0  # csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL
    return str(cells.to_csv(sep="\t", index=False, float_format=float_format, quoting=quoting))


def _cells(texts: Sequence[str]) -> Callable[[str], str]:
    return partial(as_cell, beside_words=not all(map(like_number, texts)))


def _texts(table: pd.DataFrame, changes: Callable[[Sequence[str]], Callable[[str], str]]) -> pd.DataFrame:
    """A table whose texts are changed.

    Args:
        table: The table.
        changes: Gives what changes a text of a column, by all texts of the column.
    """
    changed = {}
    for name, column in table.items():
        if pd.api.types.is_numeric_dtype(column):
            continue
        texts = [value for value in column if isinstance(value, str)]
        change = changes(texts)
        if any(change(text) != text for text in texts):
            changed[str(name)] = column.map(
                lambda value, to=change: to(value) if isinstance(value, str) else value
            )
    return table.assign(**changed) if changed else table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table under its name only when it is complete; equal tables give equal bytes.

    Args:
        table: Any table with a plain index.
        path: Ends in ``.parquet`` or ``.tsv``.

    Raises:
        ValueError: If the suffix is another one.
    """
    path = Path(path)
    with written_whole(path) as unfinished:
        if path.suffix == ".parquet":
            table.to_parquet(unfinished, index=False, engine="pyarrow", compression="zstd")
        elif path.suffix == ".tsv":
            unfinished.write_text(tsv_of(table, float_format="%.10g"), encoding="utf-8", newline="")
        else:
            raise ValueError(f"a table is .parquet or .tsv, not {path.name}")


def read_table(path: Path | str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote.

    Args:
        path: The file.
        columns: Read these only, in this order; all by default.

    Raises:
        DataError: If the file cannot be read as a table or lacks a column.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            _check_size(path)
            return pd.read_parquet(path, engine="pyarrow", columns=None if columns is None else list(columns))
        # A language or a word may be spelt "NA" or "null".
        table = _texts(
            pd.read_csv(path, sep="\t", low_memory=False, keep_default_na=False, na_values=[""]),
            lambda _: of_cell,
        )
        return table if columns is None else table[list(columns)]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(path, f"is not a readable table: {error}", AGAIN) from error


def _check_size(path: Path) -> None:
    """Refuse a small file that fills the memory: one value may stand for all of a column.

    Raises:
        ValueError: With how much it would take.
    """
    from pyarrow.parquet import read_metadata

    about = read_metadata(path)
    n_bytes = 8 * about.num_rows * about.num_columns
    if n_bytes > max(_SMALL, _MOST_PACKED * path.stat().st_size):
        raise ValueError(f"it has {path.stat().st_size:,} bytes and stands for {n_bytes:,}")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, each as a mapping by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


@contextmanager
def columns_asked(what: str) -> Iterator[None]:
    """Say in words that tables lack a column that something in the body asks them for.

    Args:
        what: Who asks.

    Raises:
        DataError: With the column.
    """
    try:
        yield
    except KeyError as error:
        problem = f"do not hold what {what} asks for: {error.args[0] if error.args else error!r}"
        hint = "they are of another version, or edited: make them anew (docs/formats.md has their columns)"
        raise DataError("tables", problem, hint) from error


def concatenate(paths: Iterable[Path | str], *, by: Sequence[str] = ()) -> pd.DataFrame:
    """One table from many with the same columns; empty if there are none.

    Args:
        paths: The tables; each may hold one cell or several.
        by: Columns to order the rows by, within each model; models, and rows that these columns do not
            tell apart, stay in the order in which they come. By default all rows do.
    """
    tables = [read_table(path) for path in paths]
    filled = [table for table in tables if len(table)]
    if not filled:
        return tables[0] if tables else pd.DataFrame()
    whole = pd.concat(filled, ignore_index=True)
    if not by:
        return whole
    models = pd.Categorical(whole["model"], categories=whole["model"].unique()).codes
    order = whole[list(by)].assign(_model=models).sort_values(["_model", *by], kind="stable").index
    return whole.loc[order].reset_index(drop=True)
