"""Whether what is read as text is text: a sentence or a document a line, and nothing else.

A table, mark-up or packed file would else become text, ids and all. What the first lines are is judged by how
many of them can be read as rows of a format, by what sets the format apart from prose:

- JSON: lines that are objects or lists of it, or lines that together are the beginning of it;
- mark-up: tags that are closed, have attributes or declare a document; a lone ``<s>`` or ``<Alice>`` is none;
- subtitles: lines of nothing but the times at which the next one is shown;
- tables: tabs, or characters that stand for them, inside lines; or as many fields in all of them, where
  separators stand without the space that prose writes behind a comma, or the first field is a number.

Tests try the rules on real text in many scripts.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import regex

from babelscope.errors import TextError

#: Lines that are looked at.
LOOKED_AT = 500
#: So many of them must be alike to be taken for a table.
_MOST = 0.9
#: Lines that are too few to show what all have in common.
_FEW = 3

_PACKED = {
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"%PDF-": "PDF",
    b"\x89HDF": "HDF5",
    b"Rar!\x1a": "RAR",
    b"7z\xbc\xaf": "7z",
    b"ARROW1": "Arrow",
    b"{\\rtf": "RTF",
    b"%!PS": "PostScript",
    b"\x7fELF": "a program",
    b"version https://git-lfs": "a pointer of Git LFS",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
#: Opening, closing and empty tags with their names; declarations have none.
_TAG = re.compile(r"<(?P<ends>/?)(?P<name>[A-Za-z][\w:.-]*)(?P<more>(?:\s[^<>]*)?)/?>|<[?!][A-Za-z][^<>]*>")
_COMMENT = re.compile(r"\s*<!--.*?(?:-->|\Z)", re.DOTALL)
#: A comma of prose has a space behind it, or stands in a number.
_SPACED = {separator: re.compile(rf"{separator}(?=\s|$)") for separator in ",;"}
_IN_A_NUMBER = re.compile(r"(?<=\d),(?=\d)")
_NAME_OF_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*( [A-Za-z0-9_.:-]+)?")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
#: Between the columns of some tables (Hive's), as nothing but a separator.
_SEPARATORS = re.compile(r"[\t\x01\x1c-\x1f]")
_TIMES = re.compile(r"\s*(\d+:)?\d\d:\d\d[.,]\d{3}\s*-->\s*(\d+:)?\d\d:\d\d[.,]\d{3}.*")

#: What to do about files that are not to be written as text.
_HOW = {
    "UTF-16": "convert it, with iconv for instance",
    **dict.fromkeys(("zip", "RAR", "7z"), "unpack it to UTF-8 text"),
    "a pointer of Git LFS": "fetch what it points to: git lfs pull",
}

_SURROGATE = re.compile("[\ud800-\udfff]")

_HINT = "a line is text and nothing else: write the column that holds the text to a file of its own"
_OR_DATASET = f"{_HINT}; or read a corpus with source: dataset"


def check_not_packed(path: Path, head: bytes) -> None:
    """Refuse a file that is no text by its first bytes.

    Raises:
        TextError: Saying what it is.
    """
    for magic, kind in _PACKED.items():
        if head.startswith(magic):
            raise TextError(path, f"is {kind}, no plain text", _HOW.get(kind, "write it as UTF-8 text"))
    if b"\0" in head:
        raise TextError(path, "holds zero bytes: it is no text", "bring plain UTF-8 text, a line each")


def fault_of(text: str) -> str:
    """What a text holds that no text does, in words; empty if it holds nothing of the kind."""
    if "\0" in text:
        return "NUL"
    return "half of a surrogate pair" if _SURROGATE.search(text) else ""


def is_seen(text: str) -> bool:
    """Whether a text has anything but spaces, controls and signs that are not shown, such as joiners."""
    return not _unseen().fullmatch(text)


@cache
def _unseen() -> regex.Pattern[str]:
    return regex.compile(r"[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*+")


def check_prose(path: Path, lines: Sequence[str]) -> None:
    """Refuse lines that are the rows of a table, JSON or mark-up.

    Args:
        path: Their file.
        lines: The first ones, of which :data:`LOOKED_AT` are looked at.

    Raises:
        TextError: Saying what it seems to be, and how to make text of it.
    """
    lines = [line for line in lines if line.strip()][:LOOKED_AT]
    if not lines:
        return
    if _is_json(lines):
        raise TextError(path, "seems to be JSON", _OR_DATASET)
    if begins := _markup(lines):
        raise TextError(path, f"seems to be HTML or XML: see {begins!r:.40}", _HINT)
    if any(_TIMES.fullmatch(line) for line in lines[: 2 * _FEW]):
        raise TextError(path, "seems to be subtitles", "write their texts alone, a line each")
    # A paragraph may begin with a tab; comments of a table have none.
    rows = [line for line in lines if not line.startswith("#")]
    n = sum(_SEPARATORS.search(line.strip()) is not None for line in rows)
    if n > len(rows) / 2:
        problem = f"seems to be a table: {n} of {len(rows)} lines hold tabs, or the like, between texts"
        raise TextError(path, problem, _HINT)
    if separator := _separator(lines):
        problem = f"seems to be a table with {separator!r} between columns: {lines[0].strip()!r:.80}"
        raise TextError(path, problem, _OR_DATASET)


def _is_json(lines: Sequence[str]) -> bool:
    """Whether half of the lines are records of JSON, or all of them its beginning."""
    if sum(map(_is_record, lines)) >= len(lines) / 2:
        return True
    text = "\n".join(lines).strip()
    if text[0] not in "[{" or len(lines) == 1:
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # It goes on where the lines that are looked at end.
        return error.pos >= len(text) or error.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return True


def _is_record(line: str) -> bool:
    """Whether a line is an object or a list of JSON, maybe of several."""
    line = line.strip().removesuffix(",")
    if line[:1] + line[-1:] not in ("{}", "[]"):
        return False
    try:
        return isinstance(json.loads(line), dict | list)
    except RecursionError:
        return True
    except json.JSONDecodeError:
        return False
    except ValueError:  # a number too long to be read
        return True


def _markup(lines: Sequence[str]) -> str:
    """The tag that shows that lines are mark-up; empty if they are not."""
    text = "\n".join(lines)
    while comment := _COMMENT.match(text):
        text = text[comment.end() :]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    closed = {tag["name"] for tag in _TAG.finditer(text) if tag["ends"]}

    def real(line: str) -> Iterator[re.Match[str]]:
        for tag in _TAG.finditer(line):
            if tag["name"] is None or tag["name"] in closed or "=" in tag["more"] or tag[0].endswith("/>"):
                yield tag

    first = [next(real(line), None) for line in lines]
    begun = [tag[0] for tag in first if tag and tag.start() == 0]
    if not begun:
        return ""
    n = sum(tag is not None for tag in first)
    at_once = first[0] is not None and first[0].start() == 0
    whole = at_once and begun[0] == lines[0]
    return begun[0] if whole or (at_once and n >= len(lines) / 3) or len(begun) >= len(lines) / 2 else ""


def _separator(lines: Sequence[str]) -> str:
    """What stands between the columns of lines without tabs; empty if they are no table."""
    if len(lines) < _FEW:
        return ""
    # As in Chinese, prose without spaces has none behind commas either.
    spaced = sum(" " in line.strip() for line in lines) >= len(lines) / 2
    for separator in ",;|":
        rows = _rows(lines, separator, tight=separator != "|")
        if rows and (spaced or separator == "|" or _has_header(rows) or _has_numbers(rows)):
            return separator
        loose = _rows(lines, separator, tight=False)
        if loose and _has_numbers(loose, first=True):
            return separator
    return ""


def _rows(lines: Sequence[str], separator: str, *, tight: bool) -> list[list[str]]:
    """The fields of lines, if most of them have as many, and more than one."""
    lines = [_IN_A_NUMBER.sub("", line.strip()) for line in lines]
    if tight:
        lines = [_SPACED[separator].sub(" ", line) for line in lines]
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except (csv.Error, ValueError):
        return []
    (n_fields, n), *_ = Counter(map(len, rows)).most_common(1) or [(0, 0)]
    return rows if n_fields > 1 and n >= _MOST * len(lines) else []


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    return all(_NAME_OF_COLUMN.fullmatch(name.strip()) for name in rows[0])


def _has_numbers(rows: Sequence[Sequence[str]], *, first: bool = False) -> bool:
    """Whether a column, or the first one, holds numbers below its head."""
    columns = range(1 if first else max(map(len, rows)))
    below = rows[1:]
    return any(
        sum(len(row) > at and bool(_NUMBER.fullmatch(row[at].strip())) for row in below) >= _MOST * len(below)
        for at in columns
    )
