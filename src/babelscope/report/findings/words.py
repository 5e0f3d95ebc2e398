"""Findings in words: the templates of ``words.yaml``, filled with the numbers of the records."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from babelscope.report.findings.criteria import Criterion, Finding, Quantity, Statement


def paragraph(finding: Finding) -> str:
    """One paragraph made from the numbers of a finding."""
    return " ".join(map(_say, finding.statements))


def condition(criterion: Criterion) -> str:
    """What a criterion asks."""
    return _fill(_words()["conditions"][criterion.key]["asked"], criterion.given)


def evidence(criterion: Criterion) -> str:
    """The numbers a criterion was judged by, or what was missing."""
    if criterion.lacks:
        return _fill(_words()["lacking"][criterion.lacks], criterion.given)
    template = _words()["conditions"][criterion.key]["evidence"]
    return _fill(template, criterion.given)


def number(value: float) -> str:
    """Three digits after the point."""
    return "n/a" if not np.isfinite(value) else f"{value:.3f}"


def with_interval(q: Quantity) -> str:
    """A quantity with its interval, which stays on one line with it."""
    bounds = f"\u00a0[{number(q.low)},\u00a0{number(q.high)}]" if q.has_interval else ""
    return number(q.value) + bounds


def _say(statement: Statement) -> str:
    return _fill(_words()["sentences"][statement.key], statement.given)


def _fill(template: str, given: Mapping[str, Any]) -> str:
    codes = _words()["codes"]
    told = {name: codes[name][value] if name in codes else value for name, value in given.items()}
    return _Filler().vformat(template, (), told)


class _Filler(string.Formatter):
    def format_field(self, value: Any, spec: str) -> str:
        if isinstance(value, tuple):
            return spec.join(_say(each) if isinstance(each, Statement) else str(each) for each in value)
        if isinstance(value, Statement):
            return _say(value)
        if isinstance(value, Quantity):
            return with_interval(value)
        if isinstance(value, float) and not spec:
            return number(value)
        return str(format(value, spec))


@cache
def _words() -> dict[str, Any]:
    text = files("babelscope.report.findings").joinpath("words.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
