"""YAML files of keys and values."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from babelscope.errors import DataError


def parse_yaml(text: str) -> Any:
    """What a text in YAML says."""
    # Every job reads some; libyaml, where it is there, does so six times as fast.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def packaged_yaml(room: str, name: str) -> Any:
    """A YAML file that ships with the package; never change what it gives.

    Args:
        room: The package that it lies in, such as ``babelscope.report``.
        name: Its path there.
    """
    return parse_yaml(files(room).joinpath(name).read_text(encoding="utf-8"))


def read_mapping(path: Path, hint: str = "") -> dict[str, Any]:
    """The keys and values of a file.

    Args:
        path: The file.
        hint: What to do if it cannot be used.

    Raises:
        DataError: If it is not there, is no YAML, or holds something else.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}", hint) from error
    if not isinstance(content, dict):
        raise DataError(path, "must hold keys and values", hint)
    return content
