"""YAML that a study names: studies that it extends, laid below its own keys, and lists of words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from babelscope.complaints import NAME_PATTERN, PATH_SAFE, name_hint
from babelscope.errors import DataError, StudyError
from babelscope.io.yaml import parse_yaml


def read_named(key: str, path: str, allowed: str) -> Any:
    """What the YAML file that a key of the study names holds.

    Raises:
        StudyError: If the file is not there.
        DataError: If it is no YAML.
    """
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(key, path, allowed, "the path is relative to the working directory") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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


def read_word_lists(path: str, label_language: str) -> dict[str, dict[str, list[str]]]:
    """The words of each concept by language.

    A concept has a list of words in the label language, or a mapping of languages to lists.

    Args:
        path: YAML file.
        label_language: Language that every concept needs words in.

    Raises:
        StudyError: If the file is not there.
        DataError: If a concept has no words in the label language, or something is no list of words.
    """
    lists = read_named("concepts.lists", path, "a YAML file that exists")
    if not isinstance(lists, dict) or not lists:
        raise DataError(path, "is no mapping of concepts to lists of words")
    return {concept: _forms(path, concept, given, label_language) for concept, given in lists.items()}


def _forms(path: str, concept: Any, given: Any, label_language: str) -> dict[str, list[str]]:
    """Words of one concept by language, checked."""
    if not isinstance(concept, str) or not re.fullmatch(NAME_PATTERN, concept):
        problem = f"{concept!r} is no name of a concept; allowed: {PATH_SAFE}"
        raise DataError(path, problem, name_hint(concept))
    forms = given if isinstance(given, dict) else {label_language: given}
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
    if label_language not in forms:
        problem = f"{concept} has words in {', '.join(forms) or 'no language'}, none in {label_language}"
        raise DataError(path, problem, "sentences are labelled by words of concepts.label_language")
    return {lang: [word.strip() for word in words] for lang, words in forms.items()}
