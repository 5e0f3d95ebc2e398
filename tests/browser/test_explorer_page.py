"""The explorer in a real browser: what every control does, links, keys, screen readers, hostile text."""

import re
import time
from importlib.resources import files

import pytest

from babelscope.cli import main
from babelscope.report.explorer.build import build_explorer
from babelscope.report.findings.evaluate import evaluate_findings
from babelscope.report.page import render_report
from synthetic_explorer import HOSTILE, KEPT, MODEL, TWIN, small_study

pytestmark = pytest.mark.browser

SENTENCES = {
    "en": ["The dog barks.", "A house", "Nothing to see", *HOSTILE.values(), "long " * 2000],
    "de": ["Der Hund bellt."],
}
TRACED = "L01.mlp_out.11"
READY = "#explorer-root[data-ready]"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    settings, tables, best = small_study(flagged=(0,), texts=SENTENCES)
    texts = tables["texts"]
    texts.loc[texts["condition"] == "forced", ["text", "concept"]] = [HOSTILE["markup"], "dog"]
    out = tmp_path_factory.mktemp("explorer") / "report.html"
    explorer = build_explorer(settings, tables, best)
    findings, _ = evaluate_findings(tables)
    render_report(
        study=settings,
        tables=tables,
        figures={},
        findings=findings,
        provenance={},
        out=out,
        explorer=explorer,
    )
    return out


@pytest.fixture
def visit(visitor, report):
    pages = []

    def visit(fragment="", **options):
        page = visitor(report.as_uri() + fragment, **options)
        page.wait_for_selector(READY)
        pages.append(page)
        return page

    yield visit
    for page in pages:  # whatever a test did: no error, and no request but for the file itself
        assert page.problems == []
        assert {url.partition("#")[0] for url in page.requests if not url.startswith("data:")} == {
            report.as_uri()
        }


def test_findings_lead_to_what_they_speak_of(visit):
    page = visit()
    links = page.locator('#findings a[href^="#/"]')
    wanted = [links.nth(at).get_attribute("href") for at in range(links.count())]
    assert {link.partition("?")[0].split("/")[1] for link in wanted} == {"matrix", "layers", "unit"}
    for at, link in enumerate(wanted):
        links.nth(at).scroll_into_view_if_needed()
        links.nth(at).click()
        until(page, "(link) => location.hash === link", link)
        title = {"matrix": "Languages", "layers": "Layers", "unit": "One unit"}[
            link.split("/")[1].partition("?")[0]
        ]
        until(page, "(title) => document.querySelector('.x-tab[aria-current]').textContent === title", title)
        top = page.evaluate("document.getElementById('explorer').getBoundingClientRect().top")
        assert -5 < top < 50
        assert page.locator(".x-notes").inner_text() == ""


def until(page, condition, arg=None, timeout=8):
    """Wait for a condition. Playwright's own way evaluates a string in the page, which the page does not allow."""
    condition = condition if condition.startswith("(") else f"() => {condition}"
    end = time.monotonic() + timeout
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def words(page):
    return page.locator(".x-words").first.inner_text()


def fragment(page):
    return page.evaluate("location.hash")


def field(page, label):
    """A choice by its label, also one that is folded away."""
    page.evaluate("document.querySelector('.x-more').open = true")
    return page.locator(".x-field", has=page.locator(f"span:text-is('{label}')")).locator("select, input")


def slide(page, at):
    page.locator(".x-time input").fill(str(at))
    until(page, "(at) => document.querySelector('.x-told').textContent.includes(`, ${at + 1} of`)", arg=at)


# --------------------------------------------------------------------------------------- the four views


def test_the_first_view_says_what_two_languages_share(visit):
    page = visit()
    assert fragment(page) == ""
    assert re.match(
        r"\d+\s% of the experts of “\w+” are the same units in en and ru at step 4\. By chance", words(page)
    )
    assert "different sentences" in words(page)
    assert page.locator("canvas").first.is_visible()
    assert page.locator(".x-panel tbody tr").count() > 5


