"""The checkpoints of a study that are there: each exactly the model of its config, all of one series alike.

Runs before any job is planned, and reads the headers of files, never their weights. Steps that are still to
be fetched are looked at when they come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.errors import DataError
from babelscope.models.dictionaries import Dictionary, read_dictionary
from babelscope.models.dimensions import dimensions
from babelscope.models.files import read_config, tokenizer_files_hash
from babelscope.models.tensors import check_tensors
from babelscope.models.tokenizer_files import check_tokenizer, cut_hash
from babelscope.study.models import PretrainedModel

if TYPE_CHECKING:
    from babelscope.study.config import Study
    from babelscope.study.models import Model


def check_checkpoints(study: Study) -> None:
    """Refuse checkpoints that are not what they say, or not of one series.

    Raises:
        DataError: Naming the folder and the step.
        StudyError: If the architecture of a config.json is unknown.
    """
    for model in study.models.values():
        _check_dictionaries(model)
        if isinstance(model, PretrainedModel):
            continue
        steps = [step for step in model.real_steps if model.folder(step).is_dir()]
        _check_shapes(model, steps)
        _check_weights(model, steps)
        _check_tokenizers(model, steps)


def _check_dictionaries(model: Model) -> None:
    """Each step has its dictionaries, whose latents are as many and computed alike."""
    known: dict[tuple[str, int], tuple[int, Dictionary]] = {}
    seen: set[str] = set()
    for step in model.steps:
        for place in model.dictionaries_at(step):
            if place.path in seen:
                continue  # one for all steps
            seen.add(place.path)
            found = read_dictionary(place, model.own_config)
            first, other = known.setdefault((place.name, place.layer), (step, found))
            if found.sort != other.sort:
                problem = f"differs from that of step {first}: {found.sort}, not {other.sort}"
                hint = f"take step {step} out of models.{model.id}.steps, or make a model of its own of it"
                raise DataError(found.file, f"{problem}; allowed: one for all steps", hint)


def _check_shapes(model: Model, steps: Sequence[int]) -> None:
    """All steps have one architecture and the same sizes."""
    first: dict[str, object] = {}
    for step in steps:
        config = read_config(model.folder(step))
        sizes = {"model_type": config.get("model_type"), **dataclasses.asdict(dimensions(config))}
        first = first or sizes
        differing = [
            f"{name} is {sizes[name]}, not {first[name]}" for name in sizes if sizes[name] != first[name]
        ]
        if differing:
            problem = f"differs from that of step {steps[0]}: {'; '.join(differing)}; allowed: one model"
            raise DataError(model.folder(step) / "config.json", problem, _hint(model, step, "shape"))


def _check_weights(model: Model, steps: Sequence[int]) -> None:
    """Files hold the model of their config.json and nothing else; the same tensors at every step."""
    known: tuple[int, dict[str, tuple[int, ...]]] | None = None
    for step in steps:
        shapes = check_tensors(model.folder(step))
        if shapes is None:
            continue
        known = known or (step, shapes)
        differing = sorted(dict(shapes.items() ^ known[1].items()))
        if differing:
            problem = f"its tensors differ from those of step {known[0]}; the first is {differing[0]}"
            raise DataError(model.folder(step), f"{problem}; allowed: one model", _hint(model, step, "model"))


def _check_tokenizers(model: Model, steps: Sequence[int]) -> None:
    """Each step has a tokenizer that fits the model, and all cut text alike."""
    folders: dict[Path, int] = {}
    for step in steps:
        folders.setdefault(model.tokenizer_folder(step), step)
    if not folders:
        return
    n_rows = dimensions(read_config(model.folder(steps[0]))).vocab
    (first, of_first), *others = folders.items()
    check_tokenizer(first, n_rows)
    seen = tokenizer_files_hash(first) if others else ""
    for folder, step in others:
        if tokenizer_files_hash(folder) == seen:
            continue
        check_tokenizer(folder, n_rows)
        if cut_hash(folder) != cut_hash(first):
            problem = f"its tokenizer is not that of step {of_first} ({first}); allowed: one for all steps"
            raise DataError(folder, problem, _hint(model, step, "tokenizer"))


def _hint(model: Model, step: int, what: str) -> str:
    return (
        f"take step {step} out of models.{model.id}.steps, or make a model of its own of what has this {what}"
    )
