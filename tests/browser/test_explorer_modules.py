"""The explorer's modules, each by itself, as the browser runs them."""

import itertools
import json
from importlib.resources import files

import numpy as np
import pytest

from babelscope.report.explorer.packing import pack
from babelscope.report.explorer.units import BestUnits
from babelscope.results import open_study
from babelscope.units import UnitIndex
from synthetic_explorer import HOSTILE, KEPT, MODEL

pytestmark = pytest.mark.browser

MODULES = files("babelscope.report") / "templates" / "explorer"
HOME = "http://explorer.invalid/"


@pytest.fixture(scope="module")
def run(browser):
    """Evaluates the body of a function with modules that are named; nothing is asked of a network."""
    context = browser.new_context()
    page = context.new_page()

    def serve(route):
        name = route.request.url.removeprefix(HOME)
        if name.endswith(".js"):
            content = (MODULES / name).read_text(encoding="utf-8")
            route.fulfill(body=content, content_type="text/javascript; charset=utf-8")
        else:
            route.fulfill(body="<!doctype html><title>t</title>", content_type="text/html")

    page.route("**/*", serve)
    page.goto(HOME)

    def run(names, body, argument=None):
        imports = "".join(f"const {name} = await import('/{name}.js');" for name in names.split())
        return page.evaluate(f"async (x) => {{ {imports} {body} }}", argument)

    yield run
    context.close()


def test_a_block_is_read_as_it_was_packed(run):
    header = {"text": "ﷺ \ud83d\ude00 \x00 </script>", "list": [1, None, 0.5]}
    arrays = {
        "bytes": np.array([0, 255], np.uint8), "words": np.array([[1, 65535, 7]], np.uint16),
        "none": np.empty(0, np.uint32), "large": np.array([2**32 - 1], np.uint32),
    }  # fmt: skip
    found = run(
        "blocks",
        "const b = await blocks.unpack(x);"
        "return [b.header, Object.fromEntries(Object.entries(b.arrays).map(([k, v]) => [k, [...v]]))]",
        pack(header, arrays),
    )
    assert {key: found[0][key] for key in header} == json.loads(json.dumps(header))
    assert found[1] == {name: values.ravel().tolist() for name, values in arrays.items()}
    assert run(
        "blocks", "return [blocks.share(0), blocks.share(65534), Number.isNaN(blocks.share(65535))]"
    ) == [0, 1, True]


def test_units_of_a_concept_are_found(run):
    best = BestUnits.of(open_study(KEPT).best(MODEL), k=6, langs=["en", "de", "ru"], most=10**6)
    unit, ap = best.unit[4, "de"][0], best.ap[4, "de"][0]
    wanted = [int(unit[0]), int(unit[5]), int(unit[6]), int(unit[-1])]
    missing = next(number for number in range(len(best.units)) if number not in unit)
    found = run(
        "blocks study",
        "const u = new study.ConceptUnits(await blocks.unpack(x[0]), 3);"
        "return [x[1].map((unit) => u.find(1, 1, unit)), [...u.experts(1, 1).unit], u.depth]",
        [best.block(0, best.kept), [*wanted, missing]],
    )
    cells, experts, depth = found
    assert [cell["expert"] for cell in cells] == [True, True, False, False, False]
    assert [cell["kept"] for cell in cells] == [True] * 4 + [False]
    assert [cell["ap"] for cell in cells[:4]] == pytest.approx([ap[0], ap[5], ap[6], ap[-1]], abs=0.002)
    assert cells[4]["ap"] == pytest.approx(best.below[4, "de"][0], abs=1 / 255)
    assert (experts, depth) == (sorted(unit[:6].tolist()), 40)


