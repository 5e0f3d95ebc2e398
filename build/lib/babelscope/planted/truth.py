"""What is planted, declared in one place, and what a study must therefore find.

Two series of checkpoints with weights set by hand: ``sharing``, in which units that know a concept in one
language are replaced by units that know it in all, and ``private``, the control, in which they are not.
Step 0 is noise.

The findings that follow are computed here from the declaration alone, never from the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp

import numpy as np
from numpy.typing import NDArray

LANGUAGES = ("en", "de", "es", "ru", "tr")
#: What late shared units write, whatever language they read.
PIVOT = "en"

#: The concepts, and of each how many of its lines name it by a word that no unit knows.
MISSED = {
    "house": 4, "water": 8, "fire": 12, "bread": 4, "ship": 8, "doctor": 12, "earthquake": 4, "football": 8,
}  # fmt: skip
#: Lines of a concept, the same in all languages.
LINES = 32
#: Words of a line: one that opens it, four others, and one for the concept.
WORDS = 6
#: Words of a language that mean no concept, without the one that opens.
OTHERS = 10
#: Words of a concept in a language: two that its units know, and one that they do not.
FORMS = 3

#: Words of a text that is generated.
TEXT_WORDS = 10

LAYERS = 6
#: Units of a layer that know a concept in a language; so many of all layers are its experts.
PER_LAYER = 4
EXPERTS = PER_LAYER * LAYERS
#: Layers whose output tells the language of no word but the opening one, at the steps where it is taken out.
FADED_LAYERS = (3, 4)
#: Layer in which every other concept has one shared unit more, and the others one less.
VARIED_LAYER = 3

#: What the experts of a concept add to the logits of its language and of its words; all of them together.
LANGUAGE_LOGIT, CONCEPT_LOGIT = 6.0, 5.0
#: How much more a shared unit writes of the pivot than a private one of its language.
PIVOT_STRENGTH = 2.0
#: Logits of words: those of concepts are rare by themselves, and the opening one stands at the start.
RARE, OPENING, OPENING_AT_START = -4.0, -6.0, 6.0


@dataclass(frozen=True)
class Series:
    """A series of checkpoints."""

    name: str
    role: str
    shared: Mapping[int, tuple[int, ...]]
    """Per step and layer the units of a concept that know it in all languages, mean over concepts (see
    :meth:`n_shared`); the others of :data:`PER_LAYER` know it in one."""
    faded: frozenset[int] = field(default_factory=frozenset)
    """Steps at which the language is taken out of :data:`FADED_LAYERS`."""

    @property
    def steps(self) -> tuple[int, ...]:
        """All steps; 0 is noise."""
        return (0, *self.shared)

    def n_shared(self, step: int, concept: str, layer: int | None = None) -> int:
        """Units that know a concept in all languages, of the model or of a layer."""
        if layer is None:
            return sum(self.n_shared(step, concept, each) for each in range(1, LAYERS + 1))
        mean = self.shared[step][layer - 1] if step else 0
        if layer != VARIED_LAYER or not mean:
            return mean
        return mean - 1 if list(MISSED).index(concept) % 2 else mean + 1

    def overlap(self, step: int, layer: int | None = None) -> float:
        """Overlap of experts of two languages, of the model or within a layer, mean over concepts."""
        units = EXPERTS if layer is None else PER_LAYER
        return sum(self.n_shared(step, concept, layer) for concept in MISSED) / units / len(MISSED)

    @property
    def best_layer(self) -> int:
        """Where experts overlap most at the last step."""
        last = self.steps[-1]
        return max(range(1, LAYERS + 1), key=lambda layer: self.overlap(last, layer))

    def worst_ap(self, step: int, concept: str) -> float:
        """Worst AP over languages of the best unit of a concept.

        A unit that knows the concept is 0 on all lines but those that it knows; in other languages it is 0
        throughout, and equal scores have the positive rate.
        """
        return expert_ap(concept) if self.n_shared(step, concept) else 1 / len(MISSED)

    def probe_accuracy(self, step: int, layer: int) -> float:
        """Accuracy of a linear probe for the language, on words.

        Where it is taken out two words tell it: the opening one, and that of the concept, since private units
        have written there which language is to follow. All others are guessed.
        """
        if step not in self.faded or layer not in FADED_LAYERS:
            return 1.0
        known = 1 - sum(MISSED.values()) / LINES / len(MISSED)
        told = (1 + known) / WORDS
        return told + (1 - told) / len(LANGUAGES)

    def forced_texts(self, step: int, source: str) -> dict[str, float]:
        """Share of texts in each language where the experts of a source are forced, mean over concepts.

        The first word is drawn by what the units write. If it opens a sentence, attention adds its language
        to all that follows.
        """
        each = [self.shares_of_texts(self.n_shared(step, concept), source) for concept in MISSED]
        return dict(zip(LANGUAGES, np.mean(each, axis=0).tolist(), strict=True))

    def forced_hits(self, step: int, source: str) -> dict[str, float]:
        """The same of the words of the forced concept in these texts.

        Texts in another language hold more of them: there a word of the concept makes private units fire that
        are not forced, and these ask for another.
        """
        own = np.array([lang == source for lang in LANGUAGES])
        hits = np.zeros(len(LANGUAGES))
        for concept in MISSED:
            n_shared = self.n_shared(step, concept)
            fired = np.where(own, 0, (EXPERTS - n_shared) / EXPERTS)
            hits += self.shares_of_texts(n_shared, source) * [_n_hits(float(more)) for more in fired]
        return dict(zip(LANGUAGES, (hits / hits.sum()).tolist(), strict=True))

    def shares_of_texts(self, n_shared: int, source: str) -> NDArray[np.float64]:
        """The same where so many of the forced units are shared, in the order of :data:`LANGUAGES`."""
        written = dict.fromkeys(LANGUAGES, 0.0)
        written[source] += LANGUAGE_LOGIT * (EXPERTS - n_shared) / EXPERTS
        written[PIVOT] += LANGUAGE_LOGIT * PIVOT_STRENGTH * n_shared / EXPERTS
        logits = np.array(list(written.values()))
        first = _softmax(logits)
        later = np.stack([_softmax(logits + LANGUAGE_LOGIT * own) for own in np.eye(len(LANGUAGES))])
        opening = _share_of_opening()
        return np.asarray(opening * first @ later + (1 - opening) * first)


def expert_ap(concept: str) -> float:
    """AP of a unit that knows a concept: its lines but the missed ones, without a false alarm.

    The missed positives come last, all tied with every negative, where precision is the positive rate.
    """
    missed = MISSED[concept] / LINES
    return 1 - missed + missed / len(MISSED)


def hit_rate(forced: bool) -> float:
    """Share of texts with a word of a given concept; the first one, which opens a sentence, is none."""
    chance = _chance_of_hit(CONCEPT_LOGIT * forced)
    return 1 - (1 - chance) ** (TEXT_WORDS - 1)


def _chance_of_hit(more: float) -> float:
    """Probability that a word is one of a concept whose logits are raised by so much."""
    of_concept = FORMS * exp(RARE + more)
    return of_concept / (of_concept + OTHERS + FORMS * (len(MISSED) - 1) * exp(RARE) + exp(OPENING))


def _n_hits(fired: float) -> float:
    """Mean number of words of the forced concept in a text.

    Args:
        fired: What a word that units know adds to the logit of the next, as a share of what is forced.
    """
    plain, after_hit = (_chance_of_hit(CONCEPT_LOGIT * (1 + more)) for more in (0, fired))
    known, chance, total = 1 - 1 / FORMS, 0.0, 0.0
    for _ in range(TEXT_WORDS - 1):
        chance = plain + chance * known * (after_hit - plain)
        total += chance
    return total


def _share_of_opening() -> float:
    """How often a text with forced experts begins with a word that opens sentences."""
    opening = exp(OPENING_AT_START)
    concepts = FORMS * (exp(RARE + CONCEPT_LOGIT) + (len(MISSED) - 1) * exp(RARE))
    return opening / (opening + OTHERS + concepts)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


_NONE = (0,) * LAYERS

SHARING = Series(
    "sharing",
    "main",
    {
        100: _NONE,
        200: (0, 0, 1, 1, 0, 0),
        # Where the language is gone, in block 4, a private unit could not know its own.
        400: (0, 1, 2, 4, 1, 0),
        800: (0, 1, 3, 4, 2, 0),
    },
    frozenset({400, 800}),
)
PRIVATE = Series("private", "control", dict.fromkeys(SHARING.shared, _NONE))
ALL_SERIES = (SHARING, PRIVATE)
