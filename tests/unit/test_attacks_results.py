"""What a stranger's results folder may try on who opens it; see ``tests/cases/attacks``."""

from __future__ import annotations

import csv
import getpass
import json
import logging
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import babelscope as bs
from attacks import attacks
from babelscope.errors import DataError, StoreError, shown
from babelscope.io.files import check_contained, open_to_append, unfinished_name, written_whole
from babelscope.io.formulas import as_cell, of_cell
from babelscope.io.h5 import atomic_h5, open_any, open_h5, read_strings, write_strings
from babelscope.io.tables import read_table, write_table
from babelscope.io.yaml import read_mapping
from babelscope.models.hub.listing import Listing, entry, template_of
from babelscope.models.hub.revisions import Series
from babelscope.models.training.steps import read_list
from babelscope.ops.export import export_cell
from babelscope.ops.regroup import _remembered
from babelscope.ops.runs import Run, active_jobs, recorded_runs, recover
from babelscope.ops.status import Progress, _failures, progress_text
from babelscope.report.figures.gallery import save_figure
from babelscope.report.findings.evaluate import evaluate_findings
from babelscope.report.page import render_report
from babelscope.report.views import _audit_notes
from babelscope.runtime import job
from babelscope.text.corpora import prepare_dataset_corpus
from babelscope.text.lines import read_tsv, write_tsv

# ------------------------------------------------------------------------------------------ links


@pytest.fixture
def results(tmp_path):
    """A folder of results, and beside it what is nobody's business."""
    for name in ("models/m/1", "tables", "logs"):
        (tmp_path / "results/study" / name).mkdir(parents=True)
    (tmp_path / "results/study-of-another").mkdir()
    (tmp_path / "private").write_text("private")
    return tmp_path / "results/study"


@attacks("links")
def test_links_that_lead_out_are_refused_by_name(results, attack):
    check_contained(results)
    link = results / attack["link"]
    if link.is_dir():
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(attack["to"])
    if not attack["refused"]:
        check_contained(results)
        return
    with pytest.raises(DataError, match="is a link that leads out of") as raised:
        check_contained(results)
    assert raised.value.path == link
    assert (results.parents[1] / "private").read_text() == "private"


def test_a_pipe_is_no_result(results):
    os.mkfifo(results / "tables/models.tsv")
    with pytest.raises(DataError, match=r"models\.tsv: is neither a file nor a folder"):
        check_contained(results)


def test_a_path_too_long_to_be_followed_is_named(results, monkeypatch):
    monkeypatch.chdir(results / "logs")
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    with pytest.raises(DataError, match="cannot be looked into: File name too long\nhint: ") as raised:
        check_contained(results)
    assert len(str(raised.value)) < 1000


def test_a_link_in_any_of_many_folders_is_found(results):
    for at in range(300):
        (results / f"models/m/{at}/training").mkdir(parents=True)
    check_contained(results)
    (results / "models/m/299/training/losses.tsv").symlink_to(results.parents[1] / "private")
    with pytest.raises(DataError, match=r"299/training/losses\.tsv: is a link that leads out of"):
        check_contained(results)


def test_a_study_that_is_a_link(results, monkeypatch):
    (results.parent / "other").symlink_to(results.parents[1])
    with pytest.raises(DataError, match="other: is a link that leads out of"):
        check_contained(results.parent / "other")
    # What doctor advises where the disk is small: `results` itself is a link.
    (results.parents[1] / "linked").symlink_to(results.parent)
    check_contained(results.parents[1] / "linked/study")
    monkeypatch.chdir(results.parents[1])
    check_contained(Path("linked/study"))
    check_contained(Path("linked/none"))


def test_a_name_that_is_written_under_cannot_be_foreseen(tmp_path):
    path = tmp_path / "a.tsv"
    assert unfinished_name(path) != unfinished_name(path)
    with written_whole(path) as unfinished:
        assert unfinished.is_file()  # made anew, so no link that lay there is followed
        unfinished.write_text("x")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tsv"]


