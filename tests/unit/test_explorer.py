"""The explorer's data: packed and read back, true to the tables, within its budget, linked into one script."""

import base64
import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.report.explorer.budget import Detail, fitting
from babelscope.report.explorer.build import build_explorer
from babelscope.report.explorer.linking import linked, script_hash
from babelscope.report.explorer.matrices import matrix_block
from babelscope.report.explorer.packing import (
    MISSING,
    bytes_of,
    numbers_of,
    pack,
    planes_of,
    unpack,
    words_of,
)  # fmt: skip
from babelscope.report.explorer.traces import by_concept, kept_steps, trace_block, traced_in
from babelscope.report.explorer.units import BestUnits
from babelscope.report.page import render_report
from babelscope.results import open_study
from synthetic_explorer import CONCEPT, HOSTILE, KEPT, MODEL, TWIN, made_up_traces, small_study

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner, max_size=4),
)
ARRAYS = st.sampled_from([np.uint8, np.uint16, np.uint32]).flatmap(
    lambda kind: st.lists(st.integers(0, int(np.iinfo(kind).max)), max_size=20).map(
        lambda v: np.array(v, kind)
    )
)


@given(
    st.dictionaries(st.text(min_size=1), JSON, max_size=4),
    st.dictionaries(st.text(min_size=1), ARRAYS, max_size=4),
)
def test_a_block_gives_back_what_was_packed(header, arrays):
    header.pop("arrays", None)
    found, read = unpack(pack(header, arrays))
    assert found == header
    assert list(read) == list(arrays)
    for name, values in arrays.items():
        assert read[name].dtype == values.dtype
        assert np.array_equal(read[name], values)


def test_a_block_keeps_shapes_and_refuses_other_types():
    values = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert np.array_equal(unpack(pack({}, {"a": values}))[1]["a"], values)
    with pytest.raises(ValueError, match="array 'x' is of float64; a block holds u1, u2, u4"):
        pack({}, {"x": np.zeros(2)})


@given(st.lists(st.integers(0, 2**40)))
def test_planes_give_back_numbers(numbers):
    assert numbers_of(planes_of(np.array(numbers, dtype=np.int64))).tolist() == numbers


def test_there_are_as_many_planes_as_bytes():
    assert [len(planes_of(np.array([n]))) for n in (0, 255, 256, 65535, 65536)] == [1, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="got -1"):
        planes_of(np.array([-1]))


@given(st.lists(st.floats(0, 1), min_size=1))
def test_shares_are_near_what_they_were(shares):
    assert np.abs(bytes_of(np.array(shares)) / 255 - shares).max() <= 0.002
    assert np.abs(words_of(np.array(shares)) / (MISSING - 1) - shares).max() <= 1e-5


def test_no_share_is_told_from_all_shares():
    assert words_of(np.array([np.nan, 0, 1])).tolist() == [MISSING, 0, MISSING - 1]


# ----------------------------------------------------------------------------------------- units, overlap


@pytest.fixture(scope="module")
def study():
    return open_study(KEPT)


@pytest.fixture(scope="module")
def best(study):
    return BestUnits.of(study.best(MODEL), k=6, langs=["en", "de", "ru"], most=10**6)


def cells_of(block):
    """Of each step and language the experts, the others and their AP, as the page's script reads them."""
    header, arrays = unpack(block)
    delta, at, cells = numbers_of(arrays["planes"]), 0, []
    for top, rest in zip(arrays["top"].ravel().tolist(), arrays["rest"].ravel().tolist(), strict=True):
        parts = []
        for count in (top, rest):
            unit = np.cumsum(delta[at : at + count])
            parts.append(dict(zip(unit.tolist(), arrays["ap"][at : at + count] / 255, strict=True)))
            at += count
        cells.append(parts)
    assert at == len(delta)
    return header, arrays, cells


