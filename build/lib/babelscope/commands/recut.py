"""Regroup results after `granularity` or the inner lists of `steps` changed: nothing is computed again."""

from __future__ import annotations

import argparse

from babelscope.commands import study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which study."""
    study_of.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Regroup, and say what is left."""
    from babelscope.ops.regroup import recut, unused_files
    from babelscope.ops.status import arguments_of

    study = study_of.load(args)
    named = arguments_of(None if args.configfile == study_of.DEFAULT else args.configfile, args.config)
    written = recut(study, named)
    print(f"{len(written)} files were regrouped; run the study to compute what is left")
    if unused_files(study):
        print("files of the earlier grouping lie beside them and may be removed")
    return 0
