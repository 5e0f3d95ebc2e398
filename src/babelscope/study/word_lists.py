"""Word lists of concepts, as YAML."""

from __future__ import annotations

import re

from babelscope.complaints import NAME_PATTERN, PATH_SAFE, name_hint
from babelscope.errors import DataError
from babelscope.study.yaml import read_named


def read_word_lists(path: str) -> dict[str, list[str]]:
    """The words of each concept.

    Raises:
        StudyError: If the file is not there.
        DataError: If it is no mapping of names to lists of words.
    """
    lists = read_named("concepts.lists", path, "a YAML file that exists")
    if not isinstance(lists, dict) or not lists:
        raise DataError(path, "is no mapping of concepts to lists of words")
    for concept, words in lists.items():
        if not isinstance(concept, str) or not re.match(NAME_PATTERN, concept):
            problem = f"{concept!r} is no name of a concept; allowed: {PATH_SAFE}"
            raise DataError(path, problem, name_hint(concept))
        if not isinstance(words, list) or not words:
            raise DataError(path, f"is no mapping of concepts to lists of words: see {concept}")
        for word in words:
            if not isinstance(word, str) or not word.strip():
                problem = f"{concept} lists {word!r}; allowed: words"
                raise DataError(path, problem, "put words like `no` and numbers in quotes")
    return {concept: [word.strip() for word in words] for concept, words in lists.items()}
