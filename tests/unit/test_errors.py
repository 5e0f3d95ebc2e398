"""Errors lead to the page that explains them, and the page has a section for each kind."""

from __future__ import annotations

import importlib
import pkgutil
import re
import traceback
from pathlib import Path

import pytest

import babelscope
from babelscope.cli import main
from babelscope.errors import TROUBLESHOOTING, BabelscopeError, DataError, StudyError, explained

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / TROUBLESHOOTING).read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "src/babelscope").rglob("*.py"))


def kinds(of=BabelscopeError):
    """All classes of errors of the package."""
    for module in pkgutil.walk_packages(babelscope.__path__, "babelscope."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    below = [kind for child in of.__subclasses__() for kind in (child, *kinds(child))]
    return [kind for kind in below if kind.__module__.startswith("babelscope.")]


def anchor(heading):
    """As GitHub and the docs site make it of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_anchor_that_is_printed_is_on_the_page_and_no_other():
    there = [anchor(heading) for heading in re.findall(r"^## (.+)$", PAGE, re.M)]
    assert len(there) == len(set(there))
    assert set(there) == {kind.section for kind in kinds()}


def test_what_is_raised_is_of_a_kind():
    """The base has no section, so nothing may raise it itself."""
    assert not BabelscopeError.section
    for file in SOURCES:
        assert "raise BabelscopeError(" not in file.read_text(encoding="utf-8"), file


def test_the_note_is_printed_below_and_is_no_part_of_the_message():
    inner = DataError("a.txt", "is empty", "write something")
    outer = StudyError("sentences.path", "a.txt", f"a text ({inner})")
    assert str(inner) == "a.txt: is empty\nhint: write something"
    assert explained(inner).splitlines()[-1] == "see docs/troubleshooting.md#a-file"
    assert explained(outer).count("see ") == 1
    shown = "".join(traceback.format_exception(outer))
    assert shown.endswith("\nsee docs/troubleshooting.md#a-value-of-the-study\n")


def test_a_command_prints_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "--configfile", "none.yaml"]) == 1
    assert capsys.readouterr().err.endswith("\nsee docs/troubleshooting.md#a-file\n")


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_links_of_the_page_lead_somewhere(link):
    path, _, section = link.partition("#")
    file = (ROOT / TROUBLESHOOTING).parent / path
    assert file.exists()
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
    assert not section or section in map(anchor, headings)


def test_keys_that_the_page_names_are_there():
    keys = (ROOT / "config/README.md").read_text(encoding="utf-8").partition("## Every key")[2]
    for key in re.findall(r"`(\w+\.\w+)`", PAGE):
        if not key.endswith((".json", ".yaml")):
            assert key.rpartition(".")[2] in keys, key
