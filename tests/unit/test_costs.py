"""The cost of a study: every job counted once, more work costs more, and memory and disk as they are stored."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from babelscope.analysis.scores import SUBSETS, WORD_SUBSETS
from babelscope.models.dimensions import site_widths
from babelscope.ops.costs import MAX_THREADS, Cost, CostModel, Rates
from babelscope.ops.layout import benchmark_path
from babelscope.ops.measured import compare, comparison_text
from babelscope.ops.plan import _most_at_a_time, make_plan, plan_text
from babelscope.ops.ranges import StudyRanges
from babelscope.ops.stages import STAGES, JobCells, all_jobs, job_cells
from babelscope.ops.terminal import duration, size
from babelscope.study.config import Study
from babelscope.study.loading import load_study
from score_files import GivenScores, make_labels, make_units, rank, score

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


def _published(keep_checkpoints: bool = True, **models: dict) -> CostModel:
    """Costs of models of the hub, by their sizes."""
    entry = {"source": "hub", "repo": "org/name", "revision": "main", "steps": [1]}
    return CostModel(
        load_study(
            {
                "study": "x",
                "languages": ["en", "de"],
                "models": {name: {**entry, **model} for name, model in models.items()},
                "sentences": {"source": "grammar"},
                "concepts": {"source": "grammar"},
                "experts": {"k": 10},
                "keep_checkpoints": keep_checkpoints,
                "traces": {"enabled": keep_checkpoints},
            }
        )
    )


def test_checkpoints_that_go_take_the_room_of_those_that_a_job_reads_and_one_more_of_each_model():
    sizes = {"vocab_size": 100_000, "hidden_size": 512, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = {"architecture": "gpt_neox", "architecture_config": sizes, "steps": [1, [2, 3, 4], 5]}
    model["revision"] = "step{step}"
    kept, dropped = (
        make_plan(_published(keep, one=model, two=model), concurrent=1) for keep in (True, False)
    )
    (of_kept,), (of_dropped,) = (
        [row for row in plan.rows if row.stage == "fetch_checkpoint"] for plan in (kept, dropped)
    )
    assert of_kept.download == of_dropped.download == of_kept.kept == of_dropped.temporary
    assert of_kept.temporary == of_dropped.kept == 0
    each = of_kept.kept / of_kept.jobs
    assert dropped.peak_temporary - kept.peak_temporary == pytest.approx((3 + 2) * each)


def _audit_of(costs: CostModel, model: str) -> Cost:
    (job,) = [
        work for work in all_jobs(costs.study) if work.stage == "audit_checkpoint" and work.model == model
    ]
    return costs.cost(job)


def test_an_encoder_is_not_charged_for_a_loss():
    sizes = {"vocab_size": 50_000, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    costs = _published(
        encoder={"architecture": "bert", "architecture_config": sizes},
        decoder={"architecture": "gpt_neox", "architecture_config": {**sizes, "intermediate_size": 3072}},
    )
    encoder, decoder = (_audit_of(costs, name) for name in ("encoder", "decoder"))
    assert encoder.seconds < decoder.seconds / 2
    assert encoder.memory < decoder.memory


def test_a_large_tokenizer_takes_memory():
    """One of 250,000 pieces takes 0.6 GB while it is read."""

    def memory(n_pieces: int) -> float:
        sizes = {"vocab_size": n_pieces, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        costs = _published(m={"architecture": "gpt_neox", "architecture_config": sizes})
        job = next(work for work in all_jobs(costs.study) if work.stage == "extract_activations")
        return costs.cost(job).memory

    tables = 2 * 4 * 8 * 150_000
    assert 3e8 < memory(250_000) - memory(100_000) - tables < 5e8
    assert memory(100_000) - memory(50_000) <= tables


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
    # A job starts, and loads its checkpoints: eleven at most.
    assert 0 <= (other.total.cpu_hours - one.total.cpu_hours) * 3600 <= (6 + 11 * 0.25) * more + 1e-6


def test_bytes_are_those_of_the_stored_shapes():
    study = demo()
    n_units, n_concepts = study.n_units("bridged-seed0"), len(study.concept_ids)
    n_sentences = study.sentences.per_concept * n_concepts
    scores = 24 * n_units * n_concepts  # five average precisions and a median, in float32
    extract, score = (
        JobCells(stage, "bridged-seed0", (64,), ("en",)) for stage in ("extract_activations", "score_units")
    )

    def bytes_of(work, **changes):
        cost = CostModel(demo(**changes)).cost(work)
        return cost.kept, cost.temporary

    rows = study.extraction.tokens_per_language + study.extraction.mean_sentences
    tokens = rows * 5 * 64 * 2  # four blocks and what goes into them, in float16
    assert bytes_of(extract) == (tokens, scores)
    assert bytes_of(extract, keep_scores=True) == (tokens + scores, 0)
    units = n_sentences * n_units * 4
    assert bytes_of(extract, keep_activations=True) == (tokens + units, 0)
    assert bytes_of(score, keep_activations=True) == (0, scores)
    assert bytes_of(score, keep_activations=True, keep_scores=True) == (scores, 0)
    half = demo(keep_activations=True, extraction={**DEMO["extraction"], "dtype": "float16"})
    assert CostModel(half).cost(extract).kept == tokens + units / 2


def test_each_pooling_has_scores_units_and_choices_of_its_own():
    """The first pooling's best units, experts and probes take what they take alone."""
    extract, rank, compare, align = (
        JobCells(stage, "bridged-seed0", (64,), ("en",))
        for stage in ("extract_activations", "rank_units", "compare_choices", "align_experts")
    )

    def costs_of(*poolings, **changes):
        return CostModel(demo(extraction={**DEMO["extraction"], "poolings": list(poolings)}, **changes))

    one, two, three = costs_of("max"), costs_of("max", "mean"), costs_of("max", "mean", "ml-selfcond")
    assert two.cost(extract).temporary == 2 * one.cost(extract).temporary
    assert two.cost(extract).kept == one.cost(extract).kept
    stored = [model.cost(extract).kept for model in (costs_of("max", keep_activations=True),
                                                     costs_of("max", "mean", keep_activations=True))]  # fmt: skip
    units = 640 * 512 * 4
    assert stored[1] - stored[0] == units
    assert two.cost(compare).kept == 2 * one.cost(compare).kept
    assert 0 < two.cost(rank).kept - one.cost(rank).kept < 0.2 * one.cost(rank).kept
    assert two.cost(align).seconds == pytest.approx(one.cost(align).seconds, rel=0.01)
    # A forward pass more, over inputs of the greatest length.
    assert three.cost(extract).seconds - two.cost(extract).seconds > (
        two.cost(extract).seconds - one.cost(extract).seconds
    )


