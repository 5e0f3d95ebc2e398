"""What is read as text must be text: tables, JSON, mark-up and packed files are refused, prose never is.

A case is a file in `tests/cases/not-text` or `tests/cases/text`.
"""

import bz2
import gzip
import lzma
import os
import zipfile
from pathlib import Path

import pytest

from babelscope.errors import DataError
from babelscope.text.lines import check_lines, check_training_text, iter_lines
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


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip", "UTF-16", "zero bytes", "Parquet"])
def test_packed_files_are_named(tmp_path, kind):
    text = "a house\na dog\n" * 40
    path = tmp_path / "en.txt"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("en.txt", text)
    else:
        packed = {
            "gzip": gzip.compress(text.encode()), "bzip2": bz2.compress(text.encode()), "xz": lzma.compress(text.encode()),
            "UTF-16": text.encode("utf-16"), "zero bytes": b"a\0b", "Parquet": b"PAR1\x15",
        }  # fmt: skip
        path.write_bytes(packed[kind])
    for check in (
        lambda: check_training_text(path, "en"),
        lambda: check_lines(path),
        lambda: list(iter_lines(path)),
    ):
        with pytest.raises(DataError, match=rf"{kind}.*\nhint: .+"):
            check()


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
