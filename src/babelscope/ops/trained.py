"""Checkpoints that are trained here, as planning sees them.

``models/{model}/{steps}.json`` is what a training job ends with: the steps that are whole, and the hashes of
their weights. The checkpoints themselves, a folder per step beside it, are no outputs of Snakemake, which
would remove them before a job runs again; the job takes over those that it finds whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from babelscope.errors import StudyError
from babelscope.io.json import read_json
from babelscope.models.files import SAFETENSORS, weights_hash
from babelscope.models.training.steps import read_list
from babelscope.study.config import Study
from babelscope.study.models import PretrainedModel
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


def check_kept(study: Study, before: Study | None) -> None:
    """Stop before checkpoints that are there would be trained anew because a setting has changed.

    Args:
        study: The study.
        before: The study as its last run had it; None if there was none.

    Raises:
        StudyError: Naming the setting, and how to keep the checkpoints or to go on.
    """
    then = {model.run_id: model for model in before.pretrained} if before else {}
    for model in study.pretrained:
        steps = [step for step in model.steps if (model.folder(step) / PROGRESS).exists()]
        if before is None or model.run_id not in then or not steps or study.retrain in (model.id, "all"):
            continue
        old, new = _recipe(before, then[model.run_id]), _recipe(study, model)
        changed = [key for key in {**new, **old} if new.get(key) != old.get(key)]
        if changed:
            key = changed[0]
            raise StudyError(
                key,
                new.get(key),
                f"{old.get(key)!r}, by which the checkpoints of {model.run_id} that are there were trained "
                f"(steps {', '.join(map(str, steps[:5]))}{', ...' if len(steps) > 5 else ''})",
                _how_to_go_on(study, model, changed, old),
            )


def _how_to_go_on(
    study: Study, model: PretrainedModel, changed: Sequence[str], old: Mapping[str, Any]
) -> str:
    parts = changed[0].split(".")
    keep = "set it back"
    follows = parts[0] == "corpora" and not study.config["corpora"][parts[1]].get("languages")
    if follows and parts[-1] == "languages":
        named = ", ".join(old.get(changed[0], ()))
        keep = f"name the languages of the corpus, which follow the study's: `{changed[0]}: [{named}]`"
    others = f" ({', '.join(changed[1:])} changed too)" if changed[1:] else ""
    return (
        f"to keep them {keep}{others}, or give what is new another name of a model or study; to "
        f"train anew: --config retrain={model.id}"
    )


def _recipe(study: Study, model: PretrainedModel) -> dict[str, Any]:
    """The settings that the weights of a run depend on, by dotted key."""
    at = f"models.{model.id}"
    tokenizer = study.tokenizers[model.tokenizer]
    recipe: dict[str, Any] = {f"{at}.corpus": model.corpus, f"{at}.tokenizer": model.tokenizer}
    recipe |= _flat(f"{at}.architecture", model.architecture)
    recipe |= _flat(f"{at}.architecture_config", dict(model.architecture_config))
    recipe |= _flat(f"{at}.training", model.training.model_dump(mode="json"))
    recipe |= _flat(f"tokenizers.{model.tokenizer}", tokenizer.model_dump(mode="json"))
    for name in dict.fromkeys((model.corpus, tokenizer.corpus)):
        corpus = study.corpora[name]
        recipe |= _flat(f"corpora.{name}", corpus.model_dump(mode="json"))
        recipe |= _flat("clones", study.clones_among(corpus.languages))
    return {**recipe, "seed": study.seed}


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(f"{key}.{name}", part)
    else:
        yield key, value


def changed_weights(study: Study, run_id: str, steps: Sequence[int]) -> str:
    """Names weights that are others than the list of their range says, or gone; a param of the range's job.

    A file that was written after the list is read: one that was only touched or copied has the same hash. The
    job keeps what it was told in the list, so that the param stays what it was until weights change again.
    """
    path = Path(study.results, "models", run_id, f"{label(steps)}.json")
    if not path.exists():
        return ""
    written, listed = path.stat().st_mtime_ns, read_list(path)
    changed = []
    for step in steps:
        weights = study.models[run_id].folder(step) / SAFETENSORS
        if not weights.exists():
            changed.append(f"step {step}, gone since {written}")
        elif (time := weights.stat().st_mtime_ns) > written:
            found = _hash_at(weights.parent, time)
            changed += [f"step {step} is {found[:16]}"] * (found != listed.hashes.get(step))
    return ", ".join(changed) or listed.changed


@cache
def _hash_at(folder: Path, time: int) -> str:
    """Hash of the weights of a folder that were written at a time; planning asks several times."""
    return weights_hash(folder)