@pytest.mark.parametrize("depth", [40, 17, 6, 3])
def test_the_block_of_a_concept_holds_its_best_units(best, depth):
    concept = best.concepts.index("house")
    header, arrays, cells = cells_of(best.block(concept, depth))
    assert header == {"concept": "house", "depth": depth}
    places = [(step, lang) for step in best.steps for lang in best.langs]
    for cell, (experts, others), below in zip(places, cells, arrays["below"].ravel(), strict=True):
        unit, ap = best.unit[cell][concept][:depth], best.ap[cell][concept][:depth]
        assert set(experts) == set(unit[: best.k].tolist())
        assert set(others) == set(unit[best.k :].tolist())
        for name, value in zip(unit.tolist(), ap, strict=True):
            assert abs((experts | others)[name] - value) <= 0.002
        assert below / 255 >= ap[-1] - 1e-6
        assert below / 255 <= max(ap[-1], best.below[cell][concept]) + 1 / 255


def test_no_more_is_held_than_a_page_could_show(study, best):
    few = BestUnits.of(study.best(MODEL), k=6, langs=["en", "de", "ru"], most=6 * 3 * 8 + 5)
    assert (few.kept, few.held) == (40, 8)
    assert {values.shape for values in few.unit.values()} == {(3, 8)}
    assert few.overlaps() == best.overlaps()
    assert [few.block(at, 8) for at in range(3)] == [best.block(at, 8) for at in range(3)]
    assert few.block(0, 40) == best.block(0, 8)


def test_what_is_not_kept_is_below_what_is_said(study, best):
    files = study.best(MODEL)
    _, arrays, _ = cells_of(best.block(0, best.kept))
    for at, (step, lang) in enumerate((s, x) for s in best.steps for x in best.langs):
        assert files[step, lang].below()[0] <= arrays["below"].ravel()[at] / 255 + 1e-9


def test_means_of_overlaps_are_those_of_the_table(study, best):
    header, arrays = unpack(best.overlaps())
    table = study.tables["overlap"]
    rows = table[(table["scope"] == "model") & (table["variant"] == "same_lines")]
    compared = 0
    for s, step in enumerate(best.steps):
        for p, pair in enumerate(header["pairs"]):
            one, other = sorted(pair)
            row = rows[(rows["step"] == step) & (rows["lang_a"].isin(pair)) & (rows["lang_b"].isin(pair))]
            assert len(row) == 1, (one, other)
            assert arrays["shared"][s, p].mean() / (MISSING - 1) == pytest.approx(
                row["overlap"].item(), abs=1e-4
            )
            assert arrays["null"][s, p].mean() / (MISSING - 1) == pytest.approx(row["null"].item(), abs=1e-4)
            assert (arrays["most"][s, p] >= arrays["null"][s, p]).all()
            compared += 1
    assert compared == 6


def test_a_matrix_is_the_table_of_overlap(study):
    table = study.tables["overlap"]
    header, arrays = unpack(matrix_block(table))
    rows = table[table["scope"].isin(["model", "layer"]) & ~table["lang_a"].str.match(r"[*=].")]
    for row in rows.to_dict("records"):
        pair = header["pairs"].index([row["lang_a"], row["lang_b"]])
        axes = zip(("steps", "layers", "variants"), ("step", "layer", "variant"), strict=True)
        at = (*(header[axis].index(row[column]) for axis, column in axes), pair)
        assert arrays["overlap"][at] / (MISSING - 1) == pytest.approx(row["overlap"], abs=1e-5)
        assert arrays["null"][at] / (MISSING - 1) == pytest.approx(row["null"], abs=1e-5)
    assert (arrays["overlap"] != MISSING).sum() == len(rows) > 50
    assert matrix_block(table[:0]) is None


# ------------------------------------------------------------------------------------------------- traces