def test_numbers_of_the_raster_are_those_of_its_list(visit):
    page = visit("#/raster?c=house&a=en&b=de")
    both = page.locator(".x-panel tbody tr", has_text="both").count()
    assert f"in both ({both})" in page.locator(".x-legend").inner_text()
    assert words(page).startswith(f"{round(100 * both / 6)}\u00a0%")


def test_a_unit_of_the_list_opens_and_back_returns(visit):
    page = visit("#/raster?c=house")
    button = page.locator(".x-panel tbody button").first
    name = button.inner_text()
    button.click()
    page.wait_for_selector(".x-chart")
    assert fragment(page) == f"#/unit/{name}?c=house"
    assert words(page).startswith(f"{name} is an expert of “house”")
    page.go_back()
    page.wait_for_selector("canvas:visible")
    assert fragment(page) == "#/raster?c=house"
    page.go_forward()
    page.wait_for_selector(".x-chart")


def test_what_is_opened_far_down_is_seen_from_its_beginning(visit):
    page = visit("#/raster?c=house", viewport={"width": 360, "height": 700})
    button = page.locator(".x-panel tbody button").last
    button.scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 300)")
    button.click()
    page.wait_for_selector(".x-chart")
    until(page, "document.querySelector('.x-words').getBoundingClientRect().top > 0")
    top, under = (page.locator(f"{each} >> nth=0").bounding_box() for each in (".x-words", ".x-time"))
    assert under["y"] + under["height"] <= top["y"] < 400


def test_a_unit_can_be_typed(visit):
    page = visit("#/unit/L01.mlp_act.3")
    field(page, "Unit").fill("L02.mlp_act.27")
    field(page, "Unit").press("Enter")
    until(page, "document.querySelector('.x-words').textContent.startsWith('L02.mlp_act.27')")
    assert "unit/L02.mlp_act.27" in fragment(page)


def test_a_unit_that_is_not_there_is_said(visit):
    page = visit("#/unit/L01.mlp_act.3")
    field(page, "Unit").fill("L99.mlp_act.3")
    field(page, "Unit").press("Enter")
    assert "no unit “L99.mlp_act.3”" in page.locator(".x-notes p").inner_text()
    assert words(page).startswith("L01.mlp_act.3 ")  # where one was
    assert field(page, "Unit").input_value() == "L01.mlp_act.3"


def test_a_unit_may_be_typed_carelessly_or_by_its_concept(visit):
    page = visit("#/unit/L01.mlp_act.3")
    for typed in (f" {TRACED.lower().replace('l0', 'L')} ", "dog"):
        field(page, "Unit").fill(typed)
        field(page, "Unit").press("Enter")
        until(page, "document.querySelector('.x-words').textContent.includes('is an expert of')")
        assert page.locator(".x-notes p").count() == 0
        assert fragment(page).startswith(f"#/unit/{field(page, 'Unit').input_value()}")
    assert "“dog”" in words(page)
    page.goto(page.url.partition("#")[0] + f"#/unit/{TRACED.replace('L01', 'l1')}")
    until(
        page, "document.querySelectorAll('.x-sentences').length > 0"
    )  # by its own name its traces are found


def test_a_unit_shows_every_language_and_step(visit):
    page = visit(f"#/unit/{TRACED}?c=dog")
    rows = page.locator(".x-grid-of tbody tr")
    assert rows.locator("th").all_inner_texts() == ["en", "de", "ru", "expert in"]
    assert "≤ " in rows.nth(1).inner_text()
    assert page.locator(".x-chart path.x-line").count() == 3
    assert "random scores" in page.locator(".x-figure figcaption").inner_text()
    page.locator(".x-grid-of thead button", has_text="0").first.click()
    until(page, "document.querySelector('.x-told').textContent.startsWith('step 0')")


