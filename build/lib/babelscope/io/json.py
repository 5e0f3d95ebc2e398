"""JSON of others: a file, not a pipe or a device, and no larger or deeper than such a file can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: Largest file that is read as JSON, in bytes; the index of the largest public model has 10 MB.
LARGEST = 100_000_000


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no file, too large, or no JSON.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """What a text in JSON says.

    Args:
        text: The text.
        unique: Refuse a key that stands twice in an object.

    Raises:
        json.JSONDecodeError: If it is none, or too deep, or has a number that is too long.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique if unique else None)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from None
    except ValueError as error:  # digits beyond what Python reads, bytes that are no text
        raise json.JSONDecodeError(str(error), "", 0) from None


class Repeated(Exception):
    """A key stands twice in an object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Repeated(key)
        found[key] = value
    return found