def test_units_have_the_names_that_they_have_elsewhere(run):
    sites = [(0, "mlp_act", 300), (0, "attn.out", 7), (3, "mlp_act", 5)]
    index, numbers = UnitIndex.of(sites), [0, 299, 300, 306, 307, 311]
    names, back = run(
        "names",
        "const n = new names.UnitNames(x[0]); return [x[1].map((i) => n.name(i)), x[1].map((i) => n.number(n.name(i)))]",
        [sites, numbers],
    )
    assert names == index.names(numbers)
    assert back == numbers
    typed = ["l0.MLP_ACT.007", " L3.mlp_act.4 "]
    assert (
        run(
            "names",
            "const n = new names.UnitNames(x[0]); return x[1].map((i) => n.number(i))",
            [sites, typed],
        )
    ) == [7, 311]
    wrong = ["L00.mlp_act.300", "L01.mlp_act.0", "mlp_act.0", "", "L00.none.0", "L00.mlp_act.-1"]
    assert (
        run(
            "names",
            "const n = new names.UnitNames(x[0]); return x[1].map((i) => n.number(i))",
            [sites, wrong],
        )
        == [-1] * 6
    )


# -------------------------------------------------------------------------------------------------- links

STUDY = """
const { UnitNames } = await import('/names.js');
const model = (name, steps) => ({ name, steps, sites: [[1, 'mlp_act', 200], [2, 'mlp_out', 50]],
  names: new UnitNames([[1, 'mlp_act', 200], [2, 'mlp_out', 50]]), langs: ['en', 'de', 'zh'],
  concepts: ['house', 'a&b=c'], start: { concept: 'house', unit: 'L01.mlp_act.3', a: 'en', b: 'zh' } });
const study = { hash: 'abcd1234', languages: ['en', 'de', 'zh'], concepts: ['house', 'a&b=c'],
  models: [model('one', [0, 100, 1000]), model('two', [0, 7])],
  model: (name) => study.models.find((each) => each.name === name) };
"""


def test_the_default_state_has_the_shortest_link(run):
    assert run("state", STUDY + "return state.format(state.defaults(study), study)") == "#/raster"


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"s": 100}, "#/raster?s=100"),
        ({"m": "two", "s": 7}, "#/raster?m=two"),
        ({"view": "matrix", "l": "en,zh"}, "#/matrix?l=en,zh"),
        ({"view": "unit", "unit": "L02.mlp_out.39", "c": "a&b=c"}, "#/unit/L02.mlp_out.39?c=a%26b%3Dc"),
        ({"view": "matrix", "k": "calibrated", "layer": "2", "v": "same_lines", "script": "other"},
         "#/matrix?v=same_lines&k=calibrated&layer=2&script=other"),
        ({"w": "two", "a": "de", "b": "en", "site": "mlp_act", "min": "2"}, "#/raster?w=two&a=de&b=en&site=mlp_act&min=2"),
    ],
)  # fmt: skip
def test_a_state_goes_into_its_link_and_back(run, change, fragment):
    body = STUDY + "const s = {...state.defaults(study), ...x}; const f = state.format(s, study);"
    made, found, wanted, notes = run(
        "state", body + "const p = state.parse(f, study); return [f, p.state, s, p.notes]", change
    )
    assert (made, notes) == (fragment, [])
    assert {key: str(value) for key, value in found.items()} == {
        key: str(value) for key, value in wanted.items()
    } | ({} if wanted["view"] == "unit" else {"unit": "L01.mlp_act.3"})


