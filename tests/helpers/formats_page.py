"""docs/formats.md, read for what it says of each file."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from babelscope.ops.layout import parse
from babelscope.ops.stages import STAGES
from mini_study import ROOT, MiniStudy

PAGE = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
#: Words of the page, and what numpy and pandas call it.
LISTS = dict.fromkeys(("list of int64", "list of int32", "list of float32"), ("O",))
KINDS = {"text": ("O", "U"), "bool": ("b",), **LISTS}


#: What is written for views that a study has to ask for; the planted study does.
ASKED_FOR = [
    pattern
    for name in (
        "measure_confounds", "find_language_units", "collect_language_units", "ablate_experts", "collect_ablation",
        "patch_experts", "collect_patching",
    )
    for pattern in STAGES[name].writes
]  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """The rows of the tables of a section, without their heads."""
    found = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[field.strip() for field in row] for row in found]


def elements(text: str) -> dict[str, tuple[str, bool]]:
    """Type of each element of a section, and whether it may be missing or empty."""
    found = {}
    for row in rows(text):
        names = re.findall(r"`([^`]+)`", row[0])
        kinds = row[1].split(", ")
        kinds = kinds * len(names) if len(kinds) == 1 else kinds
        for name, kind in zip(names, kinds, strict=True):
            found[name] = kind, "MAY" in row[-1]
    return found


def columns(pattern: str) -> dict[str, tuple[str, bool]]:
    """Those of a table's section, or of the one that it refers to."""
    text = SECTIONS[pattern]
    other = re.search(r"The columns of `([^`]+)`(?: without `(\w+)`)?", text)
    if not other:
        return elements(text)
    return {name: kind for name, kind in columns(other[1]).items() if name != other[2]}


def files_of(study: MiniStudy, pattern: str) -> list[Path]:
    found = []
    for path in sorted(study.results.rglob("*")):
        place = parse(str(path.relative_to(study.results)))
        if place and place.pattern == pattern:
            found.append(path)
    return found


def fits(dtype, kind: str) -> bool:
    if kind in KINDS:
        return dtype.kind in KINDS[kind] or (kind == "text" and pd.api.types.is_string_dtype(dtype))
    return str(dtype) in kind.split(" or ")


def check_table(study: MiniStudy, pattern: str) -> None:
    """Every file of a pattern has the columns that the page names, with their types, and rows."""
    told, files = columns(pattern), files_of(study, pattern)
    assert files
    for file in files:
        parquet = file.suffix == ".parquet"
        table = (
            pd.read_parquet(file)
            if parquet
            else pd.read_csv(file, sep="\t", keep_default_na=False, na_values=[""])
        )
        assert list(table.columns) == list(told)
        assert len(table) or "there are no rows" in SECTIONS[pattern]
        for name, (kind, may_be_empty) in told.items():
            column = table[name]
            if parquet:
                assert fits(column.dtype, kind), (file.name, name, column.dtype)
            elif kind == "text":
                assert column.isna().all() or column.astype(str).eq(column).any() or name == "number"
            elif column.notna().all():
                assert column.empty or str(column.dtype) in (kind, "int64"), (file.name, name, column.dtype)
            else:
                assert may_be_empty or kind.startswith("float"), (file.name, name)
