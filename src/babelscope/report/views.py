"""What stands on the page, subject by subject: values for its template, made from tables and findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from babelscope.analysis.purity import foreign_rows
from babelscope.io.tables import records
from babelscope.report.captions import Caption
from babelscope.report.figures.spec import Tables, part, points
from babelscope.report.findings.criteria import TITLES, Finding
from babelscope.report.formats import TableView, cell, inline, table_view, text
from babelscope.report.summaries import (
    SAME,
    flagged_rows,
    model_ids,
    model_label,
    overlap_totals,
    per_model,
    preferred_variant,
    shares_of_the_way,
    traced_units,
    with_roles,
)
from babelscope.report.words import count, number, say, words
from babelscope.text.clones import readable

Study = Mapping[str, Any]
"""The study's config as a plain mapping."""

#: What the first paragraph tells of the overlap; the rest stands with the finding.
_LEDE = frozenset(
    {"no overlap", "overlap", "overlap and ceiling", "way to the ceiling", "growth", "contrast"}
)

#: Positives per half of the sentences below which held-out values of a concept are shaky.
FEW_POSITIVES = 10


def excludes_flagged(study: Study) -> bool:
    """Whether a study leaves the checkpoints that the audit flags out of its results."""
    return bool((study.get("report") or {}).get("exclude_flagged", False))


def analysed_steps(tables: Tables) -> list[int]:
    """Steps of any model with overlap or probes."""
    return sorted(
        {int(step) for name in ("overlap", "probes") if name in tables for step in tables[name]["step"]}
    )


# ------------------------------------------------------------------------------------------------ summary


def lede(study: Study, tables: Tables, findings: Sequence[Finding]) -> str:
    """One paragraph: what was run, and what came of the findings."""
    ids = model_ids(tables.get("models"), [t for n, t in tables.items() if n in ("overlap", "probes")])
    steps, span = analysed_steps(tables), ""
    if len(steps) == 1:
        span = say("at one step", step=steps[0])
    elif steps:
        span = say("at steps", n=len(steps), first=steps[0], last=steps[-1])
    codes = list(study.get("languages") or [])
    counts = {"languages": count(len(codes), "language"), "models": count(len(ids), "model")}
    names = [model_label(key) for key in ids] or ["no model"]
    sentences = [say("studied", codes=codes, names=names, span=span, **counts)]
    for model in dict.fromkeys(f.model for f in findings if f.role == "main"):
        verdicts: list[str] = [f.verdict for f in findings if f.model == model and f.number.isdigit()]
        parts = [f"{n} {how['verb']}" for v, how in words()["verdicts"].items() if (n := verdicts.count(v))]
        sentences.append(say("verdicts", n=len(verdicts), model=model, parts=parts))
    for finding in [f for f in findings if f.key == "expert_overlap" and f.role == "main"][:1]:
        sentences += [str(told) for told in finding.statements if told.key in _LEDE]
    return " ".join(sentences)


def tiles(tables: Tables) -> list[dict[str, str]]:
    """The few numbers of the overlap that belong side by side, for the first main model."""
    if "overlap" not in tables:
        return []
    overlap, models = tables["overlap"], tables.get("models")
    totals = overlap_totals(overlap, preferred_variant(overlap))
    shared = points(totals, models, ["step"], "overlap")
    null = points(totals, models, ["step"], "null", band=False)
    ceiling = points(overlap_totals(overlap, pairs=SAME), models, ["step"], "overlap")
    main, *others = model_ids(models, [overlap])
    ways = points(shares_of_the_way(totals), models, ["step"], "way")
    wanted = [
        ("shared at the end", shared, main, -1),
        ("share of the way, null to ceiling", ways, main, -1),
        ("shared at the start", shared, main, 0),
        ("null: other concepts", null, main, -1),
        ("ceiling: same language", ceiling, main, -1),
    ]
    wanted += [(f"control: {key[0]}", shared, key, -1) for key in others if key[1] == "control"][:1]
    return [
        {"label": label, "value": f"{row['value']:.3f}", "step": str(row["step"]),
         "interval": f"{row['low']:.3f} to {row['high']:.3f}" if np.isfinite(row["low"]) else ""}
        for label, table, key, at in wanted
        for _, row in part(table, key).iloc[at:][:1].iterrows()
    ]  # fmt: skip


