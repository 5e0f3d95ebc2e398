"""Is this machine, or this cluster, ready for a study? Each finding comes with its remedy."""

from __future__ import annotations

import argparse
from pathlib import Path

from babelscope.commands import study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and the profile that is checked."""
    study_of.add_arguments(parser)
    parser.add_argument(
        "--profile", type=Path, help="check a cluster's profile against the cluster, such as slurm"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 if there is a problem."""
    from babelscope.ops.doctor.all_checks import diagnose
    from babelscope.ops.doctor.diagnosis import PROBLEM, diagnoses_text

    found = diagnose(lambda: study_of.load(args, files=True), profile=args.profile)
    print(diagnoses_text(found))
    return int(any(one.level == PROBLEM for one in found))
