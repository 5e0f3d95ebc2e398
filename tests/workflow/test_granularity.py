"""Ranges of several cells: the same numbers, regrouped without computing, and told while planning."""

from __future__ import annotations

import hashlib

import pytest

from mini_study import MiniStudy

pytestmark = pytest.mark.workflow

COARSE = {"steps_per_job": 2, "languages_per_job": 2, "layers_per_job": 3}
#: What reads files of all ranges, and so follows any change of their names.
COLLECTORS = {
    "collect_models", "collect_audit", "collect_extraction", "collect_probes", "collect_alignment",
    "collect_choices", "collect_generation", "collect_traces", "measure_onset", "measure_left_out",
    "compare_states", "plot_figures", "render_report", "all",
}  # fmt: skip


def tables(study: MiniStudy) -> dict[str, str]:
    """Hash of every table."""
    found = sorted((study.results / "tables").iterdir())
    assert len(found) > 10
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


@pytest.fixture(scope="module")
def coarse(finished: MiniStudy, tmp_path_factory) -> MiniStudy:
    """The study with several cells a job, run to its tables; only what trains is as it was."""
    study = finished.copy(tmp_path_factory.mktemp("coarse"))
    study.config["granularity"] = COARSE
    planned = study.planned()
    assert "pretrain_step" not in planned
    assert planned["extract_activations"] == 2  # en and de, ru; both steps each
    assert planned["fit_language_probe"] == planned["align_experts"] == planned["audit_checkpoint"] == 1
    for table in (study.results / "tables").glob("*.parquet"):
        table.unlink()
    study.snakemake("tables")
    return study


def test_results_do_not_depend_on_granularity(finished, coarse):
    assert (coarse.results / "scores/tiny-seed0/0..4/en..de.h5").exists()
    assert (coarse.results / "probes/tiny-seed0/0..4/0..2.tsv").exists()
    assert coarse.planned("tables") == {}
    assert tables(coarse) == tables(finished)


def test_from_single_cells_to_ranges_and_back_nothing_is_computed(finished, tmp_path):
    study = finished.copy(tmp_path)
    study.config["granularity"] = COARSE
    study.config["models"]["tiny"]["steps"] = [[0, 4]]
    # As usual: scores went as soon as they were ranked.
    study.config["keep_scores"] = False
    for file in (study.results / "scores").rglob("*.h5"):
        file.unlink()
    said = study.dry_run()
    unused = "0 (activations, alignment, audit, best, choices, experts, models, probes, traces) is no longer used, 0..4 takes"
    assert f"tiny-seed0: steps {unused} its place" in said
    assert "tiny-seed0: langs de (activations) is no longer used, en..de takes" in said
    assert study.babelscope("recut").returncode == 0
    planned = study.planned()
    assert set(planned) <= COLLECTORS, planned
    study.snakemake("tables")
    assert study.planned("tables") == {}
    assert tables(study) == tables(finished)

    del study.config["granularity"]
    study.config["models"]["tiny"]["steps"] = [0, 4]
    for area in ("activations", "best", "choices", "experts", "probes", "alignment", "audit", "traces"):
        for file in (study.results / area / "tiny-seed0").rglob("*"):
            if file.is_file() and ".." not in str(file.relative_to(study.results)):
                file.unlink()
    assert set(study.planned()) > COLLECTORS - {"collect_models"}
    assert study.babelscope("recut").returncode == 0
    planned = study.planned()
    assert set(planned) <= COLLECTORS, planned
    study.snakemake("tables")
    assert tables(study) == tables(finished)

    # Snakemake knows with which settings the regrouped files were made.
    study.config["extraction"]["poolings"] = ["last"]
    planned = study.planned()
    assert (planned["extract_activations"], planned["score_units"], planned["align_experts"]) == (6, 6, 2)
    study.config["extraction"]["poolings"] = ["max"]
    study.config["experts"]["permutations"] = 40
    planned = study.planned()
    assert planned["align_experts"] == 2
    assert "score_units" not in planned


