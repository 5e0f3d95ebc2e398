"""The paper's findings (Riemenschneider and Frank, ACL 2025), judged for every model of a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.report.findings import (
    expert_overlap,
    forced_generation,
    language_identity,
    middle_layers,
    reliable_units,
)
from babelscope.report.findings.criteria import Finding, Quantity, Subject
from babelscope.report.summaries import flagged_steps, model_ids, without_flagged
from babelscope.report.words import Statement

_JUDGES = (language_identity, expert_overlap, middle_layers, reliable_units, forced_generation)


def evaluate_findings(
    tables: Mapping[str, pd.DataFrame | None], *, pivot: str = "en", exclude_flagged: bool = False
) -> tuple[list[Finding], pd.DataFrame]:
    """Judge all findings for all models.

    Args:
        tables: Collected tables by name; any may be missing or empty.
        pivot: Language that late checkpoints are said to write.
        exclude_flagged: Judge without the steps that the table ``audit`` flags; else a finding that
            rests on one says so.

    Returns:
        The findings, by finding and then by model (main models first), and :func:`findings_table`.
    """
    flagged = {} if exclude_flagged else flagged_steps(tables.get("audit"), tables.get("models"))
    if exclude_flagged:
        tables = without_flagged(tables)
    there = {name: table for name, table in tables.items() if table is not None and not table.empty}
    judged_by = ("overlap", "probes", "reliability", "generation")
    ids = model_ids(there.get("models"), [there[name] for name in judged_by if name in there])
    findings = [
        _with_doubt(judge.judge(Subject(*key, there, ids, pivot)), flagged.get(key, frozenset()))
        for judge in _JUDGES
        for key in ids
    ]
    return findings, findings_table(findings)


def _with_doubt(finding: Finding, flagged: frozenset[int]) -> Finding:
    """The finding; it tells which of the steps that it rests on the audit flagged."""
    doubtful = sorted(flagged & {q.step for q in finding.quantities})
    if not doubtful:
        return finding
    doubt = Statement("flagged step" if len(doubtful) == 1 else "flagged steps", {"steps": tuple(doubtful)})
    return dataclasses.replace(finding, statements=(*finding.statements, doubt))


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """All quantities behind the findings, one row each.

    Returns:
        Columns ``number, finding, model, role, verdict, quantity, step, value, low, high, null,
        n``. A finding without numbers has one row with an empty quantity.
    """
    rows = []
    for finding in findings:
        for q in finding.quantities or (Quantity("", np.nan),):
            rows.append(
                (finding.number, finding.key, finding.model, finding.role, finding.verdict, q.name,
                 q.step, q.value, q.low, q.high, q.null, q.n)
            )  # fmt: skip
    columns = ["number", "finding", "model", "role", "verdict", "quantity", "step", "value", "low",
               "high", "null", "n"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
