"""The store: what goes in comes out, and every way to be broken is named."""

from __future__ import annotations

import dataclasses
import resource
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from babelscope.capture.store import (
    Provenance,
    TokenFile,
    UnitFile,
    align_rows,
    token_files,
    unit_files,
    write_token_states,
    write_units,
)
from babelscope.errors import NumericsError, StoreError
from babelscope.io.h5 import atomic_h5

PROVENANCE = Provenance(
    model="bridged-seed0",
    step=128,
    lang="zh",
    weights_hash="w",
    tokenizer_hash="t",
    corpus_hash="c",
    sites=("mlp_in", "resid"),
    pooling="max",
    dtype="float32",
    repo="someone/model",
    commit="abc",
    package_version="0",
    n_truncated=3,
)
WIDTHS = {(0, "resid"): 5, (1, "mlp_in"): 300, (1, "resid"): 5}
IDS = [f"house-{row:04d}" for row in range(7)]
CELL = "128/zh"


def values(seed: int = 0) -> dict[tuple[int, str], np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        unit: generator.normal(size=(len(IDS), width)).astype(np.float32) for unit, width in WIDTHS.items()
    }


def write_blocks(path: Path, blocks, *, dtype: str = "float32") -> None:
    with atomic_h5(path, kind="units") as file:
        about = dataclasses.replace(PROVENANCE, dtype=dtype)
        write_units(file.create_group(CELL), about, IDS, WIDTHS, blocks)


def part(written: dict, start: int, stop: int) -> tuple[int, dict]:
    return start, {unit: rows[start:stop] for unit, rows in written.items()}


def write_values(path: Path, *, dtype: str = "float32") -> dict:
    written = values()
    write_blocks(path, [part(written, 0, 4), part(written, 4, 7)], dtype=dtype)
    return written


def write_tokens(path: Path, **replaced) -> dict:
    arguments = {
        "token_sentence_ids": ["house-0001", "house-0001", "house-0004"],
        "token_positions": [1, 3, 2],
        "token_ids": [17, 9, 17],
        "token_texts": ["дом", "的", "дом"],
        "states": {layer: np.full((3, 4), layer + 0.5, np.float32) for layer in range(3)},
        "mean_sentence_ids": ["house-0000", "house-0004"],
        "means": {layer: np.full((2, 4), -layer, np.float32) for layer in range(3)},
        **replaced,
    }
    with atomic_h5(path, kind="tokens") as file:
        about = dataclasses.replace(PROVENANCE, dtype="float16")
        write_token_states(file.create_group(CELL), about, **arguments)
    return arguments


def test_units_come_out_as_they_went_in(tmp_path):
    written = write_values(tmp_path / "zh.units.h5")
    file = UnitFile(tmp_path / "zh.units.h5", CELL)
    assert file.provenance == PROVENANCE
    assert file.sentence_ids == IDS
    assert file.sites == [(0, "resid", 5), (1, "mlp_in", 300), (1, "resid", 5)]
    assert file.n_units == 310
    for (layer, site), rows in written.items():
        np.testing.assert_array_equal(file.read(layer, site), rows)
    np.testing.assert_array_equal(file.read(1, "mlp_in", slice(250, 260)), written[1, "mlp_in"][:, 250:260])


def test_tokens_come_out_as_they_went_in(tmp_path):
    written = write_tokens(tmp_path / "deep" / "zh.tokens.h5")
    file = TokenFile(tmp_path / "deep" / "zh.tokens.h5", CELL)
    assert file.layers == [0, 1, 2]
    for name in (
        "token_sentence_ids", "token_positions", "token_ids", "token_texts", "mean_sentence_ids"
    ):  # fmt: skip
        assert getattr(file, name) == written[name]
    for layer in file.layers:
        assert file.states(layer).dtype == np.float16
        np.testing.assert_array_equal(file.states(layer), written["states"][layer])
        np.testing.assert_array_equal(file.means(layer), written["means"][layer])
    with pytest.raises(StoreError, match=r"no layer 3; it has \[0, 1, 2\]"):
        file.states(3)


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_values(tmp_path / f"{name}.units.h5")
        write_tokens(tmp_path / f"{name}.tokens.h5")
        if name == "a":
            time.sleep(1.1)  # a time stamp in the file would differ
    for kind in ("units", "tokens"):
        assert (tmp_path / f"a.{kind}.h5").read_bytes() == (tmp_path / f"b.{kind}.h5").read_bytes()


def test_a_cast_that_overflows_is_refused(tmp_path):
    write_values(tmp_path / "x.h5", dtype="float16")
    big = values()[1, "mlp_in"]
    big[5, 7] = 7e4
    with pytest.raises(NumericsError, match=r"7e\+04 does not fit float16.*house-0005"):
        write_blocks(tmp_path / "y.h5", [(0, {**values(), (1, "mlp_in"): big})], dtype="float16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.h5"]
    assert UnitFile(tmp_path / "x.h5", CELL).read(1, "mlp_in").dtype == np.float16


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_refused_with_its_place(tmp_path, bad, word):
    rows = values()[1, "resid"]
    rows[3, 2] = bad
    with pytest.raises(NumericsError) as caught:
        write_blocks(tmp_path / "x.h5", [(0, {**values(), (1, "resid"): rows})])
    for part in (
        "model bridged-seed0", "step 128", "language zh", "layer 1", "site resid", word,
        "house-0003",
    ):  # fmt: skip
        assert part in str(caught.value)
    states = {0: np.array([[0.0], [1.0], [bad]], np.float32)}
    with pytest.raises(NumericsError, match=rf"layer 0, site resid.*{word}.*house-0004"):
        write_tokens(tmp_path / "x.h5", states=states)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt()])
