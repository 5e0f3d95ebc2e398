"""Texts as cells of TSV that no spreadsheet takes for a formula, and no reader for a number. Light: planning
reads it too."""

from __future__ import annotations

import re

_FORMULA = r"[=+\-@\t\r\n]"
#: What readers of tables take for a number or a truth value, where all cells of a column are such.
_NUMBER = r"\s*(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan|true|false)\s*\Z"
_TAKEN_FOR = re.compile(rf"'*(?:{_FORMULA}|{_NUMBER})", re.IGNORECASE)
_ESCAPED = re.compile(rf"'+(?:{_FORMULA}|{_NUMBER})", re.IGNORECASE)


def as_cell(text: str) -> str:
    """A text as a cell of TSV, behind an apostrophe if it could be taken for something else."""
    return f"'{text}" if _TAKEN_FOR.match(text) else text


def of_cell(cell: str) -> str:
    """The text that :func:`as_cell` made a cell of."""
    return cell[1:] if _ESCAPED.match(cell) else cell
