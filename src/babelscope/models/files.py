"""The files of a checkpoint folder, looked at without loading anything. Needs no torch.

What the weights of a folder are is decided here alone, for folders on disk and on the hub: those that
transformers loads. So what is loaded, hashed, audited and fetched are the same files.

A training job may be writing the folder right now. Each format says how long it must be: a safetensors
file begins with the places of its tensors, an index names its shards, and a ``.bin`` file of torch is a
zip archive, whose directory stands at its end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from babelscope.errors import DataError, ModelError
from babelscope.io.files import file_sha256, fitting_paths, is_plain_name, written_whole
from babelscope.io.json import LARGEST, parse_json, read_json
from babelscope.models.dimensions import DICTIONARIES
from babelscope.models.wrappers import text_config

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"
_SHARD = re.compile(r"(pytorch_)?model-\d+-of-\d+\.\w+")

#: Files that a tokenizer may consist of.
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "*.model"),
)

#: A hint for who has no tokenizer beside the weights: in a study, in Python, on the command line.
NAME_TOKENIZER = "set tokenizer_path to its folder (in Python tokenizer=, of commands --tokenizer)"
MANIFEST = "fetched.json"


def choose_weights(
    names: Collection[str], shards_of: Callable[[str], list[str]]
) -> tuple[str | None, list[str]]:
    """What transformers loads of the files that a folder holds.

    A single file comes before shards, whatever an index beside it says, and safetensors before
    ``.bin``. Shards are those that the index names. Files of other names, such as Mistral's
    ``consolidated.safetensors``, are never loaded.

    Args:
        names: All files of the folder.
        shards_of: Reads the index of this name, see :func:`read_index`.

    Returns:
        The index, if there is one, and the files of weights by name; none if nothing can be loaded.
    """
    for single in (SAFETENSORS, BIN):
        if single in names:
            return None, [single]
        index = f"{single}.index.json"
        if index in names:
            return index, shards_of(index)
    return None, []


def read_index(index: Path) -> list[str]:
    """The shards that an index names, by name; some may not be there.

    Raises:
        ModelError: If it is no index, or names what does not lie beside it.
    """
    return sorted(set(_weight_map(index).values()))


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = read_json(index)
        names = {str(name): str(file) for name, file in content["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(index, f"is no index of weights: {error!r}") from error
    for file in names.values():
        if not is_plain_name(file):
            raise ModelError(index, f"names {file!r}; allowed: names of files beside it")
    if not isinstance(content.get("metadata"), dict):
        hint = 'transformers asks for it; write {"metadata": {}, "weight_map": {...}}'
        raise ModelError(index, "has no metadata beside weight_map", hint)
    return names


def read_weight_map(folder: Path | str) -> dict[str, str] | None:
    """The shard of each tensor, as the index of a folder says; None if its weights are one file.

    Raises:
        ModelError: If it is no index.
    """
    folder = Path(folder)
    index, _ = choose_weights([file.name for file in folder.glob("*") if file.is_file()], lambda _: [])
    return None if index is None else _weight_map(folder / index)


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file says of its tensors, by name: ``dtype``, ``shape``, ``data_offsets``.

    Raises:
        OSError, ValueError: If it cannot be read, or is no such header.
    """
    length = _header_length(file)
    if length > LARGEST:  # as safetensors has it
        raise ValueError(f"its header would have more than {LARGEST:,} bytes")
    with file.open("rb") as content:
        header = parse_json(content.read(8 + length)[8:])
    return {name: dict(entry) for name, entry in dict(header).items() if name != "__metadata__"}


def weight_files(folder: Path | str) -> list[Path]:
    """The files that hold the weights of a folder, by name, as :func:`choose_weights` says.

    Raises:
        ModelError: If there are none, or their index cannot be read.
    """
    folder = Path(folder)
    names = [file.name for file in folder.glob("*") if file.is_file()]
    _, chosen = choose_weights(names, lambda index: read_index(folder / index))
    if chosen:
        return [folder / name for name in chosen]
    n_shards = len([name for name in names if _SHARD.fullmatch(name)])
    if n_shards:
        raise ModelError(folder, f"has {n_shards} shards of weights, and no index")
    raise ModelError(folder, f"has no weights ({SAFETENSORS}, {BIN}, or shards with an index)")


