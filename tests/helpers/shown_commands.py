"""Commands as people read them in docs and messages: found, and parsed as a shell and the programs would."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from snakemake.cli import get_argument_parser

from babelscope.cli import _parsers, subcommands
from babelscope.ops.stages import STAGES, all_jobs
from babelscope.study.config import Study

ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = r"(?:\S*/bin/)?(?:snakemake|babelscope|make)"
_ENDS = re.compile(r"\s+(?:&&|\|\||\||>|;)\s")


def commands_in(text: str) -> Iterator[str]:
    """Every command in a text: a line of a block, or words in backticks, that begin with one of our programs."""
    blocks = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
    for block in blocks.findall(text):
        yield from re.findall(rf"^ *({_PROGRAMS} .*)$", block.replace("\\\n", " "), re.M)
    inline = re.sub(r"\s*\n[ #>]*", " ", blocks.sub("", text).replace("\\`", "`"))
    yield from re.findall(rf"`({_PROGRAMS} [^`]+)`", inline)


def check(command: str, demo: Study, *, also: Collection[str] = ()) -> None:
    """Parse a command as it stands, with the demo for what is written in capitals.

    A subcommand alone, in the midst of a sentence, is a name; it has to be one.

    Args:
        command: The command.
        demo: The study of ``config/config.yaml``.
        also: Files that Snakemake is said to make beside the demo's.

    Raises:
        AssertionError: Saying what is wrong with it.
    """
    model, of = next(iter(demo.models.items()))
    names_it = "results/STUDY" not in command or "--configfile STUDY" in command
    assert names_it, "a file of a study, and the study is not named"
    stands_for = {"results/STUDY": demo.results, "STUDY": "config/config.yaml", "MODEL": model,
                  "STEP": str(of.steps[-1])}  # fmt: skip
    for word, value in stands_for.items():
        command = re.sub(rf"\b{word}\b", value, command)
    program, *words = shlex.split(_ENDS.split(command)[0], comments=True)
    if Path(program).name == "snakemake":
        _snakemake(words, demo, also)
    elif Path(program).name == "make":
        _make(words)
    elif len(words) != 1 or words[0] not in subcommands():
        _parsed(_parsers()[0], words)


def _parsed(parser, words):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parser.parse_args(words)
    except SystemExit as end:
        raise AssertionError(said.getvalue()) from end


def _make(words: list[str]) -> None:
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {word for word in words if "=" not in word and not word.startswith("-")}
    assert named <= known, f"no target of the Makefile: {named - known}"


def _snakemake(words: list[str], demo: Study, also: Collection[str]) -> None:
    args = _parsed(_snakemake_parser(), words)
    for file in args.configfile or []:
        assert str(file).endswith(".yaml"), f"--configfile takes {file}, which is no study"
    named = [*(args.targets or []), *(args.until or []), *(args.forcerun or [])]
    for name in named:
        made = name in _rules() or name in _files(demo) or name in also or _is_export(name, demo)
        assert made, f"makes no {name}"
    for name in [*(args.set_resources or {}), *(args.set_threads or {})]:
        assert name in _rules(), f"there is no rule {name}"


@functools.cache
def _snakemake_parser():
    return get_argument_parser()


@functools.cache
def _rules() -> frozenset[str]:
    """Rules and targets."""
    return frozenset({*STAGES, *re.findall(r"^rule (\w+):", (ROOT / "Snakefile").read_text(), re.M)})


def _files(study: Study) -> set[str]:
    return {f"{study.results}/{file}" for job in all_jobs(study) for file in job.files}


def _is_export(name: str, study: Study) -> bool:
    return name in {
        f"{study.results}/export/{model}/{step}" for model, of in study.models.items() for step in of.steps
    }
