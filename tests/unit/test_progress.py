"""The page that grows while a study runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from babelscope.analysis.audit.files import KIND, CheckpointAudit, HeldOutLoss, write_audit
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import write_table
from babelscope.report.progress import PAGE, losses, redraw
from synthetic_tables import synthetic_tables

ROLES = {"big-seed0": "main", "plain": "control"}


def audit(results: Path, run: str, step: int) -> None:
    """An audit of one step with a loss of 2 nats per token."""
    held = HeldOutLoss(("s1", "s2"), np.array([8.0, 4.0]), np.array([4, 2]), np.array([9, 9]))
    array = np.zeros(0)
    found = CheckpointAudit(
        model=run, step=step, digest="", n_weights=0, n_nonfinite=0, first_nonfinite="", names=(),
        sizes_T=array, is_matrix_T=array.astype(bool), norms_T=array, counts_T=array, sketch_M=array,
        losses={"en": held},
    )  # fmt: skip
    path = results / "audit" / run / f"{step}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_h5(path, kind=KIND) as file:
        write_audit(file.create_group(str(step)), found)


def overlap(results: Path, run: str, step: int) -> pd.DataFrame:
    table = synthetic_tables(steps=(0, step), generation=False)["overlap"]
    table = table[(table["model"] == table["model"].iloc[0]) & (table["step"] == step)]
    path = results / "alignment" / run / f"{step}.overlap.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, path)
    return table


def test_the_page_shows_what_is_there_and_says_what_is_not(tmp_path):
    redraw(tmp_path, ROLES, title="A <study>")
    empty = (tmp_path / PAGE).read_text()
    assert "A &lt;study&gt;: what is there so far" in empty
    assert 'http-equiv="refresh"' in empty
    assert empty.count("<!-- not yet -->") == 2
    audit(tmp_path, "big-seed0", 0)
    audit(tmp_path, "big-seed0", 64)
    redraw(tmp_path, ROLES, title="A study")
    assert (tmp_path / PAGE).read_text().count("<!-- not yet -->") == 1
    overlap(tmp_path, "big-seed0", 64)
    redraw(tmp_path, ROLES, title="A study")
    page = (tmp_path / PAGE).read_text()
    assert "<!-- not yet -->" not in page
    assert "<!-- big-seed0 -->" in page


def test_a_model_in_training_shows_its_held_out_losses(tmp_path):
    """As soon as a step is saved: the audits of all steps may come at once, and late."""
    drawn = {}
    for step, loss in ((0, 8.0), (64, 2.0)):
        folder = tmp_path / f"models/big-seed0/{step}/training"
        folder.mkdir(parents=True)
        rows = [("big-seed0", step, lang, split, loss + (split == "train"), 100)
                for lang in ("en", "es") for split in ("train", "heldout")]  # fmt: skip
        write_table(pd.DataFrame(rows, columns=["model", "step", "lang", "split", "loss", "n_tokens"]),
                    folder / "losses.tsv")  # fmt: skip
        drawn[step] = list(losses(tmp_path, "big-seed0"))
    assert drawn[0] == [(0, 8.0, pytest.approx(np.nan, nan_ok=True))]
    assert [point[:2] for point in drawn[64]] == [(0, 8.0), (64, 2.0)]
    redraw(tmp_path, ROLES, title="A study")
    assert (tmp_path / PAGE).read_text().count("<!-- not yet -->") == 1


def test_what_cannot_be_read_is_left_out_and_logged(tmp_path, caplog):
    audit(tmp_path, "big-seed0", 0)
    broken = tmp_path / "audit/plain/0.h5"
    broken.parent.mkdir()
    broken.write_bytes(b"half")
    redraw(tmp_path, ROLES, title="A study")
    assert "<!-- big-seed0 -->" in (tmp_path / PAGE).read_text()
    assert "plain is left out" in caplog.text
    assert str(broken) in caplog.text


def test_it_is_drawn_until_the_run_ends(tmp_path):
    """The process ends by itself after its parent, with all that was there."""
    code = (
        "import os, subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'babelscope.report.progress', sys.argv[1], '--title', 't',"
        " '--parent', str(os.getpid()), '--run', 'big-seed0', 'main'])\n"
        "print(p.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    _until((tmp_path / PAGE).exists)
    audit(tmp_path, "big-seed0", 0)
    parent.stdin.close()
    parent.wait()
    _until(lambda: not _runs(pid))
    assert "<!-- big-seed0 -->" in (tmp_path / PAGE).read_text()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _until(reached) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)
