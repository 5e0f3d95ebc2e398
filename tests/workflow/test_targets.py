"""Rules have one name in every study, so targets, ``--until`` and overrides can name them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
import yaml

from mini_study import ROOT

pytestmark = pytest.mark.workflow

TRAINED = {"prepare_corpus": 3, "train_tokenizer": 1, "tokenize_corpus": 1, "pretrain_step": 2}
EXTRACTED = {**TRAINED, "prepare_sentences": 3, "extract_activations": 6}
SCORED = {**EXTRACTED, "prepare_concepts": 3, "score_units": 6, "rank_units": 2}
ALIGNED = {
    **SCORED, "collect_concepts": 1, "align_experts": 2, "trace_units": 1, "collect_alignment": 1,
}  # fmt: skip
TRACED = {
    **{stage: n for stage, n in ALIGNED.items() if stage != "collect_alignment"},
    "audit_checkpoint": 2, "choose_sentences": 1, "trace_sentences": 2, "collect_traces": 1,
}  # fmt: skip
PROBED = {**EXTRACTED, "fit_language_probe": 6, "collect_probes": 1}
#: Only one step writes. All languages of it are ranked together, and experts chosen in all.
WRITTEN = {
    **TRAINED, "prepare_sentences": 3, "extract_activations": 3, "prepare_concepts": 3, "score_units": 3,
    "rank_units": 1, "collect_concepts": 1, "align_experts": 1, "write_concept_words": 1, "generate_text": 1,
    "identify_language": 1, "collect_generation": 1,
}  # fmt: skip
COLLECTED = {
    **WRITTEN, **ALIGNED, **TRACED, **PROBED, "collect_audit": 1, "collect_models": 1,
    "collect_extraction": 1, "compare_choices": 2, "collect_choices": 1, "measure_onset": 1,
    "measure_left_out": 1, "compare_states": 1,
}  # fmt: skip
TARGETS = {
    "models": TRAINED,
    "activations": EXTRACTED,
    "scores": SCORED,
    "probes": PROBED,
    "alignment": ALIGNED,
    "traces": TRACED,
    "generation": WRITTEN,
    "tables": COLLECTED,
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_plans_what_it_says_and_nothing_else(mini, target):
    assert mini.planned(target) == {**TARGETS[target], target: 1}


def test_figures_and_report_plan_all_tables(mini):
    figures = mini.planned("figures")
    assert figures.pop("plot_figures") == 1
    assert "render_report" not in figures
    assert mini.planned("report") == {**COLLECTED, "plot_figures": 1, "render_report": 1, "report": 1}
    assert set(figures) <= {*COLLECTED, "figures"}


def test_until_stops_after_a_stage(mini):
    expected = {rule: n for rule, n in SCORED.items() if rule != "rank_units"}
    assert mini.planned("--until", "score_units") == expected


def demo(*args: str) -> Counter[str]:
    """Jobs per rule of the demo."""
    command = [
        sys.executable, "-m", "snakemake", "--configfile", "config/config.yaml", "--config", "study=planned-demo", "--dry-run",
        "--cores", "2", "--quiet", "host", "reason", "rules", "--workflow-profile", "none", "--nolock", *args,
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return Counter({rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", said, re.M) if rule != "total"})


def test_the_demo_is_extracted_under_the_name_that_the_docs_give():
    planned = demo("--until", "extract_activations")
    assert planned["extract_activations"] == 2  # two models, all steps and languages in one job
    assert "score_units" not in planned


def test_other_steps_of_one_model_rename_no_rule(mini):
    before = mini.planned()
    mini.config["models"]["other"] = mini.config["models"]["tiny"] | {"steps": [[0, 2], 4, [6, 8]]}
    after = mini.planned()
    assert set(after) == set(before)
    assert after["pretrain_step"] == before["pretrain_step"] + 3


def test_a_study_that_extends_another_and_has_no_name_is_that_one(mini):
    """It is not laid over the demo, which is what runs where nothing is named."""
    before = mini.planned()
    (mini.folder / "base.yaml").write_text(yaml.safe_dump(mini.config, allow_unicode=True))
    mini.config = {"extends": "base.yaml", "report": {"title": "Another title"}}
    assert mini.planned() == before


def test_a_file_that_names_no_study_is_refused_by_plan_and_run(mini):
    """The run laid it over the demo, and wrote into the demo's results."""
    del mini.config["study"]
    for done in (mini.snakemake("--dry-run", check=False), mini.babelscope("plan")):
        assert done.returncode != 0
        assert "config key `study`: got None; allowed: a value: it is required" in done.stdout + done.stderr


@pytest.mark.parametrize("option", ["--set-resources=score_unit:mem_mb=1", "--set-threads=score_unit=2"])
def test_an_override_for_no_rule_is_refused_before_any_job(mini, option):
    done = mini.snakemake(option, "--dry-run", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    name = option.partition("=")[0]
    assert (
        f"`{name}`: got 'score_unit'; allowed: a rule: ablate_experts, activations, align_experts, " in said
    ), said
    assert "did you mean `score_units`?" in said
    assert "Job stats" not in said
    assert "Traceback" not in said


def test_an_override_for_a_rule_is_taken(finished, tmp_path):
    study = finished.copy(tmp_path)
    target = "results/mini/scores/tiny-seed0/0/en.h5"
    study.snakemake(
        target, "--forcerun", target, "--benchmark-extended",
        "--set-resources", "score_units:mem_mb=1234", "--set-threads", "score_units=2",
    )  # fmt: skip
    file = study.results / "benchmarks/score_units/tiny-seed0/0/en.tsv"
    took = pd.read_csv(file, sep="\t").iloc[0]
    assert took["threads"] == 2
    assert ast.literal_eval(took["resources"])["mem_mb"] == 1234
