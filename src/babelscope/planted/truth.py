"""What is planted, declared in one place, and what a study must therefore find.

Two series of checkpoints with weights set by hand: ``sharing``, in which units that know a concept in one language
are replaced by units that know it in all, and ``private``, the control, in which they are not. Step 0 is noise.

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

LAYERS = 6
#: Units of a layer that know a concept in a language; so many of all layers are its experts.
PER_LAYER = 4
EXPERTS = PER_LAYER * LAYERS
#: Layers whose output tells the language of no word but the opening one, at the steps where it is taken out.
FADED_LAYERS = (3, 4)

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
    """Per step and layer the units of a concept that know it in all languages; the others of
    :data:`PER_LAYER` know it in one."""
    faded: frozenset[int] = field(default_factory=frozenset)
    """Steps at which the language is taken out of :data:`FADED_LAYERS`."""

    @property
    def steps(self) -> tuple[int, ...]:
        """All steps; 0 is noise."""
        return (0, *self.shared)

    def overlap(self, step: int, layer: int | None = None) -> float:
        """Overlap of experts of two languages, of the model or within a layer."""
        shared = self.shared[step]
        return sum(shared) / EXPERTS if layer is None else shared[layer - 1] / PER_LAYER

    @property
    def best_layer(self) -> int:
        """Where experts overlap most at the last step."""
        return int(np.argmax(self.shared[self.steps[-1]])) + 1

    def n_shared(self, step: int) -> int:
        """(concept, unit) that are experts in all languages."""
        return len(MISSED) * sum(self.shared[step])

    def worst_ap(self, step: int, concept: str) -> float:
        """Worst AP over languages of the best unit of a concept.

        A unit that knows the concept is 0 on all lines but those that it knows; in other languages it is 0
        throughout, and equal scores have the positive rate.
        """
        return expert_ap(concept) if sum(self.shared[step]) else 1 / len(MISSED)

    def probe_accuracy(self, step: int, layer: int) -> float:
        """Accuracy of a linear probe for the language: where it is taken out, the opening word alone tells it."""
        if step in self.faded and layer in FADED_LAYERS:
            return 1 / WORDS + (1 - 1 / WORDS) / len(LANGUAGES)
        return 1.0

    def forced_languages(self, step: int, source: str) -> dict[str, float]:
        """Share of each language among concept words of texts in which the experts of a source are forced.

        The first word is drawn by what the units write. If it opens a sentence, attention adds its language.
        """
        n_shared = sum(self.shared[step])
        written = dict.fromkeys(LANGUAGES, 0.0)
        written[source] += LANGUAGE_LOGIT * (EXPERTS - n_shared) / EXPERTS
        written[PIVOT] += LANGUAGE_LOGIT * PIVOT_STRENGTH * n_shared / EXPERTS
        logits = np.array(list(written.values()))
        first = _softmax(logits)
        later = np.stack([_softmax(logits + LANGUAGE_LOGIT * own) for own in np.eye(len(LANGUAGES))])
        opening = _share_of_opening()
        shares = opening * first @ later + (1 - opening) * first
        return dict(zip(LANGUAGES, shares.tolist(), strict=True))


def expert_ap(concept: str) -> float:
    """AP of a unit that knows a concept: its lines but the missed ones, without a false alarm.

    The missed positives come last, all tied with every negative, where precision is the positive rate.
    """
    missed = MISSED[concept] / LINES
    return 1 - missed + missed / len(MISSED)


def hit_rate(forced: bool, n_words: int) -> float:
    """Share of texts of ``n_words`` words with a word of a given concept.

    The first word opens the sentence or not; each of the others is drawn from one language.
    """
    of_concept = FORMS * exp(RARE + CONCEPT_LOGIT * forced)
    rest = OTHERS + FORMS * (len(MISSED) - 1) * exp(RARE) + exp(OPENING)
    first = of_concept / (of_concept + rest - exp(OPENING) + exp(OPENING_AT_START))
    return 1 - (1 - first) * (1 - of_concept / (of_concept + rest)) ** (n_words - 1)


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
