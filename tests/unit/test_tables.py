"""Tables come back as they went, and equal tables are equal bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from babelscope.errors import DataError
from babelscope.io.tables import concatenate, read_table, write_table


@pytest.mark.parametrize("suffix", [".parquet", ".tsv"])
def test_round_trip_and_determinism(tmp_path, suffix):
    table = pd.DataFrame({"lang": ["NA", "null", "zh"], "ap": [0.1, 1 / 3, 1.0], "n": [1, 2, 3]})
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_table(table, first)
    write_table(table, second)
    assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(read_table(first), table, rtol=1e-9, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1))
@example(["007", "1e5"])
@example(["True", "False"])
@example(["1", "2b", "'1", "''2"])
@example(["1", "a"])
@example(["nan", "inf"])
@example(["1_000", "0x1f"])
@example(["٣", "１２"])
def test_columns_of_text_stay_text(texts):
    texts = [text.replace("\0", "") or "a" for text in texts]
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.tsv")
        write_table(pd.DataFrame({"name": texts, "n": range(len(texts))}), path)
        read = read_table(path)
    assert read["name"].tolist() == texts
    assert read["n"].tolist() == list(range(len(texts)))


def test_numbers_beside_words_stay_as_they_are(tmp_path):
    write_table(pd.DataFrame({"finding": ["1", "2b"], "name": ["007", "8"]}), tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text() == "finding\tname\n1\t'007\n2b\t'8\n"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"a table is .parquet or .tsv, not x.csv"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"x.parquet: is not a readable table"):
        read_table(tmp_path / "x.parquet")


def test_concatenate_skips_empty_tables(tmp_path):
    write_table(pd.DataFrame({"a": []}), tmp_path / "1.tsv")
    write_table(pd.DataFrame({"a": [1]}), tmp_path / "2.tsv")
    assert concatenate([tmp_path / "1.tsv", tmp_path / "2.tsv"])["a"].tolist() == [1]
    assert concatenate([]).empty


@pytest.mark.parametrize("suffix", [".parquet", ".tsv"])
def test_reads_the_columns_that_are_asked_for(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(pd.DataFrame({"lang": ["en"], "step": [1], "ap": [0.5]}), path)
    assert list(read_table(path, columns=["ap", "lang"]).columns) == ["ap", "lang"]
    with pytest.raises(DataError, match="is not a readable table"):
        read_table(path, columns=["ap", "depth"])
