"""docs/formats.md against the files of a finished study: every element that it names is there, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import pytest

from babelscope.text.lines import read_tsv, write_tsv
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


def test_every_store_and_text_has_a_reader_on_the_page():
    wanted = [*STORES, "corpora/{corpus}/{lang}.jsonl", "sentences/{lang}.tsv"]
    assert {name for name in wanted if "```python" not in SECTIONS[name]} == set()
    assert {*wanted} == {pattern for pattern, _, _ in READERS}


def read_by_the_page(pattern, folder, monkeypatch):
    code = re.search(r"```python\n(.*?)```", SECTIONS[pattern], re.DOTALL)[1]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 6, "it is short"
    monkeypatch.chdir(folder)
    if "CORPUS" in code:
        (file,) = Path().glob("*.h5")
        code = code.replace("CORPUS.TOKENIZER.LENGTH.h5", file.name)
    names: dict = {}
    exec(code, names)
    return names


READERS = [
    ("activations/{model}/{steps}/{langs}.units.h5", "values", (None, 32)),
    ("activations/{model}/{steps}/{langs}.tokens.h5", "states", (None, 16)),
    ("scores/{model}/{steps}/{langs}.h5", "ap", (3, 32)),
    ("best/{model}/{steps}.h5", "ap", (3, 40)),
    ("best/{model}/{steps}.choices.h5", "unit", (3, 40)),
    ("audit/{model}/{steps}.h5", "loss", ()),
    ("tokens/{corpus}.{tokenizer}.{length}.h5", "windows", (None, None)),
    ("corpora/{corpus}/{lang}.jsonl", "documents", None),
    ("sentences/{lang}.tsv", "rows", None),
]


@pytest.mark.parametrize(("pattern", "name", "shape"), READERS)
def test_the_readers_on_the_page_read(finished, pattern, name, shape, monkeypatch):
    files = files_of(finished, pattern)
    of_steps = [file for file in files if re.search(r"/0(/en)?\.", str(file))]
    got = read_by_the_page(pattern, (of_steps or files)[0].parent, monkeypatch)[name]
    if shape is None:
        assert got[0]["text"]
    else:
        assert len(got.shape) == len(shape)
        assert all(told in (None, real) for told, real in zip(shape, got.shape, strict=True))


def test_the_reader_of_text_on_the_page_takes_no_more_away_than_ours(tmp_path, monkeypatch):
    texts = ["=1+1", "'=x", "plain", '"he" said', "'s", "007", "'1e5", "-", "true", "it's", "''@", "nan ", ""]
    rows = [(f"s{at}", "a", text, "", "") for at, text in enumerate(texts)]
    write_tsv(tmp_path / "en.tsv", ("sentence_id", "half", "text", "words", "group"), rows)
    got = read_by_the_page("sentences/{lang}.tsv", tmp_path, monkeypatch)["rows"]
    assert got == read_tsv(tmp_path / "en.tsv")
    assert [row["text"] for row in got] == texts


def test_the_reader_of_tables_on_the_page_reads(finished, monkeypatch, capsys):
    code = re.search(r"```python\n(.*?)```", PAGE.partition("## Tables")[2], re.DOTALL)[1]
    monkeypatch.chdir(finished.folder)
    exec(code.replace("results/demo/", "results/mini/"), {})
    assert "tiny-seed0" in capsys.readouterr().out
