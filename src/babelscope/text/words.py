"""Words in text: the one answer to whether a sentence holds a word, in any language and script.

A text is compared as Unicode's NFKC_Casefold has it, so that nothing tells words apart but their letters: not
how accents are typed, nor case (*straße* is *STRASSE*), nor the width of letters, nor signs that are not seen
(joiners, marks of direction, soft hyphens, the stretching of Arabic). Apostrophes and hyphens are each one
sign, however they are typed. A combining sign is part of its letter. Where a script puts
spaces between words, a form is one or more whole words with what it writes between them; where it does not
(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Yi, Javanese, Balinese and neighbours), it may stand anywhere
between two whole characters. The script decides, not the language: *karaoke* is found in Chinese text, and
*卡拉OK* in English text. Letters and signs that one text has and another has not, such as the points of
Hebrew and Arabic, tell words apart.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import NamedTuple

import regex

from babelscope.text.languages import language_of

#: Their capital I is that of ı; elsewhere it is that of i.
_DOTLESS = frozenset({"tr", "az", "crh", "gag", "kaa", "tt"})

#: What is typed for an apostrophe, or for a hyphen; the invisible space of Khmer and Thai is a space.
_AS_ONE = {
    **dict.fromkeys(map(ord, "‘’‛ʼʻ´`"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011"), "-"),
    0x200B: " ",
}
#: Letters of Malayalam without a vowel, which were once typed as a letter, a sign and a joiner.
_CHILLU = {f"{letter}\u0d4d\u200d": chillu for letter, chillu in zip("ണനരലളകമയഴ", "ൺൻർൽൾൿൔൕൖ", strict=True)}

_UNSPACED = "".join(
    rf"\p{{Script={script}}}"
    for script in (
        "Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Yi", "Tai_Le",
        "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese",
    )
) + "ー"  # fmt: skip


class Found(NamedTuple):
    """A form that stands in a text.

    Attributes:
        concept: Whose form it is.
        form: The form, folded.
        start: Where it begins in the folded text.
        end: Where it ends there.
    """

    concept: str
    form: str
    start: int
    end: int


def fold(text: str, lang: str = "") -> str:
    """A text as it is compared: forms that differ in accents' spelling or in case alone become one.

    Args:
        text: Any text.
        lang: Its language, which says what the small letter of I is.
    """
    return _fold(text, dotless=_is_dotless(lang))


def _is_dotless(lang: str) -> bool:
    return bool(lang) and language_of(lang) in _DOTLESS


def _fold(text: str, *, dotless: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    for typed, chillu in _CHILLU.items():
        text = text.replace(typed, chillu)
    text = _typed_alike(unicodedata.normalize("NFKC", _typed_alike(text)))
    if dotless:
        text = text.replace("I", "ı")
    # Folded once more, as what letters are taken apart into may be capitals. Folding İ leaves its dot as a
    # sign of its own, which an i has anyway.
    folded = unicodedata.normalize("NFKC", text.casefold()).casefold()
    return unicodedata.normalize("NFC", _dot().sub("", unicodedata.normalize("NFD", folded)))


def _typed_alike(text: str) -> str:
    return str(_unseen().sub("", text.translate(_AS_ONE)))


@cache
def _unseen() -> regex.Pattern[str]:
    return regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Joining_Type=Join_Causing}]")


@cache
def _dot() -> regex.Pattern[str]:
    return regex.compile(r"(?<=[ij]\p{M}*)\u0307")


class WordFinder:
    """Finds the words of concepts in texts of one language.

    Args:
        words: Per concept its forms.
        lang: Their language.
    """

    def __init__(self, words: Mapping[str, Iterable[str]], lang: str = "") -> None:
        self._dotless = _is_dotless(lang)
        #: By its pieces, the concepts of a form and how it is written.
        self._forms: dict[tuple[str, ...], dict[str, str]] = {}
        for concept, forms in words.items():
            for form in forms:
                folded = fold(form, lang).strip()
                if pieces := tuple(piece for piece, _, _ in _pieces(folded)):
                    self._forms.setdefault(pieces, {}).setdefault(concept, folded)
        lengths: dict[str, set[int]] = {}
        for pieces in self._forms:
            lengths.setdefault(pieces[0], set()).add(len(pieces))
        #: By the first piece of a form the lengths of forms, the longest first.
        self._lengths = {first: sorted(of, reverse=True) for first, of in lengths.items()}

    def find(self, text: str) -> Iterator[Found]:
        """The forms in a text, from left to right; of forms of one concept that overlap the longest.

        What is found of a concept does not depend on the other concepts.
        """
        pieces = _cut(text, self._dotless)
        free: dict[str, int] = {}
        for at, (first, start, _) in enumerate(pieces):
            for length in self._lengths.get(first, ()):
                if at + length > len(pieces):
                    continue
                key = tuple(piece for piece, _, _ in pieces[at : at + length])
                for concept, form in self._forms.get(key, {}).items():
                    if at >= free.get(concept, 0):
                        free[concept] = at + length
                        yield Found(concept, form, start, pieces[at + length - 1][2])


def in_text(found: Found, text: str, lang: str = "") -> slice:
    """Where a form that was found stands in the text as it is spelt, before it was folded.

    Args:
        found: Of :meth:`WordFinder.find`.
        text: The text that it was found in.
        lang: Language of the finder.
    """

    def folded_length(n: int) -> int:
        return len(fold(text[:n], lang))

    ends = range(len(text) + 1)
    start, end = (bisect_right(ends, at, key=folded_length) - 1 for at in (found.start, found.end))
    return slice(start, end)


# Finders of several languages look through one text, one after another.
@lru_cache(maxsize=4)
def _cut(text: str, dotless: bool) -> tuple[tuple[str, int, int], ...]:
    return tuple(_pieces(_fold(text, dotless=dotless)))


def _pieces(folded: str) -> Iterator[tuple[str, int, int]]:
    """Words, whole characters where words are not marked, and what stands between, with their places."""
    for match in _piece_pattern().finditer(folded):
        piece = match.group()
        yield piece.strip() or " ", *match.span()


@cache
def _piece_pattern() -> regex.Pattern[str]:
    # Signs of Khmer, Burmese, Tai Tham, Javanese and Balinese that write the next letter below the last one.
    stacked = rf"(?:(?<=[\u17d2\u1039\u1a60\ua9c0\u1b44])[{_UNSPACED}]\p{{M}}*)*"
    character = rf"[[{_UNSPACED}]--\p{{M}}]\p{{M}}*{stacked}"
    # An underscore is no part of a word: it is typed for stress.
    word = rf"[[\w\p{{M}}]--\p{{Pc}}--[[{_UNSPACED}]--\p{{M}}]]+"
    return regex.compile(rf"{character}|{word}|\s+|.", regex.V1)
