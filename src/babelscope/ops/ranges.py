"""Ranges: the cells that one job takes, named by the first and the last of them.

A wildcard of a rule names a range of steps, languages or layers: ``128`` or ``0..128``, ``en`` or ``en..hi``.
A range of one, the usual case on a cluster, is its member. No member holds a dot, so nothing collides. A
label names two ends and claims nothing of what lies between: the members stand in the job's params and file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from babelscope.errors import BabelscopeError
from babelscope.study.config import Study
from babelscope.study.steps import chunks, label

M = TypeVar("M", int, str)


class RangeError(BabelscopeError):
    """A path names a range that the study does not have."""

    section = "ranges"


class Ranges(Mapping[str, tuple[M, ...]], Generic[M]):
    """Ranges by their labels, in order; each member is in exactly one.

    Args:
        what: What they are of, for the error, such as ``steps of bridged-seed0``.
        ranges: The members of each.
    """

    def __init__(self, what: str, ranges: Iterable[Sequence[M]]) -> None:
        self.what = what
        self._members: dict[str, tuple[M, ...]] = {label(members): tuple(members) for members in ranges}

    def __getitem__(self, name: str) -> tuple[M, ...]:
        if name not in self._members:
            raise RangeError(f"{self.what}: got {name!r}; allowed: {', '.join(self._members) or 'none'}")
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def holding(self, members: Iterable[Any]) -> list[str]:
        """Labels of the ranges that hold any of some members."""
        wanted = set(members)
        return [name for name, found in self._members.items() if wanted & set(found)]


@dataclass(frozen=True)
class StudyRanges:
    """How a study is cut into jobs.

    Attributes:
        langs: Languages that one job takes.
        training: Per model that is trained here the steps that one job trains: inner lists of the config.
        analysis: Per model the steps that one job analyses: the inner lists, and so many of the others.
        writing: Per model that writes the steps that do, cut as in the analysis.
        tracing: Per model whose units are traced the steps at which they are.
        viewing: Per model the steps at which views run it, where the study asks for one that does.
        layers: Per model the layers that one job probes, the embedding (0) among them.
    """

    langs: Ranges[str]
    training: Mapping[str, Ranges[int]]
    analysis: Mapping[str, Ranges[int]]
    writing: Mapping[str, Ranges[int]]
    tracing: Mapping[str, Ranges[int]]
    viewing: Mapping[str, Ranges[int]]
    layers: Mapping[str, Ranges[int]]

    @classmethod
    def of(cls, study: Study) -> StudyRanges:
        """Cut by position, so that what is appended is a range of its own."""
        size = study.granularity
        models = study.models
        writing = {run_id: study.generation_batches(run_id) for run_id in models}
        tracing = {run_id: study.tracing_batches(run_id) for run_id in models}
        viewing = {run_id: study.viewing_batches(run_id) for run_id in models}
        return cls(
            langs=Ranges("languages", chunks(study.languages, size.languages_per_job)),
            training={
                model.run_id: Ranges(f"steps that a job of {model.run_id} trains", model.batches)
                for model in study.pretrained
            },
            analysis={
                run_id: Ranges(f"steps of {run_id}", study.analysis_batches(run_id)) for run_id in models
            },
            writing={
                run_id: Ranges(f"steps of {run_id} that write", ranges)
                for run_id, ranges in writing.items()
                if ranges
            },
            tracing={
                run_id: Ranges(f"steps of {run_id} that are traced", ranges)
                for run_id, ranges in tracing.items()
                if ranges
            },
            viewing={
                run_id: Ranges(f"steps of {run_id} at which views run it", ranges)
                for run_id, ranges in viewing.items()
                if ranges
            },
            layers={
                run_id: Ranges(f"layers of {run_id}", chunks(range(model.n_layers + 1), size.layers_per_job))
                for run_id, model in models.items()
            },
        )
