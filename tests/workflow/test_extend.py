"""docs/extend.md, done as a reader does it: its blocks go into a copy of the checkout, which is then run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mini_study import ROOT, MiniStudy

pytestmark = pytest.mark.workflow

PAGE = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
COPIED = ("src", "workflow", "config", "tests", "envs", "profiles", "docs", "results", "notebooks")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def blocks(section: str) -> list[tuple[str, str, str, str]]:
    """Kind (new, append, before, after), file, anchor and content of the blocks of a section."""
    found = re.findall(
        r"<!-- (new|append|before|after): (\S+?)(?: \| (.+?))? -->\n```\w*\n(.*?)```",
        SECTIONS[section],
        re.DOTALL,
    )
    assert found, section
    return found


def written(section: str, checkout: Path) -> None:
    """Put the blocks of a section where the page says; they keep the project's style."""
    for kind, name, anchor, content in blocks(section):
        file = checkout / name
        if kind == "new":
            assert not file.exists(), f"{name} is there already"
            file.write_text(content, encoding="utf-8")
            continue
        text = file.read_text(encoding="utf-8")
        if kind == "append":
            text += content if file.suffix == ".yaml" else f"\n\n{content}"
        else:
            line = next(line for line in text.splitlines(keepends=True) if anchor in line)
            text = text.replace(line, content + line if kind == "before" else line + content, 1)
        file.write_text(text, encoding="utf-8")
    files = sorted({name for _, name, _, _ in blocks(section) if name.endswith(".py")})
    run(checkout, "-m", "ruff", "check", *files)
    run(checkout, "-m", "ruff", "format", "--check", *files)


def run(checkout: Path, *command: str, folder: Path | None = None) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder or checkout, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def snakemake(checkout: Path, study: MiniStudy, *args: str) -> str:
    return run(
        checkout, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile"), "--configfile",
        str(study.write()), "--cores", "2", "--workflow-profile", "none", *args, folder=study.folder,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is tracked, to be changed."""
    target = tmp_path / "checkout"
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "demo", "mini")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in ("Snakefile", "pyproject.toml", ".importlinter"):
        shutil.copy2(ROOT / name, target / name)
    return target


def test_a_metric_is_a_module_a_rule_a_script_and_a_row(finished: MiniStudy, checkout, tmp_path):
    written("A metric: a new stage", checkout)
    said = run(
        checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_stages.py",
        "-k", "measure_reach or script_is_a_stage",
    )  # fmt: skip
    assert int(re.search(r"(\d+) passed", said)[1]) > 4
    run(checkout, "docs/make.py")
    run(
        checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_docs_generated.py",
        "-k", "column or section or results",
    )  # fmt: skip
    said = run(checkout, "-c", "import babelscope.results as r; print(r.described_columns()['reach'])")
    assert "twice the concept's positive rate" in said

    study = finished.copy(tmp_path / "study")
    said = snakemake(checkout, study, "tables")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said.split("Job stats:")[1].split("total")[0], re.M))
    assert jobs == {"measure_reach": "1", "tables": "1"}

    reach = pd.read_parquet(study.results / "tables/reach.parquet")
    assert list(reach.columns) == ["model", "step", "lang", "concept", "reach"]
    assert len(reach) == 2 * 3 * 3  # steps, languages, concepts
    assert reach["reach"].between(0, 1).all()
    assert reach["reach"].max() > 0


def test_a_figure_is_a_spec_its_name_and_its_words(finished: MiniStudy, checkout, tmp_path):
    written("A metric: a new stage", checkout)
    written("A figure", checkout)
    said = run(
        checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_figures.py",
        "tests/unit/test_gallery.py", "-k", "reach or captions_cover or has_a_script",
    )  # fmt: skip
    assert int(re.search(r"(\d+) passed", said)[1]) > 10

    study = finished.copy(tmp_path / "study")
    snakemake(checkout, study, "results/mini/figures/reach.svg")
    assert "share of units" in (study.results / "figures/reach.svg").read_text(encoding="utf-8")


def test_an_architecture_is_a_row(checkout):
    written("An architecture", checkout)
    said = run(
        checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "granite or same_architectures",
        "tests/unit/test_architectures.py", "tests/unit/test_hooked_values.py",
    )  # fmt: skip
    assert int(re.search(r"(\d+) passed", said)[1]) > 5
    assert "all sites have the widths" in run(checkout, "look.py")