@pytest.mark.parametrize(
    ("fragment", "part", "note"),
    [
        ("#/raster?s=130", {"s": 100}, "There is no step 130 of one; this is 100, the nearest."),
        ("#/raster?s=early", {"s": 1000}, "“early” is no step."),
        ("#/raster?s=", {"s": 1000}, "“” is no step."),
        ("#/raster?c=ship", {"c": "house"}, "This study has no concept “ship”."),
        ("#/raster?m=__proto__", {"m": "one"}, "This study has no model “__proto__”."),
        ("#/matrix?l=zh,xx,en", {"l": "en,zh"}, "This study has no language “xx”."),
        ("#/matrix?l=zh,de,en", {"l": ""}, None),
        ("#/nothing", {"view": "raster"}, "There is no view “nothing”; this is the first one."),
        ("#/", {"view": "raster"}, None),
        (
            "#/unit/L09.mlp_act.1",
            {"unit": "L01.mlp_act.3"},
            "one has no unit “L09.mlp_act.1”; this is L01.mlp_act.3.",
        ),
        ("#/unit/%E0%A4%A", {"unit": "L01.mlp_act.3"}, "one has no unit “%E0%A4%A”; this is L01.mlp_act.3."),
        (
            "#/unit/%E2%80%AEL01",
            {"unit": "L01.mlp_act.3"},
            "one has no unit “⟨U+202E⟩L01”; this is L01.mlp_act.3.",
        ),
        ("#/unit/l2.mlp_out.039", {"unit": "L02.mlp_out.39"}, None),
        ("#/raster?min=3", {"min": "3"}, None),
        ("#/raster?min=4", {"min": ""}, "“4” is no number of languages: one has 3."),
        ("#/raster?min=many", {"min": ""}, "“many” is no number of languages: one has 3."),
        ("#/matrix?layer=7", {"layer": ""}, "one has no layer “7”."),
        ("#/raster?f=00000000", {"view": "raster"}, "another study"),
        ("#/raster?f=abcd1234&unknown=3", {"view": "raster"}, None),
    ],
)
def test_what_a_link_asks_for_and_is_not_there_is_said(run, fragment, part, note):
    found = run("state", STUDY + "return state.parse(x, study)", fragment)
    assert part.items() <= found["state"].items()
    assert [each for each in found["notes"] if note and note in each] == found["notes"]
    assert bool(found["notes"]) == (note is not None)


def test_one_stays_with_a_unit_if_the_other_is_not_there(run):
    body = (
        STUDY
        + "return ['#/unit/none', '#/unit/L02.mlp_out.1'].map((f) => state.parse(f, study, 'L02.mlp_out.9').state.unit)"
    )
    assert run("state", body) == ["L02.mlp_out.9", "L02.mlp_out.1"]


def test_a_note_of_a_hostile_link_stays_short(run):
    found = run("state", STUDY + "return state.parse(`#/raster?c=${'x'.repeat(10000)}`, study).notes")
    assert [len(note) for note in found] == [300]


def test_a_model_that_lacks_what_is_asked_for_shows_its_own(run):
    other = (
        "Object.assign(study.model('two'), { langs: ['fr', 'de'], concepts: ['ship'], sites: [[0, 'resid', 4]],"
        "names: new UnitNames([[0, 'resid', 4]]), start: { concept: 'ship', unit: 'L00.resid.2', a: 'fr', b: 'de' } });"
        "study.languages.push('fr'); study.concepts.push('ship');"
    )
    asked = ["#/unit/?m=two", "#/raster?m=two&a=de&c=a%26b%3Dc", "#/raster?m=two&c=nothing"]
    bare, part, unknown = run(
        "state", STUDY + other + "return x.map((each) => state.parse(each, study))", asked
    )
    own = {"m": "two", "c": "ship", "a": "fr", "b": "de", "unit": "L00.resid.2"}
    assert own.items() <= bare["state"].items()
    assert bare["notes"] == []
    assert (own | {"a": "de"}).items() <= part["state"].items()
    assert part["notes"] == ["two has no concept “a&b=c”; this is “ship”."]
    assert unknown["notes"] == ["This study has no concept “nothing”."]


AXES = """
const model = (name, steps, tokens) => ({ name, steps, tokens, sites: [[1, 'mlp_act', 2]] });
const made = (axis, ...models) => new study.Study({ axis, models });
"""


