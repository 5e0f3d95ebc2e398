"""What speaks for and against the concepts of a study: how often their words stand in the text, and what two
concepts have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from babelscope.text.words import WordFinder, fold

if TYPE_CHECKING:
    import pandas as pd


def count_words(lines: Iterable[str], words: Mapping[str, Sequence[str]], lang: str) -> pd.DataFrame:
    """In how many lines every word of every concept stands; 0 for one that never does.

    Args:
        lines: Sentences.
        words: Per concept its words.
        lang: Language of both.

    Returns:
        Columns ``concept, word, n_sentences``, as the lists have them.
    """
    import pandas as pd

    finder, counts = WordFinder(words, lang), Counter[tuple[str, str]]()
    for line in lines:
        counts.update({(found.concept, found.form) for found in finder.find(line)})
    rows = [
        (concept, word, counts[concept, fold(word, lang).strip()])
        for concept, own in words.items()
        for word in own
    ]
    return pd.DataFrame(rows, columns=["concept", "word", "n_sentences"])


def compare_concepts(
    positive: Mapping[str, Mapping[str, Iterable[str]]], words: Mapping[str, Sequence[str]], lang: str
) -> pd.DataFrame:
    """Pairs of concepts that have sentences or words in common, those with most sentences first.

    Args:
        positive: Per language and concept the ids of the sentences that express it.
        words: Per concept its words.
        lang: Language of the words.

    Returns:
        Columns ``concept_a, concept_b``; ``n_shared``, sentences that express both, and ``share``, their
        share of those of the rarer concept, both of the language where they are most; ``words``, those in
        both lists.
    """
    import pandas as pd

    ids = {language: {name: set(own) for name, own in of.items()} for language, of in positive.items()}
    folded = {concept: {fold(word, lang).strip(): word for word in own} for concept, own in words.items()}
    names = dict.fromkeys(name for of in ids.values() for name in of)
    rows = []
    for a, b in combinations(names, 2):
        both = [
            (len(of[a] & of[b]), min(len(of[a]), len(of[b]))) for of in ids.values() if {a, b} <= of.keys()
        ]
        n, least = max(both, default=(0, 0))
        listed = [folded[a][word] for word in folded.get(a, {}) if word in folded.get(b, {})]
        if n or listed:
            rows.append((a, b, n, n / least if least else 0.0, ", ".join(listed)))
    rows.sort(key=lambda row: -row[2])
    table = pd.DataFrame(rows, columns=["concept_a", "concept_b", "n_shared", "share", "words"])
    return table.astype({"n_shared": "int64", "share": "float64"})
