"""The benchmarks run, in sizes of a second, and each stops where its peer's numbers are others than ours.

How fast anything is, is not asserted here: `make bench` measures it.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    """Imports a module of benchmarks/, whose modules import each other by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def check(rows) -> None:
    for row in rows:
        assert row.stage
        assert row.against
        assert row.measured
        assert (row.ok is None) == (row.bound == "-")
        assert np.isfinite(row.reached)


@pytest.mark.parametrize(
    ("name", "n_rows"),
    [("bench_expertise", 6), ("bench_store", 2), ("bench_overlap", 1), ("bench_generation", 1)],
)
def test_a_benchmark_of_one_stage_runs(bench, name, n_rows):
    rows = bench(name).measure(small=True)
    assert len(rows) == n_rows
    check(rows)


def test_the_explorer_is_measured_with_and_without_a_browser(bench, monkeypatch):
    module = bench("bench_explorer")
    monkeypatch.setattr(module, "timed", lambda explorer, repeats: None)
    rows = list(module.measure(small=True))
    assert [row.bound for row in rows] == ["at most 7 MB"]
    check(rows)
    monkeypatch.setattr(
        module, "timed", lambda explorer, repeats: ([0.2, 3.0, 0.3], {"a": [0.01], "b": [0.06]})
    )
    rows = list(module.measure(small=True))
    assert [row.ok for row in rows] == [True, True, False]
    check(rows)


def test_extraction_is_measured_alone_and_with_both_kinds_of_concepts(bench):
    rows = bench("bench_extraction").measure(small=True)
    assert [row.bound for row in rows] == ["at most 1.10", "at most 1.5", "at most 1.5"]
    check(rows)


def test_the_ancestors_way_is_measured_with_both_kinds_of_concepts(bench):
    rows = bench("bench_ancestors").measure(small=True)
    assert len(rows) == 2
    check(rows)


def test_wrong_scores_stop_the_benchmark(bench, monkeypatch):
    module = bench("bench_expertise")
    right = module.score_values

    def wrong(*args, **given):
        found = right(*args, **given)
        found.ap_SCU[1] += 1e-9
        return found

    monkeypatch.setattr(module, "score_values", wrong)
    with pytest.raises(SystemExit, match="differ from scikit-learn"):
        module.measure(small=True)


def test_another_overlap_stops_the_benchmark(bench, monkeypatch):
    module = bench("bench_overlap")
    right = module.overlap_tables

    def wrong(*args):
        found = right(*args)
        return found._replace(table=found.table.assign(null=0.5))

    monkeypatch.setattr(module, "overlap_tables", wrong)
    with pytest.raises(SystemExit, match="differs from that of sets and loops"):
        module.measure(small=True)


def test_the_exponent_of_a_known_curve_is_found(bench):
    fit = bench("bench_growth").fit
    sizes = np.array([10.0, 20, 40, 80, 160])
    for constant, exponent in ((0.0, 1.0), (3.0, 1.0), (0.5, 2.0), (0.0, 1.1)):
        found = fit(sizes, constant + 0.02 * sizes**exponent)
        assert found.exponent == pytest.approx(exponent, abs=0.02)
        assert found.constant == pytest.approx(constant, abs=0.05)


def test_growth_is_drawn(bench, tmp_path):
    (row,) = bench("bench_growth").measure(small=True, figure=tmp_path / "growth.svg")
    assert "| scoring | units | 64, 128, 256 |" in row.section
    assert (tmp_path / "growth.svg").read_text().count("<!-- exponent fitted -->") == 3
    check([row])


def test_processor_time_counts_children_that_run_and_those_that_ended(bench):
    clocked = bench("rows").clocked
    work = "import time\nstart = time.process_time()\nwhile time.process_time() < start + 0.3: pass\n"

    def ended() -> None:
        import subprocess

        subprocess.run([sys.executable, "-c", work], check=True)

    assert clocked(ended).cpu > 0.29
    assert clocked(lambda: time.sleep(0.05)).cpu < 0.1


def test_a_run_is_watched(bench, tmp_path):
    module = bench("bench_demo")
    page = tmp_path / "progress.html"
    first, later = (f"{module._NOT_YET * n}" for n in (2, 1))
    work = (
        "import pathlib, subprocess, sys, time\n"
        "page = pathlib.Path('progress.html')\n"
        f"page.write_text({first!r})\n"
        "hold = \"held = bytearray(b'x') * 60_000_000; import time; time.sleep(1.5)\"\n"
        "job = subprocess.Popen([sys.executable, '-c', hold])\n"
        "time.sleep(0.5)\n"
        f"page.write_text({later!r})\n"
        "sys.exit(job.wait())\n"
    )
    command = [sys.executable, "-c", work]
    took, watched = module.run_watched(command, tmp_path, lambda: module.has_losses(page), pause=0.1)
    assert watched.job > 60e6
    assert watched.tree > 60e6
    assert watched.engine < 60e6
    assert 0.5 <= watched.found < took.wall
    with pytest.raises(SystemExit, match="failed:\nno such study"):
        module.run_watched(
            [sys.executable, "-c", "raise SystemExit('no such study')"], tmp_path, lambda: False
        )


def test_the_page_of_a_running_study_says_what_is_not_there(bench, tmp_path):
    from babelscope.report.progress import redraw

    module = bench("bench_demo")
    assert not module.has_losses(tmp_path / "progress.html")
    redraw(tmp_path, {"run": "main"}, title="a study")
    assert (tmp_path / "progress.html").read_text().count(module._NOT_YET) == module._PANELS
    assert not module.has_losses(tmp_path / "progress.html")


def test_the_table_keeps_what_is_not_renewed(bench, tmp_path, monkeypatch):
    run, rows = bench("run"), bench("rows")
    found = {"store": 1.2, "overlap": 120.0}

    def run_part(name, *, small=False):
        if name not in found:
            return None
        row = rows.Row(
            f"stage {name}", "a peer", f"{found[name]} times", found[name], "at most 2", found[name] <= 2
        )
        return run.Part("2026-01-01", "2 cores", 0.0, (row,))

    monkeypatch.setattr(run, "run_part", run_part)
    record, page = tmp_path / "benchmarks.json", tmp_path / "benchmarks.md"
    missing = run.update(["store", "overlap", "probes"], record, page, keep_others=False)
    assert missing == ["probes"]
    text = page.read_text()
    assert "| stage store | a peer | 1.2 times | at most 2 | yes | 2026-01-01 |" in text
    assert "| stage overlap | a peer | 120.0 times | at most 2 | **no** | 2026-01-01 |" in text
    assert "| language probes | - | not measured here |" in text

    found["store"] = 1.1
    assert run.update(["store"], record, page, keep_others=True) == []
    assert "| 1.1 times |" in page.read_text()
    assert "| 120.0 times |" in page.read_text()
    assert list(json.loads(record.read_text())) == ["store", "overlap"]

    del found["store"]  # fails: what was known of it goes too
    assert run.update(["store"], record, page, keep_others=True) == ["store"]
    assert "stage store" not in page.read_text()


@pytest.mark.parametrize("sizes", [{"steps": 4, "models": 1, "languages": 2}, {"steps": 16, "models": 2}])
def test_the_studies_that_are_planned_are_valid(bench, tmp_path, sizes):
    from babelscope.io.yaml import read_mapping
    from babelscope.study.loading import load_study

    bench("bench_growth").planning(tmp_path, **sizes)
    (config,) = tmp_path.glob("*.yaml")
    study = load_study(read_mapping(config))
    assert len(study.models) == sizes["models"]
    assert len(study.languages) == sizes.get("languages", 8)
