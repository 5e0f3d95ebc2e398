"""After a full run: what is planned when the study changes, per rule, by count."""

from pathlib import Path

import pytest

from mini_study import jobs_of

pytestmark = pytest.mark.workflow

#: Jobs that read everything and so follow any new result.
END = {"render_report": 1, "all": 1}


#: Units on show may be others, and so may be their sentences.
TRACED = {"choose_sentences": 1, "trace_sentences": 2, "collect_traces": 1}


#: Views, each of one job for the study.
VIEWS = {"measure_onset": 1, "measure_left_out": 1, "compare_states": 1}


def stages(planned, *leave_out):
    """The counts without the figures (their number is the report's business), views and ``leave_out``."""
    return {rule: n for rule, n in planned.items() if rule not in {"plot_figures", *VIEWS, *leave_out}}


def views(planned):
    """The counts of views."""
    return {rule: n for rule, n in planned.items() if rule in VIEWS}


def test_nothing_to_do_after_a_full_run(finished):
    assert finished.planned() == {}
    assert (finished.results / "report.html").stat().st_size > 20_000


def test_one_step_more(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["models"]["tiny"]["steps"] = [0, 4, 8]
    assert stages(study.planned()) == {
        "pretrain_step": 1,
        "audit_checkpoint": 1,
        "collect_audit": 1,
        "extract_activations": 3,
        "collect_extraction": 1,
        "score_units": 3,
        "rank_units": 1,
        "fit_language_probe": 3,
        "align_experts": 1,
        "compare_choices": 1,
        "trace_units": 1,
        **TRACED,
        "trace_sentences": 3,  # sentences are chosen at the last step, for all of them
        "collect_models": 1,
        "collect_probes": 1,
        "collect_alignment": 1,
        "collect_choices": 1,
        **END,
    }


def test_a_step_inserted_does_not_train_its_successors_again(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["models"]["tiny"]["steps"] = [0, 2, 4]
    planned = study.planned()
    assert planned["pretrain_step"] == 1
    assert planned["extract_activations"] == 3
    assert planned["align_experts"] == 1


def test_one_language_more(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["languages"].append("tr")
    assert stages(study.planned()) == {
        "prepare_sentences": 1,
        "prepare_concepts": 1,
        "write_concept_words": 1,
        "collect_concepts": 1,
        "audit_checkpoint": 2,  # the loss of every language is in its file
        "collect_audit": 1,
        "extract_activations": 2,  # one per step
        "collect_extraction": 1,
        "score_units": 2,
        "rank_units": 2,  # from the scores, which are kept
        "fit_language_probe": 6,  # a probe reads all languages
        "align_experts": 2,
        "compare_choices": 2,
        "trace_units": 1,
        **TRACED,
        "generate_text": 1,  # the experts of a step stand in one file
        "identify_language": 1,
        "collect_probes": 1,
        "collect_alignment": 1,
        "collect_choices": 1,
        "collect_generation": 1,
        **END,
    }


@pytest.mark.parametrize("languages", [["en", "de"], ["en", "ru", "de"]], ids=["less", "reordered"])
def test_a_language_less_or_another_order(finished, tmp_path: Path, languages):
    study = finished.copy(tmp_path)
    study.config["languages"] = languages
    said = study.dry_run("--quiet", "host", "reason")
    assert "languages: the last run had en, de, ru, now there are " + ", ".join(languages) in said
    planned = jobs_of(said)
    assert not {"prepare_sentences", "extract_activations", "score_units", "pretrain_step"} & set(planned)
    again = {
        "audit_checkpoint",
        "rank_units",
        "fit_language_probe",
        "align_experts",
        "compare_choices",
        "trace_units",
    }
    assert again <= set(planned)


def test_one_concept_more(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["concepts"]["ids"].append("river")
    assert stages(study.planned()) == {
        "prepare_concepts": 3,
        "write_concept_words": 1,
        "collect_concepts": 1,
        "score_units": 6,
        "rank_units": 2,
        "align_experts": 2,
        "compare_choices": 2,
        "trace_units": 1,
        **TRACED,
        "generate_text": 1,
        "identify_language": 1,
        "collect_alignment": 1,
        "collect_choices": 1,
        "collect_generation": 1,
        **END,
    }


@pytest.mark.parametrize(
    ("add", "traced"),
    [
        (lambda models: models["tiny"].update(seeds=[0, 1]), TRACED),
        (lambda models: models.update(other={**models["tiny"], "role": "control"}), {}),
    ],
    ids=["seed", "control"],
)
def test_one_seed_or_model_more(finished, tmp_path: Path, add, traced):
    study = finished.copy(tmp_path)
    add(study.config["models"])
    assert stages(study.planned()) == {
        "pretrain_step": 2,
        "audit_checkpoint": 2,
        "collect_audit": 1,
        "extract_activations": 6,
        "collect_extraction": 1,
        "score_units": 6,
        "rank_units": 2,
        "fit_language_probe": 6,
        "align_experts": 2,
        "compare_choices": 2,
        "trace_units": 1,
        **traced,
        "generate_text": 1,
        "identify_language": 1,
        "collect_models": 1,
        "collect_probes": 1,
        "collect_alignment": 1,
        "collect_choices": 1,
        "collect_generation": 1,
        **END,
    }


def test_another_unit_that_is_named_traces_again_only(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["traces"] = {"units": ["L01.mlp_act.3"]}
    assert stages(study.planned()) == {**TRACED, **END}


def test_steps_that_are_traced_are_jobs_of_their_own(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    (study.results / "traces/tiny-seed0/4.parquet").unlink()
    assert stages(study.planned("tables")) == {}  # nothing needs it while the table is there
    (study.results / "tables/traces.parquet").unlink()
    assert study.planned("tables") == {"trace_sentences": 1, "collect_traces": 1, "tables": 1}
    study.snakemake("tables")
    for name in ("traces/tiny-seed0/4.parquet", "tables/traces.parquet"):
        assert (study.results / name).read_bytes() == (finished.results / name).read_bytes()


def test_without_traces_no_job_is_left_of_them(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["traces"] = {"enabled": False}
    assert stages(study.planned()) == {**END}
    assert "tables/traces.parquet" not in study.dry_run("--forceall")


def test_views_follow_what_they_read_and_can_be_left_out(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["probes"]["components"] = 5
    assert views(study.planned()) == {}
    study.config["experts"]["k"] = 5
    assert views(study.planned()) == {"measure_onset": 1}
    study.config["experts"]["bootstrap"] = 60
    assert views(study.planned()) == VIEWS
    study.config["views"] = {"left_out": False, "representations": False}
    assert views(study.planned("--forceall")) == {"measure_onset": 1}


def test_a_probe_setting_does_not_extract_again(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["probes"]["components"] = 5
    assert stages(study.planned()) == {
        "fit_language_probe": 6, "collect_probes": 1, "collect_choices": 1, **END
    }  # fmt: skip


@pytest.mark.parametrize("changed", [{"k": 5}, {"kept": 30}], ids=["k", "kept"])
def test_another_k_or_number_that_is_kept_does_not_score_again(finished, tmp_path: Path, changed):
    study = finished.copy(tmp_path)
    study.config["experts"] |= changed
    planned = study.planned()
    assert planned["align_experts"] == planned["compare_choices"] == 2
    assert planned["rank_units"] == (2 if "kept" in changed else 0)
    # Experts are forced, so texts are written anew.
    assert planned["generate_text"] == 1
    assert not {"score_units", "extract_activations", "pretrain_step"} & set(planned)


def test_a_figure_style_renders_again_only(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["report"]["style"] = {"palette": "deep"}
    planned = study.planned()
    assert set(planned) == {"plot_figures", "render_report", "all"}


def test_what_moves_no_number_computes_nothing_again(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["experts"]["block_units"] = 64
    study.config["concepts"]["min_positive"] = 11
    assert study.planned() == {**END}  # the report shows the settings


def test_a_new_title_writes_the_page_only(finished, tmp_path: Path):
    study = finished.copy(tmp_path)
    study.config["report"]["title"] = "another"
    assert study.planned() == {**END}