def test_a_name_that_is_taken_is_not_written_to(tmp_path, monkeypatch):
    (tmp_path / "private").write_text("private")
    monkeypatch.setattr("babelscope.io.files.unfinished_name", lambda path: path.with_name("taken"))
    (tmp_path / "taken").symlink_to("private")
    with pytest.raises(FileExistsError), written_whole(tmp_path / "a.tsv") as unfinished:
        unfinished.write_text("x")
    assert (tmp_path / "private").read_text() == "private"


def test_what_is_gone_on_with_is_a_file_of_its_own(tmp_path):
    with open_to_append(tmp_path / "a") as file:
        file.write(b"1")
    with open_to_append(tmp_path / "a") as file:
        assert file.tell() == 1
        file.write(b"2")
    assert (tmp_path / "a").read_bytes() == b"12"
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    problems = {
        "hard": "no file of its own", "soft": "is a link to a", "pipe": "no file", "folder": "is a folder"
    }  # fmt: skip
    for name, problem in problems.items():
        with pytest.raises(DataError, match=problem):
            open_to_append(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == b"12"


def test_a_log_is_not_written_through_a_link(tmp_path):
    (tmp_path / "private").write_text("private")
    log = tmp_path / "log"
    log.symlink_to("private")
    handlers = logging.getLogger().handlers[:]
    try:
        with job(log):
            logging.getLogger("babelscope").warning("said")
    finally:
        logging.getLogger().handlers[:] = handlers
    assert (tmp_path / "private").read_text() == "private"
    assert "said" in log.read_text()


def test_recovery_removes_links_and_not_what_they_lead_to(results, monkeypatch):
    monkeypatch.chdir(results.parents[1])
    (results.parents[1] / "kept").mkdir()
    (results.parents[1] / "kept/file").write_text("kept")
    (results / "tables/x.tmp-1").symlink_to(results.parents[1] / "kept")
    assert recover("results/study") == ["removed 1 unfinished files"]
    assert (results.parents[1] / "kept/file").read_text() == "kept"
    assert not (results / "tables/x.tmp-1").is_symlink()


# ------------------------------------------------------------------------------------------- HDF5


def made(what: str, file: h5py.File, private: Path) -> None:
    """Data sets that a file of ours never has."""
    large = 3 * 2**30
    if what == "external":
        file.create_dataset("4/en/x", (8,), "u1", external=[(str(private), 0, 8)])
    elif what == "virtual":
        layout = h5py.VirtualLayout((8,), "u1")
        layout[:] = h5py.VirtualSource(str(private.with_suffix(".h5")), "x", (8,))
        file.create_virtual_dataset("4/en/x", layout)
    elif what == "external link":
        file["4/en/x"] = h5py.ExternalLink(str(private.with_suffix(".h5")), "x")
    elif what == "external group":
        file["4/en"] = h5py.ExternalLink(str(private.with_suffix(".h5")), "/")
    elif what == "soft link":
        file["4/en/x"] = h5py.SoftLink("/attrs")
    elif what == "never written":
        file.create_dataset("4/en/x", (large,), "f8")
    elif what == "unwritten chunks":
        file.create_dataset("4/en/x", (large,), "f8", chunks=(1000,), compression="gzip")
    elif what == "references":
        file.create_dataset("4/en/x", data=[file.ref], dtype=h5py.ref_dtype)
    elif what == "records":
        file.create_dataset("4/en/x", data=np.zeros(2, [("a", "f4"), ("b", "i4")]))
    elif what == "lists":
        file.create_dataset("4/en/x", (2,), dtype=h5py.vlen_dtype("u1"))
    else:
        raise AssertionError(what)


@attacks("hdf5")
def test_hdf5_gives_what_it_holds_and_nothing_else(tmp_path, attack):
    private = tmp_path / "private"
    private.write_bytes(b"password")
    with h5py.File(private.with_suffix(".h5"), "w") as other:
        other["x"] = np.frombuffer(b"password", "u1")
    with atomic_h5(tmp_path / "a.h5", kind="tokens") as file:
        made(attack["what"], file, private)
    assert (tmp_path / "a.h5").stat().st_size < 10_000
    for opening in (open_any, lambda path: open_h5(path, kind="tokens")):
        with pytest.raises(StoreError, match=r"a\.h5: 4/en"):
            opening(tmp_path / "a.h5")


def test_what_ours_hold_is_read(tmp_path):
    with atomic_h5(tmp_path / "a.h5", kind="tokens") as file:
        file["flags"], file["numbers"], file["one"] = [True, False], np.zeros((3, 4), "f2"), 1.0
        file.create_dataset("none", (0, 5), "i4")
        file.create_dataset("packed", data=np.zeros(10**6), compression="gzip", shuffle=True)
        write_strings(file, "names", [f"name {at}" for at in range(1000)])
    with open_h5(tmp_path / "a.h5", kind="tokens") as file:
        assert read_strings(file, "names") == [f"name {at}" for at in range(1000)]
        assert file["packed"].shape == (10**6,)


def test_a_small_table_that_fills_the_memory(tmp_path):
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**8, "i1")), pa.array(["x"]))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"model": rows}), path, compression="zstd")
    assert path.stat().st_size < 10**6
    with pytest.raises(DataError, match=r"a\.parquet: is not a readable table: .* stands for 800,000,000"):
        read_table(path)


