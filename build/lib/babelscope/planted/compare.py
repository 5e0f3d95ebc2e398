"""What was planted beside what a study found: the tables of a run against the declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from babelscope.analysis.precision import random_ap
from babelscope.io.tables import read_table
from babelscope.planted.truth import (
    ALL_SERIES,
    LANGUAGES,
    LAYERS,
    LINES,
    MISSED,
    PIVOT,
    Series,
    hit_rate,
)

#: Tables of a study that the comparison reads.
TABLES = ("probes", "overlap", "reliability", "generation")


class Row(NamedTuple):
    """A planted value and where it is found."""

    finding: str
    """Number of the paper's finding."""
    quantity: str
    model: str
    step: int
    planted: float
    found: pd.DataFrame
    """The one row of a table that holds it, with ``value``, ``low``, ``high``."""
    error: float
    """How far from the interval the planted value may lie: what the declaration leaves out."""


def read_tables(results: Path) -> dict[str, pd.DataFrame]:
    """The tables of a study's folder that :func:`compare` reads."""
    return {name: read_table(results / "tables" / f"{name}.parquet") for name in TABLES}


def compare(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every planted value beside what was found.

    Args:
        tables: By name the tables of :data:`TABLES`.

    Returns:
        Columns ``finding, quantity, model, step, planted, found, low, high, recovered``: whether the planted
        value lies in the interval, widened by what the declaration leaves out.

    Raises:
        ValueError: If a table lacks a value, or holds it twice.
    """
    parts = (_identity, _overlap, _reliability, _generation)
    rows = [row for part in parts for series in ALL_SERIES for row in part(tables, series)]
    found = []
    for row in rows:
        if len(row.found) != 1:
            what = f"{row.quantity}, {row.model}, step {row.step}"
            raise ValueError(f"the tables hold {len(row.found)} values of {what}; 1 is expected")
        value, low, high = row.found[["value", "low", "high"]].iloc[0].astype(float).tolist()
        inside = low - row.error <= row.planted <= high + row.error
        found.append((*row[:5], value, low, high, inside))
    columns = ["finding", "quantity", "model", "step", "planted", "found", "low", "high", "recovered"]
    return pd.DataFrame(found, columns=columns)


def _at(table: pd.DataFrame, series: Series, **values: object) -> pd.DataFrame:
    rows = table[table["model"] == series.name]
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows


def _identity(tables: Mapping[str, pd.DataFrame], series: Series) -> Iterator[Row]:
    # A probe may do a little better than declared: the noise that hides a language depends on the word
    # before, of which other directions know.
    wanted = {"probe": "full", "metric": "accuracy", "seed": -1}
    for step in (series.steps[1], series.steps[-1]):
        for layer in range(1, LAYERS + 1):
            rows = _at(tables["probes"], series, step=step, layer=layer, **wanted)
            planted, name = series.probe_accuracy(step, layer), f"language probe, layer {layer}"
            yield Row("1", name, series.name, step, planted, rows, 0.03)


def _overlap(tables: Mapping[str, pd.DataFrame], series: Series) -> Iterator[Row]:
    table = tables["overlap"].rename(columns={"overlap": "value"})
    wanted = {"variant": "disjoint_lines", "lang_a": "*", "lang_b": "*"}
    for step in series.shared:
        rows = _at(table, series, step=step, scope="model", layer=-1, **wanted)
        yield Row("2", "overlap of experts", series.name, step, series.overlap(step), rows, 0.005)
    for layer in range(1, LAYERS + 1):
        rows = _at(table, series, step=step, scope="layer", layer=layer, **wanted)
        name, planted = f"overlap in layer {layer}", series.overlap(step, layer)
        yield Row("2b", name, series.name, step, planted, rows, 0.005)


def _reliability(tables: Mapping[str, pd.DataFrame], series: Series) -> Iterator[Row]:
    for step in series.shared:
        rows = _at(tables["reliability"], series, step=step, kind="best_unit", metric="worst_ap", concept="*")
        planted = float(np.mean([series.worst_ap(step, concept) for concept in MISSED]))
        # Where no unit knows a concept in all languages, the best one is chosen by chance.
        known = all(series.n_shared(step, concept) for concept in MISSED)
        error = 0.005 if known else random_ap(LINES // 2, len(MISSED) * LINES // 2) - planted
        yield Row("3", "worst AP of the best unit", series.name, step, planted, rows, error)


def _generation(tables: Mapping[str, pd.DataFrame], series: Series) -> Iterator[Row]:
    sources = [lang for lang in LANGUAGES if lang != PIVOT]
    for step in series.shared:
        at = {"step": step, "lang": "*"}
        rows = _at(tables["generation"], series, condition="forced", metric="hit_rate", target="*", **at)
        yield Row("4", "texts with the concept", series.name, step, hit_rate(forced=True), rows, 0.02)
        parts = (
            ("texts", "text_share", [series.forced_texts(step, lang) for lang in sources]),
            ("words of the concept", "hit_share", [series.forced_hits(step, lang) for lang in sources]),
        )
        for what, metric, shares in parts:
            own = float(np.mean([share[lang] for share, lang in zip(shares, sources, strict=True)]))
            pivot = float(np.mean([share[PIVOT] for share in shares]))
            for target, name, planted in (("source", "the source", own), (PIVOT, PIVOT, pivot)):
                rows = _at(
                    tables["generation"], series, condition="forced", metric=metric, target=target, **at
                )
                yield Row("4", f"{what} in {name}", series.name, step, planted, rows, 0.02)


def as_text(compared: pd.DataFrame) -> str:
    """The comparison as a table in Markdown, the two models side by side."""
    lines = ["| finding | quantity | step |", "| --- | --- | --- |"]
    for series in ALL_SERIES:
        lines[0] += f" `{series.name}`: planted | found [95 %] |"
        lines[1] += " --- | --- |"
    for (finding, quantity, step), rows in compared.groupby(["finding", "quantity", "step"], sort=False):
        line = f"| {finding} | {quantity} | {step} |"
        for row in rows.itertuples():
            missed = "" if row.recovered else " **not recovered**"
            line += f" {row.planted:.3f} | {row.found:.3f} [{row.low:.3f}, {row.high:.3f}]{missed} |"
        lines.append(line)
    return "\n".join(lines) + "\n"