def test_an_interrupted_writer_leaves_nothing(tmp_path, error):
    def interrupted():
        yield part(values(), 0, 4)
        raise error

    with pytest.raises(type(error)):
        write_blocks(tmp_path / "x.h5", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_missing_rows_are_our_own_mistake(tmp_path):
    with pytest.raises(AssertionError, match="every row is written"):
        write_blocks(tmp_path / "x.h5", [part(values(), 0, 4)])
    with pytest.raises(AssertionError, match="blocks of rows come in order"):
        write_blocks(tmp_path / "x.h5", [part(values(), 4, 7)])
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path):
    code = (
        "import os, sys, signal; from pathlib import Path; import numpy as np;"
        "from babelscope.io.h5 import atomic_h5\n"
        "with atomic_h5(Path(sys.argv[1]), kind='units') as file:\n"
        "    file['x'] = np.zeros(100_000); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "x.h5"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert not path.exists()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from babelscope.errors import StoreError; from babelscope.io.h5 import atomic_h5\n"
        "try:\n"
        "    with atomic_h5(Path(sys.argv[1]), kind='units') as file:\n"
        "        for part in range(20):\n"
        "            file[f'x{part}'] = np.zeros(100_000)\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    path = tmp_path / "x.h5"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        preexec_fn=small_files_only, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "x.h5" in done.stdout
    assert "bytes are free" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_last_flush(tmp_path, monkeypatch):
    def no_space(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("babelscope.io.files.os.fsync", no_space)
    with pytest.raises(StoreError, match="the disk is full"):
        write_values(tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def _text(path: Path) -> None:
    path.write_text("this is no HDF5")


def _set(name: str, value) -> object:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return change


def _drop_cell(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["128"]


def _drop_attribute(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[CELL].attrs["weights_hash"]


def _drop_dataset(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[CELL]["layer-01/mlp_in"]


def _drop_row(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        cell = file[CELL]
        rows = cell["layer-01/mlp_in"][:-1]
        del cell["layer-01/mlp_in"]
        cell["layer-01/mlp_in"] = rows


def _flip(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[CELL]["layer-01/mlp_in"][2, 3] += 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "does not exist"),
        (_truncate, "truncated"),
        (_text, "no HDF5 file"),
        (_set("kind", "tokens"), "holds 'tokens', not 'units'"),
        (_set("schema_version", 99), "schema version 99, this program reads 1"),
        (_set("complete", False), "not written to its end"),
        (_drop_cell, "holds no step of any language"),
        (_drop_attribute, "lacks the attributes weights_hash"),
        (_drop_dataset, "lacks the dataset layer-01/mlp_in"),
        (_drop_row, "6 rows for 7 sentence ids"),
        (_flip, "layer-01/mlp_in does not match its checksum"),
    ],
)
def test_a_broken_file_says_what_and_where(tmp_path, damage, message):
    path = tmp_path / "zh.units.h5"
    write_values(path)
    damage(path)
    with pytest.raises(StoreError, match=message) as caught:
        UnitFile(path, CELL).read(1, "mlp_in")
    assert str(path) in str(caught.value)


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="holds None"):
        TokenFile(tmp_path / "x.h5", CELL)


def test_an_unknown_site_is_answered_with_those_that_exist(tmp_path):
    write_values(tmp_path / "x.h5")
    with pytest.raises(StoreError, match="0 resid, 1 mlp_in, 1 resid"):
        UnitFile(tmp_path / "x.h5", CELL).read(1, "attn_out")


def test_rows_join_by_id():
    assert align_rows(["c", "a"], ["a", "b", "c"], "zh").tolist() == [2, 0]
    with pytest.raises(StoreError, match=r"zh: 2 of 3 wanted.*its 2 rows.*'d'"):
        align_rows(["a", "d", "e"], ["a", "b"], "zh")
    with pytest.raises(StoreError, match="1 of 3 row ids stand twice"):
        align_rows(["a"], ["a", "b", "a"], "zh")


def write_cells(path: Path, *cells: tuple[int, str], model: str = "m", key: str = "{step}/{lang}") -> Path:
    """A file of several cells, whose only value is its step."""
    with atomic_h5(path, kind="units") as file:
        for step, lang in cells:
            origin = dataclasses.replace(PROVENANCE, model=model, step=step, lang=lang)
            group = file.create_group(key.format(step=step, lang=lang))
            values_11 = {(0, "resid"): np.full((1, 1), step, np.float32)}
            write_units(group, origin, ["s-0000"], {(0, "resid"): 1}, [(0, values_11)])
    return path


def test_cells_are_found_by_what_they_say_whatever_files_they_lie_in(tmp_path):
    several = write_cells(tmp_path / "a.h5", (64, "en"), (128, "en"), (0, "en"), (0, "de"))
    one = write_cells(tmp_path / "b.h5", (64, "de"))
    for paths in ([several, one], [str(one), str(several)]):
        found = unit_files(paths)
        assert set(found) == {(0, "de"), (0, "en"), (64, "de"), (64, "en"), (128, "en")}
        for (step, lang), file in found.items():
            assert (file.provenance.step, file.provenance.lang) == (step, lang)
            assert file.read(0, "resid").item() == step
    assert [step for step, _ in unit_files([several])] == [0, 0, 64, 128]  # not by name: 0, 128, 64
    with pytest.raises(StoreError, match=r"a.h5: has no cell 7/en; it has 0/de, 0/en, 64/en, 128/en"):
        UnitFile(several, "7/en")
    write_tokens(tmp_path / "t.h5")
    assert list(token_files([tmp_path / "t.h5"])) == [(128, "zh")]


def test_errors_that_are_no_full_disk_pass_through(tmp_path):
    def fails():
        with atomic_h5(tmp_path / "x.h5", kind="units"):
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        fails()
    assert list(tmp_path.iterdir()) == []
