"""Small reductions of the collected tables that figures, findings and report share.

All functions take and return data frames and keep one rule: several pre-training seeds of one model
id become their mean with an interval over seeds, a single seed keeps the interval of its table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.stats import interval_over_runs
from babelscope.text import kinship
from babelscope.text.languages import ENGLISH, english_among

#: Words in common from which two languages have cognates.
COGNATES = kinship.COGNATES

#: Variants of overlap in order of preference: disjoint sentences cannot share names and numbers.
OVERLAP_VARIANTS = ("disjoint_lines", "same_lines")

#: Wildcard of the collected tables: a summary over all languages or concepts.
ALL = "*"

#: Wildcard of summary rows of a language with itself (the reliability ceiling).
SAME = "="

#: Column of a table that says in which rows average precisions (columns ``*_ap``) are at most what they say.
AT_MOST = "at_most"

#: Target of generated texts that stands for each text's own source language.
SOURCE = "source"

Key = tuple[str, str]
"""Id and role of a model."""

#: Tables that keep the steps that the audit flagged.
_WHOLE = frozenset({"audit", "audit_losses", "steps"})


def with_roles(table: pd.DataFrame, models: pd.DataFrame | None) -> pd.DataFrame:
    """Add ``id`` and ``role`` of each run; a run that ``models`` does not list is a main model."""
    if models is None or models.empty:
        return table.assign(id=table["model"], role="main")
    known, runs = models.drop_duplicates("model").set_index("model"), table["model"]
    return table.assign(id=runs.map(known["id"]).fillna(runs), role=runs.map(known["role"]).fillna("main"))


def model_ids(models: pd.DataFrame | None, tables: Sequence[pd.DataFrame] = ()) -> list[Key]:
    """``(id, role)`` of each model, main models first, else in the order of ``models``."""
    frames = [with_roles(t[["model"]].drop_duplicates(), models) for t in tables if "model" in t]
    if models is not None and not models.empty:
        frames.insert(0, with_roles(models[["model"]], models))
    if not frames:
        return []
    pairs = pd.concat(frames)[["id", "role"]].drop_duplicates()
    found = [(str(a), str(b)) for a, b in pairs.itertuples(index=False)]
    return sorted(found, key=lambda pair: pair[1] != "main")


def model_label(key: Key) -> str:
    """How a model is called in figures and on the page."""
    return f"{key[0]} (control)" if key[1] == "control" else key[0]


def per_model(table: pd.DataFrame, models: pd.DataFrame | None) -> list[tuple[str, pd.DataFrame]]:
    """Label and rows of each model that the table holds, main models first."""
    rows = with_roles(table, models)
    parts = {key: part for key, part in rows.groupby(["id", "role"], sort=False)}
    return [(model_label(key), parts[key]) for key in model_ids(models, [table]) if key in parts]


def run_names(rows: pd.DataFrame, models: pd.DataFrame | None) -> list[str]:
    """Names of the runs in a table, in the order of the table of models."""
    known = list(models["model"]) if models is not None else []
    return sorted(rows["model"].unique(), key=lambda name: [*known, name].index(name))


def at_last_step(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last step of each run."""
    return table[table["step"] == table.groupby("model")["step"].transform("max")]


