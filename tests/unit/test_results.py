"""A results folder as data: tables, columns, figures, units, several studies; what is not there is said."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pandas as pd
import pytest

import babelscope as bs
from babelscope.errors import DataError
from babelscope.io.tables import write_table
from babelscope.report.captions import load_captions
from babelscope.results import Results, ResultsError, ResultsSet
from synthetic_tables import synthetic_tables


def write_results(folder, **arguments):
    """A results folder of made-up tables, with one file of experts."""
    tables = synthetic_tables(**arguments)
    for name, table in tables.items():
        write_table(table, folder / "tables" / f"{name}.parquet")
    rows = [
        (step, lang, "model", "all", concept, rank, 2, "mlp_act", 10 * rank + step % 7, 0.9 - rank / 10)
        for step in (0, 64)
        for lang in ("en", "de")
        for concept in ("water", "fire")
        for rank in range(3)
    ]
    columns = ["step", "lang", "scope", "subset", "concept", "rank", "layer", "site", "unit", "ap"]
    experts = pd.DataFrame(rows, columns=columns)
    experts.insert(0, "model", "bridged-seed0")
    write_table(experts, folder / "experts/bridged-seed0/0..64.parquet")
    settings = {"settings": {"study": folder.name, "experts": {"k": 3}}, "versions": {"babelscope": "0.1.0"}}
    (folder / "study.json").write_text(json.dumps(settings))
    return tables


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "demo"
    return folder, write_results(folder)


@pytest.fixture(scope="module")
def study(made):
    return bs.open_study(made[0])


def test_tables_are_what_the_files_hold(made, study):
    assert set(study.tables) == set(made[1])
    for name, table in made[1].items():
        assert len(study.table(name)) == len(table)
        assert list(study.tables[name].columns) == list(table.columns)


def test_what_one_does_to_a_table_does_not_stay(study):
    table = study.table("overlap")
    table["overlap"] = -1.0
    assert (study.table("overlap")["overlap"] >= 0).all()


def test_every_table_says_what_its_columns_mean(study):
    for name in study.tables:
        told = study.columns(name)
        assert set(study.table(name).columns) <= set(told["column"]), name
    assert study.columns("overlap").set_index("column")["meaning"]["chance"].startswith("K over")


@pytest.mark.parametrize("name", load_captions())
def test_every_figure_is_drawn_from_the_folder_alone(study, name):
    if name in study.figures:
        assert study.figure(name).axes
    else:
        with pytest.raises(ResultsError, match="no figure"):
            study.figure(name)


def test_a_notebook_shows_a_figure_as_a_picture(study):
    """Nobody has to import pyplot for it, or to know of it."""
    figure = study.figure("hero")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert study.figure("generation")._repr_png_().startswith(b"\x89PNG")


def test_most_figures_are_there(study):
    assert len(study.figures) > 10


def test_a_figure_at_a_step_has_no_later_ones(study):
    steps = sorted(study.table("overlap")["step"].unique())
    name = "overlap"
    ends = [
        max(line.get_xdata().max() for ax in figure.axes for line in ax.lines if len(line.get_xdata()) > 2)
        for figure in (study.figure(name), study.figure(name, step=int(steps[-2])))
    ]
    assert ends == [steps[-1], steps[-2]]
    with pytest.raises(ResultsError, match="no step up to -1"):
        study.figure(name, step=-1)


def test_experts_are_found_by_what_they_are(study):
    found = study.experts(concept="water", lang="de", step=64)
    assert list(found["name"]) == ["L02.mlp_act.1", "L02.mlp_act.11", "L02.mlp_act.21"]
    with pytest.raises(ResultsError, match="no concept 'wind'; there are: water, fire"):
        study.experts(concept="wind")
    with pytest.raises(ResultsError, match="no subset 'c'"):
        study.experts(subset="c")


def test_a_unit_is_found_by_its_name(study):
    unit = study.unit("L02.mlp_act.11")
    assert set(unit.expert_of["concept"]) == {"water", "fire"}
    assert set(unit.expert_of["step"]) == {64}
    with pytest.raises(ValueError, match="named as"):
        study.unit("mlp_act 11")


def test_a_followed_unit_has_its_life(study):
    first = study.table("lifelines").iloc[0]
    unit = study.unit(f"L{first['layer']:02d}.{first['site']}.{first['unit']}")
    assert set(unit.lifeline["lang"]) == set(study.table("lifelines")["lang"])
    assert (unit.languages["n_languages"] <= unit.lifeline["lang"].nunique()).all()


def test_settings_and_models_are_those_of_the_study(study):
    assert study.settings["experts"]["k"] == 3
    assert study.models == list(study.table("models")["model"])


def test_several_studies_stand_side_by_side(tmp_path, made):
    write_results(tmp_path / "other", sharing=False)
    both = bs.open_studies([made[0], tmp_path / "other"])
    table = both.table("overlap")
    assert set(table["study"]) == {"demo", "other"}
    assert all(
        model.startswith((f"{study}/",)) for study, model in zip(table["study"], table["model"], strict=True)
    )
    assert len(table) == sum(len(each.table("overlap")) for each in both.studies.values())
    figure = both.figure("overlap")
    titles = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    titles += [ax.get_title() for ax in figure.axes]
    assert any("demo/" in title for title in titles)
    assert any("other/" in title for title in titles)
    with pytest.raises(ResultsError, match="one name"):
        bs.open_studies([made[0], tmp_path / "x" / "demo"])


def test_studies_of_which_one_lacks_tables_stand_side_by_side(tmp_path, made):
    """Which views a study takes is its own choice."""
    write_results(tmp_path / "other")
    for name in ("onset", "onset_gaps", "onset_curves", "left_out"):
        (tmp_path / f"other/tables/{name}.parquet").unlink()
    both = bs.open_studies([made[0], tmp_path / "other"])
    assert "onset" in both.tables
    assert "heros" not in both.tables
    assert repr(both).startswith("<demo, other: ")
    assert {"hero", "onset", "left_out"} <= set(both.figures)
    for name in ("hero", "onset", "left_out"):
        assert any(ax.has_data() for ax in both.figure(name).axes)
    assert both.models == [
        f"{name}/{model}" for name in ("demo", "other") for model in both.studies["demo"].models
    ]
    fewer = bs.open_studies([tmp_path / "other"])
    assert "onset" not in fewer.figures
    with pytest.raises(
        ResultsError, match=r"no table 'onset'.*\nhint: a study makes `onset` if it asks for it"
    ):
        fewer.table("onset")


def test_columns_that_are_no_file_s_are_explained_too(tmp_path, made, study):
    both = bs.open_studies({"one": made[0], "two": made[0]})
    assert set(both.table("overlap").columns) <= set(both.columns("overlap")["column"])
    assert set(study.experts().columns) <= set(study.columns("experts")["column"])


def test_one_folder_is_not_several():
    with pytest.raises(ResultsError, match="is one folder; give a list"):
        bs.open_studies("results/demo")


def test_what_is_not_there_is_answered_with_what_is(tmp_path, study):
    with pytest.raises(ResultsError, match="is no folder"):
        bs.open_study(tmp_path / "nothing")
    with pytest.raises(ResultsError, match=r"no table 'overlaps'; there are: .*overlap"):
        study.table("overlaps")
    with pytest.raises(ResultsError, match="no figure"):
        study.figure("heros")
    with pytest.raises(ResultsError, match="of model 'bridged-seed0'; there are: none"):
        study.best("bridged-seed0")
    with pytest.raises(ResultsError, match=r"there are: none\nhint: .*keep_activations: true"):
        study.units("bridged-seed0")
    with pytest.raises(ResultsError, match=r"no table 'experts'.*\nhint: .*study.experts"):
        study.table("experts")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    write_results(tmp_path / "demo")
    (tmp_path / "secret.tsv").write_text("key\n1\n")
    (tmp_path / "demo/tables/keys.tsv").symlink_to(tmp_path / "secret.tsv")
    with pytest.raises(DataError, match="leads out of"):
        bs.open_study(tmp_path / "demo")


def methods():
    for kind in (Results, ResultsSet):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                yield pytest.param(method, id=f"{kind.__name__}.{name}")


@pytest.mark.parametrize("method", list(methods()))
def test_methods_say_what_they_take_and_raise(method):
    doc = inspect.getdoc(method)
    assert "Raises:" in doc
    parameters = [name for name in inspect.signature(method).parameters if name != "self"]
    assert all(f"{name}:" in doc or f"{name}," in doc for name in parameters)


def test_a_figure_leaves_flagged_checkpoints_out(tmp_path):
    tables = write_results(tmp_path / "demo")
    last = tables["overlap"]["step"].max()
    flags = tables["audit"].assign(flag=tables["audit"]["step"] == last)
    write_table(flags, tmp_path / "demo/tables/audit.parquet")
    study = bs.open_study(tmp_path / "demo")
    ends = [
        max(line.get_xdata().max() for ax in figure.axes for line in ax.lines if len(line.get_xdata()) > 2)
        for figure in (study.figure("overlap"), study.figure("overlap", exclude_flagged=True))
    ]
    assert ends[1] < ends[0] == last


@pytest.mark.parametrize("script", ["render_report", "plot_figures"])
def test_the_workflow_reads_results_through_the_same_door(script):
    text = (Path(__file__).resolve().parents[2] / f"workflow/scripts/{script}.py").read_text(encoding="utf-8")
    assert "open_study(" in text
    assert "read_table" not in text


def test_traces_of_a_run_and_of_a_unit(tmp_path):
    rows = [
        (model, step, 1, "mlp_act", unit)
        for model in ("a-seed0", "b-seed0")
        for step in (0, 4)
        for unit in (2, 30)
    ]
    table = pd.DataFrame(rows, columns=["model", "step", "layer", "site", "unit"])
    write_table(table, tmp_path / "tables" / "traces.parquet")
    study = bs.open_study(tmp_path)
    assert len(study.traces()) == 8
    found = study.traces("b-seed0", "L01.mlp_act.30")
    assert found.to_dict("list") == {
        "model": ["b-seed0"] * 2, "step": [0, 4], "layer": [1, 1], "site": ["mlp_act"] * 2, "unit": [30, 30]
    }  # fmt: skip
    with pytest.raises(ResultsError, match="no traces of model 'c'; there are: a-seed0, b-seed0"):
        study.traces("c")
    with pytest.raises(
        ResultsError, match=r"no traces of unit 'L02.mlp_act.2'; there are: L01.mlp_act.2, L01"
    ):
        study.traces(unit="L02.mlp_act.2")
    with pytest.raises(ValueError, match="a unit is named as"):
        study.traces(unit="2")