def test_sentences_show_what_a_unit_does_on_each_token(visit):
    page = visit(f"#/unit/{TRACED}?c=dog")
    german = page.locator(".x-sentences", has=page.locator("summary:text-is('de · German')"))
    german.locator("summary").click()
    assert german.locator(".x-step").all_inner_texts() == ["step 0", "step 4"]
    assert german.locator("bdi").first.get_attribute("lang") == "de"
    assert german.locator("bdi").first.locator(".x-token").all_inner_texts() == ["Der", "Hund", "bellt."]
    shade = (
        "e => [...e.querySelectorAll('.x-token')].map(t => parseFloat(t.style.getPropertyValue('--v')) || 0)"
    )
    early, late = (german.locator("bdi").nth(at).evaluate(shade) for at in (0, 1))
    assert max(late) > max(early)  # one scale for all steps, and the made-up values grow
    slide(page, 0)
    assert german.get_attribute("open") is not None  # another step leaves open what was unfolded
    assert page.locator(".x-sentences h5").all_inner_texts()[:3] == ["Strongest", "At random", "Lowest"]


def test_every_view_says_how_its_numbers_are_made(visit):
    page = visit("#/raster?c=house&a=en&b=de")
    how = page.locator(".x-how")
    for view in ("raster?c=house&a=en&b=de", f"unit/{TRACED}?c=dog", "matrix?layer=2", "layers"):
        page.evaluate("(f) => { location.hash = `#/${f}`; }", view)
        until(page, "(f) => document.querySelector('.x-how pre').textContent !== window.before", arg=view)
        page.evaluate("window.before = document.querySelector('.x-how pre').textContent")
        if how.get_attribute("open") != "":
            how.locator("summary").click()
        assert "null" in how.inner_text().lower()
        assert how.locator("a[href='#setup']").is_visible()


@pytest.mark.parametrize("view", ["raster?c=house&a=en&b=de", f"unit/{TRACED}?c=dog", "matrix", "layers"])
def test_the_lines_for_a_notebook_give_what_is_shown(visit, view, tmp_path, monkeypatch):
    page = visit(f"#/{view}")
    lines = page.locator(".x-how pre").text_content().splitlines()
    assert len(lines) <= 5
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / lines[1].split("/")[1].split('"')[0]).symlink_to(KEPT)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("\n".join(lines[:-1]), names)
    found = eval(lines[-1], names)
    if view.startswith("raster"):
        assert words(page).startswith(f"{round(100 * found)}\u00a0%")
    elif view.startswith("unit"):
        experts = set(found[found["step"] == 4]["lang"])
        assert f"in {len(experts)} of 3 languages at step 4" in words(page)
    elif view == "matrix":
        mean = found[(found["lang_a"] == "*") & (found["lang_b"] == "*")]
        assert words(page).startswith(f"{mean['overlap'].item():.3f} in the mean")
    else:
        layers = found[found["layer"] >= 0].set_index("layer")["overlap"]
        assert f"layer {layers.idxmax()} ({layers.max():.3f};" in words(page)


def test_heads_of_rows_and_their_column_stay_when_a_table_is_moved_sideways(visit):
    page = visit(f"#/unit/{TRACED}?c=dog", viewport={"width": 360, "height": 800})
    page.add_style_tag(content=".x-grid-of { min-width: 60rem; }")
    region = page.locator(".x-scroll").first
    region.evaluate("(node) => { node.scrollLeft = 300; }")
    left = region.bounding_box()["x"]
    for cell in ("thead th", "tbody th"):
        assert abs(region.locator(cell).first.bounding_box()["x"] - left) < 3
    seen = "(node) => { const b = node.getBoundingClientRect(); return node.contains(document.elementFromPoint(b.x + 8, b.y + b.height / 2)); }"
    region.scroll_into_view_if_needed()
    assert region.locator("thead th").first.evaluate(seen)


def test_a_unit_without_traces_says_so(visit):
    page = visit("#/unit/L01.mlp_act.3?c=dog")
    assert "was not traced" in page.locator(".x-views .missing").first.inner_text()


