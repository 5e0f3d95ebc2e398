"""A checkout that is only read: studies run from folders of their own, and nothing is written beside the workflow."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mini_study import ROOT

pytestmark = pytest.mark.workflow


@pytest.fixture
def only_read(tmp_path: Path) -> str:
    """Shell commands after which the checkout is to be read at a place of its own, and not written."""
    place = tmp_path / "checkout"
    place.mkdir()
    there = shlex.quote(str(place))
    mount = f"mount --bind {shlex.quote(str(ROOT))} {there} && mount -o remount,ro,bind {there}"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "sh", "-c", mount]).returncode:
        pytest.skip("needs the right to mount, by which alone root is kept from writing")
    return mount


def test_a_study_runs_from_a_checkout_that_is_only_read(finished, tmp_path: Path, only_read: str):
    study = finished.copy(tmp_path / "mine")
    checkout, made = tmp_path / "checkout", "results/mini/alignment/tiny-seed0/4.overlap.parquet"
    before = (study.folder / made).read_bytes()
    command = [
        sys.executable, "-m", "snakemake", made, "--force", "--cores", "1", "--snakefile", f"{checkout}/Snakefile",
        "--workflow-profile", "none", "--configfile", str(study.write()),
    ]  # fmt: skip
    said = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{only_read} && {shlex.join(command)}"],
        cwd=study.folder,
        env={**os.environ, "PYTHONPATH": f"{checkout}/src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert (study.folder / made).read_bytes() == before
    assert list((study.folder / ".snakemake/numba").rglob("*.nbi"))
