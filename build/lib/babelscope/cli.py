"""The command ``babelscope``: what helps to write, size, run and mend a study. Running one is Snakemake's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from babelscope import __version__
from babelscope.commands import (
    check_model,
    doctor,
    export_traces,
    hub,
    new,
    plan,
    recover,
    recut,
    status,
)
from babelscope.errors import BabelscopeError, explained

#: Each has ``add_arguments`` and ``run``, and imports what is slow in ``run``.
COMMANDS = (new, check_model, doctor, plan, status, recover, recut, hub, export_traces)


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each subcommand, by its name."""
    return _parsers()[1]


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(prog="babelscope", description=__doc__)
    parser.add_argument("--version", action="version", version=f"babelscope {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    found = {}
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
        found[name] = command
    return parser, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    args = _parsers()[0].parse_args(arguments)
    try:
        status: int = args.run(args)
    except BabelscopeError as error:
        print(explained(error), file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