def test_another_model_stands_where_it_had_seen_as_many_tokens(run):
    places = run(
        "study",
        AXES
        + "const s = made('tokens', model('one', [0, 10, 100], [0, 1000, 10000]), model('two', [0, 1, 9], [0, 900, 8100]),"
        " model('none', [0, 90], null));"
        "return s.models.map((each) => [0, 10, 100].map((step) => s.place(each, { m: 'one', s: step })))",
    )
    assert places == [[0, 1, 2], [0, 1, 2], [0, 0, 1]]


def test_steps_lie_by_tokens_on_one_axis_or_at_equal_distances(run):
    body = AXES + "const s = made(x, model('one', [0, 1, 2], [0, 10, 1e6]), model('two', [5], [1000]));"
    equal, seen = (
        run("study", body + "return s.models.map((m) => s.ticks(m))", axis) for axis in ("steps", "tokens")
    )
    assert [[tick["place"] for tick in of] for of in equal] == [[0, 0.5, 1], [0.5]]
    assert [[tick["label"] for tick in of] for of in equal] == [["0", "1", "2"], ["5"]]
    one, two = ([tick["place"] for tick in of] for of in seen)
    assert one[0] == 0
    assert one[2] == pytest.approx(1)
    assert two[0] - one[1] == pytest.approx(2 * (one[2] - one[1]) / 5)  # 10, 1000, 1000000
    assert [[tick["label"] for tick in of] for of in seen] == [["0", "10", "1 M"], ["1 k"]]


def test_anchors_of_the_page_are_none_of_its_links(run):
    assert (
        run("state", STUDY + "return ['', '#findings', '#'].map((f) => state.parse(f, study))") == [None] * 3
    )


# --------------------------------------------------------------------------------------------------- text


def test_hidden_characters_are_shown(run):
    shown = {name: run("text", "return text.visible(x)", text) for name, text in HOSTILE.items()}
    assert shown["markup"] == HOSTILE["markup"]
    assert shown["bidi"] == "a⟨U+202E⟩txet⟨U+202C⟩ ⟨U+2066⟩left⟨U+2069⟩ ⟨U+200F⟩end"
    assert shown["control"] == "a␀b␛c␡d\ufffde"
    assert shown["clone"] == "hund"
    assert run("text", "return text.visible('x\\ud800y')") == "x\ufffdy"
    joined = "می‌خواهم क्‍ष"
    assert run("text", "return text.visible(x)", joined) == joined


def test_text_has_the_direction_of_its_language(run):
    assert run("text", "return ['ar', 'he-IL', 'zh', 'und', '\" onload=x'].map((l) => text.spoken(l))") == [
        {"lang": "ar", "dir": "rtl"}, {"lang": "he-IL", "dir": "rtl"}, {"lang": "zh", "dir": "ltr"},
        {"dir": "auto"}, {"dir": "auto"},
    ]  # fmt: skip


def test_languages_have_names_where_these_are_known(run):
    codes = ["hi", "zh-Hant", "eng_Latn", "pt-BR", "qqq", "en2", "x\u202e"]
    assert run("text", "return x.map((code) => text.named(code))", codes) == [
        "hi · Hindi", "zh-Hant · Traditional Chinese", "eng_Latn · English (Latin)", "pt-BR · Brazilian Portuguese",
        "qqq", "en2", "x\u202e",
    ]  # fmt: skip


def test_a_long_text_is_cut_around_its_peak(run):
    assert run("text", "return [[300, 0], [10000, 0], [10000, 5000], [10000, 9999]].map((a) => text.shownPart(...a))") == [
        [0, 300], [0, 500], [4750, 5250], [9500, 10000],
    ]  # fmt: skip


def test_tokens_are_shaded_where_they_stand(run):
    text, starts, ends = "a 😀 b", [0, 2, 5], [1, 4, 6]
    html = run(
        "sentences",
        "const n = document.createElement('p'); n.append(...sentences.shaded(...x).filter(Boolean)); return n.innerHTML",
        [text, starts, ends, [0, 1, -0.5], "en"],
    )
    assert html == (
        '<bdi lang="en" dir="ltr"><span class="x-token">a</span> <span class="x-token" style="--v: 100%;">😀</span> '
        '<span class="x-token x-minus" style="--v: 50%;">b</span></bdi>'
    )


