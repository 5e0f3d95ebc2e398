"""Checkpoints that are trained here, as planning sees them.

``models/{model}/{steps}.json`` is what a training job ends with: the steps that are whole, and the hashes of
their weights. The checkpoints themselves, a folder per step beside it, are no outputs of Snakemake, which
would remove them before a job runs again; the job takes over those that it finds whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from babelscope.io.json import read_json
from babelscope.models.files import SAFETENSORS
from babelscope.models.training.steps import read_list
from babelscope.study.config import Study
from babelscope.study.steps import label

PROGRESS = "training/progress.json"


def resumed_from(study: Study, run_id: str, step: int) -> int | None:
    """The step whose training state a job goes on from; None if it starts at random weights.

    The step before it in the study, unless the checkpoint exists: then the step that it was in fact
    made from. So a step that is inserted later does not make its successors train again; cutting a
    run differently does not change its numbers.
    """
    model = study.models[run_id]
    try:
        made = read_json(model.folder(step) / PROGRESS)["resumed_from"]
    except (OSError, ValueError, KeyError, TypeError):
        return study.previous_step(run_id, step)
    return made if made in (None, *model.steps) else study.previous_step(run_id, step)


def changed_weights(study: Study, run_id: str, steps: Sequence[int]) -> str:
    """Names weights that were written after the list of their range, or are gone; a param of the range's job.

    The job keeps what it was told in the list, so that the param stays what it was until weights
    change again.
    """
    path = Path(study.results, "models", run_id, f"{label(steps)}.json")
    if not path.exists():
        return ""
    written = path.stat().st_mtime_ns
    changed = []
    for step in steps:
        weights = study.models[run_id].folder(step) / SAFETENSORS
        if not weights.exists():
            changed.append(f"step {step}, gone since {written}")
        elif (time := weights.stat().st_mtime_ns) > written:
            changed.append(f"step {step} at {time}")
    return ", ".join(changed) or read_list(path).changed
