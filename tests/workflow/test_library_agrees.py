"""The public library and the workflow: same input, same numbers; a finished study read as data."""

from __future__ import annotations

import pandas as pd
import pytest

import babelscope as bs
from babelscope.io.tables import read_table
from babelscope.text.sentences import read_sentences

pytestmark = pytest.mark.workflow

MODEL, STEP = "tiny-seed0", 4


@pytest.fixture(scope="module")
def study(finished):
    return bs.open_study(finished.results)


@pytest.fixture(scope="module")
def scores_and_acts(finished, study):
    settings = study.settings
    langs = settings["languages"]
    model = bs.load_model(finished.results / "models" / MODEL / str(STEP), device="cpu")
    sentences = {lang: dict(read_sentences(finished.results / f"sentences/{lang}.tsv")) for lang in langs}
    extraction = {**settings["extraction"], "device": "cpu"}
    extraction["sites"] = tuple(extraction["sites"])
    acts = bs.activations(model, sentences, seed=settings["seed"], **extraction)
    labels = {lang: read_table(finished.results / f"concepts/{lang}.tsv") for lang in langs}
    return bs.score_units(acts, labels, seed=settings["seed"]), acts


def of_step(table):
    return table[(table["model"] == MODEL) & (table["step"] == STEP)]


def same(ours, theirs, but=()):
    """Equal up to the model's name and the step, which a notebook does not know."""
    drop = ["model", "step", *but]
    left, right = (
        table.drop(columns=drop, errors="ignore").reset_index(drop=True) for table in (ours, theirs)
    )
    pd.testing.assert_frame_equal(left[right.columns], right, check_dtype=False)


def test_experts_are_the_workflows(study, scores_and_acts):
    experts = bs.experts(scores_and_acts[0], k=study.settings["experts"]["k"])
    theirs = pd.concat(
        [study.experts(step=STEP, subset=s, scope=p) for p in ("model", "layer") for s in "ab"]
    )
    ours = experts[experts["subset"].isin(["a", "b"])]
    order = ["scope", "subset", "lang", "concept", "layer", "rank"]
    assert len(theirs)
    same(ours.sort_values(order), theirs.sort_values(order))


def test_overlap_is_the_workflows(study, scores_and_acts):
    settings = study.settings["experts"]
    table = bs.overlap(
        scores_and_acts[0],
        k=settings["k"],
        bootstrap=settings["bootstrap"],
        permutations=settings["permutations"],
        seed=study.settings["seed"],
        kinship=study.table("pairs"),
    )
    assert len(table) > 20
    same(table, of_step(study.table("overlap")), but=["q_value"])


def test_probes_are_the_workflows(study, scores_and_acts):
    settings = dict(study.settings["probes"])
    found = bs.probe_language(scores_and_acts[1], seed=study.settings["seed"], **settings)
    theirs = of_step(study.table("probes"))
    order = ["layer", "probe", "metric", "seed"]
    assert len(theirs)
    # No draws: an empty field of a table comes back as a missing value.
    theirs = theirs.assign(draws=theirs["draws"].fillna(""))
    same(found.sort_values(order), theirs.sort_values(order))


def test_stored_files_are_read_by_cell(study):
    files = study.units(MODEL)
    assert set(files) == {(step, lang) for step in (0, STEP) for lang in study.settings["languages"]}
    assert study.best(MODEL)[STEP, "de"].concepts == ["dog", "house", "water"]
    assert study.tokens(MODEL)[0, "ru"].layers == [0, 1, 2]


def test_a_unit_of_the_results_can_be_forced(finished, study):
    model = bs.load_model(finished.results / "models" / MODEL / str(STEP), device="cpu")
    rows = study.experts(concept="water", lang="de", step=STEP)
    plain = bs.generate(model, 4, max_new_tokens=6)
    with bs.force(model, rows.assign(forced_value=50.0)):
        forced = bs.generate(model, 4, max_new_tokens=6)
    assert list(forced["text"]) != list(plain["text"])


def test_units_that_are_kept_are_those_that_are_forced(study):
    units = study.kept(MODEL, concept="water", lang="de", step=STEP)
    experts = study.experts(concept="water", lang="de", step=STEP).sort_values("rank")
    assert list(units["name"].head(len(experts))) == list(experts["name"])
    assert units["forced_value"].notna().all()


def test_every_figure_of_the_report_comes_from_the_folder(finished, study):
    drawn = {path.stem for path in (finished.results / "figures").glob("*.svg")}
    assert drawn <= set(study.figures)
    assert study.figure("hero").axes
