"""The report: complete in itself, safe with hostile text, honest about what is missing."""

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import numpy as np
import pytest
from synthetic_tables import synthetic_tables

from babelscope.captions import load_captions
from babelscope.findings import evaluate_findings
from babelscope.plotting import draw, save_figure
from babelscope.report import render_report, table_view, text_direction

STUDY = {
    "study": "demo",
    "languages": ["de", "en", "es", "zh"],
    "corpora": {"bridged": {"source": "grammar", "documents": 100}},
    "models": {"bridged": {"source": "pretrain", "seeds": [0]}},
    "sentences": {"source": "grammar"},
    "experts": {"k": 46},
    "report": {"title": "A title <script>alert(1)</script>"},
}


class Page(HTMLParser):
    """Collects tags, ids and links; complains about tags that are not closed."""

    VOID = frozenset({"meta", "img", "br", "hr", "input", "link"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def render(tmp_path, tables, *, study=STUDY, figures=("hero", "losses")):
    paths = {}
    for name in figures:
        paths[name] = tmp_path / f"{name}.svg"
        save_figure(draw(name, tables), paths[name])
    findings, _ = evaluate_findings(tables)
    out = tmp_path / "deep" / "report.html"
    render_report(
        study=study, tables=tables, figures=paths, findings=findings,
        provenance={"versions": {"torch": "2"}, "warnings": ["3 sentences were cut."]}, out=out,
    )  # fmt: skip
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def tables():
    return synthetic_tables(steps=(0, 256, 512, 2048), languages=("de", "en", "es", "zh"))


@pytest.fixture(scope="module")
def rendered(tables, tmp_path_factory):
    return render(tmp_path_factory.mktemp("report"), tables)


def test_nothing_is_loaded_from_anywhere(rendered):
    text, page = rendered
    assert page.all("script") == []
    assert page.all("link") == []
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            if name in attributes:
                assert urlsplit(attributes[name]).scheme == "data" or attributes[name][0] == "#", tag
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_markup_is_sound(rendered):
    _, page = rendered
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
    assert anchors <= set(ids)
    assert all(image["alt"] for image in page.all("img"))
    assert all("scope" in cell for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert "viewport" in str(page.all("meta"))


def test_title_and_texts_are_escaped(rendered, tables, tmp_path):
    text, _ = rendered
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    hostile = tables["texts"].assign(text="<img src=x onerror=alert(1)>", language='en" onclick="x')
    text, page = render(tmp_path, tables | {"texts": hostile}, figures=())
    assert "<img src=x" not in text
    assert not any("onclick" in attributes for _, attributes in page.tags)


def test_verdicts_numbers_and_captions_are_there(rendered, tables):
    text, _ = rendered
    row = tables["overlap"].query(
        "model == 'bridged-seed0' and step == 2048 and layer == -1 and variant == 'disjoint_lines' "
        "and lang_a == '*'"
    ).iloc[0]  # fmt: skip
    assert f"{row.overlap:.3f}" in text
    assert text.count('class="badge') >= 10
    for caption in load_captions().values():
        assert caption.title in text
    assert "was put in by us" in text
    assert "3 sentences were cut." in text
    assert "bread (de: 9)" in text
    assert "nan" not in re.sub(r"data:[^\"]*", "", text).lower().split()


def test_right_to_left_text_has_its_direction(rendered):
    text, page = rendered
    cells = [cell for cell in page.all("td") if cell.get("lang") == "ar"]
    assert cells
    assert {cell["dir"] for cell in cells} == {"rtl"}
    assert {cell["dir"] for cell in page.all("td") if cell.get("lang") == "zh"} == {"ltr"}
    assert "البيت بجانب النهر" in text


def test_directions():
    assert text_direction("ar") == text_direction("ur-PK") == text_direction("pa_Arab") == "rtl"
    assert text_direction("hi") == text_direction("pa-Guru") == text_direction("") == "ltr"


@pytest.mark.parametrize("missing", [(), ("generation", "texts"), ("lifelines", "reliability")])
@pytest.mark.parametrize("steps", [(512,), (0, 512)])
def test_missing_parts_are_said_plainly(missing, steps, tmp_path):
    tables = synthetic_tables(steps=steps, languages=("en", "es"), control=False)
    for name in missing:
        tables[name] = None
    text, _ = render(tmp_path, tables, figures=())
    assert "There is no control model" in text
    if len(steps) == 1:
        assert "There is one step only" in text
    if "texts" in missing:
        assert "This study generates no texts." in text
        assert "no data for this figure (table “generation”)" in text
    assert "The figure was not drawn." in text


def test_no_tables_at_all(tmp_path):
    text, _ = render(tmp_path, {}, study={"study": "empty"}, figures=())
    assert "No finding was evaluated." in text
    assert "babelscope: empty" in text


def test_parallel_real_text_is_warned_of(tables, tmp_path):
    study = STUDY | {"sentences": {"source": "parallel"}, "corpora": {}, "report": {}}
    text, _ = render(tmp_path, tables, study=study, figures=())
    assert "even random weights pick up" in text
    assert "was put in by us" not in text


def test_same_input_same_bytes(tables, tmp_path):
    first, _ = render(tmp_path / "a", tables)
    second, _ = render(tmp_path / "b", tables)
    assert first == second
    assert not list((tmp_path / "a").rglob("*.tmp-*"))


def test_table_view_formats_and_limits(tables):
    view = table_view(tables["losses"], "losses", shown=3)
    assert len(view.rows) == 3
    assert view.n_rows == len(tables["losses"])
    assert view.download.startswith("data:text/tab-separated-values;base64,")
    assert view.numeric[view.columns.index("loss")]
    frame = tables["losses"].assign(loss=np.nan)
    assert table_view(frame, "x").rows[0][list(frame.columns).index("loss")] == "–"
