"""Texts as cells of TSV that no spreadsheet takes for a formula. Light: planning reads it too."""

from __future__ import annotations

import re

_FORMULA, _ESCAPED = re.compile(r"'*[=+\-@\t\r\n]"), re.compile(r"'+[=+\-@\t\r\n]")


def as_cell(text: str) -> str:
    """A text as a cell of TSV that no spreadsheet runs."""
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """The text that :func:`as_cell` made a cell of."""
    return cell[1:] if _ESCAPED.match(cell) else cell
