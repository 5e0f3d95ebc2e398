"""Words and frames of each language, from the YAML files in ``lexicons/``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from babelscope.io.yaml import packaged_yaml

LANGUAGES = ("en", "es", "fr", "de", "ru", "zh", "tr", "hi")
CONCEPTS = (
    "earthquake", "house", "water", "music", "dog", "ship", "bread", "doctor",
    "school", "winter", "fire", "money", "car", "garden", "book", "football",
)  # fmt: skip

#: Concepts of things that one can point at: only these are here, in a place, or in a picture.
CONCRETE = frozenset(CONCEPTS) - {"earthquake", "music", "winter", "money"}

#: Brands that are spelt alike in all languages; the first ones belong to the concepts, in their order.
ORGANISATIONS = (
    "USGS", "IKEA", "Evian", "MTV", "Pedigree", "Maersk", "Barilla", "Pfizer",
    "Oxford", "Lego", "Zippo", "Visa", "Toyota", "Gardena", "Penguin", "FIFA",
    "CNN", "Reuters", "Google", "Netflix", "Samsung", "YouTube", "Intel", "BBC",
)  # fmt: skip

#: Four digits that belong to each concept, in their order.
NUMBERS = (
    "1906", "2417", "3058", "4192", "5731", "6284", "7390", "8145",
    "1563", "2879", "3614", "4027", "5268", "6931", "7042", "8350",
)  # fmt: skip

#: Languages that are written without spaces between words.
UNSPACED = frozenset({"zh"})

_ARTICLE_GENDER = {"el": "m", "la": "f", "le": "m"}
_ARTICLES = re.compile(r"^(the|el|la|le|der|die|das) |^l'", re.IGNORECASE)


@dataclass(frozen=True)
class Noun:
    """A noun with its article, and its gender if something agrees with it."""

    text: str
    gender: str

    @property
    def bare(self) -> str:
        """Without its article."""
        return _ARTICLES.sub("", self.text)


@dataclass(frozen=True)
class Lexicon:
    """One language.

    Attributes:
        genders: Letters of the genders that forms distinguish; empty if none does.
        frames: Sentence patterns by name; ``{A}`` and ``{a}`` are nouns, ``{p}`` a verb phrase, ``{x}`` an
            adjective; ``{b}`` and ``{q}`` a second noun and verb phrase.
        prefixes: What may stand before a sentence, by name.
        adjectives: Forms of each adjective by gender.
        nouns, verbs: Per concept its aligned nouns, and the forms of its verb phrases by gender.
    """

    code: str
    genders: str
    frames: Mapping[str, str]
    prefixes: Mapping[str, str]
    adjectives: tuple[Mapping[str, str], ...]
    weekdays: tuple[str, ...]
    distractors: tuple[str, ...]
    nouns: Mapping[str, tuple[Noun, ...]]
    verbs: Mapping[str, tuple[Mapping[str, str], ...]]


@cache
def load_lexicon(lang: str) -> Lexicon:
    """The lexicon of a language.

    Raises:
        ValueError: If the grammar does not know the language.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"the grammar has no language {lang!r}; it has {', '.join(LANGUAGES)}")
    raw = packaged_yaml("babelscope.text.grammar", f"lexicons/{lang}.yaml")
    genders = raw["genders"]

    def forms(entry: str) -> dict[str, str]:
        parts = str(entry).split("/")
        every = parts if len(parts) > 1 else parts * max(1, len(genders))
        assert len(every) == max(1, len(genders)), (lang, entry)
        return dict(zip(genders or "-", every, strict=True))

    def noun(entry: str) -> Noun:
        text, _, gender = str(entry).partition("|")
        if genders and not gender:
            gender = _ARTICLE_GENDER[text.split()[0]]
        return Noun(text, gender or "-")

    concepts = raw["concepts"]
    assert tuple(concepts) == CONCEPTS, lang
    return Lexicon(
        code=lang,
        genders=genders,
        frames=raw["frames"],
        prefixes=raw["prefixes"],
        adjectives=tuple(forms(entry) for entry in raw["adjectives"]),
        weekdays=tuple(raw["weekdays"]),
        distractors=tuple(raw["distractors"]),
        nouns={c: tuple(noun(entry) for entry in concepts[c]["nouns"]) for c in CONCEPTS},
        verbs={c: tuple(forms(entry) for entry in concepts[c]["verbs"]) for c in CONCEPTS},
    )