def test_a_matrix_holds_the_overlap_of_all_pairs(visit):
    page = visit("#/matrix")
    assert page.locator(".x-matrix tbody tr").count() == 3
    before = page.locator(".x-matrix tbody").inner_text()
    field(page, "Measure").select_option("null")
    until(page, "document.querySelector('.x-words').textContent.includes('null: other')")
    assert page.locator(".x-matrix tbody").inner_text() != before
    assert fragment(page) == "#/matrix?k=null"
    field(page, "Layer").select_option("2")
    until(page, "document.querySelector('.x-words').textContent.includes('layer 2')")
    field(page, "Sentences").select_option("same_lines")
    field(page, "Pairs").select_option("other")
    until(page, "location.hash.includes('script=other')")
    assert fragment(page) == "#/matrix?v=same_lines&k=null&layer=2&script=other"
    assert "in the mean over all pairs of different languages" in words(page)  # whatever is filtered
    cells = page.locator(".x-matrix tbody tr").first.locator("td").all_inner_texts()
    assert cells[:2] == [
        "–",
        "–",
    ]  # en with itself has no value on the same lines; en and de are of one script
    assert cells[2] != "–"


def test_a_cell_of_the_matrix_opens_its_pair(visit):
    page = visit("#/matrix")
    page.get_by_role("button", name="de and ru").click()
    page.wait_for_selector("canvas:visible")
    assert fragment(page) == "#/raster?a=de"


def test_layers_go_over_all_steps(visit):
    page = visit("#/layers")
    assert page.locator(".x-matrix tbody th").all_inner_texts() == ["2", "1", "all"]
    assert re.search(r"share most in layer [12]", words(page))
    page.locator(".x-matrix thead button").first.click()
    until(page, "document.querySelector('.x-words').textContent.startsWith('At step 0')")


def test_two_models_stand_side_by_side(visit):
    for view in ("raster", "matrix", "layers", f"unit/{TRACED}"):
        page = visit(f"#/{view}?w={TWIN}")
        assert page.locator(".x-model").count() == 2
        boxes = [page.locator(".x-panel").nth(at).bounding_box() for at in (0, 1)]
        assert boxes[0]["y"] == boxes[1]["y"]
        assert boxes[0]["x"] < boxes[1]["x"]


def test_filters_leave_what_they_say(visit):
    page = visit("#/raster")
    field(page, "Site").select_option("mlp_act")
    until(page, "location.hash.includes('site=mlp_act')")
    names = page.locator(".x-panel tbody th").all_inner_texts()
    assert names
    assert all(".mlp_act." in name for name in names)
    field(page, "Layer").select_option("2")
    until(page, "location.hash.includes('layer=2')")
    assert all(
        name.startswith("L02.mlp_act.") for name in page.locator(".x-panel tbody th").all_inner_texts()
    )
    field(page, "Shared by").select_option("3")
    until(page, "location.hash.includes('min=3')")
    assert all(
        row.startswith("3 of 3") for row in page.locator(".x-panel tbody td:first-of-type").all_inner_texts()
    )


def test_only_the_languages_that_are_asked_for_are_shown(visit):
    page = visit(f"#/unit/{TRACED}?l=de,ru")
    rows = page.locator(".x-grid-of tbody th")
    assert rows.all_inner_texts() == ["de", "ru", "expert in"]
    assert page.locator(".x-end").all_text_contents() in (["de", "ru"], ["ru", "de"])
    assert page.locator(".x-grid-of tbody tr").last.inner_text().count("of 3") == 2  # of all, as before
    boxes = page.locator(".x-langs input")
    assert [box.get_attribute("value") for box in boxes.all() if box.is_checked()] == ["de", "ru"]
    boxes.nth(1).uncheck()
    until(page, "location.hash.endsWith('?l=ru')")
    page.get_by_role("link", name="Languages", exact=True).click()
    until(page, "document.querySelectorAll('.x-matrix tbody th').length === 1")
    boxes.nth(0).check()
    until(page, "document.querySelectorAll('.x-matrix tbody th').length === 2")
    assert page.locator(".x-matrix thead th").all_inner_texts()[1:] == ["en", "ru"]
    assert "in the mean over all pairs of different languages" in words(page)
    assert fragment(page) == "#/matrix?l=en,ru"


