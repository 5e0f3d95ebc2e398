"""A page that grows while a study runs: the loss of each checkpoint, then what its experts share.

A process beside the run looks for new results and draws them: ``python -m babelscope.report.progress``. Plain
Matplotlib, so that it is there at once; the report takes its place in the end.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from babelscope.analysis.audit.files import audit_files
from babelscope.errors import BabelscopeError
from babelscope.io.files import written_whole
from babelscope.io.tables import read_table
from babelscope.models.training.steps import LOSSES_FILE
from babelscope.report.summaries import overlap_totals, preferred_variant

logger = logging.getLogger(__name__)

PAGE = "progress.html"
#: Seconds after which a browser looks again, and after which we do.
_REFRESH, _PAUSE = 10, 2
_DASHES = {"main": "-", "control": "--"}
#: What the page is drawn from, and with it drawn anew.
_SHOWN = (f"models/*/[0-9]*/{LOSSES_FILE}", "audit/*/*.h5", "alignment/*/*.overlap.parquet")


def redraw(results: Path, roles: Mapping[str, str], *, title: str) -> None:
    """Draw the page anew. What cannot be read is left out, with a line in the log: no job fails for it.

    Args:
        results: Folder of the study's results.
        roles: Per run id ``main`` or ``control``.
        title: Of the study.
    """
    panels = {
        "held-out loss (nats per token)": _of_each(roles, lambda run: losses(results, run)),
        "experts that two languages share (grey: null)": _of_each(roles, lambda run: _overlaps(results, run)),
    }
    with written_whole(results / PAGE) as unfinished:
        unfinished.write_text(_page(_svg(panels, roles), title), encoding="utf-8")


Points = list[tuple[int, float, float]]
"""Step, value, and what stands in grey beside it, or NaN."""


def _of_each(
    roles: Mapping[str, str], read: Callable[[str], Iterator[tuple[int, float, float]]]
) -> dict[str, Points]:
    found: dict[str, Points] = {}
    for run in roles:
        try:
            found[run] = sorted(read(run))
        except (BabelscopeError, OSError, ValueError, KeyError) as error:
            logger.warning("%s: %s is left out: %s", PAGE, run, error)
    return found


def losses(results: Path, run: str) -> Iterator[tuple[int, float, float]]:
    """Of a model that is trained here as soon as a step is saved; of others from the audit of each step."""
    trained = sorted((results / "models" / run).glob(f"[0-9]*/{LOSSES_FILE}"))
    for path in trained:
        table = read_table(path)
        heldout = table[table["split"] == "heldout"]
        if len(heldout):
            yield int(heldout["step"].iloc[0]), float(heldout["loss"].mean()), np.nan
    if trained:
        return
    for audit in audit_files(sorted((results / "audit" / run).glob("*.h5"))).values():
        if audit.losses:
            yield audit.step, float(np.mean([held.loss for held in audit.losses.values()])), np.nan


def _overlaps(results: Path, run: str) -> Iterator[tuple[int, float, float]]:
    for path in sorted((results / "alignment" / run).glob("*.overlap.parquet")):
        table = read_table(path)
        rows = overlap_totals(table, preferred_variant(table))
        yield from zip(rows["step"].tolist(), rows["overlap"].tolist(), rows["null"].tolist(), strict=True)


def _svg(panels: Mapping[str, Mapping[str, Points]], roles: Mapping[str, str]) -> str:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for ax, (name, runs) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for number, (run, points) in enumerate(runs.items()):
            if points:
                step, value, grey = np.array(points).T
                look: dict[str, Any] = {"linestyle": _DASHES[roles[run]], "marker": "o", "markersize": 3}
                ax.plot(step, value, color=f"C{number}", label=run, **look)
                ax.plot(step, grey, color="#b6bec8", linestyle=_DASHES[roles[run]])
        steps = sorted({step for points in runs.values() for step, _, _ in points})
        first = min((step for step in steps if step), default=1)
        ax.set_xscale("symlog", linthresh=first)
        ax.set_xticks(steps, [str(step) for step in steps], rotation=45)
        ax.set_xticks([], minor=True)
        ax.set_ylim(bottom=0)
        ax.set(title=name, xlabel="training step")
        ax.spines[["top", "right"]].set_visible(False)
        if any(runs.values()):
            ax.legend(frameon=False, fontsize="small")
        else:
            ax.text(0.5, 0.5, "not yet", ha="center", va="center", transform=ax.transAxes, color="#6b7280")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _page(svg: str, title: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="{_REFRESH}">
<title>{escape(title)}: under way</title>
<style>body {{font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto}}</style>
<h1 style="font-size: 1.4rem">{escape(title)}: what is there so far</h1>
<p>Drawn again with each checkpoint that is done; without intervals, and of this run only. When all is done,
<a href="report.html">report.html</a> has the figures with their intervals, nulls and verdicts.</p>
{svg}
</body>
</html>
"""


def watch(results: Path, roles: Mapping[str, str], *, title: str, parent: int) -> None:
    """Redraw the page whenever there are new results, until the process that started us has ended."""
    drawn: object = None
    while True:
        ended = os.getppid() != parent
        there = {(path, path.stat().st_mtime_ns) for pattern in _SHOWN for path in results.glob(pattern)}
        if there != drawn:
            redraw(results, roles, title=title)
            drawn = there
        if ended:
            return
        time.sleep(_PAUSE)


def main(arguments: list[str]) -> None:
    """Entry point; see :func:`babelscope.ops.progress.start_page`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--title", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--run", nargs=2, action="append", metavar=("ID", "ROLE"), required=True)
    args = parser.parse_args(arguments)
    watch(args.results, dict(args.run), title=args.title, parent=args.parent)


if __name__ == "__main__":
    main(sys.argv[1:])
