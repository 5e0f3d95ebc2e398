"""After Snakemake was killed: cancel the Slurm jobs it has left, remove its locks and unfinished files."""

from __future__ import annotations

import argparse
import sys

from babelscope.commands import study_of
from babelscope.errors import explained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and whether its last run is known to be dead."""
    study_of.add_arguments(parser)
    parser.add_argument(
        "--elsewhere", action="store_true", help="go on although the run was started on another machine"
    )
    parser.add_argument(
        "--claim", action="store_true",
        help="take the study for the Slurm job that this runs in; "
        "status 3 if another run of it is alive, 4 if it may help to wait",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Clear the way, and print what was done."""
    from babelscope.ops.runs import AliveError, RunError, claim, recover

    results = study_of.load(args).results
    if args.claim:
        try:
            claim(results)
            # A node that was lost holds its jobs until the cluster gives it up.
            done = recover(results, elsewhere=args.elsewhere, patience=900)
        except RunError as error:
            print(explained(error), file=sys.stderr)
            return 3 if isinstance(error, AliveError) else 4
        print("\n".join([*done, f"babelscope: {results} is run by this job"]))
        return 0
    done = recover(results, elsewhere=args.elsewhere)
    print("\n".join(done) if done else "there was nothing to clear")
    print("Now run the same snakemake command again.")
    return 0
