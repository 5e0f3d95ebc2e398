"""Results of earlier releases are read by this one: tables, figures, units, stored arrays.

``tests/data/results-VERSION`` is the small study of the tests: tables, experts, best, sentences, concepts,
activations, scores, audit, study.json. A release adds its own; none is ever changed. A format that is no longer
read raises the version of its files, and says so here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import babelscope as bs
from babelscope.errors import ResultsError

DATA = Path(__file__).resolve().parents[1] / "data"
KEPT = sorted(DATA.glob("results-*"))


@pytest.fixture(params=KEPT, ids=lambda folder: folder.name)
def study(request):
    return bs.open_study(request.param)


def test_there_is_one_of_this_release():
    assert DATA / f"results-{bs.__version__}" in KEPT


def test_every_table_is_read_and_its_columns_are_explained(study):
    for name in study.tables:
        table = study.table(name)
        assert set(table.columns) <= set(study.columns(name)["column"]), name
    assert len(study.table("overlap")) > 50


def test_every_figure_is_drawn(study):
    assert len(study.figures) > 10
    for name in study.figures:
        figure = study.figure(name)
        assert figure.axes or figure.texts, name  # a figure without data says so in words


def test_stored_arrays_are_read_by_cell(study):
    (model,) = study.models
    langs = study.settings["languages"]
    units, tokens, best = study.units(model), study.tokens(model), study.best(model)
    assert set(units) == set(tokens) == set(best) == {(step, lang) for step in (0, 4) for lang in langs}
    file = units[4, "de"]
    values = file.read(1, "mlp_act")
    assert values.shape == (len(file.sentence_ids), 32)
    assert np.isfinite(values).all()
    assert tokens[4, "de"].states(2).shape[1] == 16


def test_a_cell_or_a_unit_that_is_not_stored_is_answered_with_those_that_are(study):
    (model,) = study.models
    with pytest.raises(
        ResultsError, match=r"no step and language \(9, 'de'\); there are: steps 0, 4; languages de"
    ):
        study.best(model)[9, "de"]
    with pytest.raises(ResultsError, match=r"no unit 'L09.mlp_act.0'; there are: L01.mlp_act.0 to 31"):
        study.unit("L09.mlp_act.0")
    with pytest.raises(ResultsError, match="no sentences of language 'xx'; there are: de"):
        study.sentences("xx")


def test_every_kind_of_array_is_read(study):
    (model,) = study.models
    lang = study.settings["languages"][0]
    scores, best = study.scores(model)[4, lang], study.best(model)[4, lang]
    assert scores.concepts == best.concepts
    assert study.choices(model)[4, lang].concepts == best.concepts
    audits = study.audits(model)
    assert list(audits) == [0, 4]
    told = study.table("audit_losses").query("step == 4 and lang == @lang")["loss"]
    assert audits[4].losses[lang].loss == pytest.approx(float(told.iloc[0]), rel=1e-6)


def test_sentences_and_labels_are_those_that_were_scored(study):
    (model,) = study.models
    for lang in study.settings["languages"]:
        sentences, labels = study.sentences(lang), study.labels(lang)
        assert list(sentences) == study.units(model)[4, lang].sentence_ids
        assert set(labels["sentence_id"]) <= set(sentences)
        positive = labels[labels["label"] == 1].groupby("concept").size()
        told = study.table("concepts").query("lang == @lang").set_index("concept")["n_positive"]
        assert positive.to_dict() == told.to_dict()


def test_the_course_of_a_unit_is_its_average_precision_in_every_cell(study):
    (model,) = study.models
    first = study.experts(step=4, concept="water", lang="de").iloc[0]
    view = study.unit(first["name"])
    course = view.course("water")
    assert len(course) == len(study.best(model))
    for row in course.itertuples():
        file = study.scores(model)[row.step, row.lang]
        ap = file.read(view.layer, view.site, "ap_all")[file.concepts.index("water"), view.unit]
        assert row.ap >= ap - 1e-6 if row.at_most else row.ap == pytest.approx(float(ap), abs=1e-6)
    (line, *_), (ax,) = view.figure("water").axes[0].lines, view.figure("water").axes
    assert len(line.get_xdata()) == 2
    assert len(ax.lines) >= course["lang"].nunique() + 1  # and chance
    own = view.expert_of.query("scope == 'model'")["concept"].value_counts()
    assert view.course()["concept"].iloc[0] in set(own[own == own.max()].index)
    with pytest.raises(ResultsError, match="no concept 'wind'; there are: "):
        view.course("wind")


def test_experts_of_two_languages_meet_where_both_have_them(study):
    langs = study.settings["languages"][:2]
    met = study.meeting("water", langs, step=4)
    one, other = (set(study.experts(concept="water", lang=lang, step=4)["name"]) for lang in langs)
    found = {name: set(rows["name"]) for name, rows in met.groupby("found")}
    assert found.get("both", set()) == one & other
    assert found.get(langs[0], set()) == one - other
    assert found.get(langs[1], set()) == other - one
    figure = study.raster("water", langs)
    marks = sum(
        len(lines.get_segments()) for lines in figure.axes[0].collections if hasattr(lines, "get_segments")
    )
    assert marks == len(met)
    for wrong in ("de", ["de"], ["de", "de"]):
        with pytest.raises(ResultsError, match="two languages meet"):
            study.meeting("water", wrong)


def test_experts_are_those_of_what_is_stored(study):
    (model,) = study.models
    rows = study.experts(model=model, concept="water", lang="de", step=4).sort_values("rank")
    best = study.best(model)[4, "de"]
    found = best.best("all").unit[best.concepts.index("water"), : len(rows)]
    assert list(rows["name"]) == best.units.names(found)


def test_it_says_with_which_settings_and_versions_it_was_made(study):
    assert study.settings["experts"]["k"] == 6
    assert study.study["versions"]["babelscope"] == study.folder.name.removeprefix("results-")
