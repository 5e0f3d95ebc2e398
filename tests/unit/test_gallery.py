"""The scripts of the gallery draw from a results folder, by the public library alone."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from babelscope.io.tables import write_table
from babelscope.report.captions import load_captions
from synthetic_tables import synthetic_tables

GALLERY = Path(__file__).resolve().parents[2] / "notebooks/gallery"
INDEX = (GALLERY.parent / "index.md").read_text(encoding="utf-8")
SCRIPTS = sorted(GALLERY.glob("*.py"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    for study in ("demo", "demo-doses"):
        for name, table in synthetic_tables().items():
            write_table(table, folder / "results" / study / "tables" / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_draws_its_figure(script, results, monkeypatch):
    monkeypatch.chdir(results)
    runpy.run_path(str(script))
    drawn = plt.gcf()
    assert any(ax.lines or ax.collections for ax in drawn.axes)
    assert (results / f"{script.stem}.png").stat().st_size > 5000
    plt.close("all")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_asks_a_question(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    assert "?" in ast.get_docstring(tree)
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 28
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not any(module.startswith("babelscope.") for module in modules if module)


def test_every_figure_of_the_report_has_a_script():
    rows = re.findall(r"^\| .+ \| `(\w+)\.py` \| (.+) \|$", INDEX, re.M)
    assert sorted(name for name, _ in rows) == [script.stem for script in SCRIPTS]
    assert {figure for _, figures in rows for figure in re.findall(r"`(\w+)`", figures)} == set(
        load_captions()
    )
