"""The report: complete in itself, safe with hostile text, honest about what is missing."""

import base64
import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import yaml

from babelscope.io.tables import read_table, write_table
from babelscope.report.captions import load_captions, load_sections
from babelscope.report.figures.gallery import draw, save_figure
from babelscope.report.findings.evaluate import claims_table, evaluate_findings
from babelscope.report.formats import table_view
from babelscope.report.headline import headline
from babelscope.report.page import render_report
from babelscope.report.views import caveats, excludes_flagged
from babelscope.text.clones import letters_of, respell
from synthetic_tables import synthetic_tables

STUDY = {
    "study": "demo",
    "languages": ["de", "en", "es", "zh"],
    "corpora": {"bridged": {"source": "grammar", "documents": 100}},
    "models": {"bridged": {"source": "pretrain", "seeds": [0]}},
    "sentences": {"source": "grammar"},
    "experts": {"k": 46},
    "views": {"confounds": True, "language_units": True, "ablation": True, "patching": True},
    "report": {"title": "A title <script>alert(1)</script>"},
}


def test_a_bound_is_marked_on_the_page_and_a_column_in_the_download():
    table = pd.DataFrame(
        {
            "unit": [7, 8],
            "worst_ap": [0.31, 0.25],
            "n": [2, 3],
            "mean_ap": [0.4, 0.5],
            "at_most": [True, False],
        }
    )
    view = table_view(table, "units")
    assert view.columns == ["unit", "worst ap", "n", "mean ap"]
    assert view.rows == [["7", "≤ 0.31", "2", "≤ 0.4"], ["8", "0.25", "3", "0.5"]]
    assert view.numeric == [True] * 4
    content = base64.b64decode(view.download.partition("base64,")[2]).decode()
    assert content.splitlines() == [
        "unit\tworst_ap\tn\tmean_ap\tat_most", "7\t0.31\t2\t0.4\tTrue", "8\t0.25\t3\t0.5\tFalse",
    ]  # fmt: skip
    assert table_view(table, "units", shown=1).rows == view.rows[:1]
    assert table_view(table.drop(columns="at_most"), "units").rows[0] == ["7", "0.31", "2", "0.4"]


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
    exclude = excludes_flagged(study)
    paths = {}
    for name in figures:
        paths[name] = tmp_path / f"{name}.svg"
        save_figure(draw(name, tables), paths[name])
    findings, _ = evaluate_findings(tables, exclude_flagged=exclude)
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


def test_what_concepts_have_in_the_text_stands_in_the_setup(rendered):
    setup = rendered[0].split('id="setup"')[1].split("</section>")[0]
    for told in (
        "Sentences per concept and language",
        "Sentences per word of the lists",
        "Concepts that share",
    ):
        assert told in setup
    assert "shared-word" in setup


def test_texts_take_their_direction_from_their_letters(rendered):
    text, page = rendered
    cells = [cell for cell in page.all("td") if cell.get("class") == "text"]
    assert {cell["dir"] for cell in cells} == {"auto"}
    assert {"ar", "zh"} <= {cell.get("lang") for cell in cells}
    assert "البيت بجانب النهر" in text


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


def test_claims_stand_first_and_hold_the_numbers_of_their_table(rendered, tables):
    text, _ = rendered
    findings, _ = evaluate_findings(tables)
    claims = claims_table(findings).set_index(["finding", "model"])
    assert text.index("Verdicts at a glance") < text.index('<p class="lede">')
    shown = text[text.index("Verdicts at a glance") : text.index('<p class="lede">')]
    for _, row in claims[claims["value"].notna()].iterrows():
        assert row["effect"] in shown
        assert f"{row['value']:.3f}\u00a0[{row['low']:.3f},\u00a0{row['high']:.3f}]" in shown
    overlap = claims.loc["expert_overlap", "bridged"]
    assert f"{overlap['difference']:.3f}\u00a0[{overlap['difference_low']:.3f}," in shown
    assert f'data-of="null">{overlap["null"]:.3f}</td>' in shown
    assert "6 concepts" in shown
    assert "nan" not in shown


@pytest.mark.parametrize(("seeds", "told"), [([0], "One pre-training seed (bridged)"),
                                             ([0, 1], "Two pre-training seeds (bridged)"), ([0, 1, 2], "")])  # fmt: skip
def test_few_seeds_are_a_caveat(tables, seeds, told):
    study = {**STUDY, "models": {"bridged": {"source": "pretrain", "seeds": seeds}}}
    found = [line for line in caveats(study, tables) if "pre-training seed" in line]
    assert [line.startswith(told) for line in found] == ([True] if told else [])


