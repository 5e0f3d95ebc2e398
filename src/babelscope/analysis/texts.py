"""The words of concepts in generated texts, in any language and script."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd

Words = Mapping[str, Mapping[str, Sequence[str]]]

#: Written without spaces: a form is searched for anywhere in a text.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue"})


class WordFinder:
    """Finds the words of concepts in texts.

    In scripts with spaces a form is one or more whole words, whatever their case; only the forms
    that are listed count, no inflected ones. In scripts without spaces it may stand anywhere. Of
    forms that overlap the longest counts, from left to right. A form spelt alike in several
    languages counts in equal parts to each of them.

    Args:
        words: concept -> language -> forms.
        languages: Languages whose forms are searched; all by default.
    """

    def __init__(self, words: Words, languages: Iterable[str] | None = None) -> None:
        wanted = None if languages is None else set(languages)
        self._forms: dict[str, dict[tuple[str, ...], list[str]]] = {}
        for concept, by_language in words.items():
            for lang, forms in by_language.items():
                if wanted is not None and lang not in wanted:
                    continue
                known = self._forms.setdefault(lang, {})
                for form in forms:
                    pieces = tuple(piece for piece, _, _ in _pieces(_fold(form, lang), lang))
                    if pieces and concept not in known.setdefault(pieces, []):
                        known[pieces].append(concept)
        self._lengths = {
            lang: sorted({len(pieces) for pieces in forms}, reverse=True)
            for lang, forms in self._forms.items()
        }

    def count(self, text: str) -> dict[tuple[str, str], float]:
        """Hits by (concept, language)."""
        found: dict[tuple[int, int, str], list[str]] = {}
        text = unicodedata.normalize("NFC", text)
        for lang, forms in self._forms.items():
            pieces = _pieces(_fold(text, lang), lang)
            at = 0
            while at < len(pieces):
                for length in self._lengths[lang]:
                    key = tuple(piece for piece, _, _ in pieces[at : at + length])
                    if len(key) == length and key in forms:
                        span = pieces[at][1], pieces[at + length - 1][2]
                        for concept in forms[key]:
                            found.setdefault((*span, concept), []).append(lang)
                        at += length
                        break
                else:
                    at += 1
        hits: dict[tuple[str, str], float] = {}
        for (_, _, concept), langs in found.items():
            for lang in langs:
                hits[concept, lang] = hits.get((concept, lang), 0.0) + 1 / len(langs)
        return hits


def count_hits(texts: Iterable[str], words: Words, languages: Iterable[str] | None = None) -> pd.DataFrame:
    """Hits of each text: columns ``row`` (position of the text), ``concept``, ``lang``, ``hits``.

    A text without hits has no row. See :class:`WordFinder`.
    """
    finder = WordFinder(words, languages)
    rows = [
        (row, concept, lang, hits)
        for row, text in enumerate(texts)
        for (concept, lang), hits in finder.count(text).items()
    ]
    types = {"row": np.int64, "concept": object, "lang": object, "hits": np.float64}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _fold(text: str, lang: str) -> str:
    """Lower case, character by character, so that positions stay."""
    text = unicodedata.normalize("NFC", text)
    if lang.split("-")[0] in ("tr", "az"):
        text = text.replace("I", "ı")
    return text.replace("İ", "i").lower()


def _pieces(text: str, lang: str) -> list[tuple[str, int, int]]:
    """Words, or characters where words are not marked: (piece, start, end)."""
    if lang.split("-")[0] in UNSPACED:
        return [(c, at, at + 1) for at, c in enumerate(text) if not c.isspace()]
    return [(match.group(), *match.span()) for match in _word_pattern().finditer(text)]


@cache
def _word_pattern() -> re.Pattern[str]:
    # To `re`, the vowel signs of Devanagari and others are no part of a word.
    marks = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"]
    spans = "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in _spans(marks))
    return re.compile(f"[\\w\u200c\u200d{spans}]+")


def _spans(codes: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = before = codes[0]
    for code in codes[1:]:
        if code != before + 1:
            yield start, before
            start = code
        before = code
    yield start, before