def test_traces_keep_texts_bounds_and_values():
    traces = made_up_traces([(1, "mlp_out", 3), (2, "mlp_act", 7)], texts={"en": [*HOSTILE.values(), "a b"]})
    header, arrays = unpack(trace_block(traces, 2))
    assert header["units"] == ["L01.mlp_out.3", "L02.mlp_act.7"]
    assert len(header["texts"]) == len(set(header["texts"])) == len(HOSTILE) + 1
    assert len(header["rows"]) == len(traces)
    nibbles = np.stack([arrays["values"][0] & 15, arrays["values"][0] >> 4], axis=1).ravel().astype(int) - 8
    for row, (unit, lang, kind, rank, step, text, positive, _, _, start) in zip(
        traces.to_dict("records"), header["rows"], strict=True
    ):
        assert header["texts"][text] == row["text"]
        assert (lang, kind, rank) == (row["lang"], row["kind"], row["rank"])
        assert (header["steps"][step], bool(positive)) == (row["step"], row["positive"])
        assert [np.cumsum(each).tolist() for each in header["bounds"][text]] == [row["starts"], row["ends"]]
        read = nibbles[start : start + len(row["values"])] / 7 * header["scale"][unit]
        assert np.abs(read - row["values"]).max() <= header["scale"][unit] / 14 * 1.001


def test_traces_are_packed_by_concept_and_found_by_unit():
    traces = pd.concat(
        [
            made_up_traces([(1, "mlp_out", 3)], concept="house"),
            made_up_traces([(2, "mlp_act", 7)], concept="dog"),
            made_up_traces([(2, "mlp_act", 8)]).assign(concept=None),
            made_up_traces([(2, "mlp_act", 9)], model=TWIN),
        ]
    )
    tables = by_concept(traces, MODEL)
    assert [unpack(trace_block(rows, 2))[0]["concept"] for rows in tables] == ["dog", "house", ""]
    assert traced_in(tables) == {"L02.mlp_act.7": 0, "L01.mlp_out.3": 1, "L02.mlp_act.8": 2}


def test_fewer_trace_steps_are_the_first_the_middle_and_the_last():
    steps = [0, 1, 2, 4, 8, 16, 32]
    assert kept_steps(steps, 9) == steps
    assert kept_steps(steps, 3) == [0, 4, 32]
    assert kept_steps(steps, 1) == [32]
    assert unpack(trace_block(made_up_traces([(1, "mlp_out", 3)], steps=(0, 2, 4)), 1))[0]["steps"] == [4]


def test_values_that_are_not_finite_or_all_zero_are_packed():
    traces = made_up_traces([(1, "mlp_out", 3)], steps=(0,), texts={"en": ["a b", "c d"]})
    traces["values"] = [[np.nan, 0.0], [0.0, 0.0]]
    traces["value"] = np.nan
    header, arrays = unpack(trace_block(traces, 1))
    assert header["scale"] == [0]
    assert header["rows"][0][7] is None
    assert arrays["values"].ravel().tolist() == [8 + 16 * 8] * 2


# ------------------------------------------------------------------------------------------------- budget


class Parts:
    kept, held, k, n_trace_steps = 200, 200, 20, 7

    def units(self, depth):
        return {"units": "x" * (100 * depth)}

    def traces(self, n_steps):
        return {"traces": "x" * (500 * n_steps)}

    def overlaps(self, layers, concepts):
        return {"overlaps": "x" * (500 * layers + 300 * concepts)}


@pytest.mark.parametrize(
    ("limit", "depth", "steps", "layers", "concepts"),
    [
        (10**6, 200, 7, True, True), (24_299, 100, 7, True, True), (14_300, 100, 7, True, True),
        (13_800, 50, 7, True, True), (6_800, 25, 7, True, True), (6_799, 20, 7, True, True), (5_800, 20, 3, True, True),
        (4_200, 20, 1, True, True), (2_800, 10, 1, True, True), (1_400, 1, 1, True, True), (1_399, 1, 1, False, True),
        (900, 1, 1, False, True), (899, 1, 1, False, False), (0, 1, 1, False, False),
    ],
)  # fmt: skip
def test_the_tail_goes_first_then_trace_steps_then_ranks_then_pairs(limit, depth, steps, layers, concepts):
    detail, blocks = fitting(Parts(), limit)
    assert (detail.depth, detail.trace_steps, detail.layers, detail.concepts) == (
        depth,
        steps,
        layers,
        concepts,
    )
    assert sum(map(len, blocks.values())) <= limit or limit == 0
    assert len(detail.notes()) == (depth < 200) + (steps < 7) + (not layers)


