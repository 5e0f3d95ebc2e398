"""Folders of saved steps: written whole, found again, and told apart from those of other settings.

A training job ends with a list of the steps that lie beside it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from babelscope.errors import ModelError
from babelscope.io.files import AGAIN, unfinished_name, written_whole
from babelscope.io.json import read_json
from babelscope.models.files import is_complete

#: Declares a step complete, so it is written last.
PROGRESS_FILE = "training/progress.json"
OPTIMIZER_FILE = "training/optimizer.safetensors"
LOSSES_FILE = "training/losses.tsv"


def read_progress(folder: Path) -> dict[str, Any]:
    """What is known of a saved step: ``step``, ``seconds``, ``settings_hash``, ...

    Raises:
        ModelError: If it cannot be read or lacks one of these.
    """
    path = Path(folder) / PROGRESS_FILE
    try:
        progress = read_json(path)
        progress["step"], progress["seconds"], progress["settings_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "remove the folder and run again; it is trained anew"
        raise ModelError(path, f"cannot be read: {error}", hint) from error
    return dict(progress)


def check_previous(previous: Path, name: str, fingerprint: str) -> None:
    """Refuse to go on from a step that other settings or other text made.

    Raises:
        ModelError: Naming the folder.
    """
    if read_progress(previous)["settings_hash"] != fingerprint:
        problem = f"was trained with other settings or text than model {name} has now"
        raise ModelError(previous, problem, "remove the model's folder and run again; it is trained anew")


def is_whole(folder: Path, fingerprint: str) -> bool:
    """Whether a step's folder holds a whole checkpoint, made with the same settings and text."""
    folder = Path(folder)
    if not (folder / PROGRESS_FILE).is_file() or is_complete(folder) is not None:
        return False
    return bool(read_progress(folder)["settings_hash"] == fingerprint)


def has_state(folder: Path) -> bool:
    """Whether training can go on from a step: at random weights, or where the optimizer's state is there."""
    return (Path(folder) / OPTIMIZER_FILE).is_file() or read_progress(folder)["step"] == 0


def drop_states(folders: Iterable[Path]) -> None:
    """Remove the optimizer's states, two thirds of a checkpoint's bytes; the weights stay."""
    for folder in folders:
        (Path(folder) / OPTIMIZER_FILE).unlink(missing_ok=True)


def saved_steps(scratch: Path | None, fingerprint: str) -> dict[int, Path]:
    """Whole steps that an interrupted job with the same settings and text has saved between its steps."""
    folders = scratch.iterdir() if scratch is not None and scratch.is_dir() else ()
    return {
        int(folder.name): folder for folder in folders if is_whole(folder, fingerprint) and has_state(folder)
    }


@contextmanager
def written_step(folder: Path) -> Iterator[Path]:
    """A folder to write a step in; if the body ends well, its files move to ``folder``, each whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(folder.with_name(f".{folder.name}"))
    try:
        yield unfinished
        files = [file.relative_to(unfinished) for file in unfinished.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: (file == Path(PROGRESS_FILE), file)):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished / file, folder / file)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@dataclass(frozen=True)
class CheckpointList:
    """Checkpoints of a range of steps; each lies in the folder of its step beside the list."""

    hashes: Mapping[int, str]
    """SHA-256 of the weights, by step."""
    changed: str = ""
    """What the job was told of weights that were not its own, see ``babelscope.ops.trained``."""


def write_list(path: Path, content: CheckpointList) -> None:
    """Write a list, whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(content), indent=1) + "\n", encoding="utf-8")


def read_list(path: Path | str) -> CheckpointList:
    """Read a list.

    Raises:
        ModelError: If it is not there or damaged.
    """
    try:
        content = read_json(Path(path))
        hashes = {int(step): str(value) for step, value in content["hashes"].items()}
        return CheckpointList(hashes, str(content["changed"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(path, f"is no list of checkpoints: {error!r}", AGAIN) from error
