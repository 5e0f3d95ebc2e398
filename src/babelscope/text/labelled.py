"""Labelled tables as people have them: a column of texts, a column of labels, and maybe one of languages.

TSV, CSV, JSON lines and Parquet, such as SIB-200, MASSIVE or XNLI. Each label is a concept; its id is the
label without what no file name may hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.complaints import nearest
from babelscope.errors import TextError
from babelscope.text.plain import fault_of

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".tsv", ".csv", ".jsonl", ".parquet")


def concept_of(label: object) -> str:
    """The id of the concept of a label: ``science/technology`` is ``science-technology``."""
    return re.sub(r"[^\w]+", "-", str(label)).strip("-")


def read_labelled(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """The texts of each concept in a table, in the order of its rows.

    Args:
        path: The table; its ending says what it is.
        columns: Names of the columns of texts, labels and languages, and the language that is taken; the last
            two are empty if all rows are of one language.

    Raises:
        TextError: If the table cannot be read, lacks a column or the language, or two labels have one id.
    """
    return _read(Path(path), tuple(columns))


@cache
def _read(path: Path, columns: tuple[str, ...]) -> dict[str, list[str]]:
    text, label, lang_column, lang = columns
    table = _table(path)
    for column in filter(None, (text, label, lang_column)):
        if column not in table:
            names = list(map(str, table.columns))
            hint = nearest(column, names) or "name its columns in concepts.columns"
            raise TextError(path, f"has no column {column!r}; it has {', '.join(names)}", hint)
    if lang_column:
        there = table[lang_column].astype(str)
        table = table[there == lang]
        if table.empty:
            known = ", ".join(sorted(set(there))[:20])
            raise TextError(path, f"has no row of {lang} in column {lang_column!r}; it has {known}",
                            "write languages as the table does")  # fmt: skip
    found: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    for row, (said, of) in enumerate(zip(table[text], table[label], strict=True), 1):
        if not isinstance(said, str) or fault_of(said):
            problem = f"holds {fault_of(said)}" if isinstance(said, str) else "is no text"
            raise TextError(path, f"column {text!r}, row {row} {problem}: {said!r:.80}", "take it out")
        concept = concept_of(of)
        if labels.setdefault(concept, str(of)) != str(of):
            raise TextError(path, f"labels {labels[concept]!r} and {of!r} are both {concept}", "rename one")
        found.setdefault(concept, []).append(" ".join(said.split()))
    return found


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False)
        sep = "\t" if path.suffix == ".tsv" else ","
        return pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
    except (ValueError, OSError, pd.errors.ParserError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TextError(
            path, f"cannot be read as {path.suffix}: {reason}", "is its ending what it is?"
        ) from error
