"""Is the study right, and are there its text, its checkpoints, and room for what it will write?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from babelscope.errors import BabelscopeError
from babelscope.ops.costs import CostModel
from babelscope.ops.doctor.diagnosis import OK, PROBLEM, WARNING, Diagnosis, diagnosis_of
from babelscope.ops.plan import make_plan
from babelscope.ops.stages import all_jobs
from babelscope.ops.terminal import counted, size
from babelscope.study.config import Study


def check_study(load: Callable[[], Study], *, concurrent: int, limit: float | None) -> list[Diagnosis]:
    """The study is valid, its text too, and there is room for what :func:`make_plan` says that it takes."""
    try:
        study = load()
    except BabelscopeError as error:
        return [diagnosis_of("study", error)]
    steps = sum(len(model.steps) for model in study.models.values())
    parts = {"model": len(study.models), "step": steps, "language": len(study.languages)}
    counts = ", ".join(counted(n, noun) for noun, n in parts.items())
    warnings = [Diagnosis("study", WARNING, text) for text in study.warnings]
    needed = make_plan(CostModel(study), concurrent=concurrent, limit=limit).peak_disk
    disk = check_disk(Path(study.results), needed)
    return [Diagnosis("study", OK, f"{study.name}: {counts}"), *warnings, disk, check_hub(study)]


def check_disk(results: Path, needed: float) -> Diagnosis:
    """There is room for the bytes that the whole study takes at most; what is there counts."""
    for folder, _, names in os.walk(results):
        for name in names:
            with suppress(OSError):  # a run may remove files meanwhile
                needed -= os.lstat(os.path.join(folder, name)).st_size
    base = results.parent
    place = next(folder for folder in (base.resolve(), *base.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    what = f"{size(free) or 'nothing'} free in {place}; results take {size(max(0, needed)) or 'nothing'} more"
    if free >= needed:
        return Diagnosis("disk", OK, what)
    large = f"/LARGE/DISK/{base.name}"
    move = f"mv {base} {large}" if base.exists() else f"mkdir -p {large}"
    remedy = f"{move} && ln -s {large} {base}   # `babelscope plan` says what takes it"
    return Diagnosis("disk", PROBLEM, what, remedy)


def check_hub(study: Study) -> Diagnosis:
    """Checkpoints of the hub are there, or may be fetched."""
    fetched = [work for work in all_jobs(study) if work.stage == "fetch_checkpoint"]
    folders = [study.models[work.model].folder(step) for work in fetched for step in work.steps]
    n = sum(not folder.is_dir() for folder in folders)
    what = f"{counted(n, 'checkpoint')} not fetched yet" if n else "nothing to fetch"
    if n and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        what += ", and HF_HUB_OFFLINE is set"
        fetch = "snakemake --cores 1 --until fetch_checkpoint   # with your --configfile"
        return Diagnosis("hub", WARNING, what, f"unset HF_HUB_OFFLINE; {fetch}")
    return Diagnosis("hub", OK, what)