def test_a_pipe_is_no_hdf5_file(tmp_path):
    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(StoreError, match="is no file"):
        open_h5(tmp_path / "a.h5", kind="tokens")


# ----------------------------------------------------------------------------------------- export


@pytest.fixture
def exported(results, tmp_path, monkeypatch):
    """Export step 1 of model m; what was packed, by name."""
    monkeypatch.setenv("HOME", str(tmp_path / "home/anna"))

    def export(config=None) -> dict[str, bytes]:
        folders = {"weights": tmp_path / "weights", "tokenizer": tmp_path / "tokenizer"}
        out = results / "export/m/1"
        export_cell(results, "m", 1, config=config or {"study": "s"}, checkpoint=folders, out=out)
        return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}

    for name in ("weights", "tokenizer", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "private").write_text("PRIVATE")
    (tmp_path / "folder/progress.json").write_text("PRIVATE")
    return export


@attacks("exported")
def test_an_export_holds_what_belongs_to_a_checkpoint(exported, results, tmp_path, attack):
    place = {"weights": tmp_path / "weights", "tokenizer": tmp_path / "tokenizer", "results": results}
    file = place[attack["place"]] / attack["name"]
    file.parent.mkdir(parents=True, exist_ok=True)
    if "to" in attack:
        file.symlink_to(tmp_path / attack["to"])
    else:
        file.write_text("PRIVATE")
    assert any(b"PRIVATE" in content for content in exported().values()) == attack.get("packed", False)


def test_folders_of_an_export_are_kept_apart(exported, tmp_path):
    for name in ("weights", "tokenizer"):
        (tmp_path / name / "config.json").write_text(json.dumps({"of": name}))
    packed = exported()
    for name in ("weights", "tokenizer"):
        assert json.loads(packed[f"files/checkpoint/{name}/config.json"]) == {"of": name}


def test_an_export_says_what_it_packs_and_leaves_out(exported, results, tmp_path, caplog):
    (tmp_path / "weights/config.json").symlink_to(tmp_path / "private")
    (results / "sentences").mkdir()
    (results / "sentences/en.tsv").write_text("id\ttext\n")
    with caplog.at_level("INFO", "babelscope"):
        packed = exported()
    assert json.loads(packed["contents.json"])["links, left out"] == ["checkpoint/weights/config.json"]
    assert {record.args[0] for record in caplog.records} == set(packed)
    assert all(record.progress for record in caplog.records)