def test_the_page_says_what_was_left_out():
    assert Detail(200, 200, 20, 7, 7).notes() == []
    tail, steps = Detail(20, 200, 20, 3, 7).notes()
    assert "of the 20 best units of each concept, of 200 that the study keeps" in tail
    assert "of 3 of 7 steps" in steps
    assert "the 5 best of 20 experts" in Detail(5, 200, 20, 7, 7).notes()[0]
    assert "is not here by layer;" in Detail(200, 200, 20, 7, 7, layers=False).notes()[0]
    assert "by layer or by concept;" in Detail(200, 200, 20, 7, 7, layers=False, concepts=False).notes()[0]


def test_a_small_budget_is_kept_and_said():
    settings, tables, best = small_study()
    whole = build_explorer(settings, tables, best)
    small = build_explorer(settings, tables, best, megabytes=0.9 * whole.size / 1e6)
    assert small.size < 0.95 * whole.size
    header, _ = unpack(small.blocks["study"])
    assert "To keep this page small" in header["notes"][0]
    assert unpack(whole.blocks["study"])[0]["notes"] == []
    # Numbers of the overlap are of all experts, whatever is shown of them.
    assert small.blocks["overlaps/0"] == whole.blocks["overlaps/0"]


def test_the_least_page_keeps_what_languages_share_in_the_whole_model():
    settings, tables, best = small_study()
    least = build_explorer(settings, tables, best, megabytes=1e-4)
    assert not [name for name in least.blocks if name.startswith("overlaps")]
    full, read = (unpack(of.blocks["matrix/0"]) for of in (build_explorer(settings, tables, best), least))
    pairs, layers = full[0]["pairs"], full[0]["layers"]
    means = [pairs.index(pair) for pair in (["*", "*"], ["=", "="])]
    there = full[1]["overlap"] != MISSING
    kept = np.zeros_like(there)
    kept[:, layers.index(-1)], kept[..., means] = True, True
    assert read[0] == full[0]
    assert np.array_equal(read[1]["overlap"], np.where(kept, full[1]["overlap"], MISSING))
    assert (there & kept).any()
    assert (there & ~kept).any()


def test_the_null_of_the_best_unit_is_that_of_the_table():
    settings, tables, best = small_study()
    tables["reliability"] = tables["reliability"].query("not (concept == 'house' and step == 0)")
    header, _ = unpack(build_explorer(settings, tables, best).blocks["study"])
    rows = (
        tables["reliability"]
        .query("kind == 'best_unit' and metric == 'worst_ap'")
        .set_index(["concept", "step"])
    )
    (tiny, twin) = (model["nulls"] for model in header["models"])
    assert set(tiny) == {"dog", "house", "water"}
    assert tiny["dog"] == pytest.approx(rows["null"]["dog"].loc[[0, 4]].tolist(), abs=1e-4)
    assert tiny["house"] == [None, pytest.approx(rows["null"]["house", 4], abs=1e-4)]
    assert twin == {}


# ------------------------------------------------------------------------------------------ the whole page


def test_the_header_tells_what_there_is():
    settings, tables, best = small_study(flagged=(0,))
    header, _ = unpack(build_explorer(settings, tables, best).blocks["study"])
    assert header["languages"] == settings["languages"]
    assert [model["name"] for model in header["models"]] == [MODEL, TWIN]
    tiny, twin = header["models"]
    assert tiny["flagged"] == {"0": "a <b>strange</b> loss"}
    assert twin["flagged"] == {}
    assert tiny["steps"] == [0, 4]
    assert tiny["tokens"] == [0, 768]
    assert tiny["k"] == 6
    assert twin["label"] == "twin-seed0 (control)"
    assert header["traces_missing"] == ""
    assert re.fullmatch("[0-9a-f]{8}", header["hash"])