def test_what_was_out_of_date_before_is_out_of_date_after(finished, tmp_path):
    study = finished.copy(tmp_path)
    text = study.folder / "data/parallel/de.txt"
    text.write_text(text.read_text().replace("Hund", "Hunde"))
    stale = study.planned()
    assert stale["prepare_sentences"] == 1
    assert stale["extract_activations"] == 2
    study.config["granularity"] = {"languages_per_job": 2}
    assert study.babelscope("recut").returncode == 0
    planned = study.planned()
    assert planned["prepare_sentences"] == 1
    assert planned["extract_activations"] == 2  # de stands beside en; ru is as it was
    assert planned["align_experts"] == 2


def test_a_change_of_settings_beside_is_refused(finished, tmp_path):
    study = finished.copy(tmp_path)
    study.config["granularity"] = COARSE
    study.config["extraction"]["poolings"] = ["last"]
    done = study.babelscope("recut")
    assert done.returncode != 0
    assert "`extraction.poolings` was ['max'] in the last run and is ['last'] now" in done.stderr
    assert not (study.results / "scores/tiny-seed0/0..4").exists()


def test_unused_files_are_told_only_where_there_are_any(finished, coarse, tmp_path):
    assert "no longer used" not in finished.dry_run()
    # The files of single cells are still there, beside those of ranges.
    assert "tiny-seed0: steps 0 (" in coarse.dry_run()
    study = coarse.copy(tmp_path)
    study.config["granularity"] = COARSE | {"steps_per_job": 3}
    study.config["models"]["tiny"]["steps"] = [0, 4, 8]
    said = study.dry_run()
    assert "tiny-seed0: steps 0..4 (" in said
    assert "is no longer used, 0..8 takes its place" in said


def test_a_range_that_the_study_does_not_have_is_refused_in_words(finished):
    for path, message in {
        "scores/tiny-seed0/9..12/en.h5": "steps of tiny-seed0: got '9..12'; allowed: 0, 4",
        "scores/tiny-seed0/4/tr.h5": "languages: got 'tr'; allowed: en, de, ru",
        "probes/tiny-seed0/4/7.tsv": "layers of tiny-seed0: got '7'; allowed: 0, 1, 2",
        "models/tiny-seed0/8.json": "steps that a job of tiny-seed0 trains: got '8'; allowed: 0, 4",
    }.items():
        done = finished.snakemake(f"results/mini/{path}", "--dry-run", check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert message in said, said


# ------------------------------------------------------------------------------------ training


def weights(study: MiniStudy) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of the weights of every step."""
    files = (study.results / "models/tiny-seed0").glob("*/model.safetensors")
    return {file.parent.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def train(study: MiniStudy, steps: list[object]) -> dict[str, tuple[int, bytes]]:
    study.config["models"]["tiny"]["steps"] = steps
    study.snakemake("models")
    assert study.planned("models") == {}
    return weights(study)


def test_training_takes_over_the_steps_that_are_whole(finished, tmp_path):
    study = finished.copy(tmp_path)
    first = weights(study)
    longer = train(study, [0, [4, 6]])
    assert {step: longer[step] for step in first} == first
    log = study.results / "logs/pretrain_step/tiny-seed0/4..6.log"
    assert "takes over 4, which is whole" in log.read_text()
    longest = train(study, [0, [4, 6, 8]])
    assert {step: longest[step] for step in longer} == longer
    assert "8" in longest
    assert "takes over 4, 6, which is whole" in log.with_name("4..8.log").read_text()
    # Split and merged: the lists are written, no weights are.
    assert train(study, [0, 4, 6, 8]) == longest
    assert train(study, [[0, 4], [6, 8]]) == longest


def test_weights_that_somebody_changed_are_noticed(finished, tmp_path):
    study = finished.copy(tmp_path)
    file = study.results / "models/tiny-seed0/4/model.safetensors"
    original = study.results / "models/tiny-seed0/0/model.safetensors"
    file.write_bytes(original.read_bytes())
    planned = study.planned()
    assert planned["pretrain_step"] == 1
    assert planned["extract_activations"] == 3  # of step 4
    study.snakemake("models")
    assert study.planned("models") == {}
    planned = study.planned()
    assert "pretrain_step" not in planned
    assert planned["extract_activations"] == 3
    assert planned["align_experts"] == 1
    # The job keeps what it finds whole; a folder that is removed is trained anew.
    assert file.read_bytes() == original.read_bytes()
