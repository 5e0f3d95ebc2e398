"""docs/formats.md against the files of a finished study: every element that it names is there, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import pytest

from formats_page import ASKED_FOR, PAGE, SECTIONS, check_table, elements, files_of, fits, rows

pytestmark = pytest.mark.workflow

ROOT_ATTRIBUTES = {"kind", "schema_version", "complete"}
PARTS = {
    "step": r"\d+",
    "lang": r"[\w-]+",
    "layer": r"\d\d",
    "site": r"\w+",
    "subset": "all|a|b|words_a|words_b",
    "half": "a|b",
    "split": "train|heldout",
}
TABLES = [name for name in SECTIONS if Path(name).suffix in (".tsv", ".parquet") and name not in ASKED_FOR]
STORES = [name for name in SECTIONS if name.endswith(".h5")]


@pytest.mark.parametrize("pattern", TABLES)
def test_a_table_has_the_columns_of_the_page(finished, pattern):
    check_table(finished, pattern)


def attributes(cell: bool) -> dict[str, tuple[str, bool]]:
    """Of a cell: where it is from."""
    text = PAGE.partition("**where they are from**")[2].partition("###")[0]
    return {f"{{step}}/{{lang}}@{name}": kind for name, kind in elements(text).items()} if cell else {}


def told_elements(pattern: str) -> dict[str, tuple[str, bool]]:
    told = elements(SECTIONS[pattern])
    of_cells = attributes(told.pop("{step}/{lang}@…", None) is not None)
    told.pop("{step}/{lang}/{pooling}/…", None)  # as of the first pooling, see test_choices_study.py
    return {**told, **of_cells}


def is_in(name: str, told: dict[str, tuple[str, bool]]) -> str | None:
    """The element of the page that a name in a file is."""
    for template in told:
        regex = re.sub(r"\\{(\w+)\\}", lambda match: f"(?:{PARTS[match[1]]})", re.escape(template))
        if re.fullmatch(regex, name):
            return template
    return None


@pytest.mark.parametrize("pattern", STORES)
def test_a_store_has_the_elements_of_the_page(finished, pattern):
    told, files = told_elements(pattern), files_of(finished, pattern)
    assert files
    kind = re.search(r"Kind `([^`]+)`, version (\d+)", SECTIONS[pattern])
    for file in files:
        seen = set()

        def look(name, dtype, shape, seen=seen, file=file):
            template = is_in(name, told)
            assert template, f"{file.name}: {name} is not on the page"
            assert fits(dtype, told[template][0]), (file.name, name, dtype)
            row = (
                next(row for row in rows(SECTIONS[pattern]) if f"`{template}`" in row[0])
                if shape and "@" not in name
                else None
            )
            assert row is None or len(shape) == len(row[2].split(", ")), (file.name, name, shape)
            seen.add(template)

        with h5py.File(file) as opened:
            assert set(opened.attrs) >= ROOT_ATTRIBUTES
            assert (opened.attrs["kind"], str(opened.attrs["schema_version"])) == (kind[1], kind[2])
            found = {"": opened}
            opened.visititems(found.__setitem__)
            for name, thing in found.items():
                if isinstance(thing, h5py.Dataset):
                    look(name, thing.dtype, thing.shape)
                for attribute in set(thing.attrs) - (set() if name else ROOT_ATTRIBUTES):
                    value = thing.attrs.get_id(attribute)
                    look(f"{name}@{attribute}", value.dtype, value.shape)
        missing = {name for name, (_, may) in told.items() if not may} - seen
        assert not missing, file


def test_checkpoints_and_their_lists_hold_what_the_page_says(finished):
    text = SECTIONS["models/{model}/{step}"]
    named = set(re.findall(r"`(\w+)`", text.partition("progress.json")[2].partition("Of fetched")[0]))
    progress = json.loads((finished.results / "models/tiny-seed0/4/training/progress.json").read_text())
    assert set(progress) == named
    (of_lists, *_) = files_of(finished, "models/{model}/{steps}.json")
    told = set(re.findall(r"`(\w+)`: ", SECTIONS["models/{model}/{steps}.json"])) | set(
        re.findall(r"^`(\w+)`", SECTIONS["models/{model}/{steps}.json"], re.M)
    )
    assert set(json.loads(of_lists.read_text())) == told


def test_corpora_and_words_hold_what_the_page_says(finished):
    for file in files_of(finished, "corpora/{corpus}/{lang}.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert set(json.loads(line)) == {"text", "split"}
    words = json.loads((finished.results / "concepts/words.json").read_text(encoding="utf-8"))
    assert words["dog"]["en"] == ["dog"]


@pytest.mark.parametrize(
    ("pattern", "width"),
    [
        ("activations/{model}/{steps}/{langs}.units.h5", 32),
        ("scores/{model}/{steps}/{langs}.h5", 32),
        ("best/{model}/{steps}.h5", 40),
    ],
)
def test_the_readers_on_the_page_read(finished, pattern, width, monkeypatch):
    code = re.search(r"```python\n(.*?)```", SECTIONS[pattern], re.DOTALL)[1]
    monkeypatch.chdir(
        next(file for file in files_of(finished, pattern) if re.search(r"/0(/en)?\.", str(file))).parent
    )
    names: dict = {}
    exec(code, names)
    assert names.get("values", names.get("ap")).shape[1] == width


def test_the_reader_of_tables_on_the_page_reads(finished, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", PAGE.partition("## Tables")[2], re.DOTALL)[1]
    monkeypatch.chdir(finished.folder)
    exec(code.replace("results/demo/", "results/mini/"), {})
    assert "tiny-seed0" in capsys.readouterr().out