def claims(findings: Sequence[Finding], captions: Sequence[Caption] = ()) -> list[dict[str, Any]]:
    """What came of each finding: of each model the verdict and its number beside null, ceiling, controls.

    Args:
        findings: All of them.
        captions: Of the figures on the page, of which one may say what a finding's number is made of.
    """
    figures = {caption.finding: caption.name for caption in captions if caption.finding}
    told = []
    for key, (place, title) in TITLES.items():
        if of := [finding for finding in findings if finding.key == key]:
            names = [finding.effect.name for finding in of if finding.effect is not None]
            what = "; ".join(dict.fromkeys(names))
            told.append(
                {
                    "number": place,
                    "title": title,
                    "what": what,
                    "figure": figures.get(key, ""),
                    "rows": [_claim(f) for f in of],
                }
            )
    return told


def _claim(finding: Finding) -> dict[str, str]:
    effect = finding.effect
    known = effect is not None and np.isfinite(effect.value)
    n = [count(int(effect.n), finding.counts)] if effect is not None and np.isfinite(effect.n) else []
    if effect is not None and effect.runs > 1:
        n.append(count(effect.runs, "seed"))
    less = [f"{each.difference}" for each in finding.contrasts]
    if len(less) > 1:
        less = [f"{told} ({each.control})" for told, each in zip(less, finding.contrasts, strict=True)]
    return {
        "model": model_label((finding.model, finding.role)),
        "verdict": finding.verdict,
        "step": str(effect.step) if effect is not None and known else "–",
        "value": str(effect) if known else "–",
        "null": number(effect.null) if effect is not None and np.isfinite(effect.null) else "–",
        "ceiling": number(finding.ceiling) if np.isfinite(finding.ceiling) else "–",
        "control": "; ".join(less) or "–",
        "n": ", ".join(n) if known and n else "–",
    }


def cards(findings: Sequence[Finding], places: Mapping[int, str]) -> list[dict[str, Any]]:
    """Each finding of the paper with its verdicts; a second half of it stands by itself.

    Args:
        findings: All of them.
        places: By their position where the explorer shows them, or nothing.
    """
    by_number: dict[str, list[dict[str, Any]]] = {}
    for at, finding in enumerate(findings):
        by_number.setdefault(finding.number, []).append({"of": finding, "place": places.get(at, "")})
    return [
        {
            "number": number,
            "title": judged[0]["of"].title,
            "judged": judged,
            "second": by_number.get(f"{number}b"),
        }
        for number, judged in by_number.items()
        if number.isdigit()
    ]


# ----------------------------------------------------------------------------------- limits and warnings


def caveats(study: Study, tables: Tables) -> Iterator[str]:
    """What this study can and cannot show, from how it is made."""
    models = {str(name): model or {} for name, model in (study.get("models") or {}).items()}
    corpora = [corpus or {} for corpus in (study.get("corpora") or {}).values()]
    roles = {name: str(model.get("role", "main")) for name, model in models.items()}
    has_control = "control" in (roles | dict(model_ids(tables.get("models")))).values()
    if any(corpus.get("source") == "grammar" for corpus in corpora):
        yield say("grammar", how="with a control" if has_control else "without a control")
    for clone, original in (study.get("clones") or {}).items():
        yield say("clone", clone=clone, original=original)
    if (study.get("sentences") or {}).get("source") == "parallel":
        yield say("parallel sentences")
    if models and not has_control:
        yield say("no control")
    pretrained = {name: model for name, model in models.items() if model.get("source") == "pretrain"}
    if single := [name for name, model in pretrained.items() if len(model.get("seeds") or [0]) < 2]:
        yield say("one seed", models=single)
    if double := [name for name, model in pretrained.items() if len(model.get("seeds") or [0]) == 2]:
        yield say("two seeds", models=double)
    steps = analysed_steps(tables)
    if len(steps) == 1:
        yield say("one step")
    elif steps and steps[0] > 0:
        yield say("no untrained step", first=steps[0])
    yield say("criteria")


