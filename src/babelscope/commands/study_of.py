"""The study that a command is about: the arguments that name it, as Snakemake's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from babelscope.errors import StudyError
from babelscope.io.files import check_contained
from babelscope.io.yaml import read_mapping

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


def load(args: argparse.Namespace, *, text: bool = False) -> Study:
    """The study.

    Args:
        args: What :func:`add_arguments` asks for.
        text: Check also the text that it names.

    Raises:
        DataError: If the file is not there or is no YAML, or if a link leads out of the results.
        StudyError: If a value is wrong.
    """
    from babelscope.study.checks import check_text
    from babelscope.study.loading import load_study

    hint = "run this in the checkout, and name the study with --configfile; config/README.md says more"
    config = read_mapping(args.configfile, hint)
    study = load_study({**config, **dict(_pair(given) for given in args.config)})
    check_contained(Path(study.results))
    if text:
        check_text(study)
    return study


def _pair(given: str) -> tuple[str, Any]:
    key, equals, value = given.partition("=")
    if not equals:
        raise StudyError("--config", given, "KEY=VALUE")
    return key, yaml.safe_load(value)
