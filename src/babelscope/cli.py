"""The command ``babelscope``: what helps to write a study. Running one is Snakemake's."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from babelscope.errors import BabelscopeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; the exit status."""
    parser = argparse.ArgumentParser(prog="babelscope", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_hub(commands)
    args = parser.parse_args(arguments)
    try:
        print(args.run(args))
    except BabelscopeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _add_hub(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "print a repository of the Hugging Face hub as a model of a study (needs network)"
    command = commands.add_parser("hub", help=about, description=about)
    command.add_argument("repo", help="such as EleutherAI/pythia-70m")
    command.add_argument("--name", help="name of the model in the study; that of the repository by default")
    command.add_argument(
        "--hashes", action="store_true", help="name steps with equal weights; one request for every step"
    )
    command.set_defaults(run=_hub)


def _hub(args: argparse.Namespace) -> str:
    from babelscope.hub_listing import entry, list_repo

    name = args.name or re.sub(r"[^A-Za-z0-9_-]", "-", args.repo.rpartition("/")[2])
    return entry(list_repo(args.repo, hashes=args.hashes), name)
