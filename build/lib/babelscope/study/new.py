"""A study to begin with: written from what is there, and checked before it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from babelscope.complaints import NAME_PATTERN
from babelscope.errors import BabelscopeError, DataError, StudyError
from babelscope.io.files import fitting_paths
from babelscope.io.yaml import parse_yaml
from babelscope.models.dimensions import max_positions
from babelscope.models.files import read_config
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study
from babelscope.study.suites import Suite, load_suite
from babelscope.text.grammar.lexicon import LANGUAGES

#: Word lists that come with a checkout, by their language.
WORDS = {"en": "config/concepts/ntrex-en.yaml"}
#: Positive sentences that every concept needs: the first number with which the text passes.
_MIN_POSITIVE = (25, 20, 10, 4)
_VOCABULARIES = (8000, 4000, 2000, 1000)
#: Steps of a suite to begin with.
_STEPS = 6


@dataclass(frozen=True)
class Wish:
    """What a user has: text to train on, folders of checkpoints, or a suite; none of them: the demo's kind.

    Attributes:
        name: Of the study.
        text: Files to pre-train on, with ``{lang}``.
        folder: Checkpoints, with ``{step}``.
        suite: An entry of docs/suites.md.
        parallel: Text to analyse, with ``{lang}``; the grammar's sentences without it.
        words: Word lists by concept, in one of the languages.
        label_language: That language.
    """

    name: str
    text: str = ""
    folder: str = ""
    suite: str = ""
    parallel: str = ""
    words: str = ""
    label_language: str = ""


def new_study(wish: Wish, out: str) -> str:
    """The YAML of a study that plans at once.

    Args:
        wish: What there is.
        out: Where it will lie, for the commands in its head.

    Raises:
        StudyError: If the wish cannot be one study.
        DataError: If what it names is not there or cannot be used; the message of the check that failed.
    """
    if not re.fullmatch(NAME_PATTERN, wish.name):
        raise StudyError("NAME", wish.name, "letters, digits, - and _")
    if sum(map(bool, (wish.text, wish.folder, wish.suite))) > 1:
        raise StudyError("new", wish.name, "one of --text, --folder and --suite")
    failed: BabelscopeError | None = None
    for choice in _choices(wish):
        text = _render(wish, out, choice)
        try:
            check_text(load_study(parse_yaml(text)))
            return text
        except BabelscopeError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _choices(wish: Wish) -> Iterator[dict[str, Any]]:
    """Sizes to try, from the one that one would want."""
    for vocabulary in _VOCABULARIES if wish.text else _VOCABULARIES[:1]:
        for positive in _MIN_POSITIVE if wish.parallel else _MIN_POSITIVE[:1]:
            yield {"vocabulary": vocabulary, "min_positive": positive}


def _render(wish: Wish, out: str, choice: Mapping[str, Any]) -> str:
    kinds = {"text": wish.text, "folders": wish.folder, "suite": wish.suite}
    kind = next((name for name, given in kinds.items() if given), "demo")
    given: dict[str, Any] = {
        **vars(wish),
        **choice,
        "kind": kind,
        "out": out,
        "grammar": LANGUAGES,
        "longest": None,
    }
    given["title"] = f"{_TITLES[kind]}{_quoted(kinds[kind]) if kind in kinds else ''}"
    given["model"] = re.sub(r"[^\w-]", "-", wish.suite) or "mine"
    if kind != "demo":
        given["languages"] = _languages(wish)
        given |= _words(wish, given["languages"])
    if kind == "folders":
        given |= _folders(wish.folder)
    if kind == "suite":
        given |= _steps(load_suite(wish.suite))
    environment = Environment(
        loader=PackageLoader("babelscope.study"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": _quoted, "code": _code}
    return environment.get_template("new.yaml.j2").render(given)


def _folders(template: str) -> dict[str, Any]:
    """Whether a series has a step 0, and the longest input that it takes, if that is short."""
    if "{step}" not in template:
        raise StudyError("--folder", template, "a path with {step}", "such as my-run/checkpoint-{step}")
    folders = fitting_paths(template.replace("{data}", "data"), "step")
    if not folders:
        raise DataError(template, "fits no folder", "{step} stands for the number of a step")
    longest = max_positions(read_config(Path(next(iter(folders.values())))))
    return {"baseline": "0" not in folders, "longest": longest}


def _steps(suite: Suite) -> dict[str, Any]:
    """Some steps of a suite, spread over those that are not known to be faulty."""
    faulty = {step for fault in suite.faults for step in fault.steps}
    sound = [step for step in suite.steps if step and step not in faulty]
    chosen = {sound[round(at * (len(sound) - 1) / (_STEPS - 1))] for at in range(_STEPS)} if sound else set()
    start = {0} & ({*suite.steps} - faulty)
    return {"steps": sorted(chosen | start), "baseline": not start}


def _quoted(text: str) -> str:
    """A text as YAML has it, on one line: JSON's strings are YAML's."""
    return json.dumps(text, ensure_ascii=False)


def _code(lang: str) -> str:
    """A language's code: bare, unless YAML would take it for something else, as it does with `no`."""
    return lang if parse_yaml(lang) == lang else _quoted(lang)


_TITLES = {
    "demo": "The demo with some keys of its own",
    "text": "A model pre-trained here on ",
    "folders": "The checkpoints of ",
    "suite": "The public checkpoints of ",
}


def _languages(wish: Wish) -> list[str]:
    """Those that every file pattern has; of the grammar if there is none."""
    found: list[set[str]] = []
    for option, pattern in (("--text", wish.text), ("--parallel", wish.parallel)):
        if not pattern:
            continue
        if "{lang}" not in pattern:
            raise StudyError(option, pattern, "a path with {lang}", "such as data/web/{lang}.txt")
        langs = set(fitting_paths(pattern.replace("{data}", "data"), "lang"))
        if not langs:
            raise DataError(pattern, "fits no file", "{lang} stands for the code of a language")
        found.append(langs)
    common = set.intersection(*found) if found else set(LANGUAGES)
    if not wish.parallel:
        common &= set(LANGUAGES)
        if len(common) < 2:
            allowed = f"text in two languages of the grammar ({', '.join(LANGUAGES)})"
            raise StudyError("--text", wish.text, allowed, "or name text to analyse with --parallel")
    elif len(common) < 2:
        there = " and ".join(", ".join(sorted(langs)) for langs in found)
        raise StudyError("--parallel", wish.parallel, "two languages or more in all files", f"found {there}")
    return sorted(common)


def _words(wish: Wish, languages: list[str]) -> dict[str, str]:
    """The lists of words and their language, where parallel text is labelled by words."""
    if not wish.parallel:
        return {}
    label = wish.label_language or next((lang for lang in WORDS if lang in languages), languages[0])
    words = wish.words or WORDS.get(label, "")
    if not words:
        hint = "a YAML file: per concept a list of words, see config/README.md"
        raise StudyError("--words", "", f"word lists in {label}", hint)
    return {"label_language": label, "words": words}
