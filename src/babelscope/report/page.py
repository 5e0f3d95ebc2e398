"""The report: one self-contained HTML page from the collected tables, figures and findings.

Nothing in it is loaded from anywhere: style and script are inline, figures and table downloads are data URIs,
and a content security policy in the page says so, which lets this one script run. All numbers in its
sentences come from the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from babelscope.analysis.settings import ViewSettings
from babelscope.io.files import written_whole
from babelscope.models.architectures import ARCHITECTURES
from babelscope.report import views
from babelscope.report.captions import Caption, load_sections
from babelscope.report.dark import with_dark_mode
from babelscope.report.explorer.build import Explorer
from babelscope.report.explorer.places import place_of
from babelscope.report.figures.gallery import FIGURES
from babelscope.report.figures.spec import FigureSpec, Tables
from babelscope.report.findings.criteria import Finding
from babelscope.report.findings.evaluate import claims_table
from babelscope.report.formats import TableView, data_uri, flat, plain, table_view
from babelscope.report.headline import headline
from babelscope.report.slim import slim
from babelscope.report.summaries import model_label, without_flagged
from babelscope.report.words import say, words

_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it."""

    caption: Caption
    image: str = ""
    """Data URI; empty if there is nothing to show."""
    missing: str = ""
    """Why there is nothing to show."""
    here: Sequence[str] = ()
    """What it shows in this study, sentences made from numbers."""
    table: TableView | None = None
    settings: str = ""
    """The part of the study's config that it depends on, as YAML."""
    notebook: str = ""
    """How to come by its numbers in a notebook."""


def render_report(
    *,
    study: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame | None],
    figures: Mapping[str, Path | str],
    findings: Sequence[Finding],
    provenance: Mapping[str, Any],
    out: Path | str,
    explorer: Explorer | None = None,
) -> None:
    """Write the report.

    Args:
        study: The study's config as a plain mapping.
        tables: Collected tables by name. Any may be missing, None or empty; the page then says so. If
            the study sets ``report.exclude_flagged``, the steps that ``audit`` flags are left out of
            all others, and the page says which.
        figures: SVG or PNG file of each figure by its name.
        findings: From :func:`babelscope.report.findings.evaluate.evaluate_findings`.
        provenance: What was run: versions, seeds, hashes; values may be nested. The key
            ``warnings`` (a list of sentences) is shown as such.
        out: Path of the HTML file, replaced atomically.
        explorer: From :func:`babelscope.report.explorer.build.build_explorer`; without one the page says so.
    """
    kept = without_flagged(tables) if views.excludes_flagged(study) else tables
    present = {name: table for name, table in kept.items() if table is not None and not table.empty}
    asked_for = [spec for spec in FIGURES.values() if _is_asked(spec, study, present)]
    shown = {spec.name: _figure(spec, study, present, figures, findings) for spec in asked_for}
    environment = Environment(
        loader=PackageLoader("babelscope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    places = (
        {at: place_of(finding, present) for at, finding in enumerate(findings)}
        if explorer and explorer.script
        else {}
    )
    style = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    name = str(study.get("study", ""))
    page = environment.get_template("report.html.j2").render(
        style=Markup(style),  # ours, not data
        title=str((study.get("report") or {}).get("title") or f"babelscope: {name or 'study'}"),
        study_id=name,
        headline=headline(claims_table(findings)),
        lede=views.lede(study, present, findings),
        tiles=views.tiles(present),
        cards=views.cards(findings, places),
        claims=views.claims(findings, [view.caption for view in shown.values()]),
        claims_table=_claims_download(findings),
        claims_note=say("claims"),
        verdicts=words()["verdicts"],
        caveats=list(views.caveats(study, present)),
        warnings=list(views.warnings(study, present, provenance)),
        hero=shown["hero"],
        explorer=(explorer or Explorer(missing="This page was made without an explorer.")).marked(),
        sections=list(_sections(list(shown.values()))),
        models=views.shown_table(present, "models"),
        facts=views.facts(study, present),
        settings=yaml_of(study),
        concepts=views.shown_table(present, "concepts"),
        concept_words=views.shown_table(present, "concept_words"),
        purity=views.shown_table(present, "purity"),
        concept_pairs=views.shown_table(present, "concept_pairs"),
        audit=views.audit(study, present),
        assumed=views.assumed(study),
        texts=views.texts(present),
        writes=not _only_encoders(present.get("models")),
        units=views.units(present),
        lifespans=views.lifespans(present),
        provenance=flat({k: v for k, v in provenance.items() if k != "warnings"}),
    )
    with written_whole(Path(out)) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _claims_download(findings: Sequence[Finding]) -> TableView | None:
    """The table of claims, to download; none without a finding."""
    table = claims_table(findings)
    return None if table.empty else table_view(table, "claims")


def yaml_of(settings: Mapping[str, Any]) -> str:
    """Settings as a study's file has them."""
    return str(yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True))


