"""What a stranger's results folder may try on who opens it; see ``tests/cases/attacks``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from attacks import attacks
from babelscope.errors import DataError
from babelscope.io.files import check_contained, open_to_append, unfinished_name, written_whole
from babelscope.ops.runs import recover
from babelscope.runtime import job

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
    for name, problem in {"hard": "no file of its own", "soft": "is a link to a", "pipe": "no file"}.items():
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