def test_the_best_units_take_what_the_plan_says(tmp_path):
    """Against a file of random scores, which pack worse than real ones."""
    study, rng = demo(), np.random.default_rng(0)
    model, sites = study.models["bridged-seed0"], list(study.extraction.sites)
    widths = {place: width for place, width in site_widths(model.config, sites).items()}
    shape = len(study.concept_ids), sum(widths.values())
    scores = {
        (64, lang): GivenScores(
            study.concept_ids, {s: rng.random(shape) for s in (*SUBSETS, *WORD_SUBSETS)}, widths, rng.random(shape),
            lang=lang, step=64,
        )
        for lang in study.languages
    }  # fmt: skip
    rank(tmp_path / "best.h5", scores, kept=study.experts.kept)
    planned = CostModel(study).cost(JobCells("rank_units", "bridged-seed0", (64,), tuple(study.languages)))
    assert planned.kept == pytest.approx((tmp_path / "best.h5").stat().st_size, rel=0.25)
    assert planned.temporary == 0


def test_scores_take_what_the_plan_says(tmp_path):
    ids = [f"{concept}-{i:04d}" for concept in ("dog", "sea") for i in range(10)]
    values = np.random.default_rng(0).normal(size=(20, 6000)).astype(np.float32)
    units = make_units(tmp_path / "u.h5", values, ids, {(1, "mlp_act"): 2000, (2, "mlp_act"): 4000})
    score(tmp_path / "s.h5", make_labels(ids, ("dog", "sea")), units)
    assert (tmp_path / "s.h5").stat().st_size == pytest.approx(16 * 6000 * 2, rel=0.1)


@pytest.mark.parametrize(
    ("change", "temporary", "more"),
    [
        ({"sentences": {"source": "grammar", "per_concept": 80}}, 1, True),
        ({"languages": ["en", "es"]}, 0.25, False),
    ],
)
def test_work_grows_with_the_study(change, temporary, more):
    if "languages" in change:
        change = {
            **change,
            "probes": {**DEMO["probes"], "anchor_min_languages": 2},
            "generation": {**DEMO["generation"], "languages": ["es"]},
            "experts": {**DEMO["experts"], "min_languages": 2},
        }
    before, after = (rows(study)["extract_activations"] for study in (demo(), demo(**change)))
    assert after.temporary == pytest.approx(temporary * before.temporary)
    assert (after.cpu_hours > before.cpu_hours) == more