def test_values_of_traces_are_read_back(run):
    found = run(
        "sentences", "return sentences.valuesOf({ arrays: { values: Uint8Array.from([0x1f, 0x88]) } }, 0, 4)"
    )
    assert found == [1, -1, 0, 0]


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("width", [120, 220, 900, 1500])
@pytest.mark.parametrize("sites", [[[1, "a", 64]] * 8, [[0, "a", 4096], [0, "b", 1024]] * 24, [[0, "a", 1]]])
def test_every_unit_has_a_spot_of_its_own_in_the_picture(run, sites, width):
    plan, wrong = run(
        "marks names",
        """const [sites, width] = x; const n = new names.UnitNames(sites);
        const plan = marks.layout(sites, sites.map((_, i) => i), width);
        const seen = new Set(); let wrong = 0;
        for (let unit = 0; unit < n.size; unit += 1) {
          const at = marks.spot(plan, n, unit);
          if (at.x < 0 || at.x + plan.cell > width || at.y + plan.cell > plan.height) wrong += 1;
          seen.add(`${at.x} ${at.y}`);
        }
        return [plan, wrong + n.size - seen.size]""",
        [sites, width],
    )
    assert wrong == 0
    assert plan["cell"] * plan["columns"] <= width


def test_the_marks_of_two_languages(run):
    units = """const units = { nLangs: 3, experts: (step, lang) => [
      { unit: [1, 5], ap: [255, 51] }, { unit: [5, 9], ap: [102, 0] }, { unit: [5], ap: [255] }][lang] };"""
    found, order = run(
        "marks",
        units + "const m = marks.marksOf(units, 0, 0, 1); return [m, marks.byInterest(m).map((e) => e.unit)]",
    )
    assert found == [
        {"unit": 1, "a": True, "b": False, "apA": 1, "apB": None, "languages": 1},
        {"unit": 5, "a": True, "b": True, "apA": 0.2, "apB": 0.4, "languages": 3},
        {"unit": 9, "a": False, "b": True, "apA": None, "apB": 0, "languages": 1},
    ]
    assert order == [5, 1, 9]


def test_names_at_the_ends_of_lines_stand_apart_and_above_the_axis(run):
    drawn = """const known = (value) => [{ value, known: true }, { value, known: true }];
      const series = x.map((value, i) => ({ name: `l${i}`, hue: '0', values: known(value) }));
      const axis = [{ place: 0, label: '0' }, { place: 1, label: '1' }];
      const made = chart.chart('', axis, series, [], 1, [], 400, 1);
      const bottom = Math.max(...[...made.querySelectorAll('.x-grid')].map((line) => Number(line.getAttribute('y1'))));
      return [bottom, ...[...made.querySelectorAll('.x-end')].map((text) => Number(text.getAttribute('y'))).sort((a, b) => a - b)];"""
    bottom, *ends = run("chart", drawn, [0.9, 0.05, 0.05, 0.05, 0.04])
    assert ends[-1] <= bottom
    assert all(after - before >= 13 for before, after in itertools.pairwise(ends))
    assert ends[0] < 60  # the line that ends high keeps its place


def test_charts_side_by_side_have_one_scale(run):
    drawn = """const of = (least) => chart.chart('', [{ place: 0, label: '0' }],
        [{ name: 'a', hue: '0', values: [{ value: 0.1, known: true }] }], [], 0, [], 400, least);
      return [0, 0.9].map((least) => Number(of(least).querySelector('.x-dot').getAttribute('cy')));"""
    alone, beside = run("chart", drawn)
    assert alone < 40
    assert beside > 200