def test_how_long_units_stay_shared(rendered, tables, flagged, tmp_path):
    text, _ = rendered
    assert (
        "bridged: 45 times a unit came to be shared by two languages or more (permuted concepts 3); half"
        in text
    )
    assert "over after 512 training steps, and 25% go on at the last step" in text
    assert "isolated (control): 45 times" in text
    assert "90% of these times go on at the last step, too many to tell their median length" in text
    assert "Steps that the audit flags count here." not in text
    assert "Steps that the audit flags count here." in render(tmp_path / "a", flagged, figures=())[0]
    none = tables["lifespans"].assign(n=0, censored=np.nan, median=np.nan)
    text, _ = render(tmp_path / "b", tables | {"lifespans": none}, figures=())
    assert "bridged: no unit came to be shared by two languages before the last step." in text
    text, _ = render(tmp_path / "c", {k: t for k, t in tables.items() if k != "lifespans"}, figures=())
    assert "How long units stay shared" not in text


def test_a_study_of_encoders_has_no_headings_of_what_they_lack(tmp_path):
    """They have no causal loss and write no text; two headings stood above nothing."""
    some = synthetic_tables(steps=(512,), generation=False, languages=("en", "es", "de"))
    del some["audit_losses"]
    heading = load_sections()["generation"]
    for architecture, there in (("bert", False), ("xglm", True)):
        some["models"] = some["models"].assign(architecture=architecture)
        text, _ = render(tmp_path, some, figures=())
        assert ("(table “audit_losses”)" in text) == there
        assert (f">{heading}<" in text) == there
        assert ('id="texts"' in text) == ('href="#texts"' in text) == there


def test_a_study_that_trains_nothing_has_no_heading_of_held_out_losses(tmp_path):
    """Public checkpoints stood under a heading above nothing."""
    some = synthetic_tables(steps=(512,), generation=False, languages=("en", "es", "de"))
    heading = load_sections()["training"]
    for source in ("hub", "pretrain"):
        some["models"] = some["models"].assign(source=source)
        text, _ = render(tmp_path, some, figures=())
        assert (f">{heading}<" in text) == (source == "pretrain")


@pytest.mark.parametrize(
    "view", ["onset", "left_out", "representations", "confounds", "language_units", "ablation", "patching"]
)
def test_a_view_that_is_switched_off_has_no_heading(view, tables, tmp_path):
    heading = load_sections()[view]
    for on in (True, False):
        text, _ = render(tmp_path, tables, study=STUDY | {"views": {view: on}}, figures=())
        assert (f">{heading}<" in text) == on


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


# ------------------------------------------------------------------------------------------- audit


@pytest.fixture(scope="module")
def flagged():
    return synthetic_tables(steps=(0, 256, 512, 2048), languages=("de", "en", "es", "zh"), flagged=(2048,))


def test_flags_reasons_and_known_faults_are_told(flagged, tmp_path):
    text, page = render(tmp_path, flagged, figures=("audit_losses",))
    assert "8 checkpoints: 1 flagged, 1 with a known fault." in text
    assert "Its loss is out of line: 9.00 nats per token at step 2048." in text
    assert "Known fault: said to be broken (https://example.org/discussion)" in text
    assert "The audit flags 1 of 8 checkpoints (bridged-seed0: step 2048)." in text
    assert "report.exclude_flagged: true leaves them out" in text
    assert "Step 2048, on which this rests, is flagged by the audit." in text
    assert {"audit", "figure-audit_losses"} <= {a.get("id") for _, a in page.tags}


def test_a_sound_study_says_so(rendered):
    text, _ = rendered
    assert "8 checkpoints: 0 flagged, 0 with a known fault." in text
    assert "The audit flags" not in text
    assert "on which this rests" not in text


def test_excluded_steps_are_named_and_gone_from_everything_else(flagged, tmp_path):
    study = STUDY | {"report": {"exclude_flagged": True}}
    text, _ = render(tmp_path, flagged, study=study, figures=())
    assert "They are left out of all figures, tables and findings but those of the audit." in text
    assert "set report.exclude_flagged: false" in text
    assert "Its loss is out of line: 9.00 nats per token at step 2048." in text
    assert "on which this rests" not in text
    main = re.findall(r"<dt>steps of bridged</dt><dd>([^<]*)</dd>", text)
    control = re.findall(
        r"<dt>steps of bridged</dt><dd>[^<]*</dd>|<dt>steps of isolated[^<]*</dt><dd>([^<]*)</dd>", text
    )
    assert main == ["0, 256, 512"]
    assert control[-1] == "0, 256, 512, 2048"


