"""After Snakemake was killed: cancel the Slurm jobs it has left, remove its locks and unfinished files."""

from __future__ import annotations

import argparse

from babelscope.commands import study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and whether its last run is known to be dead."""
    study_of.add_arguments(parser)
    parser.add_argument(
        "--elsewhere", action="store_true", help="go on although the run was started on another machine"
    )


def run(args: argparse.Namespace) -> int:
    """Clear the way, and print what was done."""
    from babelscope.ops.runs import recover

    done = recover(study_of.load(args).results, elsewhere=args.elsewhere)
    print("\n".join(done) if done else "there was nothing to clear")
    print("Now run the same snakemake command again.")
    return 0
