"""Texts as cells of TSV that no spreadsheet takes for a formula, and no reader for a number. Light: planning
reads it too."""

from __future__ import annotations

import re

# The wide ones are signs of formulas to spreadsheets in Chinese, Japanese and Korean.
_FORMULA = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
#: What readers of tables take for a number or a truth value, where all cells of a column are such.
_NUMBER = r"\s*(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan|true|false)\s*\Z"
_LIKE_NUMBER = re.compile(rf"'*{_NUMBER}", re.IGNORECASE)
_TAKEN_FOR = re.compile(rf"'*(?:{_FORMULA}|{_NUMBER})", re.IGNORECASE)
_ESCAPED = re.compile(rf"'+(?:{_FORMULA}|{_NUMBER})", re.IGNORECASE)


def like_number(text: str) -> bool:
    """Whether a text, without apostrophes before it, could be taken for a number or a truth value."""
    return _LIKE_NUMBER.match(text) is not None


def as_cell(text: str, *, beside_words: bool = False) -> str:
    """A text as a cell of TSV, behind an apostrophe if it could be taken for something else.

    Args:
        text: The text.
        beside_words: Whether its column holds words too, so that no reader takes the column for numbers.
    """
    bare = beside_words and not text.startswith("'") and like_number(text)
    return f"'{text}" if _TAKEN_FOR.match(text) and not bare else text


def of_cell(cell: str) -> str:
    """The text that :func:`as_cell` made a cell of."""
    return cell[1:] if _ESCAPED.match(cell) else cell
