"""The whole workflow on checkpoints whose findings are known beforehand, and on a control that lacks them.

This is the test of the tests: what was planted is found with the stated error, and where nothing was planted
nothing is.
"""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from babelscope.io.tables import read_table
from babelscope.planted.build import build
from babelscope.planted.compare import TABLES, compare, read_tables
from babelscope.planted.text import words_of
from babelscope.planted.truth import CONCEPT_LOGIT, LANGUAGE_LOGIT, MISSED, PRIVATE, SHARING
from babelscope.report.findings.evaluate import evaluate_findings
from formats_page import ASKED_FOR, check_table
from mini_study import ROOT, MiniStudy

pytestmark = pytest.mark.workflow

FINDINGS = ["language_identity", "expert_overlap", "middle_layers", "reliable_units", "forced_generation"]

#: What the report says of the model. The languages share no words, so that there are no anchor tokens to probe.
PRESENT = {**dict.fromkeys(FINDINGS, "holds"), "language_identity": "holds in part"}

#: What it says of the control. Where nothing is shared there is no layer in which most is.
ABSENT = {**dict.fromkeys(FINDINGS, "does not hold"), "middle_layers": "cannot be tested"}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> MiniStudy:
    """The study, run as far as its findings ask."""
    folder = tmp_path_factory.mktemp("planted")
    build(folder / "data" / "planted")
    config = yaml.safe_load((ROOT / "config/studies/planted.yaml").read_text(encoding="utf-8"))
    config["views"] |= {"confounds": True, "language_units": True}
    config["views"] |= {"patching": True, "patched_concepts": 4, "patched_sentences": 4}
    run = MiniStudy(folder, config)
    run.snakemake(
        *(
            f"results/planted/tables/{name}.parquet"
            for name in (*TABLES, "traces", "confounds", "language_units", "ablation", "patching")
        ),
        "results/planted/tables/models.tsv",
    )
    return run


@pytest.mark.parametrize("pattern", ASKED_FOR)
def test_a_table_that_a_study_asks_for_has_the_columns_of_the_page(study, pattern):
    check_table(study, pattern)


@pytest.fixture(scope="module")
def tables(study) -> dict[str, pd.DataFrame]:
    return read_tables(study.results)


@pytest.fixture(scope="module")
def verdicts(study) -> dict[tuple[str, str], str]:
    found = {path.stem: read_table(path) for path in (study.results / "tables").iterdir()}
    findings, _ = evaluate_findings(found)
    return {(finding.key, finding.model): finding.verdict for finding in findings}


def test_what_was_planted_is_recovered(tables):
    compared = compare(tables)
    assert set(compared["finding"]) == {"1", "2", "2b", "3", "4"}
    missed = compared[~compared["recovered"]]
    assert missed.empty, missed.to_string()


def test_what_was_not_planted_is_not_recovered(tables):
    """The tables of the one series do not pass for those of the other, in any finding."""
    turned = {SHARING.name: PRIVATE.name, PRIVATE.name: SHARING.name}
    compared = compare({name: table.replace({"model": turned}) for name, table in tables.items()})
    missed = compared[~compared["recovered"]]
    for finding in ("1", "2", "2b", "3", "4"):
        assert set(missed.loc[missed["finding"] == finding, "model"]) == set(turned)


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_report_says_that_it_holds(verdicts, finding):
    assert verdicts[finding, SHARING.name] == PRESENT[finding]


@pytest.mark.parametrize("finding", FINDINGS)
def test_the_report_says_of_the_control_that_it_does_not(verdicts, finding):
    assert verdicts[finding, PRIVATE.name] == ABSENT[finding]


def test_the_most_shared_layer_is_the_planted_one(tables):
    overlap = tables["overlap"]
    rows = overlap[
        (overlap["scope"] == "layer") & (overlap["lang_a"] == "*") & (overlap["model"] == SHARING.name)
    ]
    rows = rows[(rows["step"] == SHARING.steps[-1]) & (rows["variant"] == "disjoint_lines")]
    assert rows.set_index("layer")["overlap"].idxmax() == SHARING.best_layer


def test_shared_units_are_counted(tables):
    counts = tables["reliability"]
    counts = counts[(counts["kind"] == "shared_units") & (counts["m"] == 5)].set_index(["model", "step"])[
        "value"
    ]
    for series in (SHARING, PRIVATE):
        for step in series.shared:
            planted = series.overlap(step) * 24 * 8  # 24 experts of each of 8 concepts
            assert counts[series.name, step] == pytest.approx(planted)


