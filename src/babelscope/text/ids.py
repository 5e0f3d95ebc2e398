"""Ids of sentences: the same in every language where they mean the same.

``house-0017`` is of the grammar, ``sun-00017`` of a concept file, ``L00042`` line 42 of parallel files.
"""

from __future__ import annotations

import re


def line_id(number: int) -> str:
    """Id of a line of parallel text, by its number counted from 1."""
    return f"L{number:05d}"


def half_of(sentence_id: str) -> str:
    """Half of a sentence by the number that ends its id: ``a`` if it is even, else ``b``.

    The same sentence is in the same half in every language, so experts of two languages can be
    chosen on disjoint sentences.
    """
    digits = re.search(r"\d+$", sentence_id)
    if digits is None:
        raise ValueError(f"a sentence id ends with a number; got {sentence_id!r}")
    return "ab"[int(digits.group()) % 2]
