"""Where in the explorer one can look at what a finding speaks of: fragments of its URL (docs/formats.md)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from babelscope.report.figures.spec import Tables
from babelscope.report.findings.criteria import Finding
from babelscope.report.summaries import at_last_step, best_unit, run_names, with_roles
from babelscope.units import unit_name


def place_of(finding: Finding, tables: Tables) -> str:
    """The fragment of the view that shows a finding; empty if none does.

    A main model stands beside the first control, where the view holds two. Of several seeds it is the first.

    Args:
        finding: Of one model.
        tables: Collected tables by name; of these ``overlap`` says which models the explorer has.
    """
    models = tables.get("models")
    if "overlap" not in tables:
        return ""
    runs = with_roles(tables["overlap"][["model"]].drop_duplicates(), models)
    named = {
        role: run_names(rows, models)
        for role, rows in (
            ("own", runs[runs["id"] == finding.model]),
            ("control", runs[runs["role"] == "control"]),
        )
    }
    if not named["own"]:
        return ""
    state = {"m": named["own"][0]}
    if finding.role == "main" and named["control"]:
        state["w"] = named["control"][0]
    if finding.key == "expert_overlap":
        return _fragment("matrix", state)
    if finding.key == "middle_layers":
        return _fragment("layers", state)
    if finding.key in ("reliable_units", "forced_generation"):
        return _unit(tables, state["m"], written=finding.key == "forced_generation")
    return ""  # the explorer holds no probes


def _unit(tables: Tables, run: str, *, written: bool) -> str:
    """The view of the unit that is best in its worst language at the last step.

    ``written`` asks for one of a concept whose experts were forced, since texts stand with its concept.
    """
    if "reliability" not in tables:
        return ""
    rows = best_unit(tables["reliability"])
    rows = at_last_step(rows[(rows["model"] == run) & (rows["concept"] != "*")])
    if written:
        texts = tables.get("texts")
        forced = set() if texts is None else set(texts["concept"][texts["condition"] == "forced"])
        rows = rows[rows["concept"].isin(forced)]
    rows = rows.dropna(subset="value").sort_values("value")
    if rows.empty:
        return ""
    best = rows.iloc[-1]
    name = unit_name(int(best["layer"]), str(best["site"]), int(best["unit"]))
    return _fragment(f"unit/{quote(name)}", {"m": run, "c": str(best["concept"])})


def _fragment(path: str, state: dict[str, str]) -> str:
    return f"#/{path}?{urlencode(state)}"
