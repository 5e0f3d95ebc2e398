"""``babelscope recut``: regroup results after a change of granularity."""

from __future__ import annotations

import argparse

from babelscope.commands import study_of

NAME = "recut"
ABOUT = "regroup results after `granularity` or the inner lists of `steps` changed: nothing is computed again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    study_of.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from babelscope.ops.regroup import recut, unused_files
    from babelscope.ops.status import arguments_of

    study = study_of.load(args)
    named = arguments_of(None if args.configfile == study_of.DEFAULT else args.configfile, args.config)
    written = recut(study, named)
    print(f"{len(written)} files were regrouped; run the study to compute what is left")
    for sentence in unused_files(study):
        print(sentence)
    return 0
