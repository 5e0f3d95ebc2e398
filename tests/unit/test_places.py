"""Links from findings into the explorer: only to what it holds."""

from __future__ import annotations

import pytest

from babelscope.report.explorer.places import place_of
from babelscope.report.findings.evaluate import evaluate_findings
from synthetic_explorer import MODEL, TWIN, small_study


@pytest.fixture(scope="module")
def tables():
    return small_study()[1]


def places(tables):
    findings, _ = evaluate_findings(tables)
    return {(finding.key, finding.model): place_of(finding, tables) for finding in findings}


def test_a_finding_leads_to_its_view_with_the_control_beside(tables):
    found = places(tables)
    assert found["expert_overlap", "tiny"] == f"#/matrix?m={MODEL}&w={TWIN}"
    assert found["middle_layers", "tiny"] == f"#/layers?m={MODEL}&w={TWIN}"
    assert found["expert_overlap", "twin"] == f"#/matrix?m={TWIN}"
    assert found["language_identity", "tiny"] == ""


def test_a_unit_is_the_best_of_the_last_step(tables):
    rows = tables["reliability"]
    rows = rows[(rows["kind"] == "best_unit") & (rows["metric"] == "worst_ap") & (rows["concept"] != "*")]
    best = rows[rows["step"] == rows["step"].max()].sort_values("value").iloc[-1]
    unit = f"L{best.layer:02d}.{best.site}.{best.unit}"
    assert places(tables)["reliable_units", "tiny"] == f"#/unit/{unit}?m={MODEL}&c={best.concept}"


def test_texts_are_looked_for_where_there_are_some(tables):
    texts = tables["texts"]
    assert "&c=" in places(tables)["forced_generation", "tiny"]
    without = {**tables, "texts": texts[texts["condition"] != "forced"]}
    (finding,) = [each for each in evaluate_findings(tables)[0] if each.key == "forced_generation"][:1]
    assert place_of(finding, without) == ""
    assert place_of(finding, {name: table for name, table in tables.items() if name != "overlap"}) == ""
