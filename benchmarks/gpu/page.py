"""What was found, as a short table for the terminal and as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from harness import Outcome

#: What the short table shows of each part.
SHORT = (
    "shape", "matrix product", "bare forward pass, share of the matrix product's rate", "bare forward pass",
    "extraction with scoring in its stream", "extraction with scoring in its stream, over the bare pass",
    "extraction with scoring in its stream, share of the matrix product's rate",
    "extraction into the store, over the bare pass", "generation, unforced",
    "generation, 50 units forced", "training", "model FLOPs utilisation, of the matrix product's rate",
    "device memory, measured", "device memory by the shapes", "host memory, measured",
    "host memory by the plan", "a job by the plan", "the same, measured",
)  # fmt: skip

HOW = """## To run it

`make gpu` ends within eight minutes, on one card, and needs Python 3.11 or later, a CUDA torch, transformers
5, h5py, NumPy, scikit-learn and pandas: no network, no Snakemake, nothing is installed. What else the
library imports (pydantic, numba, accelerate) comes from the folder `.gpu-wheels`, if the machine lacks it:
`make gpu-wheels` fetches it where there is a network, 48 MB for Python 3.12 on x86-64 Linux, to be copied
along. Without make: `python3 benchmarks/gpu/run.py`. Each part runs in a process and a time box of its own,
so that one that fails, hangs or runs out of memory leaves the others alone; the command ends with status 1
then, or if a check failed. All figures are in `results/gpu/figures.json`, or below `$OUT` if that is set.
`make gpu DEVICE=cpu SMALL=1` runs all of it without a GPU, with tiny models.
"""


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
        lines += [textwrap.fill(paragraph, 110, break_long_words=False, break_on_hyphens=False), ""]
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
    return "\n".join([*lines, HOW])
