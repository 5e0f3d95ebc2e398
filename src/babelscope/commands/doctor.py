"""``babelscope doctor``: is this machine or cluster ready?"""

from __future__ import annotations

import argparse
from pathlib import Path

from babelscope.commands import study_of

NAME = "doctor"
ABOUT = "is this machine, or this cluster, ready for a study; each finding with its remedy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    study_of.add_arguments(parser)
    parser.add_argument(
        "--profile", type=Path, help="check a cluster's profile against the cluster, such as slurm"
    )
    parser.add_argument("--offline", action="store_true", help="ask nothing of the network")


def run(args: argparse.Namespace) -> int:
    from babelscope.ops.doctor import PROBLEM, diagnose, findings_text
    from babelscope.study.checks import check_text
    from babelscope.study.config import Study

    def study() -> Study:
        loaded = study_of.load(args)
        check_text(loaded)
        return loaded

    findings = diagnose(study, profile=args.profile, offline=args.offline)
    print(findings_text(findings))
    return int(any(finding.level == PROBLEM for finding in findings))
