"""The report in a real browser: it lays out, loads nothing and reads on a phone."""

import re
from pathlib import Path

import pytest

from babelscope.report.captions import load_captions

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    from babelscope.analysis.settings import ViewSettings
    from babelscope.report.figures.gallery import FIGURES, draw, save_figure
    from babelscope.report.findings.evaluate import evaluate_findings
    from babelscope.report.page import render_report
    from synthetic_tables import synthetic_tables

    folder = tmp_path_factory.mktemp("report")
    tables = synthetic_tables(steps=(0, 256, 512, 2048), languages=("de", "en", "es", "zh"))
    figures = {name: folder / f"{name}.svg" for name in FIGURES}
    for name, path in figures.items():
        save_figure(draw(name, tables), path)
    findings, _ = evaluate_findings(tables)
    study = {
        "study": "demo",
        "languages": ["de", "en", "es", "zh"],
        "views": {
            name: True for name, field in ViewSettings.model_fields.items() if field.annotation is bool
        },
        "report": {"title": "Test"},
    }
    out = folder / "report.html"
    render_report(study=study, tables=tables, figures=figures, findings=findings, provenance={}, out=out)
    return out


@pytest.fixture
def visit(visitor, report):
    return lambda **options: visitor(report.as_uri(), **options)


def test_loads_only_itself_and_has_no_errors(visit, report):
    page = visit()
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]
    assert page.problems == []


def test_every_figure_is_a_picture(visit):
    page = visit()
    sizes = page.eval_on_selector_all("img", "all => all.map(i => [i.naturalWidth, i.clientWidth])")
    assert len(sizes) == len(load_captions())
    assert all(natural > 200 and shown > 200 for natural, shown in sizes)


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_page_never_scrolls_sideways(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_contents_stay_in_view_on_a_wide_screen(visit):
    page = visit(viewport={"width": 1300, "height": 800}, reduced_motion="reduce")
    page.locator("nav.toc a[href='#setup']").click()
    assert page.locator("nav.toc summary").is_visible()
    box = page.locator("nav.toc").bounding_box()
    assert 0 <= box["y"] < 100
    assert page.locator("#setup").bounding_box()["y"] < 700


def test_details_open_and_tables_download(visit):
    page = visit()
    details = page.locator("details.data", has_text="Numbers behind").first
    details.locator("summary").click()
    assert details.locator("table").is_visible()
    with page.expect_download() as download:
        details.locator("a[download]").click()
    content = Path(download.value.path()).read_text(encoding="utf-8")
    assert content.startswith("model\t")


def test_formula_null_and_settings_of_a_claim_are_two_clicks_away(visit):
    page = visit()
    links = page.locator(".score a")
    assert links.count() == 5
    for at in range(5):
        links.nth(at).click()
        figure = page.locator(page.evaluate("location.hash"))
        details = figure.locator("details", has_text="Formula, notebook and settings")
        details.locator("summary").click()
        assert details.locator("p", has_text=re.compile("Null")).is_visible()
        assert details.locator("pre").count() in (1, 2)  # this study names few settings


@pytest.mark.parametrize("width", [360, 1300])
def test_the_numbers_of_claims_are_in_sight(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    region = page.locator(".score").bounding_box()
    for cell in page.locator(".score td:not(.none)").all():
        box = cell.bounding_box()
        assert region["x"] <= box["x"]
        assert box["x"] + box["width"] <= region["x"] + region["width"]
    assert page.get_by_role("table", name="Verdicts at a glance").get_by_role("row").count() > 5


def test_dark_mode_turns_the_page_dark(visit):
    dark = visit(color_scheme="dark").evaluate("getComputedStyle(document.body).backgroundColor")
    light = visit(color_scheme="light").evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, dark[4:-1].split(","))) < 150 < 600 < sum(map(int, light[4:-1].split(",")))


def test_first_tab_stop_skips_to_the_findings(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
