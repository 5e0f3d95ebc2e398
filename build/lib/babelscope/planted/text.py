"""The planted text: parallel lines of words that are known one by one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from babelscope.io.yaml import packaged_yaml
from babelscope.planted.truth import FORMS, LANGUAGES, LINES, MISSED, OTHERS, WORDS
from babelscope.text.grammar.lexicon import load_lexicon

#: Stands before every text, and after it.
START, END, PADDING, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"
SPECIAL = (START, END, PADDING, UNKNOWN)


class Words(NamedTuple):
    """The words of one language."""

    opens: str
    """Opens every line."""
    others: tuple[str, ...]
    """They mean no concept; the n-th is the same in all languages."""
    concepts: Mapping[str, tuple[str, ...]]
    """Per concept two that its units know, and one that they do not."""


@cache
def words_of(lang: str) -> Words:
    """The words of a language; nouns are those of the grammar."""
    given = packaged_yaml("babelscope.planted", "words.yaml")[lang]
    nouns = load_lexicon(lang).nouns
    concepts = {concept: tuple(noun.bare for noun in nouns[concept][:FORMS]) for concept in MISSED}
    return Words(given["opens"], tuple(given["others"]), concepts)


def vocabulary() -> list[str]:
    """All tokens: special ones, then the words of each language."""
    found = list(SPECIAL)
    for lang in LANGUAGES:
        words = words_of(lang)
        found += [words.opens, *words.others, *(form for forms in words.concepts.values() for form in forms)]
    return found


def parallel_lines(seed: int) -> dict[str, list[str]]:
    """Lines by language; line *i* means the same in all of them, and no line stands twice.

    Lines of a concept, and those of its words, are equally many in the two halves, which go by the number of
    the line.
    """
    rng = np.random.default_rng([seed, 0])
    halves = [rng.permutation(_meanings_of_half()).tolist() for _ in range(2)]
    meant: list[tuple[str, int, tuple[int, ...], int]] = []
    for pair in zip(*halves, strict=True):
        for concept, form in pair:
            while True:
                others = tuple(rng.choice(OTHERS, size=WORDS - 2, replace=False).tolist())
                line = (str(concept), int(form), others, int(rng.integers(WORDS - 1)))
                if line not in meant:
                    break
            meant.append(line)
    return {lang: [_said(words_of(lang), *line) for line in meant] for lang in LANGUAGES}


def _meanings_of_half() -> list[tuple[str, int]]:
    """Concept and number of the word of every line of one half."""
    found = []
    for concept, missed in MISSED.items():
        known = LINES // 2 - missed // 2
        forms = [*np.arange(known) % (FORMS - 1), *[FORMS - 1] * (missed // 2)]
        found += [(concept, int(form)) for form in forms]
    return found


def _said(words: Words, concept: str, form: int, others: tuple[int, ...], place: int) -> str:
    said = [words.others[number] for number in others]
    said.insert(place, words.concepts[concept][form])
    return " ".join([words.opens, *said])
