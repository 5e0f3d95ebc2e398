"""Clones: the text of a language under letters of its own, so that nothing in it is spelt as it was.

Every character but the white space between words is moved by whole planes of Unicode into one for private
use. So a clone has the grammar, the meanings and the frequencies of its original, and no subword in common
with any language. The move can be undone, and holds for any script and tokenizer. (K et al. 2020 call it
*fake English*; Schäfer et al. 2024, arXiv 2404.07982, clone the ids of tokens.)

Characters beyond the first plane (emoji, rare ideographs) find no room there and stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

#: Clones that a study may have: planes for private use.
MOST = 2
#: Characters of a plane, and the planes before those for private use.
_PLANE, _BEFORE = 0x10000, 14

#: White space that tells words apart, and the sign that tokenizers write for it.
_KEPT = frozenset(" \n\r\t▁")

Clones = Mapping[str, tuple[str, int]]
"""Per clone the language that it is of, and the number of its letters, from 1."""

NO_CLONES: Clones = MappingProxyType({})


def respell(text: str, letters: int) -> str:
    """A text under other letters.

    Args:
        text: In its own letters.
        letters: Number of the clone whose letters it gets; 0: it stays as it is.
    """
    if not letters:
        return text
    moved = (letters + _BEFORE) * _PLANE
    # Tokenizers compose letters and accents, which they could not do with a clone's.
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if c in _KEPT or ord(c) >= _PLANE else chr(ord(c) + moved) for c in composed)


def letters_of(character: str) -> int:
    """Number of the clone that a character is of; 0 if it is of none."""
    return max(0, ord(character) // _PLANE - _BEFORE)


def plain(text: str) -> str:
    """A text with the letters of all clones undone."""
    return _RUNS.sub(lambda run: _undone(run.group()), text)


def readable(text: str) -> str:
    """The same, with brackets around what is of a clone: fonts lack its letters."""
    return _RUNS.sub(lambda run: f"⟦{_undone(run.group())}⟧", text)


def part_of(text: str, letters: int) -> str:
    """What of a text is in the letters of a clone, undone; of the same length, with spaces for all else.

    Args:
        text: Maybe in letters of several languages.
        letters: Number of the clone; 0: the text as it is.
    """
    return "".join(_undone(c) if letters_of(c) == letters else " " for c in text) if letters else text


def without_clones(text: str) -> str:
    """A text with spaces in place of what is of a clone."""
    return _RUNS.sub(lambda run: " " * len(run.group()), text)


def _undone(characters: str) -> str:
    return "".join(chr(ord(c) % _PLANE) if letters_of(c) else c for c in characters)


def _run(letters: int) -> str:
    first = (letters + _BEFORE) * _PLANE
    word = f"[{chr(first)}-{chr(first + _PLANE - 1)}]+"
    return f"{word}(?: +{word})*"


#: Words of one clone, with the spaces between them.
_RUNS = re.compile("|".join(_run(letters) for letters in range(1, MOST + 1)))