def test_a_pretraining_job_costs_the_steps_that_it_trains():
    models = {"bridged": DEMO["models"]["bridged"] | {"steps": [[0, 64, 128], [1024], [1448, 2048]]}}
    costs = CostModel(demo(models=models, generation={"enabled": False}))
    first = costs.cost(JobCells("pretrain_step", "bridged-seed0", (0, 64, 128)))
    last = costs.cost(JobCells("pretrain_step", "bridged-seed0", (1448, 2048)))
    # 128 steps against 2048 - 1024.
    assert (last.seconds - 6) / (first.seconds - 6) == pytest.approx(1024 / 128, rel=0.4)


def test_only_rules_that_run_a_model_use_a_gpu():
    found = rows(demo(views={"ablation": True, "language_units": True, "patching": True}), gpu=True)
    assert {stage for stage, row in found.items() if row.gpu_hours} == {
        name for name, stage in STAGES.items() if stage.runs_a_model
    }
    assert not any(row.gpu_hours for row in rows(demo()).values())


@pytest.mark.parametrize(("share", "threads"), [(100, 1), (0.6, 2), (0.001, MAX_THREADS)])
def test_a_long_job_gets_more_cores(monkeypatch, share, threads):
    study = demo(keep_activations=True)
    work = JobCells("score_units", "bridged-seed0", study.models["bridged-seed0"].steps, study.languages)
    alone = CostModel(study).cost(work)
    monkeypatch.setattr("babelscope.ops.costs._LONG", share * alone.seconds)
    shared = CostModel(study, max_threads=MAX_THREADS).cost(work)
    assert (alone.threads, shared.threads) == (1, threads)
    assert shared.seconds == alone.seconds
    assert shared.wall == alone.seconds / threads


def test_beside_a_gpu_units_are_scored_by_as_many_cores_as_keep_up():
    work = JobCells("extract_activations", "bridged-seed0", (64,), ("en",))
    assert CostModel(demo(), max_threads=MAX_THREADS).cost(work).threads == 1
    slow, fast = (
        CostModel(demo(), gpu=True, max_threads=MAX_THREADS, rates=Rates(gpu_flops=flops)).cost(work)
        for flops in (1e10, 1e30)
    )
    assert slow.threads == 1 <= fast.threads <= MAX_THREADS
    assert fast.seconds < slow.seconds
    kept = CostModel(demo(keep_activations=True), gpu=True, max_threads=MAX_THREADS).cost(work)
    assert kept.threads == 1


def demo_one_language_a_job() -> CostModel:
    return CostModel(demo(granularity={"languages_per_job": 1}))


def test_peak_disk_is_that_of_the_steps_that_jobs_under_way_belong_to():
    """Of each step all languages wait until it is ranked."""
    costs, steps = demo_one_language_a_job(), {}
    for work in all_jobs(costs.study):
        if work.stage == "extract_activations":
            steps.setdefault((work.model, work.steps), []).append(costs.cost(work).temporary)
    sizes = [sum(each) for each in steps.values()]
    neighbours = [a + b for a, b in itertools.pairwise(sizes)]
    assert {len(each) for each in steps.values()} == {8}
    assert make_plan(costs, concurrent=1).peak_temporary == pytest.approx(max(sizes))
    for concurrent in (2, 9):
        assert make_plan(costs, concurrent=concurrent).peak_temporary == pytest.approx(max(neighbours))
    assert make_plan(costs, concurrent=1000).peak_temporary == pytest.approx(sum(sizes))
    # A limit lets one job through at least, and so the scores of its step.
    assert make_plan(costs, concurrent=1000, limit=1).peak_temporary == pytest.approx(max(sizes))
    plan = make_plan(costs, concurrent=3)
    assert plan.peak_disk == plan.total.kept + plan.peak_temporary
    assert make_plan(CostModel(demo(keep_scores=True)), concurrent=3).peak_temporary == 0


