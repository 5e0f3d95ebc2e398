"""The command ``babelscope``: what helps to write, size, run and mend a study. Running one is Snakemake's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from babelscope.commands import check_model, doctor, hub, new, plan, recover, recut, status
from babelscope.errors import BabelscopeError

#: Each has ``add_arguments`` and ``run``, and imports what is slow in ``run``.
COMMANDS = (new, check_model, doctor, plan, status, recover, recut, hub)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = argparse.ArgumentParser(prog="babelscope", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
    except BabelscopeError as error:
        print(error, file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
