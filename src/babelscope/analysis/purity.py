"""Purity: in which language the sentences of each language are.

Sentences of another language among those of one are found by units of that other language, and what two
languages share then says little. So every sentence is identified, as generated texts are.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.text.clones import NO_CLONES, Clones
from babelscope.text.languages import ENGLISH, by_identified, english_among, language_of

logger = logging.getLogger(__name__)

#: Confidence from which a sentence counts as of another language than its file; below it is undecided.
SURE = 0.8
#: Share of sentences of other languages above which they are warned of.
FOREIGN = 0.03
#: Sentences of a language that are identified, at most, evenly over the file.
MOST_SENTENCES = 2000
#: Languages that are one here, in whatever script: in a short sentence they cannot be told apart.
_ONE = (("bs", "hr", "sr"), ("da", "nb", "nn"), ("id", "ms"))
_COLUMNS = [
    "lang",
    "n_sentences",
    "n_tested",
    "n_own",
    "n_foreign",
    "n_undecided",
    "foreign_share",
    "strangers",
]


def purity_table(texts: Mapping[str, Sequence[str]], clones: Clones = NO_CLONES) -> pd.DataFrame:
    """Identify the language of the sentences of each language, among those of the study and English.

    A sentence is *foreign* if another language is nearest with a confidence of :data:`SURE` or more. It is
    *undecided* if another is nearest with less, or if it has too few letters: so are short ones, and names.
    A language that is neither of these, such as one of no study, is taken for the nearest or is undecided.

    Args:
        texts: Per language its sentences; of more than :data:`MOST_SENTENCES` some, evenly spread.
        clones: Those among the languages.

    Returns:
        Columns ``lang, n_sentences, n_tested``; ``n_own``, ``n_foreign``, ``n_undecided`` of those tested;
        ``foreign_share`` of them; ``strangers``, the languages of the foreign ones with their numbers, the
        most frequent first. A language that cannot be identified has none tested and a share of NaN.
    """
    from babelscope.analysis.identification import BOTH, UNDETERMINED, identify_languages  # slow, needed once

    candidates = [*texts, *([] if english_among(texts) else [ENGLISH])]
    known = by_identified(lang for lang in candidates if lang not in clones)
    told = {lang for codes in known.values() for lang in codes} if len(known) > 1 else set()
    tested = {lang: _some(of) if lang in told or lang in clones else [] for lang, of in texts.items()}
    every = pd.DataFrame({"model": "", "step": 0, "text": [text for of in tested.values() for text in of]})
    found: Iterator[tuple[str, float]] = iter(())
    if len(every):
        identified = identify_languages(every, candidates, clones)
        found = zip(identified["language"], identified["confidence"], strict=True)
    rows: list[tuple[object, ...]] = []
    for lang, of in tested.items():
        nearest = [next(found) for _ in of]
        others = [(code, sure) for code, sure in nearest if not _is_any(lang, code.split(BOTH))]
        strangers = Counter(code for code, sure in others if sure >= SURE and code != UNDETERMINED)
        own, foreign = len(of) - len(others), strangers.total()
        share = foreign / len(of) if of else np.nan
        names = ", ".join(f"{code} {n}" for code, n in sorted(strangers.items(), key=lambda x: (-x[1], x[0])))
        rows.append((lang, len(texts[lang]), len(of), own, foreign, len(of) - own - foreign, share, names))
    return pd.DataFrame(rows, columns=_COLUMNS)


def foreign_rows(purity: pd.DataFrame) -> pd.DataFrame:
    """Languages with more sentences of others than :data:`FOREIGN`."""
    return purity[purity["foreign_share"] > FOREIGN]


def warn_of_foreign(purity: pd.DataFrame) -> None:
    """Say in the log which languages have sentences of others."""
    for row in foreign_rows(purity).itertuples():
        logger.warning(
            "%s: %d of %d sentences look like another language (%s), %d more cannot be told; "
            "look at them in the files that `sentences` and `concepts` name",
            *(row.lang, row.n_foreign, row.n_tested, row.strangers, row.n_undecided),
        )


def _is_any(lang: str, codes: Sequence[str]) -> bool:
    """Whether a language is one of these, or cannot be told from one of them."""
    return any(lang == code or _one(lang) == _one(code) for code in codes)


def _one(code: str) -> str:
    language = language_of(code)
    return next((each[0] for each in _ONE if language in each), language)


def _some(texts: Sequence[str]) -> list[str]:
    at = np.linspace(0, len(texts) - 1, min(len(texts), MOST_SENTENCES)).round().astype(int)
    return [texts[place] for place in at]
