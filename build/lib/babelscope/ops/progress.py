"""The page that grows while a study runs on this machine; see :mod:`babelscope.report.progress`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from babelscope.ops.processes import unmarked
from babelscope.study.config import Study

_PAGE = "progress.html"


def start_page(study: Study) -> Path:
    """Start the process that draws the page; it ends by itself soon after this one.

    Returns:
        The page.
    """
    results = Path(study.results)
    log = results / "logs" / "progress.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    runs = [part for name, model in study.models.items() for part in ("--run", name, model.role)]
    command = [
        sys.executable, "-m", "babelscope.report.progress", str(results), "--title",
        study.report.title or study.name, "--parent", str(os.getpid()), *runs,
    ]  # fmt: skip
    log.unlink(missing_ok=True)
    with log.open("x", encoding="utf-8") as said:
        # A session of its own: what interrupts the run must not cut a drawing short.
        subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True, env=unmarked())
    return results / _PAGE