def test_steps_that_the_tables_leave_out_are_not_shown():
    settings, tables, best = small_study()
    tables["overlap"] = tables["overlap"][tables["overlap"]["step"] != 0]
    header, _ = unpack(build_explorer(settings, tables, best).blocks["study"])
    assert [model["steps"] for model in header["models"]] == [[4], [4]]


def test_a_study_without_what_is_shown_says_so():
    settings, tables, best = small_study()
    assert "no overlap of experts" in build_explorer(settings, {}, best).missing
    assert "no best units" in build_explorer(settings, tables, {}).missing
    assert "no model has both" in build_explorer(settings, tables, {"other": best[MODEL]}).missing
    few = {name: tables[name] for name in ("overlap",)}
    explorer = build_explorer({}, few, best)
    header, _ = unpack(explorer.blocks["study"])
    assert "no token traces" in header["traces_missing"]
    assert header["models"][0]["start"]["concept"] == CONCEPT
    assert not [name for name in explorer.blocks if name.startswith(("texts", "traces"))]


def test_the_page_is_the_same_twice_and_lets_its_own_script_run(tmp_path):
    settings, tables, best = small_study()
    pages = []
    for name in ("one", "two"):
        out = tmp_path / f"{name}.html"
        explorer = build_explorer(settings, tables, best)
        render_report(
            study=settings, tables=tables, figures={}, findings=[], provenance={}, out=out, explorer=explorer
        )
        pages.append(out.read_bytes())
    assert pages[0] == pages[1]
    scripts = re.findall(rb'<script type="module">(.*?)</script>', pages[0], re.DOTALL)
    assert len(scripts) == 1
    hashed = base64.b64encode(hashlib.sha256(scripts[0]).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', pages[0].decode())[1]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    )


def test_a_page_without_an_explorer_runs_no_script(tmp_path):
    settings, tables, _ = small_study()
    out = tmp_path / "page.html"
    render_report(study=settings, tables=tables, figures={}, findings=[], provenance={}, out=out)
    page = out.read_text(encoding="utf-8")
    assert "made without an explorer" in page
    assert "<script" not in page
    assert "script-src" not in page


# ---------------------------------------------------------------------------------------------- one script


def test_modules_become_one_script_in_the_order_of_their_imports():
    modules = {
        "main": 'import { a } from "./one.js";\nimport { b } from "./two.js";\na(b);',
        "one": 'import { b } from "./two.js";\nconst secret = b;\nexport function a() {}',
        "two": "const secret = 1;\nexport const b = secret;\nexport class C {}",
        "unused": "unused();",
    }
    script = linked(modules, "main")
    assert script.index("module_two = ") < script.index("module_one = ") < script.index("module_main = ")
    assert script.count("const module_two") == 1
    assert "return { b, C };" in script
    assert "const { b } = module_two;" in script
    assert "unused" not in script
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"main": 'import { a } from "./gone.js";'}, "no module 'gone'; there are: main"),
        ({"main": 'import { a } from "./b.js";', "b": 'import { c } from "./main.js";'}, "import each other"),
        ({"main": 'import * as a from "./b.js";'}, "cannot be put into a page"),
        ({"main": "export default 3;"}, "cannot be put into a page"),
        ({"main": 'const a = "</script>";'}, "neither </script"),
    ],
)
def test_what_cannot_be_linked_is_refused(modules, message):
    with pytest.raises(ValueError, match=message):
        linked(modules, "main")


def test_a_script_is_hashed_as_browsers_do():
    # The example of the specification of content security policies.
    assert script_hash("alert('Hello, world.');") == "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