def test_traces_of_a_shared_unit_are_at_words_of_its_concept_in_every_language(study):
    """It is traced at the noise, before it is shared, and at the last step, where it was chosen."""
    traces = read_table(study.results / "tables/traces.parquet")
    assert set(traces["model"]) == {SHARING.name}  # the other is a control
    assert set(traces["step"]) == set(SHARING.steps)
    best = best_units(read_table(study.results / "tables/reliability.parquet"))
    assert set(best["concept"]) == set(MISSED)
    own = traces.merge(best, on=["layer", "site", "unit", "concept"])
    assert set(own["concept"]) == set(MISSED)
    assert own.loc[own["step"] == SHARING.steps[-1]].groupby(["concept", "lang"]).size().eq(4 + 2 + 1).all()
    for row in own[own["step"] == SHARING.steps[-1]].to_dict("records"):
        known = words_of(row["lang"]).concepts[row["concept"]][:2]
        words = [
            row["text"][start:end].strip() for start, end in zip(row["starts"], row["ends"], strict=True)
        ]
        fires = [value > 0.1 * max(row["values"].max(), 1e-6) for value in row["values"]]
        assert row["positive"] or row["kind"] != "strongest"
        if row["kind"] == "strongest":
            assert [word for word, on in zip(words, fires, strict=True) if on] == [
                word for word in words if word in known
            ]
            assert row["quantile"] > 0.85
    noise = own[(own["step"] == 0) & (own["kind"] == "strongest")]
    assert noise["quantile"].mean() == pytest.approx(0.5, abs=0.1)


def test_ablation_does_damage_in_another_language_where_experts_are_shared_alone(study):
    """On these lines the model expects words of the concept that do not come: it does better without."""
    table = read_table(study.results / "tables/ablation.parquet").set_index(["model", "source", "condition"])
    assert set(table["step"]) == {SHARING.steps[-1]}
    own = {series.name: table.loc[series.name, "=", "experts"]["damage"] for series in (SHARING, PRIVATE)}
    assert max(own.values()) < -0.02
    assert abs(table.loc[PRIVATE.name, "*", "experts"]["damage"]) < 1e-5
    for control in ("random", "random_dose", "other_concept"):
        assert table.loc[SHARING.name, "*", control]["gain_high"] < -0.02
    for control in ("random_dose", "other_concept"):  # a unit at random may do something else that is missed
        assert abs(table.loc[SHARING.name, "=", control]["damage"]) < 0.005


def test_patching_brings_a_concept_into_another_language_where_experts_are_shared_alone(study):
    """Nothing before a word tells the concept here, so that it is brought alone, and none is taken away."""
    table = read_table(study.results / "tables/patching.parquet").set_index(["model", "source", "condition"])
    assert set(table["step"]) == {SHARING.steps[-1]}
    assert table["n_concepts"].eq(4).all()
    for series in (SHARING, PRIVATE):
        assert table.loc[series.name, "=", "experts"]["gain_low"] > 0.8 * CONCEPT_LOGIT
        assert abs(table.loc[series.name, "*", "random_dose"]["gain"]) < 0.05 * CONCEPT_LOGIT
        assert abs(table.loc[series.name, "*", "state_middle"]["gain"]) < 0.05 * CONCEPT_LOGIT
        assert table.loc[series.name, "*", "state_late"]["left_low"] > LANGUAGE_LOGIT
    shared = table.loc[SHARING.name, "*", "experts"]
    assert shared["relative"] == pytest.approx(SHARING.overlap(SHARING.steps[-1]), abs=0.05)
    assert shared["relative_low"] > 0.3
    assert abs(table.loc[PRIVATE.name, "*", "experts"]["gain"]) < 0.05 * CONCEPT_LOGIT
    leaves = {
        series.name: table.loc[series.name, "*", "source_experts"]["left"] for series in (SHARING, PRIVATE)
    }
    assert leaves[SHARING.name] < leaves[PRIVATE.name] - 1


def best_units(reliability: pd.DataFrame) -> pd.DataFrame:
    """Of every concept the unit that is best in its worst language, at the last step."""
    rows = reliability[
        (reliability["model"] == SHARING.name)
        & (reliability["step"] == SHARING.steps[-1])
        & (reliability["kind"] == "best_unit")
        & (reliability["metric"] == "worst_ap")
        & (reliability["concept"] != "*")
    ]
    return rows[["layer", "site", "unit", "concept"]]


def test_sharing_is_no_more_and_no_less_above_other_concepts_beside_what_could_pass_for_it(study):
    """The languages share no words, so nothing is taken away; lines are of one length, which tells no concept."""
    pairs = read_table(study.results / "tables/confound_pairs.parquet")
    pairs = pairs[pairs["term"] == "all_pairs"].set_index(["model", "step"])
    for series in (SHARING, PRIVATE):
        for step in series.shared:
            assert pairs.loc[(series.name, step), "value"] == pytest.approx(series.overlap(step), abs=0.01)
    cells = read_table(study.results / "tables/confounds.parquet")
    assert (cells.loc[cells["concept"] == "*", "shared_tokens"].dropna() == 0).all()
    mean = cells[cells["lang"] == "*"].set_index("model").loc[SHARING.name]
    assert mean["ap_tokens"] < mean["chance_ap"]
    assert mean["gain_low"] > 0


def test_units_that_know_concepts_tell_no_language(study):
    """Of the control every unit knows one concept in one language, and so is silent on most of its sentences."""
    units = read_table(study.results / "tables/language_units.parquet")
    units = units[(units["model"] == PRIVATE.name) & (units["step"] == PRIVATE.steps[-1])]
    assert (units[["share", "null"]] == 0).all(axis=None)
    overlap = read_table(study.results / "tables/language_overlap.parquet")
    last = overlap[(overlap["lang"] == "*") & (overlap["step"] == PRIVATE.steps[-1])].set_index("model")
    mean = last.loc[PRIVATE.name]
    assert mean["other_languages"] == 0
    assert mean["low"] < mean["chance"] < mean["high"]
