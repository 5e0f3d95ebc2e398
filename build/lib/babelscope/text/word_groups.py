"""The words by which sentences express a concept: which are one word, and how to split sentences by them.

Two halves of a concept's sentences hold the same nouns, so what they share may be the nouns and not the
concept. Sentences that are split by their words share none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations

#: Words of which every way to split them is tried; of more, the rarer ones fill the smaller group in turn.
_TRIED = 10


def word_families(forms: Collection[str]) -> dict[str, str]:
    """Of each form the word that it belongs to: *dogs* to *dog*, *policemen* to *police*, *cities* to *city*.

    Forms are one word if they agree in all but the last letter of the shorter one, in three letters at
    least. It joins too much rather than too little: words that count as one are never split.

    Args:
        forms: Folded, see :func:`babelscope.text.words.fold`.
    """
    families: dict[str, str] = {}
    for form in sorted(forms, key=lambda form: (len(form), form)):
        for known, word in list(families.items()):
            stem = max(3, len(known) - 1)
            if len(form) >= stem and form[:stem] == known[:stem]:
                families[form] = word
                break
        families.setdefault(form, form)
    return families


def split_by_words(words: Sequence[frozenset[str]], *, least: int) -> list[int]:
    """Split sentences in two groups that have no word in common, as even as can be.

    Args:
        words: Of each sentence the concept's words in it.
        least: Sentences that each group needs.

    Returns:
        Of each sentence its group, 1 or 2; 0 if its words are of both groups, or unknown. All are 0 if there
        is no such split.
    """
    counts = Counter(word for each in words for word in each)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    best, most = frozenset[str](), (0, 0)
    for first in _ways(ordered):
        sizes = (
            sum(bool(each) and each <= first for each in words),
            sum(bool(each) and not each & first for each in words),
        )
        if (score := (min(sizes), sum(sizes))) > most:
            best, most = first, score
    if most[0] < least:
        return [0] * len(words)
    return [1 if each and each <= best else 2 if each and not each & best else 0 for each in words]


def _ways(words: Sequence[str]) -> list[frozenset[str]]:
    """Words of the first group, of all ways to split them; of many words, the most frequent in turn."""
    if len(words) > _TRIED:
        return [frozenset(words[::2])]
    others = words[1:]
    return [frozenset((words[0], *chosen)) for n in range(len(others)) for chosen in combinations(others, n)]
