"""Where tokens stand in a text, for who shows them in it: a browser counts in UTF-16.

A token may be a part of a character, as bytes are, or nothing that is seen, as a lone word mark is. Neither
can be shown by itself, so such neighbours are shown as one. Names of shapes: ``G`` tokens that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import category

import numpy as np
from numpy.typing import NDArray


class ShownTokens(NamedTuple):
    """The tokens of a text as they can be shown in it: in order, none over another."""

    start_G: NDArray[np.int32]
    """Where each begins, in UTF-16 code units."""
    end_G: NDArray[np.int32]
    """Where it ends."""
    first_G: NDArray[np.intp]
    """The first of the tokens that it is made of."""


def shown_tokens(text: str, bounds: Sequence[tuple[int, int]]) -> ShownTokens:
    """Put together what cannot be shown apart.

    Args:
        text: The text.
        bounds: Begin and end of each token in it, in characters (code points); one at least. Parts of one
            character have its bounds, or bounds that overlap; what is not seen has none.
    """
    starts: list[int] = []
    ends: list[int] = []
    first: list[int] = []
    for at, (start, end) in enumerate(bounds):
        is_open = bool(first) and starts[-1] == ends[-1]  # nothing to be seen yet
        if first and (is_open or start < ends[-1]):
            starts[-1] = start if is_open else min(starts[-1], start)
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
            first.append(at)
    if len(first) > 1 and starts[-1] == ends[-1]:  # nothing follows that it could be shown with
        starts.pop()
        first.pop()
        ends[-2:] = [max(ends[-2:])]
    # A tokenizer that composes characters says where the letter stands, and nothing of its marks.
    for at, until in enumerate([*starts[1:], len(text)]):
        while ends[at] < until and category(text[ends[at]]).startswith("M"):
            ends[at] += 1
    place = utf16_places(text)
    return ShownTokens(place[starts], place[ends], np.array(first, dtype=np.intp))


def utf16_places(text: str) -> NDArray[np.int32]:
    """Where each character begins in UTF-16 code units, and where the last ends: one more than characters."""
    widths = [1 + (ord(character) > 0xFFFF) for character in text]
    return np.cumsum([0, *widths], dtype=np.int32)
