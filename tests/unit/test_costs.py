"""The cost of a study: every job counted once, more work costs more, and memory and disk as they are stored."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from babelscope.ops.costs import MAX_THREADS, Cost, CostModel
from babelscope.ops.layout import benchmark_path
from babelscope.ops.measured import compare, comparison_text
from babelscope.ops.plan import make_plan, plan_text
from babelscope.ops.ranges import StudyRanges
from babelscope.ops.stages import STAGES, JobCells, all_jobs, job_cells
from babelscope.ops.terminal import duration, size
from babelscope.study.config import Study
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[2]
DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def demo(**changes: object) -> Study:
    return load_study({**copy.deepcopy(DEMO), **changes})


def rows(study: Study, **options: object) -> dict:
    return {row.stage: row for row in make_plan(CostModel(study, **options), concurrent=2).rows}


def test_every_script_has_a_cost():
    scripts = {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    assert scripts == set(STAGES)


def test_every_job_of_the_demo_has_a_cost():
    costs = CostModel(demo())
    for work in all_jobs(costs.study):
        cost = costs.cost(work)
        assert cost.seconds > 0, work
        assert cost.memory > 2e8, work
        assert min(cost.kept, cost.temporary, cost.download) >= 0, work


def test_an_unknown_stage_is_an_error():
    with pytest.raises(KeyError):
        CostModel(demo()).cost(JobCells("no_such_rule"))


@given(languages=st.integers(1, 8), layers=st.integers(1, 5))
def test_granularity_moves_work_between_jobs_and_changes_no_bytes(languages, layers):
    """Kept and temporary bytes are those of the cells; hours change by what starting costs."""
    cut = demo(granularity={"languages_per_job": languages, "layers_per_job": layers})
    one = make_plan(CostModel(demo()), concurrent=1)
    other = make_plan(CostModel(cut), concurrent=1)
    assert other.total.kept == pytest.approx(one.total.kept)
    assert other.total.temporary == pytest.approx(one.total.temporary)
    more = other.total.jobs - one.total.jobs
    assert more >= 0
    assert 0 <= (other.total.cpu_hours - one.total.cpu_hours) * 3600 <= 6 * more + 1e-6


def test_bytes_are_those_of_the_stored_shapes():
    study = demo()
    n_units, n_concepts = study.n_units("bridged-seed0"), len(study.concept_ids)
    n_sentences = study.sentences.per_concept * n_concepts
    cost = CostModel(study).cost(JobCells("extract_activations", "bridged-seed0", (64,), ("en",)))
    assert cost.temporary == n_sentences * n_units * 4
    kept = CostModel(demo(keep_activations=True)).cost(
        JobCells("extract_activations", "bridged-seed0", (64,), ("en",))
    )
    assert kept.temporary == 0
    assert kept.kept == cost.kept + cost.temporary
    scores = CostModel(study).cost(JobCells("score_units", "bridged-seed0", (64,), ("en",)))
    assert scores.kept == 28 * n_units * n_concepts


@pytest.mark.parametrize(
    ("change", "stage", "factor"),
    [
        ({"sentences": {"source": "grammar", "per_concept": 80}}, "extract_activations", 2),
        ({"languages": ["en", "es"]}, "extract_activations", 0.25),
    ],
)
def test_work_grows_with_the_study(change, stage, factor):
    if "languages" in change:
        change = {
            **change,
            "probes": {**DEMO["probes"], "anchor_min_languages": 2},
            "generation": {**DEMO["generation"], "languages": ["es"]},
            "experts": {**DEMO["experts"], "min_languages": 2},
        }
    before, after = rows(demo())[stage], rows(demo(**change))[stage]
    assert after.temporary == pytest.approx(factor * before.temporary)
    assert (after.cpu_hours > before.cpu_hours) == (factor > 1)


def test_a_pretraining_job_costs_the_steps_that_it_trains():
    costs = CostModel(demo())
    first = costs.cost(JobCells("pretrain_step", "bridged-seed0", (0, 64, 128)))
    last = costs.cost(JobCells("pretrain_step", "bridged-seed0", (1448, 2048)))
    # 128 steps against 2048 - 1024.
    assert (last.seconds - 6) / (first.seconds - 6) == pytest.approx(1024 / 128, rel=0.4)


def test_only_rules_that_run_a_model_use_a_gpu():
    found = rows(demo(), gpu=True)
    assert {stage for stage, row in found.items() if row.gpu_hours} == {
        name for name, stage in STAGES.items() if stage.runs_a_model
    }
    assert not any(row.gpu_hours for row in rows(demo()).values())


@pytest.mark.parametrize(("long", "threads"), [(1e9, 1), (8.0, 2), (0.1, MAX_THREADS)])
def test_a_long_job_gets_more_cores(monkeypatch, long, threads):
    monkeypatch.setattr("babelscope.ops.costs._LONG", long)
    study = demo()
    work = JobCells("score_units", "bridged-seed0", study.models["bridged-seed0"].steps, study.languages)
    alone, shared = CostModel(study).cost(work), CostModel(study, max_threads=MAX_THREADS).cost(work)
    assert 8 < alone.seconds < 16
    assert (alone.threads, shared.threads) == (1, threads)
    assert shared.seconds == alone.seconds
    assert shared.wall == alone.seconds / threads


def test_peak_disk_is_bounded_by_jobs_and_by_the_limit():
    costs = CostModel(demo())
    sizes = [
        costs.cost(work).temporary for work in all_jobs(costs.study) if work.stage == "extract_activations"
    ]
    assert make_plan(costs, concurrent=1).peak_temporary == max(sizes)
    assert make_plan(costs, concurrent=1000).peak_temporary == pytest.approx(sum(sizes))
    assert make_plan(costs, concurrent=1000, limit=1).peak_temporary == 2 * max(sizes)
    plan = make_plan(costs, concurrent=3)
    assert plan.peak_disk == plan.total.kept + plan.peak_temporary


def test_sentences_of_json_files_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for lang in ("en", "de"):
        for concept in ("dog", "house"):
            file = tmp_path / f"concepts/{lang}/{concept}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            lists = {"positive": ["a dog barks"] * 5, "negative": ["a tree"] * 4}
            file.write_text(json.dumps({"sentences": lists}))
    study = demo(
        languages=["en", "de"],
        data=str(tmp_path),
        sentences={"source": "concepts"},
        concepts={"source": "files", "path": "{data}/concepts/{lang}/{concept}.json", "min_positive": 4},
        probes={**DEMO["probes"], "anchor_min_languages": 2},
        experts={**DEMO["experts"], "min_languages": 2},
        generation={"enabled": False},
    )
    cost = CostModel(study).cost(JobCells("extract_activations", "bridged-seed0", (64,), ("en",)))
    assert cost.temporary == 18 * study.n_units("bridged-seed0") * 4


def test_the_plan_as_text():
    plan = make_plan(CostModel(demo(), gpu=True), concurrent=4)
    text = plan_text(plan, gpu=True)
    assert "extract_activations" in text
    assert "with 4 jobs at a time" in text
    assert f"{plan.total.jobs}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_what_is_none_is_a_dash():
    head, _, first, *_ = plan_text(make_plan(CostModel(demo()), concurrent=1), gpu=False).splitlines()
    assert head.split()[-1] == "download"
    assert first.split()[0] == "make_demo_corpus"
    assert first.split()[-2:] == ["-", "-"]
    kept = plan_text(make_plan(CostModel(demo(keep_activations=True)), concurrent=1), gpu=False)
    assert "of it nothing temporary" in kept


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, None), (999, "999 bytes"), (2.5e6, "2.5 MB"), (1.5e9, "1.5 GB"), (39e12, "39 TB")],
)
def test_sizes(value, text):
    assert size(value) == text


def test_times():
    times = [duration(5.4), duration(89), duration(91), duration(7200), duration(3600 * 26)]
    assert times == ["5 seconds", "1 minute and 29 seconds", "2 minutes", "2 hours", "1 day and 2 hours"]


def test_benchmarks_are_found_where_the_rules_write_them(tmp_path):
    study = demo()
    costs = CostModel(study)
    names = {"model": "bridged-seed0", "steps": "0..128", "langs": "en..hi"}
    work = job_cells("score_units", names, study, StudyRanges.of(study))
    assert (work.steps, work.parts) == ((0, 64, 128), tuple(study.languages))
    assert benchmark_path(work) == "score_units/bridged-seed0/0..128/en..hi.tsv"
    file = tmp_path / benchmark_path(work)
    file.parent.mkdir(parents=True)
    file.write_text("s\tmax_rss\n10.0\t300.0\n")
    found = compare(costs, tmp_path)
    expected = [1, costs.cost(work).seconds, 10.0, costs.cost(work).memory, 300 * 2**20 + 250_000_000]
    assert found.loc["score_units"].tolist() == expected
    row, total = comparison_text(found).splitlines()[2:]
    assert row.split("|")[1:3] == [f" {'score_units':<11} ", "      1 "]
    assert total.split("|")[1].strip() == "total"


def test_wall_time_is_shared_by_threads():
    assert Cost(100, threads=4).wall == 25


@given(steps=st.integers(1, 30))
def test_steps_per_job_cover_every_step_once(steps):
    models = copy.deepcopy(DEMO["models"])
    for name in ("bridged", "isolated"):
        models[name]["steps"] = {"every": 100, "until": 2000, "also": [0]}
    study = demo(models=models, granularity={"steps_per_job": steps}, generation={"enabled": False})
    jobs = [
        work for work in all_jobs(study) if work.stage == "audit_checkpoint" and work.model == "bridged-seed0"
    ]
    assert len(jobs) == -(-21 // steps)
    assert sorted(step for work in jobs for step in work.steps) == list(study.models["bridged-seed0"].steps)
    assert (
        sum(work.stage == "pretrain_step" for work in all_jobs(study)) == 42
    )  # a chain is cut by inner lists only
