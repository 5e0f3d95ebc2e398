"""Follow a study while it runs: its state, and, with --page, the explorer of the steps that are done."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from babelscope.commands import study_of

_CLEAR = "\x1b[2J\x1b[H"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, what is shown in commands, and the page."""
    study_of.add_arguments(parser)
    parser.add_argument("--profile", help="as you run it with; only shown in the commands that are printed")
    parser.add_argument(
        "--page", action="store_true", help="serve the explorer to browsers of this machine; ends with Ctrl-C"
    )
    parser.add_argument("--port", type=int, help="of the page, 8765 by default; 0: one that is free")


def run(args: argparse.Namespace) -> int:
    """Show the state until the run has ended; 1 if something failed."""
    from babelscope.ops.live import LivePage
    from babelscope.ops.serving import PORT, PageServer
    from babelscope.ops.status import Progress, look, progress_text
    from babelscope.ops.watching import follow

    study = study_of.load(args)
    named = study_of.named(args)
    port = PORT if args.port is None else args.port
    with PageServer(LivePage(study), port) if args.page else nullcontext() as server:
        if server:
            threading.Thread(target=server.serve_forever, daemon=True).start()

        def show(progress: Progress, alive: bool) -> None:
            waits = "" if alive else "\nno run of this study is alive on this machine"
            page = f"\npage: {server.url} (Ctrl-C ends it)" if server else ""
            print(
                (_CLEAR if sys.stdout.isatty() else "")
                + progress_text(progress, study=shlex.join(named), profile=args.profile or "")
                + waits
                + page,
                flush=True,
            )

        try:
            progress = follow(Path(study.results), partial(look, study, named), show, stay=args.page)
        except KeyboardInterrupt:
            return 0
    return 1 if progress.failures else 0