def test_an_export_names_nobody(exported, results, tmp_path):
    home = tmp_path / "home/anna"
    log = results / "logs/score_units/m/1/en.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        f"read {home}/models/x and {home}2 and /scratch/anna/y; anna; /scratch/annabel\n"
        "https://me:secret@mirror.org/x hf_abcdefghijklmnopqrst\n"
    )
    (tmp_path / "weights/tokenizer.model").write_bytes(b"\xff" + f"{home}/x".encode())
    (tmp_path / "tokenizer/spiece.model").write_bytes(b"\xff\xfe")
    (results / "tables/a.tsv.tmp-login7-12-ab").touch()
    packed = exported({"study": "s", "data": f"{home}/data"})
    text = packed["files/logs/score_units/m/1/en.log"].decode()
    here = str(tmp_path).replace(getpass.getuser(), "USER")
    assert text == (
        f"read HOME/models/x and {here}/home/anna2 and /scratch/USER/y; anna; /scratch/annabel\n"
        "https://mirror.org/x hf_...\n"
    )
    assert "data: HOME/data" in packed["study.yaml"].decode()
    assert "files/checkpoint/weights/tokenizer.model" not in packed
    assert packed["files/checkpoint/tokenizer/spiece.model"] == b"\xff\xfe"
    assert b"login7" not in packed["contents.json"]


@pytest.mark.parametrize("user", ["anna", "jürgen", "müller groß"])
@pytest.mark.parametrize(
    "spelling", [str, json.dumps, quote, lambda text: json.dumps(text).replace("/", "\\/")]
)
def test_an_export_names_nobody_however_it_is_spelt(exported, results, monkeypatch, user, spelling):
    monkeypatch.setenv("HOME", f"/home/{user}")
    paths = [f"/home/{user}/x", f"/home/{user}", f"/tmp/pytest-of-{user}/0", f"/scratch/{user}/y"]
    others = [f"{user}@login1", f"--user={user}"] if spelling is not quote else []
    log = results / "logs/score_units/m/1/en.log"
    log.parent.mkdir(parents=True)
    log.write_text(" ".join(map(spelling, paths + others)) + ".")
    packed = exported({"study": "s", "data": f"{'x' * 70} /home/{user}/data"})
    text = "".join(content.decode() for content in packed.values())
    assert not any(spelt in text for spelt in (user, quote(user), json.dumps(user)[1:-1]))
    assert "HOME/data" in packed["study.yaml"].decode()


def test_an_export_of_linked_results_names_the_link(exported, results, tmp_path):
    (results / "logs/x").symlink_to(tmp_path)
    with pytest.raises(DataError, match="logs/x: is a link that leads out of"):
        exported()


def test_an_export_of_foreign_hdf5_describes_nothing(exported, results, tmp_path):
    (results / "scores/m/1").mkdir(parents=True)
    with atomic_h5(results / "scores/m/1/en.h5", kind="scores") as file:
        made("external", file, tmp_path / "private")
    found = json.loads(exported()["contents.json"])["files"]["scores/m/1/en.h5"]
    assert "takes its data from another file" in found["unreadable"]
    assert "data sets" not in found


# ---------------------------------------------------------------------------------------- printed


@attacks("printed")
def test_what_others_wrote_is_fit_to_be_printed(attack):
    assert shown(attack["text"], one_line=True) == attack["shown"]
    assert str(DataError("x", attack["text"])).count("\x1b") == 0
    repository = Listing(
        repo="a/b", licence=attack["text"], series=(Series(attack["text"], {1: "step1", 2: "step2"}),),
        others=(attack["text"],),
        template="step{step}", config={"model_type": attack["text"]}, has_tokenizer=True, format="bin",
    )  # fmt: skip
    text = entry(repository, "name")
    assert yaml.safe_load(text) == yaml.safe_load(
        entry(replace(repository, licence="mit", others=()), "name")
    )
    assert all(line.isprintable() for line in text.splitlines())


def test_a_file_is_looked_at_once_and_again_when_it_changes(tmp_path):
    path = tmp_path / "one.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
    for _ in range(2):
        with open_any(path) as file:
            assert file["x"][:].tolist() == [0, 1, 2]
    with h5py.File(path, "a") as file:
        file["y"] = h5py.ExternalLink("other.h5", "x")
    with pytest.raises(StoreError, match="link to another place"):
        open_any(path)