def warnings(study: Study, tables: Tables, provenance: Mapping[str, Any]) -> Iterator[str]:
    """What to take with care: from the run, the audit, the sentences and the probes."""
    yield from map(str, provenance.get("warnings", []))
    flagged = flagged_rows(tables.get("audit"))
    if not flagged.empty:
        cells = [
            say("steps of a model", model=model, steps=list(rows["step"]))
            for model, rows in flagged.groupby("model")
        ]
        how = "left out" if excludes_flagged(study) else "marked"
        checkpoints = count(len(tables["audit"]), "checkpoint")
        yield say("flagged", n=len(flagged), checkpoints=checkpoints, cells=cells, how=how)
    if "concepts" in tables:
        yield from _few_positives(tables["concepts"])
    if "purity" in tables:
        for row in records(foreign_rows(tables["purity"])):
            yield say("foreign", **row)
    if "probes" in tables:
        yield from _probe_warnings(tables["probes"])


def _few_positives(concepts: pd.DataFrame, shown: int = 8) -> Iterator[str]:
    for half in ("a", "b"):
        few = concepts.assign(n=concepts[f"n_positive_{half}"]).query("n < @FEW_POSITIVES")
        cells = [f"{row.concept} ({row.lang}: {row.n})" for row in few.head(shown).itertuples()]
        more = f" and {len(few) - shown} more" if len(few) > shown else ""
        if cells:
            yield say("few positives", least=FEW_POSITIVES, half=half, cells=cells, more=more)


def _probe_warnings(probes: pd.DataFrame) -> Iterator[str]:
    means = probes[probes["seed"] == -1]
    anchors = means[means["probe"] == "anchors"]
    if empty := int(anchors["value"].isna().sum()):
        yield say("anchors", n=empty, of=len(anchors))
    shuffled = means[(means["probe"] == "shuffled") & (means["metric"] == "accuracy")]
    if leaks := int((shuffled["low"] > shuffled["null"] + 0.05).sum()):
        yield say("leaks", n=leaks, of=len(shuffled))


# -------------------------------------------------------------------------------------------------- audit


def audit(study: Study, tables: Tables) -> dict[str, Any] | None:
    """What the audit found, in sentences, and its table; None if the study has no audit."""
    if "audit" not in tables:
        return None
    table = tables["audit"]
    known = table["known_fault"].map(text) != ""
    items = [
        {"where": f"{row.model}, step {row.step}", "known": text(row.known_fault),
         "found": _sentence(text(row.reasons)) if row.flag else ""}
        for row in table[table["flag"].astype(bool) | known].itertuples()
    ]  # fmt: skip
    hashes = ("digest", "weights_hash", "commit")
    shown = table.assign(**{name: [text(value)[:12] for value in table[name]] for name in hashes})
    columns = [
        *("model", "step", "flag", "mean_loss", "previous_step", "distance_to_previous", "distance_se"),
        *("n_weights", "n_nonfinite", "digest", "weights_hash", "repo", "revision", "commit"),
    ]
    told = [name for name in columns if (shown[name].map(text) != "").any()]
    notes = _audit_notes(study, table, tables.get("models"))
    return {"notes": notes, "items": items, "table": table_view(shown[told], "audit", shown=200)}


def _audit_notes(study: Study, table: pd.DataFrame, models: pd.DataFrame | None) -> list[str]:
    flagged, known = len(flagged_rows(table)), (table["known_fault"].map(text) != "").sum()
    checkpoints = count(len(table), "checkpoint")
    notes = [say("audited", checkpoints=checkpoints, flagged=flagged, known=known)]
    if flagged:
        notes.append(say("flagged are out" if excludes_flagged(study) else "flagged are in"))
    if (table["repo"].map(text) != "").any():
        notes.append(say("public"))
    constant = table[table["constant"].map(text) != ""]
    notes += [
        say("constant", model=row.model, step=row.step, names=row.constant) for row in constant.itertuples()
    ]
    if models is not None and "source" in models:
        local = set(models.loc[models["source"] == "local", "model"])
        claimed = sorted(set(table.loc[table["repo"].map(text) != "", "model"]) & local)
        notes += [say("claimed", models=", ".join(claimed))] if claimed else []
    notes += [say("no loss", why=why) for why in sorted(set(table["no_loss"].map(text)) - {""})]
    if models is not None and "unconfirmed" in models:
        told = models[models["unconfirmed"].map(text) != ""]
        notes += [say("unconfirmed", model=row.model, what=row.unconfirmed) for row in told.itertuples()]
    return notes


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].removesuffix(".") + "."


# -------------------------------------------------------------------------------------------------- texts


def texts(tables: Tables, per_cell: int = 4, most: int = 32) -> dict[str, Any] | None:
    """A sample of the generated texts: first and last step, a few of each source language."""
    if "texts" not in tables:
        return None
    table = with_roles(tables["texts"], tables.get("models"))
    groups = []
    for (id_, role), of_model in table.groupby(["id", "role"], sort=False):
        for step in dict.fromkeys([of_model["step"].min(), of_model["step"].max()]):
            rows = of_model[of_model["step"] == step]
            rows = rows[rows["model"] == rows["model"].iloc[0]]
            by_cell = rows.groupby(["condition", "lang"], sort=False)
            shown = [row for _, cells in by_cell for row in cells.head(per_cell).to_dict("records")]
            title = f"{model_label((str(id_), str(role)))}, step {step}"
            groups.append({"title": title, "rows": [_text_row(row) for row in shown[:most]]})
    prompts = table.groupby("id", sort=False)["prompt_ids"].first()
    return {"groups": groups, "prompts": list(prompts.astype(str).items())}


def _text_row(row: Mapping[str, Any]) -> dict[str, str]:
    detected = text(row["language"])
    names = {"condition": "condition", "source": "lang", "concept": "concept", "confidence": "confidence",
             "hits": "n_hits"}  # fmt: skip
    lang = detected if detected.isascii() else ""
    return {
        "text": readable(text(row["text"])),
        "lang": lang,
        **{k: cell(row[name]) for k, name in names.items()},
    }


# -------------------------------------------------------------------------------------------------- setup


def shown_table(tables: Tables, name: str) -> TableView | None:
    """A collected table as it is, if it is there."""
    return table_view(tables[name], name) if name in tables else None


def units(tables: Tables) -> TableView | None:
    """The most reliable of the traced units."""
    return table_view(traced_units(tables["lifelines"]), "units", shown=24) if "lifelines" in tables else None


def lifespans(tables: Tables) -> dict[str, Any] | None:
    """How long units stay shared: a sentence for each model, of its first seed, and the table."""
    if "lifespans" not in tables:
        return None
    told = []
    for label, rows in per_model(tables["lifespans"], tables.get("models")):
        row = rows.sort_values(["model", "m"]).iloc[0]
        key = "stay never" if row["n"] == 0 else "stay longer" if np.isnan(row["median"]) else "stay"
        told.append(say(key, model=label, **row[["n", "null", "median", "censored"]]))
    if not flagged_rows(tables.get("audit")).empty:
        told.append(say("stay on flagged steps"))
    return {"sentences": told, "table": table_view(tables["lifespans"], "lifespans")}


def assumed(study: Study) -> list[dict[str, str]]:
    """Settings that the study only assumes: key, the value used, why."""
    return [
        {"key": str(key), "value": inline(_at(study, str(key))), "why": str(why)}
        for key, why in (study.get("assumed") or {}).items()
    ]


def _at(study: Study, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    value: Any = study
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def facts(study: Study, tables: Tables) -> list[tuple[str, str]]:
    """The study in a few lines, for those who do not read configs."""
    out = [("languages", ", ".join(map(str, study.get("languages") or [])))]
    if "concepts" in tables:
        concepts = tables["concepts"]
        names = list(dict.fromkeys(concepts["concept"]))
        shown = ", ".join(map(str, names[:40])) + (" …" if len(names) > 40 else "")
        low, high = concepts["n_positive"].min(), concepts["n_positive"].max()
        out.append((f"concepts ({len(names)})", shown))
        span = str(low) if low == high else f"{low} to {high}"
        out.append(("positive sentences per concept and language", span))
    if study.get("sentences"):
        out.append(("analysed sentences", inline(study["sentences"])))
    out += [(f"corpus {name}", inline(corpus)) for name, corpus in (study.get("corpora") or {}).items()]
    steps: dict[str, list[int]] = {}
    for table in [tables[name] for name in ("overlap", "probes") if name in tables]:
        for label, rows in per_model(table, tables.get("models")):
            steps.setdefault(label, sorted({int(step) for step in rows["step"]}))
    out += [(f"steps of {label}", ", ".join(map(str, found))) for label, found in steps.items()]
    if "overlap" in tables and not (totals := overlap_totals(tables["overlap"])).empty:
        k, n_units = totals["k"].iloc[0], totals["n_units"].iloc[0]
        out.append(("experts", f"K = {k} of N = {n_units} units ({k / n_units:.2%})"))
    settings = ("extraction", "probes", "experts", "generation")
    return out + [(name, inline(study[name])) for name in settings if study.get(name)]
