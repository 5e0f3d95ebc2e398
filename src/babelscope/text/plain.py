"""Whether what is read as text is text: a sentence or a document a line, and nothing else.

A table, mark-up or packed file would else become text, ids and all. The rules look at the first lines,
and ask for more than prose ever shows: tests try them on real text in many scripts.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from babelscope.errors import TextError

#: Lines that are looked at.
LOOKED_AT = 200
#: So many of them must be alike to be taken for a table.
_MOST = 0.9
#: Lines that are too few to show what all have in common.
_FEW = 3

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"%PDF-": "PDF",
    b"\x89HDF": "HDF5",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
#: Names that columns have, one of which stands in the header of a CSV file of text.
_COLUMNS = frozenset(
    ("id", "text", "sentence", "label", "lang", "language", "title", "content", "url", "source", "target",
     "translation", "document", "body", "date")
)  # fmt: skip
_TAG = re.compile(r"<[?!/]?[A-Za-z][^<>]*>")


def check_not_packed(path: Path, head: bytes) -> None:
    """Refuse a file that is no text by its first bytes.

    Raises:
        TextError: Saying what it is.
    """
    for magic, kind in _PACKED.items():
        if head.startswith(magic):
            how = "convert it, with iconv for instance" if kind == "UTF-16" else "unpack it to UTF-8 text"
            raise TextError(path, f"is {kind}, no plain text", how)
    if b"\0" in head:
        raise TextError(path, "holds zero bytes: it is no text", "bring plain UTF-8 text, a line each")


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
    hint = "a line is text and nothing else: write the column that holds the text to a file of its own"
    tabs, n = Counter(line.strip("\r\n").count("\t") for line in lines).most_common(1)[0]
    if tabs and n >= _MOST * len(lines):
        held = f"{tabs} tab{'s' * (tabs > 1)}"
        problem = f"seems to be a table: {n} of the first {len(lines)} lines hold {held}"
        raise TextError(path, problem, hint)
    n, laid_out = sum(map(_is_json, lines)), lines[0].strip() in ("{", "[")
    if n >= _MOST * len(lines) or _is_json("\n".join(lines)) or (laid_out and len(lines) >= LOOKED_AT):
        raise TextError(path, "seems to be JSON", f"{hint}; or read a corpus with source: dataset")
    if _is_csv(lines):
        problem = f"seems to be a table with the columns {lines[0].strip()!r:.80}"
        raise TextError(path, problem, f"{hint}; or read a corpus with source: dataset")
    n = sum(bool(_TAG.search(line)) for line in lines)
    begins = _TAG.match(lines[0].strip())
    if begins and (begins.group() == lines[0].strip() or n >= len(lines) / 3):
        raise TextError(path, f"seems to be HTML or XML: it begins with {begins.group()!r:.40}", hint)


def _is_json(text: str) -> bool:
    """Whether a text is an object or a list of JSON."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_csv(lines: Sequence[str]) -> bool:
    """Whether the first line has names of columns, and all lines as many fields."""
    if len(lines) < _FEW:
        return False
    for separator in ",;|":
        try:
            header, *rows = csv.reader(lines, delimiter=separator)
        except (csv.Error, ValueError):
            continue
        named = {name.strip().lower() for name in header}
        if len(header) > 1 and named & _COLUMNS and all(len(name.split()) < _FEW for name in header):
            return sum(len(row) == len(header) for row in rows) >= _MOST * len(rows)
    return False