@pytest.mark.parametrize("size", range(1, 10))
def test_ranking_needs_no_more_room_than_the_job_that_ends_last_makes(size):
    costs = CostModel(demo(granularity={"languages_per_job": size}))
    jobs = [work for work in all_jobs(costs.study) if work.steps[:1] == (0,) and "bridged" in work.model]
    scored = [costs.score_bytes(work) for work in jobs if work.stage == "extract_activations"]
    (ranked,) = (costs.score_bytes(work) for work in jobs if work.stage == "rank_units")
    assert 0 < ranked == min(scored)
    assert sum(scored) == len(jobs[0].steps) * 8 * 24 * costs.study.n_units("bridged-seed0") * len(
        costs.study.concept_ids
    )


@pytest.mark.parametrize(
    ("concurrent", "limit", "peak"),
    [(1, None, 4), (2, None, 7), (3, None, 8), (9, None, 8), (2, 4, 4), (2, 5, 7), (3, 5, 7), (9, 1, 4)],
)
def test_peak_of_jobs_that_are_counted_by_hand(concurrent, limit, peak):
    """Steps a, b and c of two, one and one languages; jobs go in this order."""
    written = [("a", 2.0), ("a", 2.0), ("b", 3.0), ("c", 1.0)]
    assert _most_at_a_time(written, concurrent, limit) == peak


@given(limits=st.lists(st.floats(1, 1e9), min_size=2, max_size=2), jobs=st.integers(1, 40))
@settings(max_examples=15)
def test_a_looser_limit_never_lowers_the_peak(limits, jobs):
    costs = demo_one_language_a_job()
    low, high = (make_plan(costs, concurrent=jobs, limit=limit).peak_temporary for limit in sorted(limits))
    assert low <= high <= make_plan(costs, concurrent=jobs).peak_temporary


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
    work = JobCells("extract_activations", "bridged-seed0", (64,), ("en",))
    keeping = load_study({**study.config, "keep_activations": True})
    units = CostModel(keeping).cost(work).kept - CostModel(study).cost(work).kept
    assert units == 18 * study.n_units("bridged-seed0") * 4


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
    kept = plan_text(make_plan(CostModel(demo(keep_scores=True)), concurrent=1), gpu=False)
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
    study = demo(keep_activations=True)
    costs = CostModel(study)
    names = {"model": "bridged-seed0", "steps": "0..2048", "langs": "en..hi"}
    work = job_cells("score_units", names, study, StudyRanges.of(study))
    assert (work.steps, work.parts) == (study.models["bridged-seed0"].steps, tuple(study.languages))
    assert benchmark_path(work) == "score_units/bridged-seed0/0..2048/en..hi.tsv"
    file = tmp_path / benchmark_path(work)
    file.parent.mkdir(parents=True)
    file.write_text("s\tmax_rss\n10.0\t300.0\n")
    found = compare(costs, tmp_path)
    expected = [1, costs.cost(work).seconds, 10.0, costs.cost(work).memory, 300 * 2**20 + 250_000_000]
    assert found.loc["score_units"].tolist() == expected
    row, total = comparison_text(found).splitlines()[2:]
    assert row.split("|")[1:3] == [f" {'score_units':<11} ", "      1 "]
    assert total.split("|")[1].strip() == "total"


def test_ablation_costs_what_its_settings_ask_for():
    def jobs(**views):
        costs = CostModel(demo(views={"ablation": True, "steps": 2, **views}))
        return [costs.cost(work) for work in all_jobs(costs.study) if work.stage == "ablate_experts"]

    few = jobs()
    assert len(few) == 2  # a model each: its steps are one range
    assert not [work for work in all_jobs(demo()) if work.stage == "ablate_experts"]
    twice = jobs(ablated_concepts=16)
    assert few[0].seconds < twice[0].seconds < 2 * few[0].seconds
    assert jobs(ablated_sentences=64)[0].seconds > few[0].seconds
    assert 1.9 < (jobs(steps=4)[0].seconds - 6) / (few[0].seconds - 6) < 2.1  # starting aside


def test_patching_costs_what_its_settings_ask_for():
    def jobs(**views):
        costs = CostModel(demo(views={"patching": True, "steps": 2, **views}))
        return [costs.cost(work) for work in all_jobs(costs.study) if work.stage == "patch_experts"]

    few = jobs()
    assert len(few) == 2  # a model each: its steps are one range
    assert not [work for work in all_jobs(demo()) if work.stage == "patch_experts"]
    twice = jobs(patched_concepts=16)
    assert few[0].seconds < twice[0].seconds < 2 * few[0].seconds
    assert twice[0].memory > few[0].memory
    assert jobs(patched_sentences=64)[0].seconds > few[0].seconds


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
