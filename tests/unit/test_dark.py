"""Figures on dark pages: neutral colours are the page's, lines stand out, cells of heat maps stay."""

from __future__ import annotations

import re
from importlib.resources import files
from xml.etree import ElementTree

import pytest

from babelscope.report.captions import load_captions
from babelscope.report.dark import PANEL, contrast, with_dark_mode
from babelscope.report.figures.gallery import FIGURES, draw, save_figure
from babelscope.report.figures.style import INK
from babelscope.study.config import StudySettings
from synthetic_tables import synthetic_tables


def rules(svg):
    sheet = re.search(r"<style>@media \(prefers-color-scheme: dark\)\{(.*?)\}</style>", svg)[1]
    return {
        (kind, light): dark
        for kind, light, dark in re.findall(
            r'\[style\*="(\w+): (#\w+)"\][^{]*\{\w+:(#\w+)!important\}', sheet
        )
    }


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    tables = synthetic_tables(languages=("de", "en", "zh"))
    for name in ("hero", "probes_by_layer", "overlap_pairs", "overlap_by_layer"):
        save_figure(draw(name, tables), folder / f"{name}.svg")
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ff0000", "#ff0000") == 1


def test_paper_and_ink_are_those_of_the_page(figures):
    css = (files("babelscope.report") / "templates/report.css").read_text(encoding="utf-8")
    dark = css.partition("prefers-color-scheme: dark")[2]
    assert re.search(r"--plate: (#\w+)", dark)[1] == re.search(r"--panel: (#\w+)", dark)[1] == PANEL
    found = rules(with_dark_mode(figures["hero"]))
    assert found["fill", "#ffffff"] == PANEL
    assert found["fill", INK] == re.search(r"--ink: (#\w+)", dark)[1]


@pytest.mark.parametrize("name", ["hero", "probes_by_layer"])
def test_every_line_stands_out_from_the_dark_page(figures, name):
    shown = with_dark_mode(figures[name])
    assert ElementTree.fromstring(shown) is not None
    found = rules(shown)
    strokes = set(re.findall(r"stroke: (#[0-9a-f]{6})", figures[name]))
    faint = {"#e5e9ee", "#9aa5b1", "#ffffff"}  # grid, edges of panels, paper
    assert len(strokes - faint) > 1
    for stroke in strokes - faint:
        assert contrast(found.get(("stroke", stroke), stroke), PANEL) >= 4.5


@pytest.mark.parametrize("name", ["overlap_pairs", "overlap_by_layer"])
def test_what_stands_on_cells_goes_with_them(figures, name):
    root = ElementTree.fromstring(figures[name])
    ids = [each.get("id") for each in root.iter() if (each.get("id") or "").startswith("on-cell")]
    assert ids
    assert len(ids) == len(set(ids))
    assert with_dark_mode(figures[name]).count(':not([id^="QuadMesh"] *, [id^="on-cell"] *)') >= len(
        rules(with_dark_mode(figures[name]))
    )


def test_settings_behind_a_figure_are_keys_of_a_study():
    for caption in load_captions().values():
        assert caption.settings, caption.name
        assert set(caption.settings) <= set(StudySettings.model_fields), caption.name


def test_numbers_behind_every_figure_can_be_had():
    tables = synthetic_tables()
    for name, spec in FIGURES.items():
        assert spec.numbers is not None, name
        numbers = spec.numbers(tables[spec.caption.tables[0]])
        assert set(spec.caption.columns) <= set(numbers), name
