"""The study that a command is about: the arguments that name it, as Snakemake's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from babelscope.errors import DataError, StudyError

if TYPE_CHECKING:
    from babelscope.study.config import Study

DEFAULT = Path("config/config.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configfile", type=Path, default=DEFAULT, help="the study's config; the demo by default"
    )
    parser.add_argument(
        "--config", nargs="*", default=[], metavar="KEY=VALUE", help="values that go before the file's"
    )


def load(args: argparse.Namespace) -> Study:
    """The study.

    Raises:
        DataError: If the file is not there or is no YAML.
        StudyError: If a value is wrong.
    """
    from babelscope.study.loading import load_study

    return load_study({**_read(args.configfile), **dict(_pair(text) for text in args.config)})


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "run this in the checkout, and name the study with --configfile"
        raise DataError(path, f"cannot be read: {error.strerror}", hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(path, "is no study: it must hold keys and values", "see config/README.md")
    return content


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise StudyError("--config", text, "KEY=VALUE")
    return key, yaml.safe_load(value)
