"""The cost of a study: every job counted once, more work costs more, and memory and disk as they are stored."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from babelscope.ops.costs import MAX_THREADS, STAGES, Cost, CostModel
from babelscope.ops.jobs import Work, all_jobs
from babelscope.ops.measured import benchmark_path, compare, comparison_text
from babelscope.ops.plan import RUN_A_MODEL, duration, hours, make_plan, plan_text, size
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
        CostModel(demo()).cost(Work("no_such_rule"))


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
    cost = CostModel(study).cost(Work("extract_activations", "bridged-seed0", (64,), ("en",)))
    assert cost.temporary == n_sentences * n_units * 4
    kept = CostModel(demo(keep_activations=True)).cost(
        Work("extract_activations", "bridged-seed0", (64,), ("en",))
    )
    assert kept.temporary == 0
    assert kept.kept == cost.kept + cost.temporary
    scores = CostModel(study).cost(Work("score_units", "bridged-seed0", (64,), ("en",)))
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
    first = costs.cost(Work("pretrain_step", "bridged-seed0", (0, 64, 128)))
    last = costs.cost(Work("pretrain_step", "bridged-seed0", (1448, 2048)))
    # 128 steps against 2048 - 1024.
    assert (last.seconds - 6) / (first.seconds - 6) == pytest.approx(1024 / 128, rel=0.4)


def test_only_rules_that_run_a_model_use_a_gpu():
    found = rows(demo(), gpu=True)
    assert {stage for stage, row in found.items() if row.gpu_hours} == RUN_A_MODEL
    assert not any(row.gpu_hours for row in rows(demo()).values())


@pytest.mark.parametrize(("long", "threads"), [(1e9, 1), (8.0, 2), (0.1, MAX_THREADS)])
def test_a_long_job_gets_more_cores(monkeypatch, long, threads):
    monkeypatch.setattr("babelscope.ops.costs._LONG", long)
    study = demo()
    work = Work("score_units", "bridged-seed0", study.models["bridged-seed0"].steps, study.languages)
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
    cost = CostModel(study).cost(Work("extract_activations", "bridged-seed0", (64,), ("en",)))
    assert cost.temporary == 18 * study.n_units("bridged-seed0") * 4


def test_the_plan_as_text():
    plan = make_plan(CostModel(demo(), gpu=True), concurrent=4)
    text = plan_text(plan, gpu=True)
    assert "extract_activations" in text
    assert "with 4 jobs at a time" in text
    assert f"{plan.total.jobs}" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "-"), (999, "1 kB"), (2.5e6, "2.5 MB"), (1.5e9, "1.5 GB"), (39e12, "39 TB")],
)
def test_sizes(value, text):
    assert size(value) == text


def test_times():
    assert [duration(5), duration(600), duration(7200)] == ["5 s", "10 min", "2.0 h"]
    assert [hours(0), hours(0.25), hours(2.34), hours(1234)] == ["-", "0.25", "2.3", "1,234"]


def test_benchmarks_are_found_where_the_rules_write_them(tmp_path):
    study = demo()
    costs = CostModel(study)
    work = Work("score_units", "bridged-seed0", (0, 64, 128), study.languages)
    assert benchmark_path(work) == Path("score_units/bridged-seed0/0-128/en-hi.tsv")
    trace = Work("trace_units", "bridged-seed0", study.models["bridged-seed0"].steps)
    assert benchmark_path(trace) == Path("trace_units/bridged-seed0.tsv")
    assert benchmark_path(Work("generate_text", "bridged-seed0", (256,))) == Path(
        "generate_text/bridged-seed0/256.tsv"
    )
    file = tmp_path / benchmark_path(work)
    file.parent.mkdir(parents=True)
    file.write_text("s\tmax_rss\n10.0\t300.0\n")
    (found,) = compare(costs, tmp_path)
    assert (found.stage, found.jobs, found.measured) == ("score_units", 1, 10.0)
    assert found.planned == costs.cost(work).seconds
    assert found.memory_measured == 300 * 2**20 + 250_000_000
    assert "| score_units | 1 |" in comparison_text([found])


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
