"""Files are joined by what they say; what does not fit is refused."""

import h5py
import pandas as pd
import pytest

from babelscope.errors import DataError, StoreError
from babelscope.io.cells import CellTables, by_cell, cell_name, tables_by_step
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import write_table


def make_h5(path, *cells, model="m"):
    with atomic_h5(path, kind="scores") as file:
        for step, lang in cells:
            file.create_group(cell_name(step, lang)).attrs.update(model=model, step=step, lang=lang)
    return path


def make_table(path, *cells, model="m"):
    rows = [(model, step, lang, i) for step, lang in cells for i in range(3)]
    write_table(pd.DataFrame(rows, columns=["model", "step", "lang", "value"]), path)
    return path


def test_cells_are_found_whatever_the_file_and_its_name(tmp_path):
    one = make_h5(tmp_path / "4-en.h5", (16, "zh-Hant"))
    two = make_h5(tmp_path / "x.h5", (4, "en"), (4, "de"))
    for paths in ([one, two], [two, one]):
        found = by_cell(paths, kind="scores")
        assert found == {
            (16, "zh-Hant"): (one, "16/zh-Hant"),
            (4, "en"): (two, "4/en"),
            (4, "de"): (two, "4/de"),
        }
    assert list(by_cell([one, two], kind="scores", wanted=[(4, "en"), (16, "zh-Hant")])) == [
        (4, "en"),
        (16, "zh-Hant"),
    ]


@pytest.mark.parametrize(("key", "value"), [("step", 8), ("lang", "de")])
def test_a_group_that_says_otherwise_is_refused(tmp_path, key, value):
    path = make_h5(tmp_path / "a.h5", (4, "en"))
    with h5py.File(path, "a") as file:
        file["4/en"].attrs[key] = value
    with pytest.raises(StoreError, match=r"a\.h5: 4/en says that it is step"):
        by_cell([path], kind="scores")
    with h5py.File(path, "a") as file:
        del file["4/en"].attrs[key]
    with pytest.raises(StoreError, match="does not say of which model, step and language it is"):
        by_cell([path], kind="scores")
    with pytest.raises(StoreError, match="holds no step of any language"):
        by_cell([make_h5(tmp_path / "empty.h5")], kind="scores")


def read_h5(paths, wanted=None):
    return by_cell(paths, kind="scores", wanted=wanted)


@pytest.mark.parametrize(
    ("make", "read", "suffix"), [(make_h5, read_h5, "h5"), (make_table, CellTables, "parquet")]
)
def test_mixtures_duplicates_and_gaps_are_refused(tmp_path, make, read, suffix):
    one = make(tmp_path / f"one.{suffix}", (4, "en"), (8, "en"))
    with pytest.raises(DataError, match=r"two.* is of model n, but .*one.* is of m"):
        read([one, make(tmp_path / f"two.{suffix}", (4, "de"), model="n")])
    with pytest.raises(DataError, match=r"three.* holds step 8, language en, which .*one.* holds too"):
        read([one, make(tmp_path / f"three.{suffix}", (8, "en"))])
    with pytest.raises(DataError, match=r"one.*lack step 8, language de \(1 of 3 cells\)"):
        read([one], [(4, "en"), (8, "de"), (8, "en")])
    with pytest.raises(DataError, match="lack step 4, language en"):
        read([], [(4, "en")])


def test_tables_are_cut_by_cell(tmp_path):
    paths = [
        make_table(tmp_path / "a.tsv", (4, "no"), (8, "en")),
        make_table(tmp_path / "b.parquet", (4, "en")),
    ]
    found = CellTables(paths, [(8, "en"), (4, "en")])
    assert list(found) == [(8, "en"), (4, "en")]
    for (step, lang), table in found.items():
        assert table[["step", "lang"]].drop_duplicates().to_numpy().tolist() == [[step, lang]]
        assert table["value"].tolist() == table.index.tolist() == [0, 1, 2]
    write_table(pd.DataFrame({"step": [1]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet: is not a readable table"):
        CellTables([tmp_path / "c.parquet"])


def test_tables_are_cut_by_model_and_step(tmp_path):
    one = make_table(tmp_path / "a.parquet", (4, "en"), (8, "en"))
    two = make_table(tmp_path / "b.parquet", (4, "en"), model="n")
    found = tables_by_step([one, two])
    assert list(found) == [("m", 4), ("m", 8), ("n", 4)]
    assert all(table["value"].tolist() == [0, 1, 2] for table in found.values())
    with pytest.raises(DataError, match=r"c\.parquet: holds step 8 of m, which .*a\.parquet holds too"):
        tables_by_step([one, make_table(tmp_path / "c.parquet", (8, "de"))])
    write_table(pd.DataFrame({"row": [1]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="has no columns model and step"):
        tables_by_step([tmp_path / "d.parquet"])