def test_a_chunk_larger_than_its_data_is_not_read(tmp_path):
    path = tmp_path / "one.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (1,), "f8", maxshape=(None,), chunks=(2**24,), compression="gzip")
        data[0] = 1
    with pytest.raises(StoreError, match="has chunks of 134,217,728 bytes for 8"):
        open_any(path)


@pytest.mark.parametrize("name", ["kind", "schema_version", "complete"])
def test_hdf5_that_says_lists_of_itself_is_foreign(tmp_path, name):
    path = tmp_path / "one.h5"
    with atomic_h5(path, kind="tokens"):
        pass
    with h5py.File(path, "a") as file:
        del file.attrs[name]
        file.attrs[name] = [1, 2]
    with pytest.raises(StoreError, match="has lists there"):
        open_h5(path, kind="tokens")


@pytest.mark.parametrize("text", ["a: 2024-13-45", "a: !!int foo", "a: !!bool foo", f"a: {'1' * 5000}"])
def test_yaml_values_that_are_none_are_no_yaml(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match="is no YAML"):
        read_mapping(path)


@pytest.mark.parametrize("odd", ["a\tb", "a\nb", "a\rb", "a\0b"])
def test_a_table_of_text_says_what_it_cannot_hold(tmp_path, odd):
    with pytest.raises(DataError, match="holds a tab, a line end or NUL"):
        write_tsv(tmp_path / "x.tsv", ["words"], [[odd]])


def test_a_run_on_a_host_of_two_lines_is_no_record():
    with pytest.raises(ValueError, match="no record"):
        Run("evil\nhint: paste this", 1, 0.0, "log")