def test_a_chart_has_the_null_of_the_best_unit(visit):
    page = visit(f"#/unit/{TRACED}?c=dog")
    assert page.locator(".x-null").count() == 1
    told = page.locator("figcaption", has_text="Average precision for").inner_text()
    assert re.search(r"Dotted: the null of the best unit, 0\.362 at step 4,", told)


def test_every_choice_of_concept_language_and_model_is_shown(visit):
    page = visit("#/raster")
    field(page, "Concept").select_option("water")
    field(page, "Language").select_option("de")
    field(page, "and").select_option("en")
    field(page, "Model").select_option(TWIN)
    assert field(page, "Model").locator("option").all_inner_texts() == [MODEL, f"{TWIN} (control)"]
    until(page, "document.querySelector('.x-model').textContent.startsWith('twin')")
    assert "“water” are the same units in de and en" in words(page)
    assert fragment(page) == f"#/raster?m={TWIN}&c=water&a=de&b=en"


# ------------------------------------------------------------------------------------ steps, links, marks


def test_the_slider_moves_every_view_and_keeps_one_entry(visit):
    page = visit()
    entries = page.evaluate("history.length")
    for tab, sign in (
        ("Languages", "step 0"),
        ("Layers", "At step 0"),
        ("One unit", "at step 0"),
        ("Two languages meet", "at step 0"),
    ):
        page.get_by_role("link", name=tab, exact=True).click()
        until(page, "(t) => document.querySelector('.x-tab[aria-current]').textContent === t", arg=tab)
        slide(page, 1)
        before = words(page)
        slide(page, 0)
        until(page, "(w) => document.querySelector('.x-words').textContent !== w", arg=before)
        assert sign in words(page)
        assert "s=0" in fragment(page)
    assert page.evaluate("history.length") == entries + 4  # the tabs; moving the slider adds none


def test_playing_writes_no_link_until_it_ends_and_is_silent(visit):
    page = visit("#/raster?s=0")
    page.evaluate("""() => { window.writes = []; window.said = [];
      for (const name of ['pushState', 'replaceState']) { const own = history[name].bind(history);
        history[name] = (...a) => { window.writes.push(a[2]); own(...a); }; } }""")
    page.get_by_role("button", name="Play").click()
    assert page.get_by_role("button", name="Pause").is_visible()
    assert page.evaluate("writes") == []
    until(page, "location.hash === '#/raster'", timeout=8)
    assert page.get_by_role("button", name="Play").is_visible()
    assert page.evaluate("writes") == ["#/raster"]


@pytest.mark.parametrize(
    "state",
    [
        "#/raster?s=0&c=water&a=de&b=en&layer=1&site=mlp_out&min=2",
        f"#/raster?m={TWIN}&w={MODEL}",
        f"#/unit/{TRACED}?s=0&c=dog",
        "#/matrix?s=0&v=same_lines&k=calibrated&layer=2&script=same",
        "#/layers?v=same_lines&k=null",
    ],
)
def test_a_state_survives_a_reload(visit, state):
    page = visit(state)
    assert page.locator(".x-notes p").count() == 0
    pictures = "() => [...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())"
    shown, drawn = page.locator(".x-views").inner_text(), page.evaluate(pictures)
    page.reload()
    page.wait_for_selector(READY)
    assert fragment(page) == state
    assert page.locator(".x-views").inner_text() == shown
    assert page.evaluate(pictures) == drawn


def test_a_changed_address_is_followed_and_anchors_are_left_alone(visit):
    page = visit("#/matrix")
    page.evaluate("location.hash = '#/layers'")
    until(page, "document.querySelector('.x-words').textContent.startsWith('At step')")
    page.evaluate("location.hash = '#findings'")
    until(page, "location.hash === '#findings'")
    assert words(page).startswith("At step")


