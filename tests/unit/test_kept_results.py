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


def test_experts_are_those_of_what_is_stored(study):
    (model,) = study.models
    rows = study.experts(model=model, concept="water", lang="de", step=4).sort_values("rank")
    best = study.best(model)[4, "de"]
    found = best.best("all").unit[best.concepts.index("water"), : len(rows)]
    assert list(rows["name"]) == best.units.names(found)


def test_it_says_with_which_settings_and_versions_it_was_made(study):
    assert study.settings["experts"]["k"] == 6
    assert study.study["versions"]["babelscope"] == study.folder.name.removeprefix("results-")
