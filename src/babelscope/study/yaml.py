"""YAML that a study names, and laying one config over another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from babelscope.errors import DataError, StudyError
from babelscope.io.yaml import parse_yaml


def read_named(key: str, path: str, allowed: str) -> Any:
    """What a YAML file that a study names holds.

    Args:
        key: The key of the study.
        path: The file.
        allowed: What the key may name.

    Raises:
        StudyError: If the file is not there.
        DataError: If it is no YAML.
    """
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(key, path, allowed, "the path is relative to the working directory") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}") from error


def merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``own`` in their place, mappings merged; a key that is null goes."""
    merged = dict(base)
    for key, value in own.items():
        if value is None and key in base:
            del merged[key]
            continue
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged
