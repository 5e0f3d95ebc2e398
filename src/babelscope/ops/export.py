"""One checkpoint's part of a study in a folder, to attach to a bug report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from babelscope.io.files import file_sha256, leftovers
from babelscope.ops.layout import CONSTRAINTS, Found, describe, parse
from babelscope.runtime import describe_environment

#: Larger files are described, not copied.
LARGEST = 1_000_000
_WEIGHTS = (".safetensors", ".bin", ".pt")


def export_cell(
    results: Path, model: str, step: int, *, config: Mapping[str, Any], checkpoint: Sequence[Path], out: Path
) -> None:
    """Gather what a study has of one checkpoint, whole or broken.

    Logs, benchmarks, tables' inputs and small files are copied; of large HDF5 files (activations, scores) the
    attributes and, per data set, shape, type, range and the number of values that are not finite; of
    weights only size and hash. Nothing needs to be there.

    Args:
        results: Folder of the study's results.
        model: Run id.
        step: Training step.
        config: The study, written as ``study.yaml``.
        checkpoint: Folders of the model's files: its weights, its tokenizer.
        out: Folder to make.
    """
    out.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(config))  # YAML's safe writer knows no tuples
    (out / "study.yaml").write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    (out / "environment.json").write_text(json.dumps(describe_environment(), indent=1) + "\n")
    described = {}
    for file in sorted({*_files_of(results, model, step), *_files_in(checkpoint)}):
        name = file.relative_to(results) if file.is_relative_to(results) else Path("checkpoint", file.name)
        described[str(name)] = _describe(file)
        if file.stat().st_size <= LARGEST and file.suffix not in _WEIGHTS:
            target = out / "files" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    unfinished = [str(path.relative_to(results)) for path in leftovers(results)]
    content = {"model": model, "step": step, "files": described, "unfinished": unfinished}
    (out / "contents.json").write_text(json.dumps(content, indent=1, default=str) + "\n")
    (out / "README.txt").write_text(_README.format(model=model, step=step))


_README = """Step {step} of model {model}, gathered by babelscope for a bug report.

study.yaml        the study, with every default filled in
environment.json  versions and platform
contents.json     every file of this checkpoint: size, hash; of HDF5 files also attributes, shapes and ranges
files/            those that are small, logs and benchmarks among them

Look through it before you send it: sentences/ and concepts/ hold your text, logs your paths.
"""


def _files_of(results: Path, model: str, step: int) -> Iterator[Path]:
    areas = dict.fromkeys(pattern.split("/")[0] for pattern, _, _ in describe() if "{model}" in pattern)
    for area in areas.keys() - {"export", "models"}:
        for path in _files_in([results / area / model]):
            found = parse(str(path.relative_to(results)))
            if found and found.holds(step):
                yield path
    for area in ("logs", "benchmarks"):
        for path in _files_in(sorted(results.glob(f"{area}/*/{model}"))):
            steps = path.relative_to(results).parts[3].removesuffix(path.suffix)
            if re.fullmatch(CONSTRAINTS["steps"], steps) and Found("", "", {"steps": steps}).holds(step):
                yield path
    for area in ("sentences", "concepts"):
        yield from _files_in([results / area])
    for name in ("audit.tsv", "models.tsv", "steps.tsv", "extraction.tsv"):
        yield from _files_in([results / "tables" / name])


def _files_in(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file())
        elif path.is_file():
            yield path


def _describe(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    if file.suffix == ".h5":
        try:
            with h5py.File(file, "r") as opened:
                found["attributes"] = {name: str(value)[:500] for name, value in opened.attrs.items()}
                names: list[str] = []
                opened.visit(names.append)
                found["data sets"] = {
                    name: {"shape": list(item.shape), "type": str(item.dtype), **_range(item)}
                    for name in names
                    if isinstance(item := opened[name], h5py.Dataset)
                }
        except OSError as error:
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
