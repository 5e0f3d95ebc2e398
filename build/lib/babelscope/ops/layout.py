"""Where everything lies below ``results/<study>/``, read back from the rows of the stages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from string import Formatter

from babelscope.ops.stages import STAGES, JobCells

#: What a wildcard may be in a path. The rules have the same, so that no file fits two patterns.
_NAME = r"[\w-]+"
CONSTRAINTS = {
    **dict.fromkeys(("corpus", "tokenizer", "model", "lang", "figure"), _NAME),
    **dict.fromkeys(("step", "length"), r"\d+"),
    **dict.fromkeys(("steps", "layers"), r"\d+(?:\.\.\d+)?"),
    "langs": rf"{_NAME}(?:\.\.{_NAME})?",
}


@dataclass(frozen=True)
class Found:
    """What a path names.

    Attributes:
        rule: The stage that makes the file.
        pattern: The pattern that it fits.
        wildcards: What stands in its places.
    """

    rule: str
    pattern: str
    wildcards: dict[str, str]

    def holds(self, step: int) -> bool:
        """Whether a step is the file's, or lies between the ends of its range."""
        ends = [int(end) for end in (self.wildcards.get("steps") or self.wildcards["step"]).split("..")]
        return ends[0] <= step <= ends[-1]


def parse(path: str) -> Found | None:
    """What a path below the results names; None if no stage writes it. Of rules that write it the first."""
    for rule, pattern, regex in _patterns():
        if match := regex.fullmatch(path):
            return Found(rule, pattern, match.groupdict())
    return None


@cache
def _patterns() -> list[tuple[str, str, re.Pattern[str]]]:
    return [(rule, pattern, _regex(pattern)) for rule, stage in STAGES.items() for pattern in stage.writes]


def _regex(pattern: str) -> re.Pattern[str]:
    text = ""
    for literal, name, _, _ in Formatter().parse(pattern):
        text += re.escape(literal) + (f"(?P<{name}>{CONSTRAINTS[name]})" if name else "")
    return re.compile(text)


def benchmark_path(job: JobCells) -> str:
    """A job's benchmark file below ``benchmarks/``, as its rule names it."""
    return "/".join([job.stage, *(value for _, value in job.wildcards)]) + ".tsv"


def describe() -> Iterator[tuple[str, str, str]]:
    """Pattern, stage and meaning of every file, in the order of the pipeline."""
    seen = set()
    for rule, stage in STAGES.items():
        for pattern, holds in stage.writes.items():
            if pattern not in seen:
                seen.add(pattern)
                yield pattern, rule, holds


_RESULTS_PAGE = """\
# Results

A folder per study, `results/<study>/`; git tracks nothing in it. Start with `report.html`, then `tables/`,
which hold every number of the report. [docs/formats.md](../docs/formats.md) says what stands in each file,
[docs/wildcards.md](../docs/wildcards.md) what `{{steps}}` and the other names in braces stand for, and how to
have something made anew.

| file | what it holds | rule that writes it |
| --- | --- | --- |
{rows}
| `logs/`, `benchmarks/` | per rule, then as the files above: what a job said, what it took | all |
| `progress.html` | while a study runs on this machine: what there is so far | |
| `logs/studies.json` | the config of the last run, and of the last with each other grouping | |

A file is whole or not there. A name with `.tmp-`, or one that begins with `.unfinished-`, is of a job that
runs or was killed; nothing else reads it.
"""


def results_page() -> str:
    """The text of ``results/README.md``; ``docs/make.py`` writes it."""
    writers: dict[str, list[str]] = {}
    for rule, stage in STAGES.items():
        for pattern in stage.writes:
            writers.setdefault(pattern, []).append(f"`{rule}`")
    rows = [f"| `{pattern}` | {holds} | {', '.join(writers[pattern])} |" for pattern, _, holds in describe()]
    return _RESULTS_PAGE.format(rows="\n".join(rows))
