"""Follow a study from another terminal while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from babelscope.ops.runs import recorded_runs
from babelscope.ops.status import DONE, Progress, unfinished_outputs

#: Seconds between two looks at what runs; a look at all files has Snakemake plan the study, which takes some.
PAUSE = 10.0


def follow(
    results: Path,
    see: Callable[[], Progress],
    show: Callable[[Progress, bool], None],
    *,
    stay: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Progress:
    """Show the state of a study whenever it has changed, until its run ends or all is done.

    Args:
        results: Folder of the study's results.
        see: How far it is; see :func:`babelscope.ops.status.look`.
        show: Called with what was seen, and whether a run is alive.
        stay: Go on for ever.
        sleep: Waits so many seconds.

    Returns:
        What was seen last.
    """
    told: object = None
    was_alive = False
    while True:
        runs = recorded_runs(results)
        alive = any(run.is_alive for run in runs)
        now = runs[-1:], alive, unfinished_outputs(Path(".snakemake/incomplete")), _folder_times(results)
        if now != told:
            progress, told = see(), now
            show(progress, alive)
        if not stay and not alive and (was_alive or progress.count(DONE) == len(progress.files)):
            return progress
        was_alive = was_alive or alive
        sleep(PAUSE)


def _folder_times(results: Path) -> set[tuple[Path, int]]:
    """Folders two levels down and when something was added to them: a change says that jobs have ended."""
    folders = [folder for pattern in ("*", "*/*") for folder in results.glob(pattern) if folder.is_dir()]
    return {(folder, folder.stat().st_mtime_ns) for folder in folders}
