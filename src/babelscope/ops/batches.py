"""Which cells one job takes: the granularity of a study.

Files are one per cell (model, step, lang or layer) whatever the granularity. A job that takes several
cells writes several files, so its rule lists them; a job that takes one is written as a pattern with
braces, and one rule serves all cells. A :class:`Batch` holds either form, so that a rule file reads
the same for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from babelscope.study.steps import chunks

#: A wildcard constraint that nothing matches.
NOTHING = "(?!)"


def one_of(values: Iterable[object]) -> str:
    """A regular expression that matches exactly these values."""
    return "|".join(re.escape(str(value)) for value in values) or NOTHING


@dataclass(frozen=True)
class Batch:
    """The cells that one job of a stage takes, for each of ``models``.

    Attributes:
        models: Run ids that share this batch.
        steps: The steps of one job, or all steps that have a job each if ``by_step``.
        parts: Languages or layers of one job, or all of them if ``by_part``; empty if the stage has none.
        by_step: Whether every step is a job of its own.
        by_part: Whether every language or layer is a job of its own.
        axis: What the parts are: ``lang`` or ``layer``.
        label: Tells this batch's rule from the stage's other rules; empty if there is one rule only.
    """

    models: tuple[str, ...]
    steps: tuple[int, ...]
    parts: tuple[str, ...] = ()
    by_step: bool = True
    by_part: bool = False
    axis: str = "lang"
    label: str = ""

    def rule(self, stage: str) -> str:
        """Name of the rule that runs this batch in ``stage``."""
        return f"{stage}_{self.label}" if self.label else stage

    @property
    def step_paths(self) -> list[str]:
        """What stands for the step in the paths of the rule's files."""
        return ["{step}"] if self.by_step else [str(step) for step in self.steps]

    @property
    def part_paths(self) -> list[str]:
        """What stands for the language or layer in the paths of the rule's files."""
        return [f"{{{self.axis}}}"] if self.by_part else list(self.parts)

    @property
    def name(self) -> str:
        """What stands for the whole batch in the paths of its log and benchmark."""
        step = "{step}" if self.by_step else f"{self.steps[0]}-{self.steps[-1]}"
        if not self.parts:
            return step
        part = f"{{{self.axis}}}" if self.by_part else f"{self.parts[0]}-{self.parts[-1]}"
        return f"{step}/{part}"

    @property
    def model_constraint(self) -> str:
        return one_of(self.models)

    @property
    def step_constraint(self) -> str:
        return one_of(self.steps)

    @property
    def part_constraint(self) -> str:
        return one_of(self.parts)

    def steps_of(self, wildcards: Any) -> list[int]:
        """The steps of one job of this batch."""
        return [int(wildcards.step)] if self.by_step else list(self.steps)

    def parts_of(self, wildcards: Any) -> list[str]:
        """The languages or layers of one job of this batch."""
        return [getattr(wildcards, self.axis)] if self.by_part else list(self.parts)


def make_batches(
    plans: Mapping[str, Sequence[Sequence[int]]],
    parts: Mapping[str, Sequence[str]] | None = None,
    *,
    parts_per_job: int = 1,
    axis: str = "lang",
) -> list[Batch]:
    """Cut a stage into batches.

    Args:
        plans: Per run id its steps, as batches: ``[[0, 64], [128]]`` is two jobs.
        parts: Per run id the languages or layers of each step; None if the stage has no such axis.
        parts_per_job: How many of them one job takes.
        axis: What they are: ``lang`` or ``layer``.

    Returns:
        Batches that cover every cell exactly once. Models with the same plan share batches.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for model, plan in plans.items():
        key = (tuple(tuple(batch) for batch in plan), tuple(parts[model]) if parts else ())
        groups.setdefault(key, []).append(model)
    made: list[Batch] = []
    for (plan, all_parts), models in groups.items():
        single_steps = tuple(batch[0] for batch in plan if len(batch) == 1)
        step_groups = [(batch, False) for batch in plan if len(batch) > 1]
        if single_steps:
            step_groups.append((single_steps, True))
        if not all_parts or parts_per_job == 1:
            part_groups = [(all_parts, bool(all_parts))]
        else:
            part_groups = [(chunk, False) for chunk in chunks(all_parts, parts_per_job)]
        for steps, by_step in step_groups:
            for chunk, by_part in part_groups:
                words = []
                if len(groups) > 1:
                    words.append(models[0])
                if not by_step:
                    words.append(f"{steps[0]}_{steps[-1]}")
                if chunk and not by_part and len(part_groups) > 1:
                    words.append(f"{chunk[0]}_{chunk[-1]}")
                label = re.sub(r"\W", "_", "_".join(words))
                made.append(Batch(tuple(models), steps, chunk, by_step, by_part, axis, label))
    return made