def tokenizer_files(folder: Path | str) -> list[Path]:
    """The files of the tokenizer of a folder, by name.

    Raises:
        ModelError: If there are none, or one is a pipe, a device or too large: it would be read without end.
    """
    named = sorted(file for file in Path(folder).glob("*") if is_of_tokenizer(file.name))
    files = [file for file in named if not file.is_dir()]
    if not files:
        raise ModelError(folder, "has no tokenizer (tokenizer.json)", NAME_TOKENIZER)
    for file in files:
        if not file.is_file():
            raise ModelError(file, "is no file", "remove it, or put the file of the tokenizer there")
        if (size := file.stat().st_size) > LARGEST:
            problem = f"has {size:,} bytes; allowed: {LARGEST:,} or less for a file of a tokenizer"
            raise ModelError(file, problem, "take the tokenizer of the model as it was published")
    return files


def is_of_tokenizer(name: str) -> bool:
    """Whether a file of this name belongs to a tokenizer."""
    return any(fnmatch(name, pattern) for pattern in TOKENIZER_FILES)


def is_vocabulary(name: str) -> bool:
    """Whether a file of this name holds what a tokenizer cannot be without."""
    return name == "tokenizer.json" or name.endswith(".model") or name.startswith("vocab")


def is_of_checkpoint(name: str) -> bool:
    """Whether a file of this name is part of what a checkpoint folder is for: weights, configs, tokenizer."""
    whole = {f"{file}{end}" for file in (SAFETENSORS, BIN) for end in ("", ".index.json")}
    known = {*whole, MANIFEST, "config.json", "generation_config.json"}
    return name in known or is_of_tokenizer(name) or _SHARD.fullmatch(name) is not None


def combined_hash(hashes: Iterable[str]) -> str:
    """One hash for several files: SHA-256 over theirs, in the order given."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, hashes))).hexdigest()


def weights_hash(folder: Path | str) -> str:
    """Hash over the weight files of a folder, in the order of their names.

    Raises:
        ModelError: As for :func:`weight_files`.
    """
    return combined_hash(map(file_sha256, weight_files(folder)))


def tokenizer_files_hash(folder: Path | str) -> str:
    """Hash over all files of a tokenizer, in the order of their names.

    Raises:
        ModelError: If there are none.
    """
    return combined_hash(map(file_sha256, tokenizer_files(folder)))


@dataclass(frozen=True)
class Manifest:
    """What was fetched from the hub; ``fetched.json`` in the folder. All is empty where nothing was."""

    repo: str = ""
    commit: str = ""
    revision: str = ""
    """Tag, branch or commit that the study names."""
    subfolder: str = ""
    tokenizer_repo: str = ""
    tokenizer_revision: str = ""
    tokenizer_commit: str = ""
    weights_sha256: str = ""
    """As :func:`weights_hash` gives it for the folder."""
    linked_from: str = ""
    """Folder whose weights these are too; empty if they were downloaded."""
    files: tuple[Mapping[str, Any], ...] = ()
    """Per file ``name``, ``bytes``, ``sha256``."""


def read_manifest(folder: Path | str) -> Manifest:
    """What is known of a fetched folder; of others an empty manifest.

    Raises:
        ModelError: If ``fetched.json`` is damaged.
    """
    file = Path(folder) / MANIFEST
    try:
        content = read_json(file)
        manifest = Manifest(**{**content, "files": tuple(content.get("files", ()))})
        wrong = [entry["name"] for entry in manifest.files if not is_plain_name(entry["name"])]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no name of a file in the folder")
        return manifest
    except FileNotFoundError:
        return Manifest()
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(file, f"is damaged: {error!r}", "remove the folder and fetch it again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``fetched.json``."""
    with written_whole(folder / MANIFEST) as unfinished:
        unfinished.write_text(json.dumps(dataclasses.asdict(manifest), indent=1), encoding="utf-8")


