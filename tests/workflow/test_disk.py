"""Scores of all units go as soon as they are ranked, so that a study never takes more disk than planned.

Without ``keep_activations`` nothing pooled is written: units are scored as the model runs, with the same bytes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from babelscope.ops.costs import CostModel
from babelscope.ops.plan import make_plan
from babelscope.study.loading import load_study
from mini_study import MiniStudy

pytestmark = pytest.mark.workflow


class Watched:
    """The most bytes of scores that lay under a folder while the body ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self._over = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.is_set():
            total = 0
            for file in self.folder.rglob("*.h5*"):
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


def remove(study: MiniStudy, *areas: str) -> None:
    """What the model computes on sentences, and what is made of it at once."""
    for area in areas:
        for file in (study.results / area).rglob("*"):
            if file.suffix in (".h5", ".parquet"):
                file.unlink()


@pytest.fixture(scope="module")
def streamed(finished: MiniStudy, tmp_path_factory: pytest.TempPathFactory) -> tuple[MiniStudy, int]:
    """The study as usual, scored in the stream, its scores removed; and the most bytes of scores there were."""
    study = finished.copy(tmp_path_factory.mktemp("streamed"))
    study.config |= {"keep_activations": False, "keep_scores": False}
    remove(study, "activations", "scores", "best", "experts", "alignment")
    with Watched(study.results / "scores") as watched:
        study.snakemake("alignment", "--resources", "scores_gb=1")
    return study, watched.most


def test_peak_disk_stays_within_the_plan(streamed, finished, monkeypatch):
    study, most = streamed
    monkeypatch.chdir(study.folder)
    costs = CostModel(load_study(study.config))
    every = make_plan(costs, concurrent=100).peak_temporary
    planned = make_plan(costs, concurrent=2, limit=1).peak_temporary
    assert every == pytest.approx(2 * planned, rel=0.01)  # a step at a time, of two
    # HDF5 adds to what is stored, which shows in a study as small as this one: so in cells, of which there are six.
    sizes = [file.stat().st_size for file in (finished.results / "scores").rglob("*.h5")]
    assert len(sizes) == 6
    assert 0 < most / max(sizes) <= planned / (every / 6) == 3


def test_scores_are_gone_and_what_lasts_is_the_same(streamed, finished):
    study, _ = streamed
    assert not list(study.results.rglob("*.units.h5"))
    assert not list((study.results / "scores").rglob("*.h5"))
    for area in ("best", "experts", "alignment", "activations"):
        ours = [file for file in (finished.results / area).rglob("*") if file.is_file()]
        lasting = [file for file in ours if not file.name.endswith(".units.h5")]
        assert lasting
        for file in lasting:
            other = study.results / file.relative_to(finished.results)
            assert other.read_bytes() == file.read_bytes(), file.name
    assert study.planned("alignment") == {}


def test_in_the_stream_and_from_the_store_scores_have_the_same_bytes(finished, tmp_path):
    study = finished.copy(tmp_path)
    study.config["keep_activations"] = False
    remove(study, "activations", "scores")
    targets = [f"scores/tiny-seed0/{step}/{lang}.h5" for step, lang in ((0, "de"), (4, "en"), (4, "ru"))]
    study.snakemake(*(f"results/mini/{target}" for target in targets))
    assert not list(study.results.rglob("*.units.h5"))
    for target in targets:
        assert (study.results / target).read_bytes() == (finished.results / target).read_bytes(), target


def test_another_k_needs_no_model_and_no_scores(streamed, tmp_path):
    study = streamed[0].copy(tmp_path)
    study.config["experts"]["k"] = 5
    expected = {"align_experts": 2, "trace_units": 1, "collect_alignment": 1, "alignment": 1}
    assert study.planned("alignment") == expected
    planned = study.planned("tables")
    assert planned["compare_choices"] == 2
    assert not {"extract_activations", "rank_units"} & set(planned)


@pytest.mark.parametrize("change", ["language", "kept"])
def test_what_needs_scores_of_all_units_has_them_computed_anew(streamed, tmp_path, change):
    """Scores are gone, so a language more or more units to keep run the model on every cell."""
    study = streamed[0].copy(tmp_path)
    if change == "language":
        study.config["languages"].append("tr")
    else:
        study.config["experts"]["kept"] = 50
    planned = study.planned("alignment")
    cells = 8 if change == "language" else 6
    assert (planned["extract_activations"], planned["rank_units"], planned["align_experts"]) == (cells, 2, 2)
    assert "score_units" not in planned


def test_what_lasts_is_regrouped_without_the_scores_and_without_a_model(streamed, tmp_path):
    study = streamed[0].copy(tmp_path)
    study.config["granularity"] = {"steps_per_job": 2, "languages_per_job": 2}
    assert study.planned("alignment")["extract_activations"] == 2
    done = study.babelscope("recut")
    assert done.returncode == 0, done.stderr
    assert study.planned("alignment") == {"collect_alignment": 1, "alignment": 1}
