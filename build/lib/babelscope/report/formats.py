"""Values, settings and tables as a page shows them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from babelscope.io.tables import tsv_of
from babelscope.report.summaries import AT_MOST

#: Rows of a table that the page shows; the download holds all.
SHOWN_ROWS = 40

#: Downloads larger than this stay out of the page.
MAX_DOWNLOAD_BYTES = 600_000


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    n_rows: int
    download: str
    """Data URI of the whole table as TSV, empty if it is too large."""


def table_view(table: pd.DataFrame, name: str, shown: int = SHOWN_ROWS) -> TableView:
    """Format a table for the page without its index; all of it can be downloaded as ``name.tsv``.

    A column :data:`~babelscope.report.summaries.AT_MOST` is shown as a sign before what it is about.
    """
    content = tsv_of(table, float_format="%.6g").encode("utf-8")
    page = table.drop(columns=AT_MOST, errors="ignore")
    bounds = table[AT_MOST] if AT_MOST in table else [False] * len(table)
    return TableView(
        name=name,
        columns=[str(column).replace("_", " ") for column in page.columns],
        rows=[
            [
                f"≤ {cell(value)}" if bound and str(column).endswith("_ap") else cell(value)
                for column, value in zip(page.columns, row, strict=True)
            ]
            for row, bound in zip(page.head(shown).itertuples(index=False), bounds, strict=False)
        ],
        numeric=[pd.api.types.is_numeric_dtype(dtype) for dtype in page.dtypes],
        n_rows=len(table),
        download=data_uri(content, "text/tab-separated-values") if len(content) <= MAX_DOWNLOAD_BYTES else "",
    )


def data_uri(content: bytes, media_type: str) -> str:
    """A ``data:`` URI that holds ``content``."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}" if abs(int(value)) >= 100_000 else str(value)
    if isinstance(value, (float, np.floating)):
        real = float(value)
        return f"{real:.0f}" if real.is_integer() and abs(real) >= 10 else f"{real:.3g}"
    return str(value)


def text(value: Any) -> str:
    """A cell of text that may be empty; an empty column of a TSV file comes back as numbers."""
    return "" if pd.isna(value) else str(value)


def plain(value: Any) -> Any:
    """Mappings and sequences of any kind as those that YAML knows."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def inline(value: Any) -> str:
    """A small mapping on one line: ``source: grammar; documents: 60000``."""
    value = plain(value)
    if isinstance(value, Mapping):
        return "; ".join(
            f"{k}: ({inline(v)})" if isinstance(v, Mapping) else f"{k}: {inline(v)}" for k, v in value.items()
        )
    if isinstance(value, list):
        return ", ".join(inline(v) for v in value)
    return "–" if value is None else str(value)


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as rows ``a.b: value``."""
    rows: list[tuple[str, str]] = []
    for key, entry in value.items():
        name = f"{prefix}{key}"
        rows += flat(entry, f"{name}.") if isinstance(entry, Mapping) else [(name, inline(entry))]
    return rows
