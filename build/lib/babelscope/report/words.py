"""What the report says: the templates of ``words.yaml``, filled with the numbers of a study."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from babelscope.io.yaml import packaged_yaml


@dataclass(frozen=True)
class Statement:
    """Something to be told: which of the sentences, and the numbers in it."""

    key: str
    given: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return fill(words()["sentences"][self.key], self.given)


def say(key: str, **given: Any) -> str:
    """A sentence of ``words.yaml`` with its numbers."""
    return str(Statement(key, given))


def number(value: float) -> str:
    """Three digits after the point."""
    return "n/a" if not np.isfinite(value) else f"{value:.3f}"


def count(n: int, word: str) -> str:
    """So many of something."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def words() -> dict[str, Any]:
    """The templates."""
    return dict(packaged_yaml("babelscope.report", "words.yaml"))


def fill(template: str, given: Mapping[str, Any]) -> str:
    """A template with its numbers."""
    codes = words()["codes"]
    told = {name: codes[name][value] if name in codes else value for name, value in given.items()}
    return _Filler().vformat(template, (), told)


class _Filler(string.Formatter):
    """Numbers with three digits unless a template says otherwise; several things joined."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, (tuple, list)):
            return format_spec.join(map(str, value))
        if isinstance(value, float) and not format_spec:
            return number(value)
        return format(value, format_spec)
