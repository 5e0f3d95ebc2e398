"""How alike two languages are written: script, and words of concepts that both have (cognates, loans).

Languages of one script can share experts by spelling alone, without anything that ties them together. So
means over pairs of languages are split by what the pairs have in common.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from babelscope.text.clones import letters_of, plain

if TYPE_CHECKING:
    import pandas as pd

#: Pairs of languages have cognates if they share so much of their concepts' own words.
COGNATES = 0.05
#: Groups of pairs, as they are named in columns of languages.
SAME_SCRIPT, OTHER_SCRIPT = "*same_script", "*other_script"
SHARED_WORDS, NO_SHARED_WORDS = "*cognates", "*no_cognates"
#: Words count as the same if they begin with the same letters, so many; accents do not count. Subwords that
#: two languages have in common need no more, and *music, musique, Musik* are one.
_BEGINNING = 4
#: Characters that tell a script; more would not.
_CHARACTERS = 20_000


def compare_languages(positive: Mapping[str, Mapping[str, Collection[str]]]) -> pd.DataFrame:
    """Script and shared words of every pair of languages.

    Args:
        positive: Per language and concept the texts of its positive sentences.

    Returns:
        Columns ``lang_a, lang_b, script_a, script_b, same_script, shared_words``. The last is the share of
        words that both have, by their beginnings: of each concept's own words, those in sentences of no other
        concept, so that names and numbers that come everywhere do not count; of the language that has fewer.
    """
    import pandas as pd  # slow to import, needed once

    positive = dict(sorted(positive.items()))
    scripts = {
        lang: script_of(text for texts in of.values() for text in texts) for lang, of in positive.items()
    }
    own = {lang: _own_words(of) for lang, of in positive.items()}
    rows = []
    for a, b in combinations(positive, 2):
        both = sum(len(words & own[b].get(concept, set())) for concept, words in own[a].items())
        fewer = sum(min(len(words), len(own[b].get(concept, ()))) for concept, words in own[a].items())
        rows.append((a, b, scripts[a], scripts[b], scripts[a] == scripts[b], both / fewer if fewer else 0.0))
    columns = ["lang_a", "lang_b", "script_a", "script_b", "same_script", "shared_words"]
    return pd.DataFrame(rows, columns=columns)


def script_of(texts: Iterable[str]) -> str:
    """The script that most letters are of, by their names in Unicode, such as ``LATIN``; empty if unknown.

    Each clone has a script of its own, such as ``CLONE-1``.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(character for character in text if plain(character).isalpha())
        if counts.total() > _CHARACTERS:
            break
    scripts: Counter[str] = Counter()
    for character, n in counts.items():
        clone = letters_of(character)
        scripts[f"CLONE-{clone}" if clone else unicodedata.name(character, "?").split()[0]] += n
    return scripts.most_common(1)[0][0] if scripts else ""


def _own_words(texts: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Beginnings of the words, in lower case, of the sentences of one concept and no other."""
    words = {concept: {word for text in of for word in _words(text)} for concept, of in texts.items()}
    seen = Counter(word for each in words.values() for word in each)
    return {concept: {word for word in each if seen[word] == 1} for concept, each in words.items()}


def _words(text: str) -> list[str]:
    """Beginnings of what stands between spaces and punctuation and has a letter."""
    # Vowel signs of Indic scripts are no letters to \\w, so words end at other signs.
    parts = re.split(r"[\s.,:;!?\"()¿¡।。，：？！、—'’/-]+", text.lower())
    words = [_without_accents(part) for part in parts if any(map(str.isalpha, part))]
    return [word[:_BEGINNING] for word in words]


def _without_accents(word: str) -> str:
    plain = "".join(
        letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter)
    )
    return unicodedata.normalize("NFC", plain) or word


def pair_groups(kinship: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Pairs by kind: script, and whether they have cognates; kinds without a pair are left out."""
    kinds = {frozenset((row["lang_a"], row["lang_b"])): row for row in kinship.to_dict("records")}
    found: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        row = kinds[frozenset(pair)]
        cognates = row["shared_words"] >= COGNATES
        found.setdefault(SAME_SCRIPT if row["same_script"] else OTHER_SCRIPT, []).append(pair)
        found.setdefault(SHARED_WORDS if cognates else NO_SHARED_WORDS, []).append(pair)
    return found
