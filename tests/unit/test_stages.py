"""The rows of the stages agree with the rules: same names, same files, same wildcards, every setting a key."""

import re
from pathlib import Path

import pytest
import yaml

from babelscope.ops.costs import CostModel
from babelscope.ops.layout import describe, parse
from babelscope.ops.stages import STAGES, all_jobs, figures, tables
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[2]
DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text())
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))


def rule_text(name):
    return re.split(r"^ *rule ", RULES.partition(f"rule {name}:\n")[2], maxsplit=1, flags=re.M)[0]


def test_every_rule_with_a_script_is_a_stage():
    assert set(re.findall(r"scripts/(\w+)\.py", RULES)) == set(STAGES)
    assert set(re.findall(r"^ *rule (\w+):", RULES, re.M)) == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_rule_writes_what_its_row_says(name):
    """The rule says its paths literally, so that it reads by itself; the row has the same."""
    output = rule_text(name).partition("output:")[2].partition("    log:")[0]
    written = set(re.findall(r"<results>/([^\"]+)\"", output.replace("{{", "{").replace("}}", "}")))
    if name == "plot_figures":
        assert written == {"figures/{figure}.svg", "figures/{figure}.{format}"}
    else:
        assert written == set(STAGES[name].writes)


@pytest.mark.parametrize("name", STAGES)
def test_logs_and_benchmarks_lie_under_the_wildcards(name):
    separator = "." if name == "tokenize_corpus" else "/"
    wildcards = separator.join(f"{{{wildcard}}}" for wildcard in STAGES[name].axes.wildcards)
    place = f"{name}/{wildcards}" if wildcards else name
    text = rule_text(name)
    assert f'"<logs>/{place}.log"' in text
    if "benchmark:" in text:
        assert f'"<benchmarks>/{place}.tsv"' in text


@pytest.mark.parametrize("name", STAGES)
def test_a_message_names_the_cells_of_the_job(name):
    text = rule_text(name).partition("message:")[2].partition("script:")[0]
    for wildcard in set(STAGES[name].axes.wildcards) & {
        "model",
        "step",
        "steps",
        "langs",
        "layers",
    }:
        assert f"{{wildcards.{wildcard}}}" in text


@pytest.mark.parametrize("name", STAGES)
def test_a_rule_takes_the_version_and_the_cost_of_its_row(name):
    text = rule_text(name)
    assert f'needs("{name}")' in text
    assert (f'version=version("{name}")' in text) == (name != "export_cell")
    assert ("gpu=1" in text) == STAGES[name].runs_a_model
    assert callable(getattr(CostModel, STAGES[name].cost))


def test_settings_that_a_stage_reads_are_keys_of_a_study():
    config = load_study(DEMO).config
    for stage in STAGES.values():
        for key in stage.reads:
            section, _, part = key.partition(".")
            assert section in config
            assert not part or part in config[section] or part in ("share", "ids", "path", "prefix", "family")


def test_every_file_of_the_demo_is_found_again_by_its_path():
    study = load_study(DEMO)
    for job in all_jobs(study):
        for path in job.files:
            found = parse(path)
            assert found, path
            named = {"figure": Path(path).stem} if job.stage == "plot_figures" else {}
            assert found.wildcards == {**dict(job.wildcards), **named}
    assert parse("scores/bridged-seed0/0..64/en..hi.h5").holds(32)
    assert not parse("scores/bridged-seed0/640/en.h5").holds(64)
    assert parse("scores/bridged-seed0/64/en.txt") is None


def test_no_two_stages_write_one_file_but_those_that_take_turns():
    """A corpus and a checkpoint come from one of several rules, by their source; scores from extraction, or
    from what it kept."""
    patterns = [pattern for stage in STAGES.values() for pattern in stage.writes]
    twice = {pattern for pattern in patterns if patterns.count(pattern) > 1}
    assert twice == {
        "corpora/{corpus}/{lang}.jsonl",
        "models/{model}/{step}",
        "scores/{model}/{steps}/{langs}.h5",
    }


def test_units_are_scored_from_the_store_only_where_they_are_kept():
    stages = {
        keep: {job.stage for job in all_jobs(load_study({**DEMO, "keep_activations": keep}))}
        for keep in (False, True)
    }
    assert stages[True] - stages[False] == {"score_units"}
    assert stages[False] <= stages[True]


def test_stages_that_write_one_file_are_counted_once():
    patterns = {pattern for stage in STAGES.values() for pattern in stage.writes}
    assert len(list(describe())) == len(patterns)


def test_the_report_reads_the_tables_that_the_study_makes():
    assert {"overlap", "texts", "audit_losses"} <= set(tables(load_study(DEMO)))
    silent = load_study({**DEMO, "generation": {"enabled": False}})
    assert set(tables(load_study(DEMO))) - set(tables(silent)) == {
        "generation", "generation_contrasts", "texts"
    }  # fmt: skip
    assert "findings" not in tables(silent)


@pytest.mark.parametrize("name", ["config.yaml", "studies/demo-doses.yaml"])
def test_a_figure_that_asks_for_a_key_is_of_studies_that_have_it(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(yaml.safe_load((ROOT / "config" / name).read_text()))
    assert ("overlap_dose" in figures(study)) == (name == "studies/demo-doses.yaml")


def test_the_doses_are_of_the_demos_recipe(monkeypatch):
    """Models of the study differ from the demo's in corpus, dose and seeds alone."""
    monkeypatch.chdir(ROOT)
    demo, doses = (
        load_study(yaml.safe_load((ROOT / "config" / name).read_text()))
        for name in ("config.yaml", "studies/demo-doses.yaml")
    )
    recipe = demo.models["bridged-seed0"]
    for model in doses.models.values():
        for part in ("batches", "architecture", "architecture_config", "training", "tokenizer"):
            assert getattr(model, part) == getattr(recipe, part), (model.run_id, part)
    given = {name: (corpus.code_switching, corpus.anchor_affinity) for name, corpus in doses.corpora.items()}
    assert given == {"isolated": (0, 0), "anchors": (0, 0.7), "tenth": (0.1, 0.7), "bridged": (0.4, 0.7)}
    assert {m.id: m.dose for m in doses.models.values()} == {name: dose for name, (dose, _) in given.items()}
    texts = [
        corpus.model_dump(exclude={"code_switching", "anchor_affinity"}) for corpus in doses.corpora.values()
    ]
    assert texts == [texts[0]] * 4


def test_the_choices_are_of_the_demos_models(monkeypatch):
    """The study has other poolings than the demo, of which the demo's comes first, and no texts."""
    monkeypatch.chdir(ROOT)
    demo, choices = (
        load_study(yaml.safe_load((ROOT / "config" / name).read_text()))
        for name in ("config.yaml", "studies/demo-choices.yaml")
    )
    assert choices.extraction.poolings == ("max", "mean", "last", "ml-selfcond", "lang_neuron")
    same = {key for key, value in demo.config.items() if choices.config[key] == value}
    assert set(demo.config) - same == {"study", "extraction", "generation", "report"}
    assert demo.extraction.model_copy(update={"poolings": choices.extraction.poolings}) == choices.extraction
    assert {"choices", "choice_conclusions"} <= set(tables(demo)) & set(tables(choices))
    assert "choices" in figures(demo)
