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


def parse_json(text: str | bytes) -> Any:
    """What a text in JSON says.

    Raises:
        json.JSONDecodeError: If it is none, or too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from None