def read_config(folder: Path | str) -> dict[str, Any]:
    """``config.json`` of a folder; of a multimodal model that of the text model inside it.

    Raises:
        ModelError: If it is not there or no JSON, or has a key that is ours.
    """
    file = Path(folder) / "config.json"
    try:
        given = dict(read_json(file))
        if DICTIONARIES in given:
            raise ValueError(f"it has the key {DICTIONARIES}, which is for what a study adds")
        return text_config(given)
    except FileNotFoundError as error:
        raise ModelError(folder, "has no config.json, so it is no folder of a model") from error
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(file, f"cannot be read as a model config: {error}") from error


def stored_type(folder: Path | str) -> str | None:
    """Type of the stored weights, such as ``float16``; None if the files do not say.

    Raises:
        ModelError: As for :func:`weight_files`.
    """
    folder = Path(folder)
    file = weight_files(folder)[0]
    if file.suffix == ".safetensors":
        try:
            types = {entry["dtype"] for entry in read_header(file).values()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(file, f"has no readable header ({error!r})") from error
        return _TYPES.get(types.pop()) if len(types) == 1 else None
    config = read_config(folder)
    named = config.get("dtype") or config.get("torch_dtype")
    return str(named) if named else None


def is_complete(folder: Path | str) -> str | None:
    """What a checkpoint folder lacks, in words; None if it is whole."""
    try:
        return _lack(Path(folder))
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def _lack(folder: Path) -> str | None:
    try:
        if "transformers_weights" in read_config(folder):
            return "config.json names its weights in transformers_weights, which is not supported"
        files = weight_files(folder)
    except DataError as error:
        return f"{'it' if error.path == folder else error.path.name} {error.problem}"
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        return f"{missing[0]} is not there, one of {len(missing)} that its index names"
    for file in files:
        problem = _cut_off(file)
        if problem:
            return f"{file.name} {problem}"
    odd = [file.name for file in sorted(folder.iterdir()) if is_of_tokenizer(file.name) and _is_odd(file)]
    return f"{odd[0]} is no file" if odd else None


def _is_odd(path: Path) -> bool:
    """Whether a name is a pipe, a device or a link to nothing."""
    return not path.is_file() and not path.is_dir()


def _cut_off(file: Path) -> str | None:
    size = file.stat().st_size
    if file.suffix == ".bin":
        # The format of torch before 1.6 is no archive; torch itself reads it to the end or fails.
        with file.open("rb") as content:
            is_zip = content.read(4) == b"PK\x03\x04"
        if size == 0 or (is_zip and not zipfile.is_zipfile(file)):
            return "is cut off: the directory at its end is missing"
        return None
    try:
        length = _header_length(file)
        if size < 8 + length:
            return f"is cut off: {size} bytes, its header alone takes {8 + length}"
        expected = (
            8 + length + max((entry["data_offsets"][1] for entry in read_header(file).values()), default=0)
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return f"has no readable header ({error!r})"
    return None if size == expected else f"is cut off: {size} of {expected} bytes"


def _header_length(file: Path) -> int:
    with file.open("rb") as content:
        return int.from_bytes(content.read(8), "little")


def find_steps(template: str) -> tuple[dict[int, Path], dict[int, str]]:
    """The steps of a series whose folders are there.

    Args:
        template: Path with ``{step}``, maybe with a format (``{step:07d}``), maybe more than once.

    Returns:
        The folders that are whole, by step; and what the others lack, in words.
    """
    # Only what the template gives for this number, and not another spelling of it.
    found = {
        int(number): Path(path)
        for number, path in fitting_paths(template, "step").items()
        if number.isdecimal() and template.format(step=int(number)) == path and Path(path).is_dir()
    }
    lacking = {step: is_complete(found[step]) for step in sorted(found)}
    whole = {step: found[step] for step, problem in lacking.items() if problem is None}
    return whole, {step: problem for step, problem in lacking.items() if problem is not None}
