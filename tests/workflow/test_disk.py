"""Pooled activations go as soon as they are scored, so that a study never takes more disk than planned."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from babelscope.ops.costs import CostModel
from babelscope.ops.plan import make_plan
from babelscope.study.loading import load_study

pytestmark = pytest.mark.workflow


class Watched:
    """The most bytes of pooled activations that lay under a folder while the body ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self._over = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.is_set():
            total = 0
            for file in self.folder.rglob("*.units.h5*"):
                with contextlib.suppress(FileNotFoundError):
                    total += file.stat().st_size
            self.most = max(self.most, total)
            time.sleep(0.05)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


def test_peak_disk_stays_within_the_plan(finished, tmp_path, monkeypatch):
    study = finished.copy(tmp_path)
    study.config["keep_activations"] = False
    for old in ("activations", "scores"):
        for file in (study.results / old).rglob("*.h5"):
            file.unlink()
    targets = [
        f"results/mini/scores/tiny-seed0/{step}/{lang}.h5" for step in (0, 4) for lang in ("en", "de", "ru")
    ]
    with Watched(study.results / "activations") as watched:
        study.snakemake(*targets, "--resources", "scores_gb=1")
    assert not list(study.results.rglob("*.units.h5"))
    monkeypatch.chdir(study.folder)
    costs = CostModel(load_study(study.config))
    every = make_plan(costs, concurrent=100).peak_temporary
    planned = make_plan(costs, concurrent=2, limit=1).peak_temporary
    assert every == pytest.approx(3 * planned, rel=0.01)
    # HDF5 adds to what is stored, which shows in a study as small as this one.
    assert 0 < watched.most < 1.5 * planned