def test_branches_with_braces_are_no_template():
    assert template_of({1: "{x}1", 2: "{x}2"}) == "{{x}}{step}"


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """A record of a run that failed, as a stranger may write it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private.log").write_text("PRIVATE")

    def write(block: str, **run) -> list[Run]:
        (tmp_path / "results/s/logs").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run.log").write_text(f"Error in rule score_units:\n{block}\n")
        entry = {"host": "h", "pid": 1, "started": 0, "log": "run.log", "slurm_job": "", **run}
        (tmp_path / "results/s/logs/runs.json").write_text(json.dumps([entry]))
        return recorded_runs("results/s")

    return write


@pytest.mark.parametrize(
    "log", ["private.log", "/etc/hostname", "results/s/../../private.log", "results/s/logs/link.log"]
)
def test_logs_below_the_results_alone_are_shown(failed, log):
    (run,) = failed(f"    output: results/s/a.tsv\n    log: {log}")
    Path("results/s/logs/link.log").symlink_to(Path("private.log").resolve())
    ((failure, _),) = _failures(run, {}, Path("results/s"))
    assert failure.lines == ()


def test_a_run_outside_the_working_directory_says_nothing(failed, tmp_path):
    outside = tmp_path.parent / "outside.log"
    outside.write_text("SLURM run ID: 01234567-89ab-cdef-0123-456789abcdef")
    (run,) = failed("", log=str(outside))
    assert (run.said, run.slurm_name) == ("", None)


def test_commands_to_paste_are_quoted(failed):
    output = "results/s/$(touch run)\x1b[2J;x.tsv"
    (run,) = failed(
        f"    output: --touch, {output}\n    log: results/s/logs/a.log\n    external_jobid: 1\x1b[2J"
    )
    Path("results/s/logs/a.log").write_text("\x1b]0;title\a said")
    ((failure, outputs),) = _failures(run, {}, Path("results/s"))
    assert outputs == [output]
    text = progress_text(Progress((), (failure,), run), study="--config seed=1")
    assert "\x1b" not in text
    assert "\a" not in text
    (command,) = [line for line in text.splitlines() if "run just it" in line]
    words = shlex.split(command)[3:]
    assert words[:2] == ["snakemake", "results/s/$(touch run)\\x1b[2J;x.tsv"]
    assert words[-2:] == ["--config", "seed=1"]


@pytest.mark.parametrize(
    "wrong",
    [{"pid": "1; touch run"}, {"slurm_job": "1; touch run"}, {"slurm_job": 1}, {"log": 1}, {"host": None}],
)
def test_a_record_of_runs_that_is_none(failed, wrong):
    assert failed("", **wrong) == []


def test_records_that_are_deep_are_none(failed):
    failed("")
    for name in ("runs.json", "studies.json"):
        Path("results/s/logs", name).write_text("[" * 100_000)
    assert recorded_runs("results/s") == []
    assert _remembered(SimpleNamespace(results="results/s")) == []
    with pytest.raises(DataError, match="is no list of checkpoints"):
        read_list("results/s/logs/runs.json")


def test_slurm_is_asked_for_ones_own_jobs(failed, monkeypatch):
    asked = []
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(
        "babelscope.ops.runs.call",
        lambda *command, timeout: asked.append(command) or subprocess.CompletedProcess(command, 0, "", ""),
    )
    runs = failed("")
    Path("run.log").write_text("SLURM run ID: 01234567-89ab-cdef-0123-456789abcdef")
    assert active_jobs(runs) == []
    assert f"--user={os.getuid()}" in asked[0]


# ---------------------------------------------------------------------------------------- tables


def runs(cell: str) -> bool:
    """Whether a spreadsheet takes a cell for a formula."""
    return cell[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"}


@attacks("cells")
def test_no_spreadsheet_runs_a_text(tmp_path, attack):
    text = attack["text"]
    table = pd.DataFrame({"text": [text, "plain", "'tis", None], "n": [-1.5, 2, 3, -4]})
    write_table(table, tmp_path / "a.tsv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.tsv"), table, check_dtype=False)
    rows = list(csv.reader((tmp_path / "a.tsv").open(newline=""), delimiter="\t"))
    assert not any(runs(row[0]) for row in rows)
    assert [row[1] for row in rows[1:]] == ["-1.5", "2", "3", "-4"]
    assert [row[0] for row in rows[2:]] == ["plain", "'tis", ""]
    write_tsv(tmp_path / "b.tsv", ("id", "text"), [("-1", text), (2, "'tis")])
    assert read_tsv(tmp_path / "b.tsv") == [{"id": "-1", "text": text}, {"id": "2", "text": "'tis"}]
    cells = [line.split("\t") for line in (tmp_path / "b.tsv").read_text().splitlines()]
    assert not any(runs(cell) for row in cells for cell in row)


@pytest.mark.parametrize("text", ["\t=1", "\n=1", "\r=1", "", "'", "=", "a\n=1", "a\r=1"])
def test_any_text_of_a_table_comes_back(tmp_path, text):
    assert of_cell(as_cell(text)) == text
    assert not runs(as_cell(text))
    write_table(pd.DataFrame({"text": [text, "x"]}), tmp_path / "a.tsv")
    assert read_table(tmp_path / "a.tsv")["text"].fillna("").tolist() == [text, "x"]


# ---------------------------------------------------------------------------------------- data sets


@attacks("datasets")
def test_a_data_set_reads_files_of_its_folder(tmp_path, attack):
    outside, folder = tmp_path / "outside", tmp_path / "set"
    outside.mkdir()
    folder.mkdir()
    (outside / "private.txt").write_text("PRIVATE\n" * 50)
    (folder / "link.txt").symlink_to(outside / "private.txt")
    (folder / "own.txt").write_text("own\n" * 50)
    arguments = dict(name="", split="train", column="text", heldout=0.1, seed=0)
    for files, error in {attack["data_files"].format(outside=outside): True, "own.txt": False}.items():
        card = {"configs": [{"config_name": "default", "data_files": files}]}
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
        if error:
            with pytest.raises(
                DataError, match=r"private\.txt read, which does not lie|link\.txt read, which"
            ):
                prepare_dataset_corpus(str(folder), tmp_path / "out.jsonl", **arguments)
            assert not (tmp_path / "out.jsonl").exists()
        else:
            prepare_dataset_corpus(str(folder), tmp_path / "out.jsonl", **arguments)
            assert "own" in (tmp_path / "out.jsonl").read_text()


# ---------------------------------------------------------------------------------------- rendered

KEPT = Path(__file__).resolve().parents[1] / "data/results-0.1.0"


class Page(HTMLParser):
    """What of a page could run or fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.odd: list[object] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        known = {"href": ("#", "data:text/tab-separated-values"), "src": "data:image/"}
        odd = [
            (key, value)
            for key, value in attrs
            if key.startswith("on") or (key in known and not value.startswith(known[key]))
        ]
        if odd or tag in ("script", "iframe", "object", "embed", "base", "link", "form", "svg"):
            self.odd.append((tag, odd))


