"""The list that a training job ends with: which checkpoints beside it are whole. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from babelscope.errors import DataError
from babelscope.io.files import written_whole
from babelscope.io.h5 import AGAIN


@dataclass(frozen=True)
class CheckpointList:
    """Checkpoints of a range of steps; each lies in the folder of its step beside the list.

    Attributes:
        hashes: SHA-256 of the weights, by step.
        changed: What the job was told of weights that were not its own, see ``babelscope.ops.trained``.
    """

    hashes: Mapping[int, str]
    changed: str = ""


def write_list(path: Path, content: CheckpointList) -> None:
    """Write a list, whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(content), indent=1) + "\n", encoding="utf-8")


def read_list(path: Path | str) -> CheckpointList:
    """Read a list.

    Raises:
        DataError: If it is not there or damaged.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        hashes = {int(step): str(value) for step, value in content["hashes"].items()}
        return CheckpointList(hashes, str(content["changed"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(path, f"is no list of checkpoints: {error!r}", AGAIN) from error
