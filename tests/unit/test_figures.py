"""Figures: each draws all of its frame, in one order and one set of colours, and never fails."""

import dataclasses
import itertools
import re
import subprocess
import sys
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb

from babelscope.report.captions import load_captions, load_sections
from babelscope.report.figures.gallery import FIGURES, draw, save_figure
from babelscope.report.figures.spec import part
from babelscope.report.figures.style import PlotStyle, model_looks, short, ticks
from babelscope.report.findings.criteria import TITLES
from babelscope.report.summaries import model_ids, model_label, shared_unit_counts, traced_units
from synthetic_tables import synthetic_tables


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
    assert [name for name, caption in captions.items() if "null" not in caption.formula.lower()] == []
    assert {spec.caption.finding for spec in FIGURES.values()} == {"", *TITLES}
    assert {caption.section for caption in captions.values()} == {"overview", *load_sections()}


class Asked(dict):
    """Tables that note which of them are read."""

    def __init__(self, tables):
        super().__init__(tables)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        return self[name] if dict.__contains__(self, name) else default


@pytest.mark.parametrize("name", FIGURES)
def test_the_workflow_gives_a_figure_the_tables_that_it_reads(name, tables):
    asked = Asked(tables)
    FIGURES[name].data(asked)
    assert asked.names == set(load_captions()[name].tables)


def test_captions_are_light_enough_to_be_read_while_planning():
    code = "import sys, babelscope.report.captions as c; c.load_captions(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"pandas", "numpy", "matplotlib", "seaborn"} & set(loaded.split())


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
def test_a_model_that_the_tables_of_a_figure_lack_does_no_harm(name, tables):
    """As of several studies side by side, of which one has no such table."""
    less = {
        key: table[~table["model"].str.startswith("isolated")]
        if "model" in table and key != "models"
        else table
        for key, table in tables.items()
    }
    assert any(ax.has_data() for ax in draw(name, less).axes)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("case", ["missing", "none", "empty"])
def test_a_table_that_is_not_there_is_said_plainly(name, case, tables, tmp_path):
    main = load_captions()[name].tables[0]
    rest = {key: table for key, table in tables.items() if key != main}
    if case != "missing":
        rest[main] = None if case == "none" else tables[main].head(0)
    assert "no table" in svg(name, rest, tmp_path)


def test_probes_of_none_of_the_kinds_that_are_drawn(tables):
    probes = tables["probes"]
    only = {**tables, "probes": probes[probes["probe"] == "new_types"].assign(probe="another")}
    for name in ("probes_by_layer", "probes_over_steps"):
        assert FIGURES[name].data(only).empty


@pytest.mark.parametrize("name", FIGURES)
def test_one_step_one_model_no_models_table(name, tmp_path):
    tables = synthetic_tables(steps=(512,), control=False, languages=("en", "es"))
    del tables["models"]
    assert svg(name, tables, tmp_path)


@pytest.mark.parametrize("name", ["overlap_way", "overlap_by_layer"])
def test_without_room_below_the_ceiling_that_is_said(name, tables, tmp_path):
    unknown = tables["overlap"].assign(way_low=np.nan, way_high=np.nan, way_words_low=np.nan)
    assert "surely above the null" in svg(name, tables | {"overlap": unknown}, tmp_path)


@pytest.mark.parametrize("name", ["overlap_over_steps", "losses", "reliability", "generation"])
def test_several_seeds_are_counted(name, tmp_path):
    tables = synthetic_tables(seeds=3, steps=(512, 2048), languages=("en", "es"))
    assert "n = 3" in svg(name, tables, tmp_path)


