"""Tables on disk: Parquet, or TSV where a person should be able to read it; written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from babelscope.errors import DataError
from babelscope.io.files import AGAIN, written_whole


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
            table.to_csv(unfinished, sep="\t", index=False, float_format="%.10g")
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
            return pd.read_parquet(path, engine="pyarrow", columns=None if columns is None else list(columns))
        # A language or a word may be spelt "NA" or "null".
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""])
        return table if columns is None else table[list(columns)]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(path, f"is not a readable table: {error}", AGAIN) from error


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
