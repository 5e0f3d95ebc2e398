"""Print a repository of the Hugging Face hub as a model of a study; needs network."""

from __future__ import annotations

import argparse
import re


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The repository, and how it is shown."""
    parser.add_argument("repo", help="such as EleutherAI/pythia-70m")
    parser.add_argument("--name", help="name of the model in the study; that of the repository by default")
    parser.add_argument(
        "--hashes", action="store_true", help="name steps with equal weights; one request for every step"
    )


def run(args: argparse.Namespace) -> int:
    """Print the entry."""
    from babelscope.models.hub.listing import entry, list_repo

    name = args.name or re.sub(r"[^A-Za-z0-9_-]", "-", args.repo.rpartition("/")[2])
    print(entry(list_repo(args.repo, hashes=args.hashes), name))
    return 0
