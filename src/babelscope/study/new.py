"""A study to begin with: written from what is there, and checked before it is written."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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
#: What a study of the demo's kind extends.
DEMO = "config/config.yaml"
_CODE = r"[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*"
#: The last number in a name.
_NUMBER = re.compile(r"^(.*?)\d+(\D*)$")


@dataclass(frozen=True)
class Wish:
    """What a user has: text to train on, folders of checkpoints, or a suite; none of them: the demo's kind.

    Attributes:
        name: Of the study.
        text: Files to pre-train on, with ``{lang}``, or their folder.
        folder: Checkpoints, with ``{step}``, or their folder.
        suite: An entry of docs/suites.md.
        parallel: Text to analyse, with ``{lang}``, or its folder; the grammar's sentences without it.
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
    wish = _completed(wish)
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


def _completed(wish: Wish) -> Wish:
    """The patterns of files and checkpoints, where a folder is named that holds some of one pattern.

    Raises:
        DataError: If the demo is wanted and is not here.
    """
    if not (wish.text or wish.folder or wish.suite) and not Path(DEMO).is_file():
        hint = "run this in the checkout, or name what you have: --text, --folder or --suite"
        raise DataError(DEMO, "is not here, and what is to be written extends it", hint)
    return replace(
        wish,
        text=_files_in(wish.text),
        parallel=_files_in(wish.parallel),
        folder=_checkpoints_in(wish.folder),
    )


def _files_in(folder: str) -> str:
    """The pattern of the files of a folder that are named by languages; as it is, if it is no such folder."""
    if not folder or not Path(folder).is_dir():
        return folder
    names = [path.name.partition(".") for path in Path(folder).iterdir() if path.is_file()]
    endings = Counter(ending for lang, dot, ending in names if dot and re.fullmatch(_CODE, lang))
    return str(Path(folder, f"{{lang}}.{min(endings, key=_most(endings))}")) if endings else folder


def _checkpoints_in(folder: str) -> str:
    """The pattern of the checkpoints of a folder, or those beside one, by the last number of their names."""
    if not folder or not Path(folder).is_dir():
        return folder
    where = Path(folder)
    names = [path.parent.name for path in where.glob("*/config.json")]
    if (where / "config.json").exists():
        where = where if where.name else where.resolve()
        names, where = [where.name], where.parent
    found = Counter(_NUMBER.sub(r"\1{step}\2", name) for name in names if _NUMBER.search(name))
    if not found:
        return folder
    return str(where / min(found, key=_most(found)))


def _most(counts: Counter[str]) -> Callable[[str], tuple[int, str]]:
    """Sorts the most frequent first, and equal ones by name."""
    return lambda key: (-counts[key], key)


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
        hint = "such as my-run/checkpoint-{step}; a checkpoint alone lies at a path with a number, my-run/1"
        allowed = "a path with {step}, or a folder of numbered checkpoints"
        raise StudyError("--folder", template, allowed, hint)
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
            allowed = "a path with {lang}, or a folder of files that are named by languages"
            raise StudyError(option, pattern, allowed, "such as data/web/{lang}.txt")
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
