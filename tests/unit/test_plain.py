"""What is read as text must be text: tables, JSON, mark-up and packed files are refused, prose never is.

A case is a file in `tests/cases/not-text` or `tests/cases/text`.
"""

import bz2
import gzip
import io
import lzma
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from babelscope.errors import DataError
from babelscope.text import packed
from babelscope.text.lines import check_lines, check_training_text, check_utf8, iter_lines
from babelscope.text.plain import check_prose

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests/cases"
DATA = Path(os.environ.get("BABELSCOPE_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.parametrize("path", sorted((CASES / "not-text").iterdir()), ids=lambda path: path.name)
def test_what_is_no_text_is_refused(path):
    for check in (lambda: check_training_text(path, "en"), lambda: check_lines(path)):
        with pytest.raises(DataError, match=r"(seems to be|holds a tab).*\nhint: .+"):
            check()


@pytest.mark.parametrize("path", sorted((CASES / "text").iterdir()), ids=lambda path: path.name)
def test_odd_prose_is_text(path):
    check_training_text(path, "en")


@pytest.mark.parametrize("kind", ["zip", "UTF-16", "zero bytes", "Parquet", "RAR", "Git LFS"])
def test_files_that_are_no_text_are_named(tmp_path, kind):
    text = "a house\na dog\n" * 40
    path = tmp_path / "en.txt"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("en.txt", text)
    else:
        packed = {
            "UTF-16": text.encode("utf-16"), "zero bytes": b"a\0b", "Parquet": b"PAR1\x15",
            "RAR": b"Rar!\x1a\x07\n", "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        }  # fmt: skip
        path.write_bytes(packed[kind])
    for check in (
        lambda: check_training_text(path, "en"),
        lambda: check_lines(path),
        lambda: list(iter_lines(path)),
    ):
        with pytest.raises(DataError, match=rf"{kind}.*\nhint: .+"):
            check()


@pytest.mark.parametrize("what", ["a table", "JSON"])
def test_what_was_appended_to_prose_is_seen(tmp_path, what):
    """Only the first 500 lines were looked at."""
    rows = {"a table": "900{}\tdeu\tFoto\n", "JSON": '{{"id": {}, "text": "Foto"}}\n'}
    prose = "".join(f"A dog lives in the house {n}.\n" for n in range(600))
    path = tmp_path / "en.txt"
    path.write_text(prose + "".join(rows[what].format(n) for n in range(900)), encoding="utf-8")
    with pytest.raises(DataError, match=f"seems to be {what}"):
        check_training_text(path, "en")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_text_is_read_as_what_it_holds(tmp_path, pack):
    text = "a house\r\nein Haus, größer\n水在河里\n" * 40
    plain, small = tmp_path / "en.txt", tmp_path / "packed.txt"
    plain.write_text(text, encoding="utf-8", newline="")
    small.write_bytes(pack(plain.read_bytes()))
    check_training_text(small, "en")
    assert list(iter_lines(small)) == list(iter_lines(plain))
    assert check_utf8(small) == check_utf8(plain)
    assert check_utf8(small, limit=9) == "a house\r\n"
    small.write_bytes(pack(b"a house\n" * 500)[:-9])
    with pytest.raises(
        DataError, match=r"packed.txt: cannot be unpacked: its \w+ is damaged or cut off.*\nhint: .+"
    ):
        list(iter_lines(small))


def test_zstd_is_read_where_there_is_a_library_for_it(tmp_path, monkeypatch):
    path = tmp_path / "en.txt.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd packed")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        DataError, match=r"is zstd, which cannot be unpacked here\nhint: install the package zstandard"
    ):
        list(iter_lines(path))
    library = SimpleNamespace(open=lambda path, mode: io.BytesIO(b"a house\na dog\n"))
    monkeypatch.setitem(sys.modules, "zstandard", library)
    assert list(iter_lines(path)) == ["a house", "a dog"]


def test_a_packed_line_that_would_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "en.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 5000))
    monkeypatch.setattr(packed, "LARGEST", 1000)
    with pytest.raises(DataError, match="line 1 has 1,000 bytes or more"):
        list(iter_lines(path))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs real text in {DATA} (or set BABELSCOPE_DATA)")
@pytest.mark.parametrize(
    "path", sorted(DATA.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_real_text_is_text_wherever_one_looks(path):
    lines = list(iter_lines(path))
    check_training_text(path, path.stem)
    for at in range(0, len(lines), 50):  # short files too
        check_prose(path, lines[at : at + 3])
        check_prose(path, lines[at : at + 200])
