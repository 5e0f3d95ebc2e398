"""The state of a study: done, under way, failed (with the end of its log), per model and step."""

from __future__ import annotations

import argparse
import shlex

from babelscope.commands import study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and what is shown in commands."""
    study_of.add_arguments(parser)
    parser.add_argument("--profile", help="as you run it with; only shown in the commands that are printed")


def run(args: argparse.Namespace) -> int:
    """Print the state; 1 if something failed."""
    from babelscope.ops.status import arguments_of, look, progress_text

    study = study_of.load(args)
    named = arguments_of(None if args.configfile == study_of.DEFAULT else args.configfile, args.config)
    progress = look(study, named)
    profile = ["--profile", args.profile] if args.profile else []
    print(progress_text(progress, options=shlex.join([*profile, *named])))
    return 1 if progress.failures else 0
