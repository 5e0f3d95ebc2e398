"""YAML that a study names: studies that it extends, laid below its own keys, and lists of words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from babelscope.complaints import NAME_PATTERN, PATH_SAFE, name_hint
from babelscope.errors import DataError, StudyError
from babelscope.io.yaml import read_values
from babelscope.text.languages import as_written
from babelscope.text.plain import fault_of, is_seen


def read_named(key: str, path: str, allowed: str) -> Any:
    """What the YAML file that a key of the study names holds.

    Raises:
        StudyError: If the file is not there.
        DataError: If it is no YAML.
    """
    try:
        return read_values(Path(path))
    except OSError as error:
        raise StudyError(key, path, allowed, "the path is relative to the working directory") from error
    except yaml.YAMLError as error:
        raise DataError(path, f"is no YAML: {error}") from error


def merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``own`` in their place, mappings merged; a key that is null goes."""
    merged = dict(base)
    for key, value in own.items():
        if value is None and key in base:
            del merged[key]
            continue
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def read_word_lists(
    template: str, languages: Sequence[str], label_language: str = ""
) -> dict[str, dict[str, list[str]]]:
    """The words of each concept by language, by the codes of the study.

    A concept has a list of words in the label language, or a mapping of languages to lists. With {lang} in
    the path each language may have a file, in which a concept has its list.

    Args:
        template: Path of the YAML file, or files.
        languages: Languages of the study.
        label_language: Language that every concept needs words in; empty if none.

    Raises:
        StudyError: If the file is not there, or none of them is.
        DataError: If a concept has no words in the label language, or something is no list of words.
    """
    if "{lang}" not in template:
        return _read_lists(template, languages, label_language, label_language)
    found: dict[str, dict[str, list[str]]] = {}
    paths = {lang: template.format(lang=lang) for lang in dict.fromkeys([*languages, label_language]) if lang}
    there = [lang for lang, path in paths.items() if Path(path).is_file() or lang == label_language]
    if not there:
        hint = f"none of {', '.join(paths.values())} is there"
        raise StudyError("concepts.lists", template, "a path at which a language has a file", hint)
    for lang in there:
        for concept, forms in _read_lists(paths[lang], languages, lang, "").items():
            found.setdefault(concept, {}).update(forms)
    for concept, forms in found.items():
        if label_language and label_language not in forms:
            problem = f"lacks {concept}, of which {', '.join(forms)} has words"
            raise DataError(paths[label_language], problem, "sentences are labelled by these words")
    return found


def _read_lists(
    path: str, languages: Sequence[str], own: str, label_language: str
) -> dict[str, dict[str, list[str]]]:
    """The lists of one file, in which a bare list is of the language ``own``."""
    lists = read_named("concepts.lists", path, "a YAML file that exists")
    if not isinstance(lists, dict) or not lists:
        raise DataError(path, "is no mapping of concepts to lists of words")
    return {
        concept: _forms(path, concept, given, languages, own, label_language)
        for concept, given in lists.items()
    }


def _forms(
    path: str, concept: Any, given: Any, languages: Sequence[str], own: str, label_language: str
) -> dict[str, list[str]]:
    """Words of one concept by language, checked."""
    if not isinstance(concept, str) or not re.fullmatch(NAME_PATTERN, concept):
        problem = f"{concept!r} is no name of a concept; allowed: {PATH_SAFE}"
        raise DataError(path, problem, name_hint(concept))
    if not isinstance(given, dict) and not own:
        problem = f"{concept} has words of no language; allowed: lists by language, such as en: [dog, dogs]"
        raise DataError(path, problem, "or a file per language, with {lang} in concepts.lists")
    forms = given if isinstance(given, dict) else {own: given}
    for lang, words in forms.items():
        if not isinstance(lang, str):
            problem = f"{concept} has words in {lang!r}; allowed: a code of a language"
            raise DataError(path, problem, name_hint(lang))
        if not isinstance(words, list) or not words:
            raise DataError(path, f"is no mapping of concepts to lists of words: see {concept}")
        for word in words:
            if not isinstance(word, str) or not word.strip():
                problem = f"{concept} lists {word!r}; allowed: words"
                raise DataError(path, problem, "put words like `no` and numbers in quotes")
            if (fault := fault_of(word)) or not is_seen(word):
                problem = f"{concept} lists {word!r}, which holds {fault or 'nothing that can be seen'}"
                raise DataError(path, problem, "write the word anew")
    named = {lang: as_written(lang, languages) for lang in forms}
    for lang, name in named.items():
        others = [other for other, its in named.items() if its == name and other != lang]
        if others:
            problem = f"{concept} has words of {name} twice, as {lang} and as {others[0]}"
            raise DataError(path, problem, f"put them in one list, under {name}")
    forms = {named[lang]: words for lang, words in forms.items()}
    if label_language and label_language not in forms:
        problem = f"{concept} has words in {', '.join(forms) or 'no language'}, none in {label_language}"
        raise DataError(path, problem, "sentences are labelled by words of concepts.label_language")
    return {lang: [word.strip() for word in words] for lang, words in forms.items()}
