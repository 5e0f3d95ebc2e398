"""The paper's findings (Riemenschneider and Frank, ACL 2025), judged for every model of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.report.findings import expert_overlap, forced_generation, language_identity, reliable_units
from babelscope.report.findings.criteria import Contrast, Finding, Quantity, Subject
from babelscope.report.summaries import flagged_steps, model_ids, without_flagged

CLAIMS_COLUMNS = [
    "number", "finding", "model", "role", "verdict", "effect", "step", "value", "low", "high", "null",
    "ceiling", "control", "difference", "difference_low", "difference_high", "n", "seeds",
]  # fmt: skip

_JUDGES = {
    "language_identity": language_identity.judge,
    "expert_overlap": expert_overlap.judge,
    "middle_layers": expert_overlap.judge_layers,
    "reliable_units": reliable_units.judge,
    "forced_generation": forced_generation.judge,
}


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
    findings = []
    for key, judge in _JUDGES.items():
        for model in ids:
            finding = judge(Subject(*model, there, ids, pivot), Finding(key, *model))
            doubtful = sorted(flagged.get(model, frozenset()) & {q.step for q in finding.quantities})
            if doubtful:
                finding.tell("flagged step" if len(doubtful) == 1 else "flagged steps", steps=doubtful)
            findings.append(finding)
    return findings, findings_table(findings)


def claims_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """What it comes to, a row for each finding and model; with several controls one for each.

    Returns:
        Columns ``number, finding, model, role, verdict, effect`` (the name of the number that it is about),
        ``step, value, low, high, null, ceiling, control, difference, difference_low, difference_high`` (the
        value less that of the control, paired; of findings 2 and 3 both above their null), ``n, seeds``. What
        is not known is empty or NaN.
    """
    rows = []
    for f in findings:
        q = f.effect or Quantity("", np.nan)
        for against in f.contrasts or [Contrast("", Quantity("", np.nan))]:
            d, about = against.difference, (f.number, f.key, f.model, f.role, f.verdict, q.name, q.step)
            numbers = q.value, q.low, q.high, q.null, f.ceiling
            rows.append((*about, *numbers, against.control, d.value, d.low, d.high, q.n, q.runs))
    return pd.DataFrame(rows, columns=CLAIMS_COLUMNS)


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """All quantities behind the findings, one row each.

    Returns:
        Columns ``number, finding, model, role, verdict, quantity, step, value, low, high, null,
        n``. A finding without numbers has one row with an empty quantity.
    """
    columns = ["number", "finding", "model", "role", "verdict", "quantity", "step", "value", "low",
               "high", "null", "n"]  # fmt: skip
    rows = [
        (f.number, f.key, f.model, f.role, f.verdict, q.name, q.step, q.value, q.low, q.high, q.null, q.n)
        for f in findings
        for q in f.quantities or [Quantity("", np.nan)]
    ]
    return pd.DataFrame(rows, columns=columns)
