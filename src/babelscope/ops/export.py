"""One checkpoint's part of a study in a folder, to attach to a bug report."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
import yaml

from babelscope.errors import StoreError, without_secrets
from babelscope.io.files import MARK, check_contained, file_sha256, is_own_file, leftovers, written_whole
from babelscope.io.h5 import open_any
from babelscope.models.files import is_of_checkpoint, is_of_tokenizer
from babelscope.models.training.steps import LOSSES_FILE, PROGRESS_FILE
from babelscope.ops.layout import CONSTRAINTS, Found, describe, parse
from babelscope.runtime import PROGRESS, describe_environment

logger = logging.getLogger(__name__)

#: Larger files are described, not copied.
LARGEST = 1_000_000
_WEIGHTS = (".safetensors", ".bin", ".pt")
#: Of the files that a tokenizer may consist of, those that are packed: others fit the patterns too.
_OF_TOKENIZER = frozenset(
    {
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model"),
        *("sentencepiece.bpe.model", "sentencepiece.model", "spm.model", "source.spm", "target.spm"),
    }
)


def export_cell(
    results: Path,
    model: str,
    step: int,
    *,
    config: Mapping[str, Any],
    checkpoint: Mapping[str, Path],
    out: Path,
) -> None:
    """Gather what a study has of one checkpoint, whole or broken.

    Logs, benchmarks, tables' inputs and small files are copied; of large HDF5 files (activations, scores) the
    attributes and, per data set, shape, type, range and the number of values that are not finite; of
    weights only size and hash. Nothing needs to be there.

    Only files that a stage writes or that belong to a checkpoint are taken, and no links. The names of user
    and home folder are taken out of text. What is packed is logged.

    Args:
        results: Folder of the study's results.
        model: Run id.
        step: Training step.
        config: The study, written as ``study.yaml``.
        checkpoint: Folders of the model's files, by what they are called here: ``weights``, ``tokenizer``.
        out: Folder to make.

    Raises:
        DataError: If a link leads out of the results.
    """
    check_contained(results)
    out.mkdir(parents=True, exist_ok=True)
    described, left_out = {}, []
    for name, file in sorted([*_files_of(results, model, step), *_files_in(results, checkpoint)]):
        if not is_own_file(file):
            left_out += [name] if file.is_symlink() else []
            continue
        described[name] = _describe(file)
        content = None if file.stat().st_size > LARGEST or file.suffix in _WEIGHTS else _content(file)
        if content is not None:
            _pack(out, f"files/{name}", content)
    unfinished = [str(path.relative_to(results)).partition(MARK)[0] for path in leftovers(results)]
    plain = json.loads(json.dumps(config))  # YAML's safe writer knows no tuples
    contents = {
        "model": model,
        "step": step,
        "files": described,
        "links, left out": left_out,
        "unfinished": unfinished,
    }
    texts = {
        "study.yaml": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=math.inf),
        "environment.json": json.dumps(describe_environment(), indent=1) + "\n",
        "contents.json": json.dumps(contents, indent=1, default=str) + "\n",
        "README.txt": _README.format(model=model, step=step),
    }
    for name, text in texts.items():
        _pack(out, name, anonymous(text).encode())


def _pack(out: Path, name: str, content: bytes) -> None:
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as unfinished:
        unfinished.write_bytes(content)
    logger.info("packed %s (%s bytes)", name, f"{len(content):,}", extra=PROGRESS)


def _content(file: Path) -> bytes | None:
    """What a file holds, without names; None for what is no text and has some."""
    content = file.read_bytes()
    try:
        return anonymous(content.decode()).encode()
    except UnicodeDecodeError:
        named = (re.search(_spellings(home).encode(), content) for home in _homes())
        return None if any(named) else content


def anonymous(text: str) -> str:
    """A text without the names of home folder and user (in paths and addresses), tokens and logins."""
    for home in _homes():
        text = re.sub(rf"(?:{_spellings(home)})(?!\w|[.-]\w)", "HOME", text)
    for user in _users():
        named = re.compile(rf"(?<![^\W_])(?:{_spellings(user)})(?![^\W_])")
        # A name with a space would be cut by the end of a word.
        words = r"\S*[/\\=@]\S*" if " " not in user else ".+"
        text = re.sub(words, partial(_without, named), text)
    return without_secrets(text)


def _without(named: re.Pattern[str], word: re.Match[str]) -> str:
    return named.sub("USER", word[0])


def _spellings(name: str) -> str:
    """A pattern of a name as it is, in JSON and in an address."""
    escaped = json.dumps(name)[1:-1]
    forms = (name, escaped, escaped.replace("/", "\\/"), quote(name))
    return "|".join(re.escape(form) for form in dict.fromkeys(forms))


def _homes() -> list[str]:
    """The home folder, by all its names, the longest first."""
    found = {os.path.expanduser("~"), os.path.realpath(os.path.expanduser("~"))}
    return sorted((home for home in found if home.count("/") and home != "/"), key=len, reverse=True)


def _users() -> set[str]:
    """The user's names."""
    found = {os.path.basename(home) for home in _homes()}
    with contextlib.suppress(OSError, KeyError):  # in a container a user may have no name
        found.add(getpass.getuser())
    return found


