"""The files of a checkpoint folder, looked at without loading anything. Needs no torch.

A training job may be writing the folder right now. Each format says how long it must be: a safetensors
file begins with the places of its tensors, an index names its shards, and a ``.bin`` file of torch is a
zip archive, whose directory stands at its end.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from string import Formatter

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"


def weight_files(folder: Path) -> list[Path]:
    """Weight files of the first format that is there, by name; empty if there are none.

    Safetensors come first, a single file before shards, as transformers chooses.
    """
    for single in (SAFETENSORS, BIN):
        if (folder / single).is_file():
            return [folder / single]
        stem, suffix = single.split(".")
        if shards := sorted(folder.glob(f"{stem}-*-of-*.{suffix}")):
            return shards
    # Files that carry other names, such as those of older conversions.
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def stored_type(folder: Path) -> str | None:
    """Type of the stored weights, such as ``float16``; None if the files do not say."""
    file = weight_files(folder)[0]
    if file.suffix == ".safetensors":
        with file.open("rb") as content:
            header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
        types = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
        return _TYPES.get(types.pop()) if len(types) == 1 else None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("dtype") or config.get("torch_dtype")
    return str(named) if named else None


def is_complete(folder: Path | str) -> str | None:
    """What a checkpoint folder lacks, in words; None if it is whole."""
    folder = Path(folder)
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "config.json is not there"
    except (OSError, ValueError) as error:
        return f"config.json cannot be read ({error})"
    files = weight_files(folder)
    if not files:
        return "it has no weights"
    for name in (SAFETENSORS, BIN):
        problem = _missing_shard(folder / f"{name}.index.json", folder)
        if problem and files[0].suffix == Path(name).suffix and not (folder / name).is_file():
            return problem
    if not (folder / f"{SAFETENSORS}.index.json").is_file() and not (folder / f"{BIN}.index.json").is_file():
        numbered = [re.fullmatch(r".*-\d+-of-(\d+)\.\w+", file.name) for file in files]
        if any(match and int(match[1]) != len(files) for match in numbered):
            return f"{len(files)} shards are there, and no index"
    for file in files:
        problem = _cut_off(file)
        if problem:
            return f"{file.name} {problem}"
    return None


def _missing_shard(index: Path, folder: Path) -> str | None:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{index.name} cannot be read ({error!r})"
    missing = [name for name in names if not (folder / name).is_file()]
    return f"{missing[0]} is not there, one of {len(missing)} that its index names" if missing else None


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
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if size < 8 + length:
                return f"is cut off: {size} bytes, its header alone takes {8 + length}"
            header = json.loads(content.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return f"has no readable header ({error!r})"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"is cut off: {size} of {expected} bytes"


def find_steps(template: str) -> tuple[dict[int, Path], dict[int, str]]:
    """The steps of a series whose folders are there.

    Args:
        template: Path with ``{step}``, maybe with a format (``{step:07d}``), maybe more than once.

    Returns:
        The folders that are whole, by step; and what the others lack, in words.
    """
    pattern, glob = "", ""
    for text, name, _, _ in Formatter().parse(template):
        pattern += re.escape(text)
        glob += re.sub(r"([*?[])", r"[\1]", text)
        if name is not None:
            pattern += r"(?P<step>\d+)" if "(?P<step>" not in pattern else r"(?P=step)"
            glob += "*"
    root = Path(template).anchor
    found: dict[int, Path] = {}
    for path in Path(root or ".").glob(glob.removeprefix(root) if root else glob):
        match = re.fullmatch(pattern, str(path)) or re.fullmatch(pattern, f"./{path}")
        if match and path.is_dir():
            step = int(match["step"])
            # What the template gives for this number, and not another spelling of it.
            if template.format(step=step) in (str(path), f"./{path}", f"{path}/"):
                found[step] = path
    problems = {step: is_complete(path) for step, path in found.items()}
    whole = {step: path for step, path in sorted(found.items()) if problems[step] is None}
    return whole, {step: problem for step, problem in sorted(problems.items()) if problem is not None}