def flagged_rows(audit: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of the audit that are flagged; empty if there is no audit."""
    if audit is None or audit.empty:
        return pd.DataFrame(columns=["model", "step", "reasons"])
    return audit[audit["flag"].astype(bool)]


def flagged_steps(audit: pd.DataFrame | None, models: pd.DataFrame | None) -> dict[Key, frozenset[int]]:
    """Flagged steps of each model ``(id, role)``, of any of its runs."""
    rows = with_roles(flagged_rows(audit), models)
    return {
        (str(id_), str(role)): frozenset(int(step) for step in part["step"])
        for (id_, role), part in rows.groupby(["id", "role"], sort=False)
    }


def without_flagged(tables: Mapping[str, pd.DataFrame | None]) -> dict[str, pd.DataFrame | None]:
    """The tables without rows of a flagged (model, step).

    Those of the audit stay whole, since they say why; so does ``steps``, which holds no results.
    """
    flagged = flagged_rows(tables.get("audit"))
    bad = list(zip(flagged["model"], flagged["step"], strict=True))
    kept = dict(tables)
    for name, table in tables.items():
        if bad and table is not None and name not in _WHOLE and {"model", "step"} <= set(table):
            kept[name] = table[~pd.MultiIndex.from_frame(table[["model", "step"]]).isin(bad)]
    return kept


def tokens_seen(steps: pd.DataFrame | None, models: pd.DataFrame | None) -> dict[Key, dict[int, float]]:
    """Tokens seen at each step of each model ``(id, role)`` of which all are known."""
    if steps is None or steps.empty:
        return {}
    return {
        (str(id_), str(role)): dict(zip(part["step"].astype(int), part["tokens"].astype(float), strict=True))
        for (id_, role), part in with_roles(steps, models).groupby(["id", "role"], sort=False)
        if part["tokens"].notna().all()
    }


def over_seeds(
    table: pd.DataFrame, models: pd.DataFrame | None, keys: Sequence[str], value: str = "value"
) -> pd.DataFrame:
    """Reduce the runs of each model id to one series.

    Args:
        table: Columns ``model``, ``keys``, ``value``; ``low`` and ``high`` where one seed has an interval.
        models: The models table.
        keys: What tells the points of one run apart, such as ``["step", "layer"]``.
        value: Column to reduce.

    Returns:
        Columns ``id, role, keys, value, low, high, n_seeds``. With one seed the interval is of the table,
        with more it holds both what the table's intervals cover and the seeds, see
        :func:`babelscope.stats.interval_over_runs`.
    """
    table = with_roles(table, models)
    table = table.assign(**{bound: np.nan for bound in ("low", "high") if bound not in table})
    grouped = table.groupby(["id", "role", *keys], sort=False, dropna=False)
    out = grouped.agg(
        mean=(value, "mean"), sd=(value, "std"), n_seeds=("model", "nunique"),
        low=("low", "mean"), high=("high", "mean"),
    ).reset_index()  # fmt: skip
    out["low"], out["high"] = interval_over_runs(*(out[c] for c in ("mean", "low", "high", "sd", "n_seeds")))
    return out.rename(columns={"mean": value}).drop(columns="sd")


def overlap_totals(overlap: pd.DataFrame, variant: str | None = None, pairs: str = ALL) -> pd.DataFrame:
    """Summary rows over all layers, of one variant or of all.

    They are means over pairs of languages or, with ``pairs`` :data:`SAME`, over languages with themselves,
    which is the ceiling.
    """
    rows = overlap[(overlap["scope"] == "model") & (overlap["layer"] == -1)]
    rows = rows[(rows["lang_a"] == pairs) & (rows["lang_b"] == pairs)]
    return rows if variant is None else rows[rows["variant"] == variant]


def overlap_layers(overlap: pd.DataFrame) -> pd.DataFrame:
    """Summary rows over language pairs of each layer, experts chosen within it, of the strictest variant."""
    rows = overlap[(overlap["scope"] == "layer") & (overlap["layer"] >= 0)]
    rows = rows[(rows["lang_a"] == ALL) & (rows["lang_b"] == ALL)]
    return rows[rows["variant"] == preferred_variant(overlap)]


def shares_of_the_way(rows: pd.DataFrame, ceiling: str = "") -> pd.DataFrame:
    """Rows of overlap whose share of the way from null to ceiling is known, with its interval as theirs.

    Args:
        rows: Of the table of overlap.
        ceiling: ``""``: of halves of the sentences, or ``"_words"``: of disjoint words.

    Returns:
        The rows with ``way``, ``low`` and ``high``.
    """
    columns = {"way": f"way{ceiling}", "low": f"way{ceiling}_low", "high": f"way{ceiling}_high"}
    rows = rows.assign(**{name: rows[column] for name, column in columns.items()})
    return rows.dropna(subset=list(columns))


def language_pairs(overlap: pd.DataFrame, kinds: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rows of single pairs of different languages over all layers; with the columns of ``kinds``, if given,
    the table of pairs, and ``cognates``, whether they have some."""
    single = ~overlap["lang_a"].str.startswith((ALL, SAME)) & (overlap["lang_a"] != overlap["lang_b"])
    rows = overlap[single & (overlap["scope"] == "model")]
    if kinds is None or kinds.empty:
        return rows
    kinds = kinds.assign(cognates=kinds["shared_words"] >= COGNATES)
    return rows.merge(kinds, on=["lang_a", "lang_b"], how="left")


def preferred_variant(overlap: pd.DataFrame) -> str:
    """The strictest variant that the table holds."""
    present = set(overlap["variant"].unique())
    return next((v for v in OVERLAP_VARIANTS if v in present), "disjoint_lines")


def component_probe(probes: pd.DataFrame) -> str | None:
    """Name of the probe on leading principal components, such as ``pc8``."""
    names = [name for name in probes["probe"].unique() if re.fullmatch(r"pc\d+", str(name))]
    return min(names, key=lambda name: int(name[2:])) if names else None


def transfer_totals(transfer: pd.DataFrame) -> pd.DataFrame:
    """Per (model, step) the means over languages and concepts, in long format.

    Returns:
        Columns ``model, step, series, value, low, high``. ``series`` is ``own`` (average precision in the
        same language), ``moved`` (in another), ``other`` (there, for other concepts), ``rate`` (positive
        rate there), ``chance`` (that of scores in random order there) and ``length`` (that of the length of a
        sentence there); the first two have intervals.
    """
    series = (("own", SAME, "ap"), ("moved", ALL, "ap"), ("other", ALL, "ap_other_concepts"),
              ("rate", ALL, "positive_rate"), ("chance", ALL, "chance_ap"),
              ("length", ALL, "length_ap"))  # fmt: skip
    parts = []
    for name, pairs, column in series:
        rows = transfer[(transfer["source"] == pairs) & (transfer["target"] == pairs)]
        bounds = rows[["low", "high"]] if column == "ap" else rows[["low", "high"]] * np.nan
        parts.append(rows[["model", "step"]].assign(series=name, value=rows[column]).join(bounds))
    out = pd.concat(parts).dropna(subset="value")
    return out.iloc[np.argsort(out.groupby(["model", "step"], sort=False).ngroup(), kind="stable")]


def generation_series(generation: pd.DataFrame, pivot: str | None = None) -> pd.DataFrame:
    """Generation metrics over all source languages: summary rows of the table of generation.

    Their ``lang`` is ``"*"`` and their ``target`` one of ``"*"`` (metrics without a target), ``"source"`` and
    ``pivot``, the language that late checkpoints may fall back to (English, by its code in the study, if not
    given), in this order.
    """
    pivot = pivot or english_among(generation["target"].unique()) or ENGLISH
    order = {ALL: 0, SOURCE: 1, pivot: 2}
    keys = ["model", "step", "condition", "metric"]
    rows = generation[(generation["lang"] == ALL) & generation["target"].isin(order)]
    places = rows["target"].map(order), rows.groupby(keys, sort=False).ngroup()
    return rows.iloc[np.lexsort(places)][[*keys, "lang", "target", "value", "low", "high", "n"]]


def shared_unit_counts(lifelines: pd.DataFrame) -> pd.DataFrame:
    """Languages in which each traced unit is an expert, one row per unit and step.

    Returns:
        Columns ``model, concept, layer, site, unit, step, n_languages, worst_ap, mean_ap,
        best_ap, at_most``. The last says whether in some language the unit is not among the best that are
        kept: its average precision there counts as the most that it can be, and so the three are at most
        what they say.
    """
    known = lifelines.assign(ap=lifelines["ap"].fillna(lifelines["ap_below"]), bound=lifelines["ap"].isna())
    units = known.groupby(["model", "concept", "layer", "site", "unit", "step"], sort=False)
    columns = {
        "n_languages": ("is_expert", "sum"),
        "worst_ap": ("ap", "min"),
        "mean_ap": ("ap", "mean"),
        "best_ap": ("ap", "max"),
        AT_MOST: ("bound", "any"),
    }
    return units.agg(**columns).reset_index()


def traced_units(lifelines: pd.DataFrame) -> pd.DataFrame:
    """Traced units, the most reliable first, with what became of them, one row per unit."""
    counts = shared_unit_counts(lifelines)
    keys = ["model", "concept", "layer", "site", "unit"]
    shared = counts[counts["n_languages"] >= 2]
    spans = shared.groupby(keys, sort=False).agg(
        first_shared=("step", "min"), steps_shared=("step", "nunique"), most_languages=("n_languages", "max")
    )
    rows = at_last_step(counts).merge(spans.astype("Int64").reset_index(), on=keys, how="left")
    rows = rows.rename(columns={"n_languages": "languages_at_end"})
    columns = [*keys, *spans.columns, "languages_at_end", "worst_ap", "mean_ap", AT_MOST]
    return rows.sort_values(["worst_ap", AT_MOST, *keys], ascending=[False] + [True] * 6)[columns]


def best_unit(reliability: pd.DataFrame, metric: str = "worst_ap") -> pd.DataFrame:
    """Rows of the most reliable unit of each concept; concept ``*`` is their mean."""
    return reliability[(reliability["kind"] == "best_unit") & (reliability["metric"] == metric)]