def test_same_figure_same_bytes(tables, tmp_path):
    for name, suffix in (
        ("overlap_over_steps", "svg"),
        ("lifelines", "svg"),
        ("hero", "png"),
        ("hero", "pdf"),
    ):
        paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
        for path in paths:
            save_figure(draw(name, tables), path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_pdf_holds_its_text_in_truetype_fonts(tables, tmp_path):
    save_figure(draw("hero", tables), tmp_path / "hero.pdf")
    content = (tmp_path / "hero.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content


def test_step_zero_has_a_place_and_references_are_named(tables):
    figure = draw("overlap_over_steps", tables)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["0\n0", "256\n393k", "512\n786k", "2048\n3.15M"]
    assert figure.axes[0].get_xlabel() == "training step\ntokens seen"
    assert figure.axes[0].get_xscale() == "symlog"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "bridged", "isolated (control)", "null: other concepts", "ceiling: same language",
        "chance K/N",
    ]  # fmt: skip
    dashed = {line.get_linestyle() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert dashed == {"-", "--"}


# ------------------------------------------------------------------------------- the frame is what is drawn

STUDIES = {
    "two models": lambda: synthetic_tables(steps=(0, 256, 512, 2048), languages=("de", "en", "es", "zh")),
    "three seeds": lambda: synthetic_tables(seeds=3, steps=(64, 256, 2048), languages=("en", "es", "zh")),
    "a step flagged": lambda: synthetic_tables(steps=(0, 2048), languages=("en", "es"), flagged=(2048,)),
    "one step, one model": lambda: synthetic_tables(steps=(512,), control=False, languages=("en", "es")),
}


@cache
def drawn(study, name):
    """The frame of a figure, its panels and the models of the study."""
    tables = STUDIES[study]()
    return FIGURES[name].data(tables), panels_of(draw(name, tables)), model_ids(tables["models"])


every_figure_of_every_study = pytest.mark.parametrize(
    ("study", "name"), [(study, name) for study in STUDIES for name in FIGURES]
)


def reference(line):
    """Whether a line goes across its panel, as one of ``axhline`` does."""
    return line.get_transform() != line.axes.transData


def panels_of(figure):
    return [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]


def points_of(ax):
    """Values of the points and reference lines of a panel, and of its cells."""
    values = [
        value
        for line in ax.lines
        for value in (line.get_ydata()[:1] if reference(line) else line.get_ydata())
    ]
    cells = [np.ma.filled(c.get_array(), np.nan) for c in ax.collections if isinstance(c, QuadMesh)]
    return [*values, *np.concatenate([array.ravel() for array in cells] or [[]])]


@every_figure_of_every_study
def test_every_row_of_the_frame_is_drawn_and_nothing_else(study, name):
    frame, panels, _ = drawn(study, name)
    values = np.array([value for ax in panels for value in points_of(ax)], dtype=float)
    finite = np.sort(values[np.isfinite(values)])
    assert finite == pytest.approx(np.sort(frame["value"].dropna().to_numpy(dtype=float)))
    assert {"id", "role", "kind", "step", "value"} <= set(frame)


@every_figure_of_every_study
def test_the_limits_hold_all_data(study, name):
    for ax in drawn(study, name)[1]:
        low, high = sorted(ax.get_ylim())
        left, right = sorted(ax.get_xlim())
        for line in ax.lines:
            y = np.array(line.get_ydata(), dtype=float)
            assert (np.isnan(y) | ((y >= low) & (y <= high))).all()
            if not reference(line):
                x = np.array(line.get_xdata(), dtype=float)
                assert ((x >= left) & (x <= right)).all()


def bands_of(ax):
    return [c for c in ax.collections if isinstance(c, PolyCollection) and not isinstance(c, PathCollection)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FIGURES)
def test_no_point_and_no_band_is_hidden_whatever_the_numbers(name, seed, tables, monkeypatch):
    """Also of estimates without bias, which may be below 0, and of values that end low after a high."""
    rng, spec = np.random.default_rng(seed), FIGURES[name]

    def scrambled(of):
        frame = spec.data(of)
        at = ~frame["kind"].isin(["unit", "cell"]) & frame["step"].notna()
        n = int(at.sum())
        frame.loc[at, "value"] = rng.normal(0.3, 0.6, n) * rng.choice([0.1, 1, 3], n)
        for bound, sign in (("low", -1), ("high", 1)):
            known = at & frame[bound].notna()
            frame.loc[known, bound] = frame.loc[known, "value"] + sign * rng.exponential(
                0.5, int(known.sum())
            )
        return frame

    monkeypatch.setitem(FIGURES, name, dataclasses.replace(spec, data=scrambled))
    for ax in panels_of(draw(name, tables)):
        low, high = sorted(ax.get_ylim())
        ys = [np.array(line.get_ydata(), dtype=float) for line in ax.lines]
        ys += [path.vertices[:, 1] for band in bands_of(ax) for path in band.get_paths()]
        values = np.concatenate([*ys, np.empty(0)])
        values = values[np.isfinite(values)]
        assert not len(values) or (values.min() >= low and values.max() <= high)


def test_bands_that_reach_far_are_not_cut_off(tables):
    overlap = tables["overlap"].assign(high=0.9)
    ax = draw("hero", tables | {"overlap": overlap}).axes[0]
    assert ax.get_ylim()[1] > 0.9


@every_figure_of_every_study
def test_frames_hold_intervals_only_where_bands_are_drawn(study, name):
    frame, panels, _ = drawn(study, name)
    bands = [c for ax in panels for c in ax.collections if hasattr(c, "get_paths")]
    corners = {round(float(y), 9) for c in bands for path in c.get_paths() for _, y in path.vertices}
    if "low" in frame:
        for bound in ("low", "high"):
            assert {round(value, 9) for value in frame[bound].dropna()} <= corners


@every_figure_of_every_study
def test_models_stand_in_one_order(study, name):
    _, panels, keys = drawn(study, name)
    labels = [model_label(key) for key in keys]
    titles = [re.split(", step|:", ax.get_title(loc="left"))[0] for ax in panels]
    named = list(dict.fromkeys(title for title in titles if title in labels or title == keys[-1][0]))
    if FIGURES[name].shares_panels:
        assert named == []
    else:
        # The panels of matrices are named by the model alone.
        matrices = name in ("overlap_pairs", "ablation_pairs", "patching_pairs")
        assert named == ([key[0] for key in keys] if matrices else labels)


def test_a_model_has_one_colour_in_all_figures():
    keys = drawn("two models", "hero")[2]
    colours = {key: look.colour for key, look in model_looks(keys, PlotStyle()).items()}
    assert len(set(colours.values())) == len(keys)
    for name, kind in (("hero", "overlap"), ("overlap_over_steps", "overlap"), ("reliability", "mean")):
        frame, panels, _ = drawn("two models", name)
        lines = {tuple(line.get_ydata()): line.get_color() for ax in panels for line in ax.lines}
        for key in keys:
            rows = part(frame, key, kind=kind)
            rows = rows[rows["variant"] == "disjoint_lines"] if "variant" in rows else rows
            assert lines[tuple(rows["value"])] == colours[key]


def test_hollow_points_mark_what_is_known_as_a_bound_only():
    """They lie on the points of the lines, in the line's colour, and nowhere else."""
    frame, panels, keys = drawn("two models", "lifelines")
    best = frame[frame["kind"] == "best"]
    assert 0 < best["at_most"].sum() < len(best)
    for ax, key in zip([ax for ax in panels if ax.lines], keys, strict=True):
        dots = [c for c in ax.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
        hollow = {tuple(point) for each in dots for point in each.get_offsets()}
        filled = {point for line in ax.lines for point in zip(*line.get_data(), strict=True)}
        assert hollow <= filled
        bounds = part(frame, key, kind="best")
        assert sorted({y for _, y in hollow}) == pytest.approx(
            sorted(set(bounds.loc[bounds["at_most"], "value"]))
        )
        for each in dots:
            assert (each.get_facecolor() == 1).all()
            assert tuple(each.get_edgecolor()[0][:3]) in {to_rgb(line.get_color()) for line in ax.lines}
    assert "Hollow: " in FIGURES["lifelines"].caption.read


def test_an_average_precision_that_was_not_kept_is_a_bound_and_no_gap():
    """Of two languages one was not kept at the first step, and both at the second."""
    columns = ["step", "lang", "is_expert", "ap", "ap_below"]
    rows = [
        (0, "en", True, 0.6, np.nan), (0, "de", False, np.nan, 0.3),
        (8, "en", False, np.nan, 0.5), (8, "de", False, np.nan, 0.4),
        (16, "en", True, 0.9, np.nan), (16, "de", True, 0.8, np.nan),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns).assign(model="m", concept="dog", layer=1, site="s", unit=3)
    found = shared_unit_counts(table).set_index("step")
    assert found["n_languages"].tolist() == [1, 0, 2]
    assert found["worst_ap"].tolist() == pytest.approx([0.3, 0.4, 0.8])
    assert found["mean_ap"].tolist() == pytest.approx([0.45, 0.45, 0.85])
    assert found["best_ap"].tolist() == pytest.approx([0.6, 0.5, 0.9])
    assert found["at_most"].tolist() == [True, True, False]


def test_of_equal_units_the_one_that_is_known_comes_first():
    rows = [(unit, lang, 0.6, np.nan) for unit in (1, 2) for lang in ("en", "de")]
    rows[1] = (1, "de", np.nan, 0.6)
    table = pd.DataFrame(rows, columns=["unit", "lang", "ap", "ap_below"])
    table = table.assign(model="m", concept="dog", layer=1, site="s", step=0, is_expert=True)
    found = traced_units(table)
    assert found["unit"].tolist() == [2, 1]
    assert found["at_most"].tolist() == [False, True]


def test_dots_mark_the_significant_cells():
    frame, panels, _ = drawn("two models", "overlap_by_layer")
    dots = sum(len(c.get_offsets()) for ax in panels for c in ax.collections if not isinstance(c, QuadMesh))
    assert dots == (frame["q_value"] <= 0.05).sum() > 0


# ------------------------------------------------------------------------------- flags and tokens


@pytest.fixture(scope="module")
def flagged():
    return synthetic_tables(steps=(0, 256, 512, 2048), languages=("de", "en", "es", "zh"), flagged=(2048,))


def crosses(ax):
    return [text for text in ax.texts if text.get_text() == "×"]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_marks_what_the_audit_flagged(name, flagged, tables, tmp_path):
    assert "×" in svg(name, flagged, tmp_path)
    assert "flagged by the audit" in svg(name, flagged, tmp_path)
    unmarked = svg(name, tables, tmp_path)
    assert "×" not in unmarked
    assert "flagged by the audit" not in unmarked
    without = svg(name, {key: table for key, table in tables.items() if key != "audit"}, tmp_path)
    assert without == unmarked


def test_a_cross_stands_at_its_step_in_the_panel_of_its_model(flagged):
    figure = draw("losses", flagged)
    main, control = figure.axes
    assert [cross.xy for cross in crosses(main)] == [(2048, 0)]
    assert crosses(control) == []
    assert len(main.collections) == len(control.collections) + 1  # the band
    assert [line.get_xdata().tolist() for line in main.lines] == [
        line.get_xdata().tolist() for line in control.lines
    ]


def test_a_cross_in_a_heat_map_stands_in_its_column(flagged):
    main, control, _ = draw("overlap_by_layer", flagged).axes
    assert [cross.xy for cross in crosses(main)] == [(3.5, 0)]
    assert crosses(control) == []


def test_crosses_of_two_models_stand_above_each_other(flagged):
    audit = flagged["audit"].assign(flag=flagged["audit"]["step"] == 2048)
    figure = draw("hero", flagged | {"audit": audit})
    found = crosses(figure.axes[0])
    assert [cross.xy for cross in found] == [(2048, 0)] * 2
    assert {cross.xyann for cross in found} == {(0, 0), (0, 8)}
    assert len({cross.get_color() for cross in found}) == 2


def test_flags_do_not_move_the_data(flagged, tables):
    for name in ("hero", "losses", "reliability", "transfer_over_steps"):
        marked, plain = (draw(name, of).axes[0] for of in (flagged, tables))
        assert marked.get_xlim() == plain.get_xlim()
        assert marked.get_ylim() == pytest.approx(plain.get_ylim())


def test_flagged_steps_can_be_left_out(flagged):
    figure = draw("overlap_over_steps", flagged, exclude_flagged=True)
    lines = {line.get_linestyle(): line for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert lines["-"].get_xdata().tolist() == [0, 256, 512]
    assert lines["--"].get_xdata().tolist() == [0, 256, 512, 2048]  # the control is sound
    audit = draw("audit_losses", flagged, exclude_flagged=True)  # says why, so it stays whole
    assert crosses(audit.axes[0])
    assert audit.axes[0].get_xlabel() == "training step\ntokens seen"


def test_a_broken_checkpoint_does_not_press_the_others_into_a_line(flagged):
    losses = flagged["audit_losses"].copy()
    bad = (losses["step"] == 2048) & losses["model"].str.startswith("bridged")
    losses.loc[bad, "bits_per_byte"] = 30.0
    ax = draw("audit_losses", flagged | {"audit_losses": losses}).axes[0]
    assert ax.get_ylim()[1] < 4
    assert "flagged steps may lie above" in [text.get_text() for text in ax.texts]


def two_suites():
    """Two main models whose steps are not alike: one has seen ten times the tokens at a step."""
    tables = synthetic_tables(steps=(0, 256, 2048), languages=("en", "es"))
    tables["models"] = tables["models"].assign(role="main")
    steps = tables["steps"].copy()
    steps.loc[steps["model"].str.startswith("isolated"), "tokens"] *= 10
    tables["steps"] = steps
    return tables


def test_several_suites_share_an_axis_of_tokens():
    tables = two_suites()
    ax = draw("hero", tables).axes[0]
    assert ax.get_xlabel() == "tokens seen in training"
    xs = [line.get_xdata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert xs == [[0, 256 * 1536, 2048 * 1536], [0, 2560 * 1536, 20480 * 1536]]


def test_a_flag_follows_its_step_to_the_axis_of_tokens():
    tables = two_suites()
    tables["audit"] = tables["audit"].assign(
        flag=(tables["audit"]["step"] == 256) & (tables["audit"]["model"] == "isolated-seed0")
    )
    assert [cross.xy for cross in crosses(draw("hero", tables).axes[0])] == [(2560 * 1536, 0)]


def test_without_the_tokens_of_one_model_steps_stay_on_the_axis():
    tables = two_suites()
    tables["steps"].loc[0, "tokens"] = pd.NA
    assert draw("hero", tables).axes[0].get_xlabel() == "training step"
    del tables["steps"]
    assert draw("hero", tables).axes[0].get_xlabel() == "training step"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (512, "512"),
        (9999, "9999"),
        (10_000, "10k"),
        (1_500_000, "1.5M"),
        (330e9, "330B"),
        (15e12, "15T"),
    ],
)
def test_large_numbers_are_short(value, text):
    assert short(value) == text


def test_style_is_applied_and_does_not_leak(tables):
    before = plt.rcParams["font.size"]
    small = draw("losses", tables, PlotStyle(font_scale=0.8))
    large = draw("losses", tables, PlotStyle(font_scale=1.6))
    assert large.get_size_inches()[0] == pytest.approx(2 * small.get_size_inches()[0])
    assert plt.rcParams["font.size"] == before


def test_errors(tables, tmp_path):
    with pytest.raises(ValueError, match="no figure 'nope'; there are: hero, losses"):
        draw("nope", tables)
    with pytest.raises(ValueError, match=r"saved as .svg, .png, .pdf; got 'a.jpg'"):
        save_figure(draw("hero", {}), tmp_path / "a.jpg")


# ----------------------------------------------------------------------------- dose and response


def test_doses_are_of_the_last_step_and_of_all_seeds():
    tables = synthetic_tables(seeds=3, steps=(64, 2048), languages=("en", "es", "zh"))
    frame, overlap = FIGURES["overlap_dose"].data(tables), tables["overlap"]
    last = overlap[
        (overlap["step"] == 2048) & (overlap["layer"] == -1) & (overlap["lang_a"] == "*")
        & (overlap["variant"] == "disjoint_lines") & (overlap["scope"] == "model") & overlap["model"].str.startswith("bridged")
    ]["way"]  # fmt: skip
    bridged = ("bridged", "main")
    (point,) = part(frame, bridged, kind="dose").to_dict("records")
    assert (point["dose"], point["step"], point["n_seeds"]) == (0.4, 2048, 3)
    assert point["value"] == pytest.approx(last.mean())
    assert sorted(part(frame, bridged, kind="run")["value"]) == pytest.approx(sorted(last))
    assert point["low"] < last.mean() < point["high"]
    assert part(frame, ("isolated", "control"), kind="dose")["dose"].tolist() == [0]
    (told, _) = FIGURES["overlap_dose"].sentences(tables)
    assert "dose 0: " in told
    assert "3 pre-training seeds" in told


def test_a_model_without_a_dose_is_left_out(tables):
    models = tables["models"].assign(dose=[0.4, np.nan])
    frame = FIGURES["overlap_dose"].data(tables | {"models": models})
    assert set(frame["id"].dropna()) == {"bridged"}
    assert FIGURES["overlap_dose"].data(tables | {"models": models.drop(columns="dose")}).empty
    assert FIGURES["overlap_dose"].data(tables | {"models": models.assign(dose=np.nan)}).empty


def test_choices_are_counted_and_the_few_are_named(tables):
    """A pooling is named as a whole where all of its choices are meant; so is a site of it."""
    spec, found = FIGURES["choices"], tables["choice_conclusions"]
    bridged, last = found["model"] == "bridged-seed0", found["pooling"] == "last"

    def said(holds, **changes):
        told = found.assign(holds=np.where(bridged, holds, found["holds"]), **changes)
        return list(spec.sentences({**tables, "choice_conclusions": told}))

    some = said(last)
    assert some[0] == (
        "bridged, overlap: above the null at the last step in 9 of 18 choices, only with last."
    )
    assert some[1].startswith(
        "bridged, worst AP of the best units: above the null at the last step in 3 of 6"
    )
    assert said(True)[0].endswith("in 18 of 18 choices.")
    assert said(False)[0].endswith("in 0 of 18 choices.")
    at_site = last & (found["site"] == "mlp_out")
    assert said(~at_site)[0].endswith("in 15 of 18 choices, not with last at mlp_out.")
    one = at_site & (found["size"] == "double")
    assert said(~one)[0].endswith("in 17 of 18 choices, not with last at mlp_out twice K.")
    scattered = (found["size"] == "half") | one
    assert said(~scattered)[0].endswith(
        "in 11 of 18 choices, not with max at all sites half of K, max at attn_out half of K, max at mlp_out "
        "half of K, last at all sites half of K, last at attn_out half of K, last at mlp_out half of K, 1 more."
    )
    unknown = said(np.where(one, np.nan, True).astype(object))
    assert unknown[0].endswith("in 17 of 17 choices (1 more without an interval).")
    as_in_the_file = said(last, pooling=found["pooling"].replace("", np.nan))
    assert as_in_the_file == some
    assert list(spec.sentences({"choices": tables["choices"]})) == []


def test_a_choice_has_its_null_and_its_share_of_the_way_beside_it(tables):
    frame = FIGURES["choices"].data(tables)
    at_last = tables["choices"]
    at_last = at_last[(at_last["step"] == 2048) & (at_last["measure"] == "overlap")]
    for kind in ("overlap", "null", "way"):
        assert len(frame[frame["kind"] == kind]) == len(at_last) == 2 * 18
    unknown = tables["choices"].assign(way=np.nan, way_low=np.nan, way_high=np.nan)
    assert set(FIGURES["choices"].caption.columns) <= set(FIGURES["choices"].numbers(unknown))
    assert set(FIGURES["choices"].data(tables | {"choices": unknown})["kind"]) == {"overlap", "null", "end"}
    figure = draw("choices", tables)
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {"max", "last"}
    assert {label.get_text() for label in figure.axes[1].get_xticklabels()} == {
        "all sites", "attn_out", "mlp_out"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("n", "most", "shown"),
    [
        (12, 12, list(range(12))),
        (13, 12, [0, 2, 4, 6, 8, 10, 12]),
        (25, 12, [0, 3, 6, 9, 12, 15, 18, 21, 24]),
        (14, 12, [0, 2, 4, 6, 8, 10, 12]),
        (1, 5, [0]),
        (0, 5, []),
    ],
)
def test_labels_are_equally_far_apart(n, most, shown):
    """Of 13 layers all but the sixth had a label."""
    assert ticks(n, most) == shown


@given(st.integers(1, 500), st.integers(2, 12))
def test_labels_are_few_and_even(n, most):
    shown = ticks(n, most)
    assert len(shown) <= most
    assert shown[0] == 0
    assert n - 1 - shown[-1] < 2 * n / most
    assert len({b - a for a, b in itertools.pairwise(shown)}) <= 1
