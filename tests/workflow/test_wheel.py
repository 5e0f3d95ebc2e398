"""The package as others get it: built, installed elsewhere, used far from any checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mini_study import ROOT

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but the package."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools writes beside what it builds
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    (source / "docs").mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "docs/troubleshooting.md"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("babelscope-*.whl")
    target = folder / "site"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True
    )
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """Output of Python with the installed package before any other of this name."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_the_installed_one(installed, tmp_path):
    assert str(installed) in run(installed, tmp_path, "-c", "import babelscope; print(babelscope.__file__)")


def test_it_knows_its_suites(installed, tmp_path):
    code = (
        "from babelscope.study.suites import *; print(len(suite_names()), load_suite('bloom-560m').steps[0])"
    )
    count, step = run(installed, tmp_path, "-c", code).split()
    assert int(count) > 100
    assert step == "1000"


def test_it_plans_a_study(installed, tmp_path):
    """The demo, and one of a suite: validated, its text checked, its jobs counted."""
    config = tmp_path / "study.yaml"
    shutil.copy(ROOT / "config/config.yaml", config)
    plan = run(
        installed, tmp_path, "-m", "babelscope.cli", "plan", "--configfile", "study.yaml", "--device", "cpu"
    )
    assert "study demo" in plan
    assert "extract_activations" in plan
    config.write_text(
        "extends: demo.yaml\nstudy: suite\ncorpora: null\ntokenizers: null\ngeneration: null\n"
        "models: {bridged: null, isolated: null, tiny: {source: hub, suite: pythia-70m, steps: [0, 1000]}}\n"
    )
    shutil.copy(ROOT / "config/config.yaml", tmp_path / "demo.yaml")
    plan = run(
        installed, tmp_path, "-m", "babelscope.cli", "plan", "--configfile", "study.yaml", "--device", "cpu"
    )
    assert "fetch_checkpoint" in plan


def test_an_error_names_a_page_that_is_there(installed, tmp_path):
    code = "from babelscope.errors import *; print(DataError('a.txt', 'is empty').__notes__[0].removeprefix('see '))"
    page, _, section = run(installed, tmp_path, "-c", code).strip().partition("#")
    assert installed in Path(page).parents
    assert section == "a-file"
    assert Path(page).read_bytes() == (ROOT / "docs/troubleshooting.md").read_bytes()
