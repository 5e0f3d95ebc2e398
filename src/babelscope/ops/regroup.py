"""Results under ranges that the study no longer has: told while planning, regrouped by ``babelscope recut``.

A change of granularity gives the same cells other names. What is there need not be computed again: its cells
are read and written under the labels of today.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from babelscope.errors import BabelscopeError
from babelscope.io.files import written_whole
from babelscope.io.h5 import atomic_h5, open_any
from babelscope.io.json import read_json
from babelscope.io.tables import read_table, write_table
from babelscope.models.training.steps import CheckpointList, read_list, write_list
from babelscope.ops.engine import EngineError, own_snakefile
from babelscope.ops.layout import Found, parse
from babelscope.ops.stages import STAGES, JobCells, all_jobs
from babelscope.ops.status import summary
from babelscope.study.config import Study
from babelscope.study.loading import load_study

#: The column of a table, or part of a group's name, that a wildcard ranges over.
_PARTS = {"langs": "lang", "layers": "layer"}
#: Parts of the config that do not change what a cell holds.
_GROUPING = ("granularity", "keep_activations", "keep_checkpoints", "keep_scores", "report", "assumed")
#: Sentences on unused files, at most.
_MOST = 6
_Key = tuple[str, str]
"""A pattern and a model."""


class RecutError(BabelscopeError):
    """Results cannot be regrouped as they are."""

    section = "regrouping"


def unused_files(study: Study, *, named: str = "") -> list[str]:
    """A sentence per range on disk that the study no longer has, though it has its cells: a few at most.

    Args:
        study: The study.
        named: What names it on a command line, as a shell takes it.
    """
    recut = f"babelscope recut {named}".rstrip()
    wanted = _wanted(study)
    found: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    seen: set[tuple[str, ...]] = set()
    for path, place in _stored(study):
        key = place.pattern, place.wildcards["model"]
        ranges = {name: place.wildcards[name] for name in ("steps", *_PARTS) if name in place.wildcards}
        labels = {(*key, name, value) for name, value in ranges.items()}
        if labels <= seen or path in wanted.get(key, {}):
            continue
        others = [dict(job.wildcards) for job in wanted.get(key, {}).values() if _share_cells(job, place)]
        seen |= labels if others else set()
        for name, value in ranges.items():
            now = {other[name] for other in others}
            if now and value not in now:
                areas, by = found.setdefault((key[1], f"{name} {value}"), (set(), set()))
                areas.add(place.pattern.split("/")[0])
                by |= now
    said = [
        f"{model}: {what} ({', '.join(sorted(areas))}) is no longer used, {', '.join(sorted(by))} takes its "
        f"place; `{recut}` regroups what is there, or give what you added as an item of its own"
        for (model, what), (areas, by) in found.items()
    ]
    return said[:_MOST] + [f"and {len(said) - _MOST} more that are no longer used"] * (len(said) > _MOST)


def remember_study(study: Study) -> None:
    """Note the config of a run, so that a later :func:`recut` knows how its results are grouped."""
    now = _grouping(study.config)
    others = [config for config in _remembered(study) if _grouping(config) != now]
    with written_whole(_record(study)) as unfinished:
        text = json.dumps([*others[-4:], study.config], indent=1, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


def last_study(study: Study) -> Study | None:
    """The study as its last run had it; None if there was none, or one of a version that had other keys."""
    remembered = _remembered(study)
    try:
        return Study.of(remembered[-1]) if remembered else None
    except BabelscopeError:
        return None


def recut(study: Study, snakemake: Sequence[str]) -> list[str]:
    """Write the study's files from cells of files that have other ranges, where all cells are there.

    Read are only files that Snakemake holds to be up to date in the grouping of an earlier run.

    Args:
        study: The study as it is now.
        snakemake: Arguments that name it to Snakemake, such as ``--configfile``.

    Returns:
        Paths of the files that a run need not make any more.

    Raises:
        RecutError: If no run is known, or the last was of other settings.
        EngineError: If Snakemake cannot plan the study.
    """
    remembered = _remembered(study)
    if not remembered:
        raise RecutError(f"{_record(study)}: how the results are grouped is not known; run the study once")
    alike = [config for config in remembered if not _changed_setting(config, study.config)]
    if not alike:
        setting = _changed_setting(remembered[-1], study.config)
        then, now = (_flat(config).get(setting) for config in (remembered[-1], study.config))
        raise RecutError(
            f"`{setting}` was {then!r} in the last run and is {now!r} now; only the grouping may change\n"
            "hint: change it back, recut, and change it again"
        )
    pending = {row.path for row in summary(snakemake) if row.pending or row.missing}
    sources: dict[_Key, dict[str, JobCells]] = {}
    for config in alike:
        if _grouping(config) != _grouping(study.config):
            for key, jobs in _up_to_date(config).items():
                sources.setdefault(key, {}).update(jobs)
    regrouped: list[str] = []
    stale: dict[str, int] = {}
    for key, jobs in _wanted(study).items():
        for path, job in jobs.items():
            if path not in pending:
                continue
            near = {source: other for source, other in sources.get(key, {}).items() if _overlap(job, other)}
            # A file whose cells are the same is kept; only the names of its inputs have changed.
            can_write = near and "steps" in dict(job.wildcards)
            if near.get(path) == job or (can_write and _write(Path(path), job, list(map(Path, near)))):
                regrouped.append(path)
            elif Path(path).exists():
                stale[path] = Path(path).stat().st_mtime_ns
    if regrouped:
        _register(regrouped, snakemake)
    for path, time in stale.items():
        # Noted as made along with what follows from it, though it is out of date.
        if Path(path).stat().st_mtime_ns != time:
            Path(path).unlink()
    return regrouped


def _record(study: Study) -> Path:
    return Path(study.results, "logs", "studies.json")


def _remembered(study: Study) -> list[dict[str, Any]]:
    """Configs of runs, one for each grouping, the newest last."""
    try:
        found = read_json(_record(study))
        configs = [dict(config) for config in found] if isinstance(found, list) else []
        return [config for config in configs if {"granularity", "models"} <= config.keys()]
    except (OSError, ValueError, TypeError):
        return []


def _wanted(study: Study) -> dict[_Key, dict[str, JobCells]]:
    """Files of a model, most under the name of a range, by pattern and model, as the pipeline goes."""
    wanted: dict[_Key, dict[str, JobCells]] = {}
    for job in all_jobs(study):
        wildcards = STAGES[job.stage].axes.wildcards
        if "steps" in wildcards or wildcards == ("model",):
            for pattern, path in zip(STAGES[job.stage].writes, job.files, strict=True):
                wanted.setdefault((pattern, job.model), {})[f"{study.results}/{path}"] = job
    return wanted


def _stored(study: Study) -> Iterator[tuple[str, Found]]:
    """Files on the disk that lie under the name of a range, of models of the study."""
    root = Path(study.results)
    patterns = {pattern for stage in STAGES.values() for pattern in stage.writes if "{steps}" in pattern}
    for area in sorted({pattern.split("/")[0] for pattern in patterns}):
        depth = "*" if area in ("models", "audit") else "**/*"  # a checkpoint's folder may be large
        for model in study.models:
            for path in sorted((root / area / model).glob(depth)):
                place = parse(str(path.relative_to(root)))
                if place and "steps" in place.wildcards and path.is_file():
                    yield str(path), place


def _share_cells(job: JobCells, place: Found) -> bool:
    """Whether a file, by the ends of its ranges, may hold cells of a job."""
    steps = any(place.holds(step) for step in job.steps)
    parts = next((place.wildcards[name] for name in _PARTS if name in place.wildcards), "")
    return steps and (not parts or ".." in parts or ".." in _part_label(job) or parts in job.parts)


def _part_label(job: JobCells) -> str:
    return next((value for name, value in job.wildcards if name in _PARTS), "")


def _overlap(job: JobCells, other: JobCells) -> bool:
    """Whether two jobs of one stage and model take a cell in common."""
    parts = not job.parts or set(job.parts) & set(other.parts)
    return bool(set(job.steps) & set(other.steps) and parts)


def _grouping(config: Mapping[str, Any]) -> Any:
    """What cuts a study into jobs, as JSON has it."""
    steps = {name: model["steps"] for name, model in config["models"].items()}
    return json.loads(json.dumps([config["granularity"], steps]))


def _changed_setting(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting of which a cell depends and that two configs have other values of; empty if none."""
    then, today = _flat(before), _flat(now)
    return next((key for key in sorted(then.keys() | today.keys()) if then.get(key) != today.get(key)), "")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings that a cell depends on, by dotted key; which steps there are is none of them."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        dotted = f"{prefix}{key}"
        if dotted in _GROUPING or (dotted.startswith("models.") and key == "steps"):
            continue
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{dotted}.")
        else:
            flat[dotted] = value
    return flat


