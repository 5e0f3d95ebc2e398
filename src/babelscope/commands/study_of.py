"""The study that a command is about: the arguments that name it, as Snakemake's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babelscope.io.files import check_contained
from babelscope.ops.engine import laid_over, naming, stands_alone, with_told

if TYPE_CHECKING:
    from babelscope.study.config import Study

DEFAULT = Path("config/config.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config file, and values that go before its own."""
    parser.add_argument(
        "--configfile", type=Path, default=DEFAULT, help="the study's config; the demo by default"
    )
    parser.add_argument(
        "--config", nargs="*", default=[], metavar="KEY=VALUE", help="values that go before the file's"
    )


def named(args: argparse.Namespace) -> list[str]:
    """The arguments that name the study, for other commands and for Snakemake; none for the demo."""
    return naming(None if args.configfile == DEFAULT else args.configfile, args.config)


def load(args: argparse.Namespace, *, files: bool = False) -> Study:
    """The study.

    Args:
        args: What :func:`add_arguments` asks for.
        files: Check also the text and the checkpoints that it names.

    Raises:
        DataError: If the file is not there or is no YAML, a link leads out of the results, or what the study
            names cannot be used.
        StudyError: If a value is wrong.
    """
    from babelscope.ops.regroup import last_study
    from babelscope.ops.trained import check_kept
    from babelscope.study.checks import check_text
    from babelscope.study.loading import load_study
    from babelscope.study.series import check_checkpoints

    hint = "run this in the checkout, and name the study with --configfile; config/README.md says more"
    study = load_study(_config(args, hint))
    check_contained(Path(study.results))
    if files:
        check_checkpoints(study)
        check_text(study)
        check_kept(study, last_study(study))
    return study


def _config(args: argparse.Namespace, hint: str) -> dict[str, Any]:
    """As the Snakefile would have it: the file, or the demo, below what stands on the command line."""
    from babelscope.study.loading import read_study

    if args.configfile is not DEFAULT:
        return with_told(read_study(args.configfile, hint), args.config)
    told = with_told({}, args.config)
    return told if stands_alone(told) else laid_over(read_study(DEFAULT, hint), told)
