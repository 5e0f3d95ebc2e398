"""Figures: every one draws, is told apart by its bytes only where it differs, and never fails."""

import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from synthetic_tables import synthetic_tables

from babelscope.captions import load_captions, load_sections
from babelscope.plotting import FIGURES, PlotStyle, draw, save_figure


@pytest.fixture(scope="module")
def tables():
    return synthetic_tables(steps=(0, 256, 512, 2048), languages=("de", "en", "es", "zh"))


def svg(name, tables, tmp_path):
    path = tmp_path / f"{name}.svg"
    save_figure(draw(name, tables), path)
    return path.read_text(encoding="utf-8")


def test_captions_cover_all_figures():
    captions = load_captions()
    assert list(captions) == list(FIGURES)
    assert {caption.section for caption in captions.values()} == {"overview", *load_sections()}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws(name, tables, tmp_path):
    before = {key: table.copy() for key, table in tables.items()}
    text = svg(name, tables, tmp_path)
    for key, table in tables.items():
        pd.testing.assert_frame_equal(table, before[key])
    assert "bridged" in text or name in ("hero", "generation")
    assert "DejaVu" not in re.sub(r"font(-family)?: [^\"]*", "", text)  # text stays text, no glyphs
    assert "<dc:date>" not in text
    assert not plt.get_fignums(), "a figure must not enter pyplot's global state"


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("case", ["missing", "none", "empty"])
def test_a_table_that_is_not_there_is_said_plainly(name, case, tables, tmp_path):
    main = load_captions()[name].tables[0]
    rest = {key: table for key, table in tables.items() if key != main}
    if case != "missing":
        rest[main] = None if case == "none" else tables[main].head(0)
    assert "no table" in svg(name, rest, tmp_path)


@pytest.mark.parametrize("name", FIGURES)
def test_one_step_one_model_no_models_table(name, tmp_path):
    tables = synthetic_tables(steps=(512,), control=False, languages=("en", "es"))
    del tables["models"]
    assert svg(name, tables, tmp_path)


@pytest.mark.parametrize("name", ["overlap_over_steps", "losses", "reliability", "generation"])
def test_several_seeds_are_counted(name, tmp_path):
    tables = synthetic_tables(seeds=3, steps=(512, 2048), languages=("en", "es"))
    assert "n = 3" in svg(name, tables, tmp_path)


def test_same_figure_same_bytes(tables, tmp_path):
    for name, suffix in (("overlap_over_steps", "svg"), ("lifelines", "svg"), ("hero", "png")):
        paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
        for path in paths:
            save_figure(draw(name, tables), path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_step_zero_has_a_place_and_references_are_named(tables):
    figure = draw("overlap_over_steps", tables)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["0", "256", "512", "2048"]
    assert figure.axes[0].get_xscale() == "symlog"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "bridged", "isolated (control)", "null: other concepts", "ceiling: same language",
        "chance K/N",
    ]  # fmt: skip
    dashed = {line.get_linestyle() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert dashed == {"-", "--"}


def test_style_is_applied_and_does_not_leak(tables):
    before = plt.rcParams["font.size"]
    small = draw("losses", tables, PlotStyle(font_scale=0.8))
    large = draw("losses", tables, PlotStyle(font_scale=1.6))
    assert large.get_size_inches()[0] == pytest.approx(2 * small.get_size_inches()[0])
    assert plt.rcParams["font.size"] == before


def test_errors(tables, tmp_path):
    with pytest.raises(ValueError, match="no figure 'nope'; there are: hero, losses"):
        draw("nope", tables)
    with pytest.raises(ValueError, match=r"saved as .svg or .png; got 'a.pdf'"):
        save_figure(draw("hero", {}), tmp_path / "a.pdf")