def _sections(figures: Sequence[FigureView]) -> Iterator[dict[str, Any]]:
    """Headings with their figures, in order; none without."""
    for key, title in load_sections().items():
        if of_section := [view for view in figures if view.caption.section == key]:
            yield {"key": key, "title": title, "figures": of_section}


def _is_asked(spec: FigureSpec, study: Mapping[str, Any], tables: Tables) -> bool:
    """Whether a figure is not switched off, and some model has what it asks for."""
    key = spec.caption.asks
    wanted = ViewSettings().model_dump() | dict(study.get("views") or {})
    if not wanted.get(spec.caption.view, True):
        return False
    if spec.caption.decoders and _only_encoders(tables.get("models")):
        return False
    if spec.caption.trained and not _any_is_trained(tables.get("models")):
        return False
    return not key or ("models" in tables and bool(tables["models"].get(key, pd.Series()).notna().any()))


def _any_is_trained(models: pd.DataFrame | None) -> bool:
    """Whether the study trains a model, or is not known to train none."""
    return models is None or "source" not in models or bool((models["source"] == "pretrain").any())


def _only_encoders(models: pd.DataFrame | None) -> bool:
    """Whether every model of a study is an encoder."""
    if models is None or "architecture" not in models:
        return False
    kinds = {ARCHITECTURES[name].kind for name in models["architecture"] if name in ARCHITECTURES}
    return kinds == {"encoder"}


def _figure(
    spec: FigureSpec,
    study: Mapping[str, Any],
    tables: Tables,
    figures: Mapping[str, Path | str],
    findings: Sequence[Finding],
) -> FigureView:
    main = spec.caption.tables[0]
    if main not in tables:
        return FigureView(spec.caption, missing=f"This study has no data for this figure (table “{main}”).")
    path = Path(figures.get(spec.name, ""))
    image, missing = "", "The figure was not drawn."
    if path.is_file():
        content = path.read_bytes()
        if path.suffix == ".svg":
            content = slim(with_dark_mode(content.decode("utf-8"))).encode("utf-8")
        image, missing = data_uri(content, _MEDIA_TYPES[path.suffix]), ""
    numbers = spec.numbers(tables[main]) if spec.numbers else pd.DataFrame()
    columns = spec.caption.columns or numbers.columns
    table = None if numbers.empty else table_view(numbers[columns], spec.name)
    settings = {key: study[key] for key in spec.caption.settings if study.get(key) is not None}
    here = list(spec.sentences(tables)) if spec.sentences else []
    here += [f"{model_label((f.model, f.role))}: {f.text}" for f in findings if f.key == spec.caption.finding]
    said = yaml_of(settings) if settings else ""
    return FigureView(spec.caption, image, missing, here, table, said, _notebook(spec.caption, study))


def _notebook(caption: Caption, study: Mapping[str, Any]) -> str:
    """The lines that give the numbers of a figure in a notebook."""
    table, folder = caption.tables[0], f"results/{study.get('study') or 'STUDY'}"
    return "\n".join(
        [
            "import babelscope as bs",
            f"study = bs.open_study({folder!r})",
            f"study.table({table!r})  # all of its numbers",
            f"study.columns({table!r})  # what each is",
            f"study.figure({caption.name!r})",
        ]
    )
