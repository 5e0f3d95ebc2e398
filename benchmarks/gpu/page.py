"""What was found, as a short table for the terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import Outcome

#: What the short table shows of each part.
SHORT = (
    "matrix product", "bare forward pass, share of the matrix product's rate", "bare forward pass",
    "extraction", "extraction over the bare forward pass", "generation, unforced",
    "generation, 50 units forced", "training", "model FLOPs utilisation, of the matrix product's rate",
    "device memory, measured", "device memory by the shapes", "host memory, measured",
    "host memory by the plan",
)  # fmt: skip


def number(value: Any) -> str:
    """A number in three digits."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    size = abs(float(value))
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 0.001 or size == 0 else f"{value:.1e}"


def _status(outcome: Outcome) -> str:
    return outcome.status + (f": {outcome.reason}" if outcome.reason else "")


def _checks(outcome: Outcome) -> list[dict[str, Any]]:
    return [line for line in outcome.found if line["kind"] == "check"]


def _figures(outcome: Outcome) -> list[dict[str, Any]]:
    return [line for line in outcome.found if line["kind"] == "figure"]


def short_table(head: str, outcomes: Sequence[Outcome]) -> str:
    """A line for each part, the figures that matter, and each check that failed."""
    lines = [head]
    for outcome in outcomes:
        checks = _checks(outcome)
        fine = sum(line["ok"] for line in checks)
        held = f"{fine}/{len(checks)} checks" if checks else ""
        lines.append(f"{outcome.part:<14} {outcome.seconds:5.0f} s  {held:<13} {_status(outcome)}"[:200])
        lines += [
            f"    FAILED {line['name']}: {_measured(line)} {line['note']}"[:200]
            for line in checks
            if not line["ok"]
        ]
        lines += [
            f"    {line['name']}: {number(line['value'])} {line['unit']}"
            for line in _figures(outcome)
            if line["name"] in SHORT
        ]
    return "\n".join(lines)


def _measured(line: dict[str, Any]) -> str:
    if line["value"] is None:
        return "yes" if line["ok"] else "no"
    return f"{number(line['value'])} (at {'least' if line['at_least'] else 'most'} {number(line['bound'])})"


def page(head: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """The page docs/gpu.md.

    Args:
        head: Paragraphs under the title.
        outcomes: What was found.
    """
    lines = ["# On a GPU", ""]
    for paragraph in head:
        lines += [paragraph, ""]
    lines += ["## Checks", "", "| part | what | measured | |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        for line in _checks(outcome):
            result = "holds" if line["ok"] else "**fails**"
            note = f"; {line['note']}" if line["note"] else ""
            lines.append(f"| {outcome.part} | {line['name']} | {_measured(line)}{note} | {result} |")
    ended = [outcome for outcome in outcomes if outcome.status != "done"]
    lines += ["", *(f"- {outcome.part}: {_status(outcome)}" for outcome in ended)]
    if ended:
        lines.append("")
    lines += ["## Figures", ""]
    for outcome in outcomes:
        if not _figures(outcome):
            continue
        lines += [f"### {outcome.part}", "", "| what | measured | |", "| --- | --- | --- |"]
        for line in _figures(outcome):
            lines.append(f"| {line['name']} | {number(line['value'])} {line['unit']} | {line['note']} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
