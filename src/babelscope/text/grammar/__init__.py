"""The grammar of the demo study: natural sentences in eight languages, whose meaning is known.

A document has one topic, a concept, and one language. Its sentences are made from frames (the same in every
language) and a lexicon whose items are aligned: noun 2 of *house* is the door everywhere. Correctness comes
from choice rather than from rules: nouns stand in the nominative singular, verbs in the third person
singular present, so that what agreement remains (gender in five of the languages) is written in the lexicon.

What it is not: a model of how languages meet in real text. The bridges between the languages, sentences in
another language and names and numbers that go with a concept everywhere, are put in by design and can be
left out. Facts of the made-up world (which noun prefers which verb, which concepts are neighbours) are the
same in every language.
"""

from babelscope.text.grammar.generate import (
    GrammarSettings,
    Sentence,
    concept_words,
    make_documents,
    make_sentences,
)
from babelscope.text.grammar.lexicon import CONCEPTS, LANGUAGES

__all__ = [
    "CONCEPTS",
    "LANGUAGES",
    "GrammarSettings",
    "Sentence",
    "concept_words",
    "make_documents",
    "make_sentences",
]
