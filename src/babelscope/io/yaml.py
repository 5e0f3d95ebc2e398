"""YAML files of keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from babelscope.errors import DataError


def read_mapping(path: Path, hint: str = "") -> dict[str, Any]:
    """The keys and values of a file.

    Args:
        path: The file.
        hint: What to do if it cannot be used.

    Raises:
        DataError: If it is not there, is no YAML, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}", hint) from error
    if not isinstance(content, dict):
        raise DataError(path, "must hold keys and values", hint)
    return content
