"""The explorer of a study: what it shows, packed, within a budget.

Names of shapes are those of :mod:`babelscope.report.explorer.units`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from babelscope.analysis.ranking import BestFile
from babelscope.io.cells import Cell
from babelscope.report.explorer.budget import Detail, fitting
from babelscope.report.explorer.linking import linked, script_hash
from babelscope.report.explorer.matrices import matrix_block
from babelscope.report.explorer.packing import pack
from babelscope.report.explorer.traces import by_concept, trace_block, traced_in
from babelscope.report.explorer.units import BestUnits
from babelscope.report.figures.spec import Tables
from babelscope.report.formats import text
from babelscope.report.summaries import flagged_rows, model_label, run_names, traced_units, with_roles
from babelscope.text.clones import readable
from babelscope.units import unit_name

#: Followed units that are offered by name.
_OFFERED = 40
#: Tables that are read.
_TABLES = ("overlap", "models", "steps", "audit", "pairs", "lifelines", "texts", "traces")
#: Size of the packed data where nothing else is said.
MEGABYTES = 7.0


@dataclass(frozen=True)
class Explorer:
    """What the page needs of it.

    Attributes:
        blocks: Text of each block by its name: ``study``, and of model i ``units/i/c`` for each concept,
            ``overlaps/i``, ``matrix/i``, ``texts/i`` and ``traces/i/n``. Some may be missing.
        missing: Why there is no explorer; empty if there is one.
        script, script_hash: The script, and what the content security policy calls it.
        style: Its style sheet.
    """

    blocks: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    script: str = ""
    script_hash: str = ""
    style: str = ""

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(map(len, self.blocks.values()))


def build_explorer(
    study: Mapping[str, Any],
    tables: Tables,
    best: Mapping[str, Mapping[Cell, BestFile]],
    *,
    megabytes: float = MEGABYTES,
) -> Explorer:
    """Gather and pack what the explorer shows.

    Args:
        study: The study's config as a plain mapping.
        tables: Collected tables by name; of these ``overlap`` must be there, the others may be missing.
        best: The best units by model and by (step, language), see :meth:`babelscope.results.Results.best`.
        megabytes: What the data may take. If it is more, the average precision of units that are no
            experts goes first, then steps of token traces, then ranks of experts; the page says so.
    """
    tables = {name: tables[name] for name in _TABLES if name in tables and len(tables[name])}
    if "overlap" not in tables or not best:
        what = "overlap of experts" if "overlap" not in tables else "best units"
        return Explorer(missing=f"There is no explorer, since this study has no {what}.")
    runs = [name for name in run_names(tables["overlap"], tables.get("models")) if name in best]
    if not runs:
        return Explorer(missing="There is no explorer, since no model has both best units and their overlap.")
    langs = [str(lang) for lang in study.get("languages") or []]
    most = int(megabytes * 1e6) // len(runs)  # none takes less than a byte
    models = [_of_model(run, best[run], tables, langs, most) for run in runs]
    fixed = dict(_fixed_blocks(models, tables))
    detail, blocks = fitting(_Parts(models, tables), int(megabytes * 1e6) - sum(map(len, fixed.values())))
    header = _header(study, tables, models, detail)
    script = linked(_modules(), "main")
    return Explorer(
        blocks={"study": pack(header), **fixed, **blocks},
        script=script,
        script_hash=script_hash(script),
        style=_templates("explorer.css"),
    )


@dataclass(frozen=True)
class _Model:
    run: str
    best: BestUnits
    chance: Mapping[str, Sequence[float]]


def _of_model(
    run: str, best: Mapping[Cell, BestFile], tables: Tables, langs: Sequence[str], most: int
) -> _Model:
    overlap = tables["overlap"]
    rows = overlap[(overlap["model"] == run) & (overlap["scope"] == "model")]
    shown = {int(step) for step in rows["step"]}  # a study may leave out those that the audit flags
    cells = {cell: file for cell, file in best.items() if cell[0] in shown} or best
    chance = {lang: np.round(file.chance_ap, 4).tolist() for (_, lang), file in cells.items()}
    return _Model(run, BestUnits.of(cells, k=int(rows["k"].max()), langs=langs, most=most), chance)


class _Parts:
    """The blocks whose size depends on the detail, each made once for each of its levels."""

    def __init__(self, models: Sequence[_Model], tables: Tables) -> None:
        self._models = models
        self._traces = tables.get("traces")
        self.kept = max(model.best.kept for model in models)
        self.held = max(model.best.held for model in models)
        self.k = max(model.best.k for model in models)
        self.n_trace_steps = 0 if self._traces is None else int(self._traces["step"].nunique())
        self.units = cache(self._units)
        self.traces = cache(self._trace_blocks)

    def _units(self, depth: int) -> dict[str, str]:
        return {
            f"units/{i}/{c}": model.best.block(c, depth)
            for i, model in enumerate(self._models)
            for c in range(len(model.best.concepts))
        }

    def _trace_blocks(self, n_steps: int) -> dict[str, str]:
        if self._traces is None or not n_steps:
            return {}
        return {
            f"traces/{i}/{n}": trace_block(rows, n_steps)
            for i, model in enumerate(self._models)
            for n, rows in enumerate(by_concept(self._traces, model.run))
        }


def _fixed_blocks(models: Sequence[_Model], tables: Tables) -> Iterator[tuple[str, str]]:
    overlap, texts = tables["overlap"], tables.get("texts")
    for i, model in enumerate(models):
        yield f"overlaps/{i}", model.best.overlaps()
        if block := matrix_block(overlap[overlap["model"] == model.run]):
            yield f"matrix/{i}", block
        if texts is not None and len(rows := texts[texts["model"] == model.run]):
            yield f"texts/{i}", pack({"rows": [_text_row(row) for row in rows.to_dict("records")]})


def _text_row(row: Mapping[Hashable, Any]) -> list[Any]:
    """Step, condition, source language, concept, text, language that was found, words of the concept."""
    told = [text(row[name]) for name in ("condition", "lang", "concept")]
    return [int(row["step"]), *told, readable(text(row["text"])), text(row["language"]), int(row["n_hits"])]


def _header(
    study: Mapping[str, Any], tables: Tables, models: Sequence[_Model], detail: Detail
) -> dict[str, Any]:
    described = [_model_header(model, tables) for model in models]
    langs = list(dict.fromkeys(lang for model in models for lang in model.best.langs))
    concepts = list(dict.fromkeys(concept for model in models for concept in model.best.concepts))
    scripts = _scripts(tables)
    said = {
        "study": str(study.get("study", "")),
        "languages": langs,
        "scripts": scripts,
        "concepts": concepts,
        "models": described,
    }
    whole = json.dumps([said, study], sort_keys=True, default=str).encode()
    return {
        **said,
        "hash": hashlib.sha256(whole).hexdigest()[:8],
        "start": _start(models, tables, langs, scripts),
        "notes": detail.notes(),
        "traces_missing": _why_no_traces(tables),
    }


def _model_header(model: _Model, tables: Tables) -> dict[str, Any]:
    best, models = model.best, tables.get("models")
    role = str(with_roles(pd.DataFrame({"model": [model.run]}), models)["role"].iloc[0])
    flagged = flagged_rows(tables.get("audit"))
    flagged = flagged[flagged["model"] == model.run]
    return {
        "name": model.run,
        "label": model_label((model.run, role)),
        "steps": list(best.steps),
        "tokens": _tokens(model, tables.get("steps")),
        "flagged": {
            int(step): text(why) for step, why in zip(flagged["step"], flagged["reasons"], strict=True)
        },
        "sites": [list(site) for site in best.units.sites],
        "k": best.k,
        "langs": list(best.langs),
        "concepts": list(best.concepts),
        "chance": dict(model.chance),
        "followed": _followed(model.run, tables),
        "traced": traced_in(by_concept(tables["traces"], model.run)) if "traces" in tables else {},
    }


def _tokens(model: _Model, steps: pd.DataFrame | None) -> list[int] | None:
    """Tokens seen at each step, if all are known."""
    if steps is None:
        return None
    rows = steps[(steps["model"] == model.run) & steps["tokens"].notna()]
    known = dict(zip(rows["step"], rows["tokens"], strict=True))
    return [int(known[s]) for s in model.best.steps] if set(model.best.steps) <= set(known) else None


def _followed(run: str, tables: Tables) -> list[list[Any]]:
    """Names, concepts and numbers of languages of the units that several languages share, the best first."""
    if "lifelines" not in tables:
        return []
    rows = traced_units(tables["lifelines"])
    rows = rows[rows["model"] == run].head(_OFFERED)
    return [
        [unit_name(row["layer"], row["site"], row["unit"]), str(row["concept"]), int(row["languages_at_end"])]
        for row in rows.to_dict("records")
    ]


def _scripts(tables: Tables) -> dict[str, str]:
    """Script of each language, of studies that compare languages."""
    pairs = tables.get("pairs")
    if pairs is None:
        return {}
    both = [zip(pairs[f"lang_{side}"], pairs[f"script_{side}"], strict=True) for side in ("a", "b")]
    return {str(lang): str(script) for side in both for lang, script in side}


def _start(
    models: Sequence[_Model], tables: Tables, langs: Sequence[str], scripts: Mapping[str, str]
) -> dict[str, Any]:
    """Where one begins: the concept of the most reliable unit, in the first two languages of two scripts."""
    first = models[0]
    followed = _followed(first.run, tables)
    other = next((lang for lang in langs[1:] if scripts.get(lang) != scripts.get(langs[0])), langs[-1])
    return {
        "concept": followed[0][1] if followed else first.best.concepts[0],
        "unit": followed[0][0] if followed else unit_name(*_first_unit(first)),
        "a": langs[0],
        "b": other,
    }


def _first_unit(model: _Model) -> tuple[int, str, int]:
    """The best unit of the first concept at the last step."""
    cell = max(model.best.unit, key=lambda cell: cell[0])
    layer, site, unit = model.best.units.places(np.maximum(model.best.unit[cell][:1, 0], 0))
    return int(layer[0]), str(site[0]), int(unit[0])


def _why_no_traces(tables: Tables) -> str:
    return (
        ""
        if "traces" in tables
        else "This study has no token traces (table “traces”), so sentences cannot be shown here."
    )


def _templates(name: str) -> str:
    return (files("babelscope.report") / "templates" / "explorer" / name).read_text(encoding="utf-8")


def _modules() -> dict[str, str]:
    folder = files("babelscope.report") / "templates" / "explorer"
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".js"))
    return {name.removesuffix(".js"): _templates(name) for name in names}