def test_a_step_that_is_not_there_goes_to_the_nearest_and_says_so(visit):
    page = visit("#/raster?s=3&c=gone")
    notes = page.locator(".x-notes p").all_inner_texts()
    assert notes == [
        "This study has no concept “gone”.",
        f"There is no step 3 of {MODEL}; this is 4, the nearest.",
    ]


def test_a_link_is_copied_and_knows_its_study(visit, report):
    page = visit("#/matrix?s=0")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    until(page, "document.querySelector('.x-controls [role=status]').textContent !== ''")
    link = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(re.escape(report.as_uri()) + r"#/matrix\?s=0&f=[0-9a-f]{8}", link)
    again = visit(link.partition(report.as_uri())[2])
    assert again.locator(".x-notes p").count() == 0
    foreign = visit("#/matrix?s=0&f=00000000")
    assert "another study" in foreign.locator(".x-notes p").inner_text()


def test_a_link_can_be_taken_where_there_is_no_clipboard(visit):
    page = visit("#/matrix")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.get_by_role("button", name="Copy link").click()
    assert "#/matrix?f=" in page.get_by_label("Link to this view").input_value()


def test_flagged_checkpoints_are_marked_in_every_view(visit):
    for view in ("raster", "matrix", "layers", f"unit/{TRACED}"):
        page = visit(f"#/{view}?s=0&w={TWIN}")
        assert "flagged by the audit: a <b>strange</b> loss" in page.locator(".x-told").inner_text()
        assert "flagged by the audit" in page.locator(".x-model").first.inner_text()
        assert "flagged" not in page.locator(".x-model").nth(1).inner_text()
        assert "flagged by the audit" in page.locator(".x-time input").get_attribute("aria-valuetext")
    assert page.locator(".x-chart").first.locator(".x-flagged").count() == 1
    assert page.locator(".x-marks .x-flag").count() == 1


# ------------------------------------------------------------------------------- keyboard, screen readers


def test_all_of_it_goes_by_keyboard(visit):
    page = visit("#/raster?c=house")
    page.locator("canvas:visible").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator(".x-under b").first.inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator(".x-under b").first.inner_text()
    assert first != second
    page.keyboard.press("ArrowLeft")
    assert page.locator(".x-under b").first.inner_text() == first
    page.keyboard.press("ArrowDown")
    below = page.locator(".x-under b").first.inner_text()
    assert below.rpartition(".")[0] != first.rpartition(".")[0]
    page.keyboard.press("Enter")
    page.wait_for_selector(".x-chart")
    assert fragment(page).startswith(f"#/unit/{below}")
    page.locator(".x-time input").focus()
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.x-told').textContent.startsWith('step 0')")


def test_a_mark_under_the_pointer_is_named_and_opens(visit):
    page = visit("#/raster?c=house")
    page.locator("canvas:visible").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".x-under b").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".x-under b").count() == 0
    box = page.locator("canvas:visible").bounding_box()
    for x in range(100, int(box["width"]), 8):
        page.mouse.move(box["x"] + x, box["y"] + 6)
        if page.locator(".x-under b").count():
            break
    hovered = page.locator(".x-under b").first.inner_text()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".x-chart")
    assert fragment(page).startswith(f"#/unit/{hovered}")


def test_a_screen_reader_hears_the_step_and_the_picture(visit):
    page = visit("#/raster?s=0")
    slider = page.get_by_role("slider", name="Training step")
    assert slider.get_attribute("aria-valuetext") == "step 0, 1 of 2, flagged by the audit"
    slide(page, 1)
    until(page, "document.querySelector('#explorer-root > .hidden').textContent.includes('at step 4')")
    picture = page.get_by_role(
        "img", name=re.compile(rf"Units of {MODEL}: \d+ experts in both, .* Enter opens one")
    )
    assert picture.count() == 1
    assert page.get_by_role("region", name=re.compile("^Experts of ")).count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(visit, scheme, width):
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    for state in ("#/raster?s=0", f"#/unit/{TRACED}?c=dog&w={TWIN}", "#/matrix", "#/layers?s=0"):
        page = visit(state, color_scheme=scheme, viewport={"width": width, "height": 900})
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        assert [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found["violations"]
        ] == []
        assert len(found["passes"]) > 20