_README = """Step {step} of model {model}, gathered by babelscope for a bug report.

study.yaml        the study, with every default filled in
environment.json  versions and platform
contents.json     every file of this checkpoint: size, hash; of HDF5 files also attributes, shapes and ranges
files/            those that are small, logs and benchmarks among them

HOME and USER stand for the home folder and the user's name in paths; hashes are of the files as they were.
Look through it before you send it: sentences/ and concepts/ hold your text, logs what libraries say.
"""


def _files_of(results: Path, model: str, step: int) -> Iterator[tuple[str, Path]]:
    """Files that stages write, with their names in the results."""

    def below(area: str) -> Iterator[tuple[str, Path]]:
        for path in sorted((results / area).rglob("*")):
            yield str(path.relative_to(results)), path

    areas = dict.fromkeys(pattern.split("/")[0] for pattern, _, _ in describe() if "{model}" in pattern)
    for area in areas.keys() - {"export", "models"}:
        for name, path in below(f"{area}/{model}"):
            found = parse(name)
            if found and found.holds(step):
                yield name, path
    for area, end in (("logs", ".log"), ("benchmarks", ".tsv")):
        for folder in sorted(results.glob(f"{area}/*/{model}")):
            for name, path in below(str(folder.relative_to(results))):
                steps = Path(name).parts[3].removesuffix(end)
                held = re.fullmatch(CONSTRAINTS["steps"], steps) and Found("", "", {"steps": steps}).holds(
                    step
                )
                if held and path.suffix == end and _is_visible(name):
                    yield name, path
    for area in ("sentences", "concepts"):
        yield from ((name, path) for name, path in below(area) if parse(name))
    for table in ("audit.tsv", "models.tsv", "steps.tsv", "extraction.tsv"):
        if (path := results / "tables" / table).exists():
            yield f"tables/{table}", path


def _is_visible(name: str) -> bool:
    return not any(part.startswith(".") for part in Path(name).parts)


def _files_in(results: Path, checkpoint: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Files of a checkpoint: with their names in the results, or each folder under a name of its own."""
    seen: set[Path] = set()
    for kind, folder in checkpoint.items():
        if folder not in seen and folder.is_dir():
            seen.add(folder)
            inside = folder.is_relative_to(results)
            place = folder.relative_to(results) if inside else Path("checkpoint", kind)
            for file in sorted(folder.iterdir()):
                packed = file.name in _OF_TOKENIZER or not is_of_tokenizer(file.name)
                if packed and is_of_checkpoint(file.name) and _is_visible(file.name):
                    yield f"{place}/{file.name}", file
            for name in (PROGRESS_FILE, LOSSES_FILE):
                if is_own_file(folder / name) and not (folder / "training").is_symlink():
                    yield f"{place}/{name}", folder / name


def _describe(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    if file.suffix == ".h5":
        try:
            with open_any(file) as opened:
                found["attributes"] = {name: str(value)[:500] for name, value in opened.attrs.items()}
                names: list[str] = []
                opened.visit(names.append)
                found["data sets"] = {
                    name: {"shape": list(item.shape or ()), "type": str(item.dtype), **_range(item)}
                    for name in names
                    if isinstance(item := opened[name], h5py.Dataset)
                }
        except (OSError, StoreError) as error:
            found["unreadable"] = str(error)
    return found


def _range(data: h5py.Dataset) -> dict[str, Any]:
    if data.dtype.kind not in "fiu" or not data.size:
        return {}
    least, most, broken = np.inf, -np.inf, 0
    rows = max(1, 2**22 // max(1, int(np.prod(data.shape[1:]))))
    for start in range(0, data.shape[0] if data.shape else 1, rows):
        block = data[start : start + rows] if data.shape else data[()]
        finite = np.isfinite(block)
        broken += int(np.size(block) - np.count_nonzero(finite))
        if finite.any():
            least, most = min(least, float(block[finite].min())), max(most, float(block[finite].max()))
    return {"least": least, "most": most, "not finite": broken}