def test_empty_text_from_a_file_is_no_text(flagged, tmp_path):
    """An empty column of a TSV file is read as NaN."""
    for name in ("audit", "audit_losses", "steps"):
        write_table(flagged[name], tmp_path / f"{name}.tsv")
    read = flagged | {
        name: read_table(tmp_path / f"{name}.tsv") for name in ("audit", "audit_losses", "steps")
    }
    text, _ = render(tmp_path / "read", read, figures=("hero", "audit_losses"))
    assert text == render(tmp_path / "kept", flagged, figures=("hero", "audit_losses"))[0]


def test_public_models_and_encoders_are_qualified(tables, tmp_path):
    audit = tables["audit"].assign(repo="a/b", commit="c0ffee" * 6, no_loss="an encoder has no causal loss")
    models = tables["models"].assign(unconfirmed="tokens_per_step")
    text, _ = render(tmp_path, tables | {"audit": audit, "models": models}, figures=())
    assert "Whether public models have seen the analysed sentences in training is not known." in text
    assert "No loss for some models: an encoder has no causal loss." in text
    assert "Not confirmed for bridged-seed0: tokens_per_step." in text
    assert "c0ffeec0ffee<" in text


def test_a_study_without_an_audit_says_so(tables, tmp_path):
    text, _ = render(tmp_path, {k: t for k, t in tables.items() if not k.startswith("audit")}, figures=())
    assert "The checkpoints of this study were not audited." in text


def test_assumed_settings_stand_with_value_and_reason(tables, tmp_path):
    why = "the paper does not say; <b>max</b> is what its code does"
    study = STUDY | {"assumed": {"experts.k": why, "extraction.poolings": "not said"}}
    text, page = render(tmp_path, tables, study=study, figures=())
    assert "&lt;b&gt;max&lt;/b&gt; is what its code does" in text
    row = re.search(r'experts.k</th><td class="mono">([^<]*)</td>', text)
    assert row is not None
    assert row[1] == "46"
    assert 'extraction.poolings</th><td class="mono">–</td>' in text
    assert "#assumed" in {a.get("href") for a in page.all("a")}
    assert "Assumed settings" not in render(tmp_path / "none", tables, figures=())[0]


def test_sharing_by_dose_is_shown_where_models_have_doses(tables, tmp_path):
    text, _ = render(tmp_path / "a", tables)
    assert "Sharing by dose" in text
    none = tables["models"].assign(dose=np.nan)
    text, _ = render(tmp_path / "b", tables | {"models": none})
    assert "Sharing by dose" not in text


def test_what_is_of_a_clone_is_shown_in_letters_that_fonts_have(tables, tmp_path):
    cloned = tables["texts"].assign(text=f"La casa. {respell('The old house.', 1)}", language="en2")
    text, _ = render(
        tmp_path, tables | {"texts": cloned}, study=STUDY | {"clones": {"en2": "en"}}, figures=()
    )
    assert "La casa. ⟦The old house.⟧" in text
    assert "en2 is no language but a clone of en" in text
    assert not any(map(letters_of, text))


def test_no_cell_of_a_download_is_a_formula():
    table = pd.DataFrame({"concept": ["=1+1", "-2", "@x", "water"], "change": [-0.5, 0.1, 0.2, 0.3]})
    view = table_view(table, "hostile")
    lines = base64.b64decode(view.download.partition("base64,")[2]).decode().splitlines()
    assert [line.split("\t") for line in lines[1:]] == [
        ["'=1+1", "-0.5"], ["'-2", "0.1"], ["'@x", "0.2"], ["water", "0.3"],
    ]  # fmt: skip


def test_the_page_begins_with_three_sentences(rendered, tables):
    text, _ = rendered
    summary = text.partition('<section id="summary">')[2].partition("</section>")[0]
    told = re.search(r'<p class="headline">(.*?)</p>', summary)[1]
    assert summary.index('class="headline"') < summary.index("<table")
    sentences = headline(claims_table(evaluate_findings(tables)[0]))
    assert unescape(told) == " ".join(sentences)


def test_every_figure_has_its_numbers_and_its_settings(rendered):
    text, _ = rendered
    hero = text.partition('id="figure-hero"')[2].partition("</figure>")[0]
    assert "How to read it." in hero
    assert 'download="hero.tsv"' in hero
    settings = re.search(r"Settings of the study.*?<pre[^>]*>(.*?)</pre>", hero, re.DOTALL)[1]
    assert yaml.safe_load(unescape(settings)) == {"experts": {"k": 46}}
