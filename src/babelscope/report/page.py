"""The report: one self-contained HTML page from the collected tables, figures and findings.

Nothing in it is loaded from anywhere: style is inline, figures and table downloads are data URIs,
and a content security policy in the page says so. All numbers in its sentences come from the
tables.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from babelscope.io.files import written_whole
from babelscope.report.captions import Caption, load_sections
from babelscope.report.figures.gallery import FIGURES
from babelscope.report.figures.spec import FigureSpec
from babelscope.report.findings.criteria import Finding
from babelscope.report.findings.words import condition, evidence, paragraph
from babelscope.report.summaries import (
    flagged_rows,
    model_ids,
    model_label,
    over_seeds,
    overlap_ceilings,
    overlap_totals,
    per_model,
    preferred_variant,
    traced_units,
    with_roles,
    without_flagged,
)

#: Rows of a table that the page shows; the download holds all.
SHOWN_ROWS = 40

#: Downloads larger than this stay out of the page.
MAX_DOWNLOAD_BYTES = 600_000

#: Positives per half of the sentences below which held-out values of a concept are shaky.
FEW_POSITIVES = 10

RIGHT_TO_LEFT = frozenset({"ar", "arc", "ckb", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})

_SYMBOLS = {"holds": "✓", "holds in part": "◐", "does not hold": "✕", "cannot be tested": "?"}
_VERBS = {
    "holds": "found", "holds in part": "found in part", "does not hold": "not found",
    "cannot be tested": "not testable here",
}  # fmt: skip
_CLASSES = {
    "holds": "yes", "holds in part": "part", "does not hold": "no", "cannot be tested": "open",
}  # fmt: skip


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    n_rows: int
    download: str
    """Data URI of the whole table as TSV, empty if it is too large."""


@dataclass(frozen=True)
class FigureView:
    """A figure as the page shows it."""

    caption: Caption
    image: str
    """Data URI; empty if there is nothing to show."""
    missing: str
    """Why there is nothing to show."""
    here: list[str]
    """What it shows in this study, sentences made from numbers."""
    table: TableView | None


@dataclass(frozen=True)
class CardView:
    """A finding of the paper with its verdict for each model."""

    number: str
    title: str
    findings: list[Finding]
    second: list[Finding] = field(default_factory=list)
    """The second half of the finding, judged by itself."""


def render_report(
    *,
    study: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame | None],
    figures: Mapping[str, Path | str],
    findings: Sequence[Finding],
    provenance: Mapping[str, Any],
    out: Path | str,
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
    """
    excluded = excludes_flagged(study)
    kept = without_flagged(tables) if excluded else tables
    present = {name: table for name, table in kept.items() if table is not None and not table.empty}
    environment = Environment(
        loader=PackageLoader("babelscope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"paragraph": paragraph, "condition": condition, "evidence": evidence}
    style = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    views = {name: _figure(spec, present, figures, findings) for name, spec in FIGURES.items()}
    sections = [
        {
            "key": key,
            "title": title,
            "figures": [v for v in views.values() if v.caption.section == key],
        }
        for key, title in load_sections().items()
    ]
    page = environment.get_template("report.html.j2").render(
        style=Markup(style),  # ours, not data
        title=_title(study),
        study_id=str(study.get("study", "")),
        lede=_lede(study, present, findings),
        tiles=_tiles(present),
        cards=_cards(findings),
        score=_score(findings),
        symbols=_SYMBOLS,
        classes=_CLASSES,
        caveats=_caveats(study, present),
        warnings=_warnings(study, present, provenance),
        hero=views["hero"],
        sections=[section for section in sections if section["figures"]],
        models=_models_table(present),
        facts=_facts(study, present),
        settings=yaml.safe_dump(_plain(study), sort_keys=False, allow_unicode=True),
        concepts=_concepts_table(present),
        audit=_audit(present, excluded=excluded),
        assumed=_assumed(study),
        texts=_texts(present),
        units=_units_table(present),
        provenance=_flat({k: v for k, v in provenance.items() if k != "warnings"}),
    )
    out = Path(out)
    with written_whole(out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def excludes_flagged(study: Mapping[str, Any]) -> bool:
    """Whether a study leaves the checkpoints that the audit flags out of its results."""
    return bool((study.get("report") or {}).get("exclude_flagged", False))


def text_direction(lang: str) -> str:
    """Writing direction of a language, ``rtl`` or ``ltr``, by its primary subtag."""
    parts = str(lang).replace("_", "-").split("-")
    scripts = {"arab", "hebr", "syrc", "thaa", "nkoo"}
    if any(part.lower() in scripts for part in parts[1:]):
        return "rtl"
    return "rtl" if parts[0].lower() in RIGHT_TO_LEFT else "ltr"


def data_uri(content: bytes, media_type: str) -> str:
    """A ``data:`` URI that holds ``content``."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def table_view(table: pd.DataFrame, name: str, shown: int = SHOWN_ROWS) -> TableView:
    """Format a table for the page, with a download of all of it.

    Args:
        table: The table; its index is left out.
        name: File name of the download, without suffix.
        shown: Number of rows to show.
    """
    content = table.to_csv(sep="\t", index=False, float_format="%.6g").encode("utf-8")
    download = ""
    if len(content) <= MAX_DOWNLOAD_BYTES:
        download = data_uri(content, "text/tab-separated-values")
    return TableView(
        name=name,
        columns=[str(column).replace("_", " ") for column in table.columns],
        rows=[[_cell(value) for value in row] for row in table.head(shown).itertuples(index=False)],
        numeric=[pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes],
        n_rows=len(table),
        download=download,
    )


def _title(study: Mapping[str, Any]) -> str:
    report = study.get("report") or {}
    return str(report.get("title") or f"babelscope: {study.get('study', 'study')}")


def _figure(
    spec: FigureSpec,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path | str],
    findings: Sequence[Finding],
) -> FigureView:
    caption = spec.caption
    main = caption.tables[0]
    if main not in tables:
        return FigureView(caption, "", f"This study has no data for this figure (table “{main}”).", [], None)
    path = Path(figures[spec.name]) if spec.name in figures else None
    image, missing = "", ""
    if path is None or not path.exists():
        missing = "The figure was not drawn."
    else:
        media = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
        image = data_uri(path.read_bytes(), media)
    numbers = spec.numbers(tables) if spec.numbers else pd.DataFrame()
    view = None if numbers.empty else table_view(numbers, spec.name)
    return FigureView(caption, image, missing, _here(spec, tables, findings), view)


def _here(spec: FigureSpec, tables: Mapping[str, pd.DataFrame], findings: Sequence[Finding]) -> list[str]:
    """What a figure shows in this study: the finding it belongs to, or its own few numbers."""
    if spec.finding:
        of_key = [finding for finding in findings if finding.key == spec.finding]
        return [f"{model_label((f.model, f.role))}: {paragraph(f)}" for f in of_key]
    return spec.sentences(tables) if spec.sentences else []


def _lede(study: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], findings: Sequence[Finding]) -> str:
    """One paragraph: what was run, and what came of the findings."""
    ids = model_ids(tables.get("models"), [t for n, t in tables.items() if n in ("overlap", "probes")])
    names = ", ".join(model_label(key) for key in ids) or "no model"
    steps = sorted({int(s) for n in ("overlap", "probes") if n in tables for s in tables[n]["step"]})
    span = ""
    if len(steps) == 1:
        span = f" at one training step, {steps[0]}"
    elif steps:
        span = f" at {len(steps)} training steps from {steps[0]} to {steps[-1]}"
    languages = list(study.get("languages") or [])
    sentences = [
        f"{_count(len(languages), 'language')} ({', '.join(languages)}), "
        f"{_count(len(ids), 'model')} ({names}){span}."
    ]
    for model in dict.fromkeys(f.model for f in findings if f.role == "main"):
        verdicts: list[str] = [f.verdict for f in findings if f.model == model and f.number.isdigit()]
        parts = [f"{n} {_VERBS[v]}" for v in _VERBS if (n := verdicts.count(v))]
        sentences.append(f"Of the paper's {len(verdicts)} findings, for {model}: {', '.join(parts)}.")
    main = next((f for f in findings if f.key == "expert_overlap" and f.role == "main"), None)
    if main is not None:
        sentences.append(paragraph(main))
    return " ".join(sentences)


def _tiles(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, str]]:
    """The few numbers of the overlap that belong side by side, for the first main model."""
    if "overlap" not in tables:
        return []
    overlap, models = tables["overlap"], tables.get("models")
    variant = preferred_variant(overlap)
    totals = overlap_totals(overlap, variant)
    if totals.empty:
        return []
    values = over_seeds(totals, models, ["step"], "overlap")
    nulls = over_seeds(totals, models, ["step"], "null")
    ceilings = over_seeds(overlap_ceilings(overlap), models, ["step"], "overlap")
    ids = model_ids(models, [overlap])
    (main, role), controls = ids[0], [key for key in ids if key[1] == "control"]

    def at(
        table: pd.DataFrame, key: tuple[str, str], column: str, last: bool = True
    ) -> dict[str, str] | None:
        rows = table[(table["id"] == key[0]) & (table["role"] == key[1])].sort_values("step")
        if rows.empty:
            return None
        row = rows.iloc[-1 if last else 0]
        interval = ""
        if np.isfinite(row["low"]) and column == "overlap":
            interval = f"{row['low']:.3f} to {row['high']:.3f}"
        return {"value": f"{row[column]:.3f}", "interval": interval, "step": str(int(row["step"]))}

    wanted = [
        ("shared at the end", at(values, (main, role), "overlap")),
        ("shared at the start", at(values, (main, role), "overlap", last=False)),
        ("null: other concepts", at(nulls, (main, role), "null")),
        ("ceiling: same language", at(ceilings, (main, role), "overlap")),
    ]
    wanted += [(f"control: {key[0]}", at(values, key, "overlap")) for key in controls[:1]]
    return [{"label": label, **found} for label, found in wanted if found]


def _score(findings: Sequence[Finding]) -> dict[str, Any]:
    """Verdicts at a glance: findings down, models across."""
    models = list(dict.fromkeys((f.model, f.role) for f in findings))
    verdicts = {(f.key, f.model): f.verdict for f in findings}
    keys = {f.key: (f.number, f.title) for f in findings}
    return {
        "models": [model_label(model) for model in models],
        "rows": [
            {
                "number": number,
                "title": title,
                "verdicts": [verdicts.get((key, m)) for m, _ in models],
            }
            for key, (number, title) in keys.items()
        ],
    }


def _cards(findings: Sequence[Finding]) -> list[CardView]:
    cards = []
    for number in dict.fromkeys(f.number for f in findings if f.number.isdigit()):
        of_number = [f for f in findings if f.number == number]
        second = [f for f in findings if f.number == f"{number}b"]
        cards.append(CardView(number, of_number[0].title, of_number, second))
    return cards


def _caveats(study: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What this study can and cannot show, from how it is made."""
    models = dict(study.get("models") or {})
    corpora = dict(study.get("corpora") or {})
    roles = {str(name): str((m or {}).get("role", "main")) for name, m in models.items()}
    roles |= dict(model_ids(tables.get("models")))
    pretrained = [name for name, m in models.items() if (m or {}).get("source") == "pretrain"]
    out = []
    if any((c or {}).get("source") == "grammar" for c in corpora.values()):
        control = any(role == "control" for role in roles.values())
        out.append(
            "The models were trained on text from a grammar that is part of the workflow. What "
            "ties the languages together there (sentences that switch language, names and numbers "
            "that belong to a concept) was put in by us. Sharing that appears shows that it "
            "follows from such bridges"
            + (
                "; the control model beside it had the same recipe without them."
                if control
                else "; this study has no control model without them, so it shows less than that."
            )
            + " It is no evidence of what ties languages together in real text or large models."
        )
    if (study.get("sentences") or {}).get("source") == "parallel":
        out.append(
            "The analysed sentences are translations of each other. Translations share names, "
            "numbers, punctuation and length, which even random weights pick up: overlap and "
            "transfer above the permuted null at the first step are no learning. Read the overlap "
            "on disjoint sentences, and against the first step."
        )
    if models and "control" not in roles.values():
        out.append("There is no control model: differences over steps have no run to be compared with.")
    single = [n for n in pretrained if len((models[n] or {}).get("seeds") or [0]) < 2]
    if single:
        out.append(
            f"One pre-training seed ({', '.join(single)}): intervals cover sentences, concepts and "
            "languages, not the luck of a training run."
        )
    steps = {int(s) for n in ("overlap", "probes") if n in tables for s in tables[n]["step"]}
    if len(steps) == 1:
        out.append("There is one step only: nothing here is about change during training.")
    elif steps and min(steps) > 0:
        out.append(
            f"The first step is {min(steps)}, so there is no untrained baseline: what was there at "
            "random cannot be told from what was learnt before."
        )
    out.append(
        "The criteria of the findings were fixed beforehand and demand that intervals separate. "
        "“Does not hold” means that this study does not show it, not that it shows the opposite."
    )
    return out


def _warnings(
    study: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], provenance: Mapping[str, Any]
) -> list[str]:
    out = [str(warning) for warning in provenance.get("warnings", [])]
    flagged = flagged_rows(tables.get("audit"))
    if not flagged.empty:
        cells = "; ".join(
            f"{model}: step {', '.join(map(str, part['step']))}" for model, part in flagged.groupby("model")
        )
        what = (
            "They are left out of all figures, tables and findings but those of the audit."
            if excludes_flagged(study)
            else "They are marked with a cross; report.exclude_flagged: true leaves them out."
        )
        n = _count(len(tables["audit"]), "checkpoint")
        out.append(f"The audit flags {len(flagged)} of {n} ({cells}). {what}")
    concepts = tables.get("concepts")
    if concepts is not None:
        for half in ("n_positive_a", "n_positive_b"):
            if half not in concepts:
                continue
            few = concepts[concepts[half] < FEW_POSITIVES]
            if not few.empty:
                cells = ", ".join(
                    f"{r.concept} ({r.lang}: {getattr(r, half)})" for r in few.head(8).itertuples()
                )
                more = f" and {len(few) - 8} more" if len(few) > 8 else ""
                out.append(
                    f"Fewer than {FEW_POSITIVES} positive sentences in half {half[-1]}: {cells}"
                    f"{more}. Held-out values of these are noisy."
                )  # fmt: skip
    if "probes" in tables:
        means = tables["probes"][tables["probes"]["seed"] == -1]
        anchors = means[means["probe"] == "anchors"]
        empty = int(anchors["value"].isna().sum())
        if empty:
            out.append(
                f"Anchor tokens were too few to score in {empty} of {len(anchors)} cells of model, "
                "step and layer."
            )
        shuffled = means[(means["probe"] == "shuffled") & (means["metric"] == "accuracy")]
        leaks = shuffled[shuffled["low"] > shuffled["null"] + 0.05]
        if not leaks.empty:
            out.append(
                "Probes trained on shuffled labels beat chance by more than 0.05 in "
                f"{len(leaks)} of {len(shuffled)} cells: read small probe differences with care."
            )
    return out


def _models_table(tables: Mapping[str, pd.DataFrame]) -> TableView | None:
    return table_view(tables["models"], "models") if "models" in tables else None


def _audit(tables: Mapping[str, pd.DataFrame], *, excluded: bool) -> dict[str, Any] | None:
    """What the audit found, in sentences, and its table; None if the study has no audit."""
    audit = tables.get("audit")
    if audit is None:
        return None
    flagged = flagged_rows(audit)
    # A column of a TSV file that is empty throughout comes back as numbers.
    known, public = (audit[name].map(_text) != "" for name in ("known_fault", "repo"))
    notes = [f"{_count(len(audit), 'checkpoint')}: {len(flagged)} flagged, {known.sum()} with a known fault."]
    if not flagged.empty and excluded:
        notes.append(
            "The flagged ones are left out of everything else on this page. To have them shown and "
            "marked, set report.exclude_flagged: false."
        )
    elif not flagged.empty:
        notes.append(
            "The flagged ones are shown and marked. To leave them out, set report.exclude_flagged: true."
        )
    if public.any():
        notes.append("Whether public models have seen the analysed sentences in training is not known.")
    reasons = sorted(set(audit["no_loss"].map(_text)) - {""})
    notes += [f"No loss for some models: {reason}." for reason in reasons]
    models = tables.get("models")
    if models is not None and "unconfirmed" in models:
        told = models[models["unconfirmed"].map(_text) != ""]
        notes += [f"Not confirmed for {row.model}: {row.unconfirmed}." for row in told.itertuples()]
    items = [
        {
            "where": f"{row.model}, step {row.step}",
            "found": _sentence(row.reasons) if bool(row.flag) else "",
            "known": _text(row.known_fault),
        }
        for row in audit[audit["flag"].astype(bool) | known].itertuples()
    ]
    shown = audit.copy()
    for column in ("digest", "weights_hash", "commit"):
        shown[column] = [_text(value)[:12] for value in shown[column]]
    columns = [
        *("model", "step", "flag", "mean_loss", "previous_step", "distance_to_previous", "distance_se"),
        *("n_weights", "n_nonfinite", "digest", "weights_hash", "repo", "revision", "commit"),
    ]
    told_columns = [name for name in columns if (shown[name].map(_text) != "").any()]
    return {
        "notes": notes,
        "items": items,
        "table": table_view(shown[told_columns], "audit", shown=200),
    }


def _text(value: Any) -> str:
    """A cell that may be empty."""
    return "" if pd.isna(value) else str(value)


def _sentence(cell: Any) -> str:
    text = _text(cell)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _assumed(study: Mapping[str, Any]) -> list[dict[str, str]]:
    """Settings that the study only assumes: key, the value used, why."""
    return [
        {"key": str(key), "value": _inline(_at(study, str(key))), "why": str(why)}
        for key, why in dict(study.get("assumed") or {}).items()
    ]


def _at(study: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    value: Any = study
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _concepts_table(tables: Mapping[str, pd.DataFrame]) -> TableView | None:
    return table_view(tables["concepts"], "concepts") if "concepts" in tables else None


def _units_table(tables: Mapping[str, pd.DataFrame]) -> TableView | None:
    if "lifelines" not in tables:
        return None
    return table_view(traced_units(tables["lifelines"]), "units", shown=24)


def _facts(study: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str]]:
    """The study in a few lines, for those who do not read configs."""
    out = [("languages", ", ".join(map(str, study.get("languages") or [])))]
    sentences = dict(study.get("sentences") or {})
    concepts = tables.get("concepts")
    if concepts is not None:
        names = list(dict.fromkeys(concepts["concept"]))
        shown = ", ".join(map(str, names[:40])) + (" …" if len(names) > 40 else "")
        out.append((f"concepts ({len(names)})", shown))
        if "n_positive" in concepts:
            low, high = concepts["n_positive"].min(), concepts["n_positive"].max()
            out.append(
                (
                    "positive sentences per concept and language",
                    str(low) if low == high else f"{low} to {high}",
                )
            )
    if sentences:
        out.append(("analysed sentences", _inline(sentences)))
    for name, corpus in dict(study.get("corpora") or {}).items():
        out.append((f"corpus {name}", _inline(corpus)))
    steps: dict[str, list[int]] = {}
    for n in ("overlap", "probes"):
        if n in tables:
            for label, part in per_model(tables[n], tables.get("models")):
                steps.setdefault(label, sorted({int(s) for s in part["step"]}))
    out += [(f"steps of {label}", ", ".join(map(str, found))) for label, found in steps.items()]
    overlap = tables.get("overlap")
    if overlap is not None and not (totals := overlap_totals(overlap)).empty:
        k, n_units = totals["k"].iloc[0], totals["n_units"].iloc[0]
        out.append(("experts", f"K = {k} of N = {n_units} units ({k / n_units:.2%})"))
    for name in ("extraction", "probes", "experts", "generation"):
        if study.get(name):
            out.append((name, _inline(study[name])))
    return out


def _texts(tables: Mapping[str, pd.DataFrame], per_cell: int = 4) -> dict[str, Any] | None:
    """A sample of the generated texts: first and last step, a few of each source language."""
    table = tables.get("texts")
    if table is None:
        return None
    table = with_roles(table, tables.get("models"))
    groups = []
    for (name, role), part in table.groupby(["id", "role"], sort=False):
        steps = sorted(part["step"].unique())
        for step in dict.fromkeys([steps[0], steps[-1]]):
            rows = part[part["step"] == step]
            rows = rows[rows["model"] == rows["model"].iloc[0]]
            cells = []
            by = [c for c in ("condition", "lang") if c in rows]
            for _, cell in rows.groupby(by, sort=False, dropna=False):
                for row in cell.head(per_cell).to_dict("records"):
                    detected = row.get("language", row.get("detected"))
                    lang = detected if isinstance(detected, str) and detected.isascii() else ""
                    cells.append(
                        {
                            "text": str(row.get("text", "")),
                            "condition": _cell(row.get("condition", "")),
                            "source": _cell(row.get("lang", "")),
                            "concept": _cell(row.get("concept", "")),
                            "lang": lang,
                            "dir": text_direction(lang) if lang else "auto",
                            "confidence": _cell(row.get("confidence", "")),
                            "hits": _cell(row.get("n_hits", "")),
                        }
                    )
            groups.append(
                {"title": f"{model_label((str(name), str(role)))}, step {step}", "rows": cells[:32]}
            )
    prompts = []
    if "prompt_ids" in table:
        for name, part in table.groupby("id", sort=False):
            ids = part["prompt_ids"].iloc[0]
            prompts.append((str(name), ids if isinstance(ids, str) else ", ".join(map(str, np.ravel(ids)))))
    return {"groups": groups, "prompts": prompts}


def _columns(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return table[[column for column in columns if column in table]]


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}" if abs(int(value)) >= 100_000 else str(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return f"{number:.0f}" if number.is_integer() and abs(number) >= 10 else f"{number:.3g}"
    return str(value)


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _plain(value: Any) -> Any:
    """Mappings and sequences of any kind as those that YAML knows."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _inline(value: Any) -> str:
    """A small mapping on one line: ``source: grammar; documents: 60000``."""
    value = _plain(value)
    if isinstance(value, Mapping):
        parts = [
            f"{k}: {_inline(v)}" if not isinstance(v, Mapping) else f"{k}: ({_inline(v)})"
            for k, v in value.items()
        ]
        return "; ".join(parts)
    if isinstance(value, list):
        return ", ".join(_inline(v) for v in value)
    return "–" if value is None else str(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as rows ``a.b: value``."""
    rows: list[tuple[str, str]] = []
    for key, entry in value.items():
        name = f"{prefix}{key}"
        if isinstance(entry, Mapping):
            rows += _flat(entry, f"{name}.")
        else:
            rows.append((name, _inline(entry)))
    return rows