def _up_to_date(before: Mapping[str, Any]) -> dict[_Key, dict[str, JobCells]]:
    """Files of an earlier run's grouping that are there and that Snakemake would not make anew."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "study.yaml")
        text = yaml.safe_dump(
            dict(before), sort_keys=False, allow_unicode=True
        )  # params are compared as text
        file.write_text(text, encoding="utf-8")
        rows = summary(["--configfile", str(file)])
        # Temporary files that have gone are up to date, too.
        whole = {row.path for row in rows if not row.pending and Path(row.path).exists()}
    jobs = _wanted(load_study(before))
    return {key: {path: job for path, job in found.items() if path in whole} for key, found in jobs.items()}


def _write(path: Path, job: JobCells, sources: Sequence[Path]) -> bool:
    """Write a file from the cells of others, in the order of the job; False if a cell is missing."""
    if path.suffix == ".h5":
        return _write_groups(path, job, sources)
    if path.suffix == ".json":
        return _write_list(path, job, sources)
    part = next((column for name, column in _PARTS.items() if name in dict(job.wildcards)), "")
    rows = pd.concat([read_table(source) for source in sources], ignore_index=True)
    cells = [
        rows[(rows["step"] == step) & ((rows[part].astype(str) == name) if part else True)]
        for step in job.steps
        for name in (job.parts if part else ("",))
    ]
    if not all(len(cell) for cell in cells):
        return False
    write_table(pd.concat(cells, ignore_index=True), path)
    return True


def _write_groups(path: Path, job: JobCells, sources: Sequence[Path]) -> bool:
    names = [f"{step}/{part}" for step in job.steps for part in job.parts] or [
        str(step) for step in job.steps
    ]
    with ExitStack() as stack:
        files = [stack.enter_context(open_any(source)) for source in sources]
        places = {name: next((file for file in files if name in file), None) for name in names}
        if None in places.values():
            return False
        kind = str(files[0].attrs["kind"])
        out = stack.enter_context(atomic_h5(path, kind=kind))
        for name, file in places.items():
            assert file is not None
            file.copy(file[name], out.require_group(name.rpartition("/")[0] or "/"), name.rpartition("/")[2])
    return True


def _write_list(path: Path, job: JobCells, sources: Sequence[Path]) -> bool:
    lists = [read_list(source) for source in sources]
    hashes = {step: value for content in lists for step, value in content.hashes.items()}
    if not set(job.steps) <= hashes.keys():
        return False
    write_list(path, CheckpointList({step: hashes[step] for step in job.steps}))
    return True


def _register(paths: Sequence[str], arguments: Sequence[str]) -> None:
    """Have Snakemake note with which settings these files were made, so that a later change is seen."""
    command = [
        sys.executable, "-m", "snakemake", "--touch", "--force", "--cores", "1", "--workflow-profile", "none",
        *own_snakefile(), *arguments, "--", *paths,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"Snakemake did not take over the regrouped files:\n{done.stderr.strip()}")