# ------------------------------------------------------------------------------------------- where it runs


@pytest.mark.parametrize("width", [360, 768, 1440, 2400])
def test_no_view_is_wider_than_the_page(visit, width):
    for state in ("#/raster", f"#/unit/{TRACED}?c=dog", f"#/matrix?w={TWIN}", "#/layers"):
        page = visit(state, viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        canvas = page.locator("canvas:visible")
        assert state != "#/raster" or canvas.bounding_box()["width"] > 250


def test_the_picture_follows_the_dark(visit):
    pixel = "() => { const c = document.querySelector('canvas'); return [...c.getContext('2d').getImageData(c.width - 3, 3, 1, 1).data] }"
    dark, light = (
        visit("#/raster?c=house", color_scheme=scheme).evaluate(pixel) for scheme in ("dark", "light")
    )
    assert sum(dark[:3]) < 250 < 600 < sum(light[:3])


def test_hostile_text_is_text(visit):
    page = visit(f"#/unit/{TRACED}?c=dog")
    shown = page.locator(".x-views").inner_text()
    assert HOSTILE["markup"] in shown
    assert "⟨U+202E⟩" in shown
    assert "\u202e" not in shown
    assert "9500 more characters" in shown
    assert "hund" in shown
    assert page.locator(".x-views").locator("img, script, b:text('strange')").count() == 0
    assert page.title() not in ("1", "2")
    forced = page.locator("td.text bdi").first
    assert forced.inner_text() == HOSTILE["markup"]


def test_without_script_the_page_says_so(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert "needs JavaScript" in page.locator("#explorer-root").inner_text()
    context.close()


def test_no_other_script_may_run(visit):
    page = visit()
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title = 3' }))"
    )
    assert page.title() != "3"
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()


def test_paper_is_light_where_the_screen_is_dark(visit):
    page = visit("#/raster?c=house", color_scheme="dark")
    cell = "() => { const c = document.querySelector('canvas'); return [...c.getContext('2d').getImageData(c.width - 3, 3, 1, 1).data].slice(0, 3) }"
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_timeout(200)
    assert sum(page.evaluate(cell)) > 600


def test_printing_leaves_the_controls_out(visit):
    page = visit()
    page.emulate_media(media="print")
    assert not page.locator(".x-fields").first.is_visible()
    assert page.locator("canvas").first.is_visible()


# ------------------------------------------------------------------------------------------- several studies


def test_a_bundle_sets_studies_side_by_side(visitor, tmp_path):
    out = tmp_path / "bundle.html"
    assert main(["bundle", f"one={KEPT}", f"two={KEPT}", "-o", str(out)]) == 0
    state = f"#/unit/{TRACED}?m=two%2F{MODEL}&w=one%2F{MODEL}&s=0"
    page = visitor(out.as_uri() + state)
    page.wait_for_selector(READY)
    assert [text.split(" ")[0] for text in page.locator(".x-model").all_inner_texts()] == [
        f"two/{MODEL}",
        f"one/{MODEL}",
    ]
    assert page.locator(".x-model").all_inner_texts()[1].endswith("step 0 · 0 tokens")
    assert page.locator(".x-tick").all_text_contents().count("768") == 2  # tokens, not steps
    slide(page, 1)
    until(page, "document.querySelectorAll('.x-model')[1].textContent.endsWith('step 4 · 768 tokens')")
    assert fragment(page) == state.replace("&s=0", "")
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.problems == []
    assert {url.partition("#")[0] for url in page.requests} == {out.as_uri()}