def spoilt(value, text):
    """A value whose texts all end with a text."""
    if isinstance(value, dict):
        return {key: spoilt(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [spoilt(each, text) for each in value]
    # What stands for a mean, and English, to which others are compared, stay what they are.
    kept = not isinstance(value, str) or value[:1] in ("*", "=", "") or value == "en"
    return value if kept else f"{value}{text}"


@attacks("rendered")
def test_a_strangers_results_bring_nothing_into_the_page(tmp_path, attack):
    text = attack["text"]
    (tmp_path / "private").write_text("PRIVATE")
    folder = tmp_path / "results/study"
    shutil.copytree(KEPT, folder)
    said = spoilt(json.loads((folder / "study.json").read_text()), text)
    said["settings"]["report"] = {"title": text}
    (folder / "study.json").write_text(json.dumps(said))
    # The words that code looks for stay: a table of others would be refused or empty.
    for path in (folder / "tables").iterdir():
        table = read_table(path)
        named = table.columns.intersection(["model", "lang", "lang_a", "lang_b", "source", "target", "concept",
                                            "text", "run", "repo", "commit", "known_fault", "detected"])  # fmt: skip
        changed = {name: table[name].map(lambda value: spoilt(value, text)) for name in named}
        write_table(table.assign(**changed), path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    study = bs.open_study(folder)
    figures = {}
    for name in ("overlap_pairs", "losses"):
        figures[name] = tmp_path / f"drawn/{name}.svg"
        save_figure(study.figure(name), figures[name])
        for node in ElementTree.parse(figures[name]).iter():
            assert not node.tag.endswith(("script", "foreignObject"))
            assert node.get("{http://www.w3.org/1999/xlink}href", "#").startswith(("#", "data:image/png"))
    findings, _ = evaluate_findings(study.tables)
    render_report(
        study=study.settings, tables=study.tables, figures=figures, findings=findings,
        provenance={"versions": study.study["versions"], "warnings": [text]}, out=tmp_path / "drawn/page.html",
    )  # fmt: skip
    page = (tmp_path / "drawn/page.html").read_text(encoding="utf-8")
    assert Page(page).odd == []
    assert "PRIVATE" not in page
    assert before == {path: path.read_bytes() for path in before}
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file() and path not in before} == {
        tmp_path / "drawn"
    }


@pytest.mark.parametrize(
    "content", ["", "[1]", "{", "null", '{"settings": 1}', '{"settings": {}, "n": ' + "9" * 5000 + "}"]
)
def test_settings_that_are_none_are_named(results, content):
    (results / "tables/models.tsv").write_text("model\nm\n")
    (results / "study.json").write_text(content)
    with pytest.raises(DataError, match=r"study\.json: "):
        _ = bs.open_study(results).settings


# ---------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("source", "repo", "told"),
    [("local", "org/name", True), ("hub", "org/name", False), ("local", "", False)],
)
def test_the_report_says_what_a_local_folder_only_claims(source, repo, told):
    models = pd.DataFrame({"model": ["mine", "other"], "source": [source, "hub"]})
    table = pd.DataFrame(
        {"model": ["mine", "other"], "step": 1, "flag": False, "known_fault": "", "repo": [repo, "a/b"], "no_loss": "",
         "constant": ""}
    )  # fmt: skip
    notes = _audit_notes(SimpleNamespace(config={}), table, models)
    claim = "Repository and commit of mine are what their folders claim: they were not fetched here."
    assert (claim in notes) == told
