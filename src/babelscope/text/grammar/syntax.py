"""Clauses of a subject, a verb and an object, for concepts of form: number and its agreement, order.

What a clause says does not tell any of these concepts: each is a feature of the form, and a sentence that has
the feature stands beside one of the same words that lacks it. The words come from scenes, which share none.
As in the rest of the grammar forms are written in the lexicon, not made by rules.

A language whose forms do not show a concept lacks it. Chinese has no forms here: a noun is the same for one
and for many, its verb too, and an object before its verb needs a word more.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import NamedTuple

from babelscope.io.yaml import packaged_yaml
from babelscope.text.grammar.lexicon import LANGUAGES

SUBJECT, OBJECT, ORDER = "plural_subject", "plural_object", "verb_before_object"
#: Concepts of form; a positive sentence has the feature of the name.
SYNTAX = (SUBJECT, OBJECT, ORDER)
#: Languages whose forms are known.
_WITH_FORMS = ("en", "es", "fr", "de", "ru", "tr", "hi")

SCENES = (
    "hospital", "school", "cart", "forest", "pets", "kitchen", "harbour", "theatre", "village", "palace",
    "luggage", "pasture",
)  # fmt: skip
#: Subjects, verbs and objects of a scene, each with each.
_ITEMS = 2
#: So many of the eight things that a scene says are never written into documents, in whatever form.
_HELD_OUT = 3
#: A document keeps to a number and an order, as texts speak on of the same; so often.
_KEPT = 0.75


class Said(NamedTuple):
    """What a clause says: numbers of items of its scene."""

    scene: str
    subject: int
    verb: int
    object: int


@dataclass(frozen=True)
class Clause:
    """What a clause says, and in which form."""

    said: Said
    subject_plural: bool
    object_plural: bool
    verb_first: bool
    """Whether the verb stands before the object, in languages that have both orders."""

    def opposite(self, concept: str) -> Clause:
        """The same words, with the other value of the feature of a concept."""
        name = _FEATURES[concept]
        return replace(self, **{name: not getattr(self, name)})


_FEATURES = {SUBJECT: "subject_plural", OBJECT: "object_plural", ORDER: "verb_first"}


@dataclass(frozen=True)
class Forms:
    """One language.

    Attributes:
        orders: Patterns of ``{s}``, ``{v}`` and ``{o}``: ``vo``, and ``ov`` if the language has both.
        subjects, objects: Per scene its nouns, singular and plural, as they stand in a clause.
        genders: Of each subject; ``-`` if no verb agrees with it.
        verbs: Per scene, of each verb the forms of singular and plural by gender of the subject.
    """

    orders: Mapping[str, str]
    subjects: Mapping[str, tuple[tuple[str, str], ...]]
    objects: Mapping[str, tuple[tuple[str, str], ...]]
    genders: Mapping[str, tuple[str, ...]]
    verbs: Mapping[str, tuple[Mapping[str, tuple[str, str]], ...]]


def has_forms(lang: str) -> bool:
    """Whether clauses can be written in a language."""
    return lang in _WITH_FORMS


def concepts_of(lang: str) -> tuple[str, ...]:
    """The concepts that the forms of a language show."""
    if not has_forms(lang):
        return ()
    return SYNTAX if len(load_forms(lang).orders) > 1 else (SUBJECT, OBJECT)


@cache
def load_forms(lang: str) -> Forms:
    """The clauses of a language.

    Raises:
        ValueError: If there are none, or the grammar does not know the language.
    """
    if not has_forms(lang):
        known = "shows neither number nor order" if lang in LANGUAGES else "is not known"
        raise ValueError(f"language {lang!r} {known}; these have clauses: {', '.join(_WITH_FORMS)}")
    raw = packaged_yaml("babelscope.text.grammar", f"lexicons/syntax/{lang}.yaml")
    genders = raw["genders"] or "-"

    def pair(entry: str) -> tuple[str, str]:
        one, many = entry.split("/")
        return one, many

    def verb(entry: str) -> dict[str, tuple[str, str]]:
        parts = entry.split("/")
        every = parts if len(parts) > 1 else parts * 2  # the same for one and for many
        assert len(every) == 2 * len(genders), (lang, entry)
        return {gender: (every[2 * at], every[2 * at + 1]) for at, gender in enumerate(genders)}

    scenes = raw["scenes"]
    assert tuple(scenes) == SCENES, lang
    assert all(len(items) == _ITEMS for scene in scenes.values() for items in scene.values()), lang
    subjects = {name: [entry.partition("|") for entry in scenes[name]["subjects"]] for name in SCENES}
    return Forms(
        orders=raw["orders"],
        subjects={name: tuple(pair(text) for text, _, _ in of) for name, of in subjects.items()},
        objects={name: tuple(pair(entry) for entry in scenes[name]["objects"]) for name in SCENES},
        genders={name: tuple(gender or "-" for _, _, gender in of) for name, of in subjects.items()},
        verbs={name: tuple(verb(entry) for entry in scenes[name]["verbs"]) for name in SCENES},
    )


def clause_text(clause: Clause, forms: Forms) -> str:
    """A clause in a language, without what stands around it; in its one order if it has no other."""
    scene, subject, verb, object_ = clause.said
    pattern = forms.orders["vo" if clause.verb_first or "ov" not in forms.orders else "ov"]
    return pattern.format(
        s=forms.subjects[scene][subject][clause.subject_plural],
        v=forms.verbs[scene][verb][forms.genders[scene][subject]][clause.subject_plural],
        o=forms.objects[scene][object_][clause.object_plural],
    )


@cache
def things_said(scene: str) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """What documents say of a scene, and what is kept for analysis."""
    every = [Said(scene, *items) for items in product(range(_ITEMS), repeat=3)]
    every.sort(key=lambda said: zlib.crc32(repr(tuple(said)).encode()))
    return tuple(every[_HELD_OUT:]), tuple(every[:_HELD_OUT])


def draw_style(rng: random.Random) -> Clause:
    """The scene of a document, and the form that its clauses mostly have."""
    first = Said(rng.choice(SCENES), 0, 0, 0)
    return Clause(first, rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.5)


def draw_clause(rng: random.Random, style: Clause) -> Clause:
    """A clause of a document."""
    said = rng.choice(things_said(style.said.scene)[0])
    subject, object_, first = (
        mostly if rng.random() < _KEPT else rng.random() < 0.5
        for mostly in (style.subject_plural, style.object_plural, style.verb_first)
    )
    # The verb is first where both are plural: German could not tell the subject from the object.
    return Clause(said, subject, object_, first or (subject and object_))


def choose_pairs(
    concept: str, n: int, *, prefixes: Sequence[str], seed: int
) -> list[tuple[Clause, Clause, str]]:
    """Pairs 0, 1, ... of a clause that has the feature of a concept and the same without it, and a prefix.

    Pairs of even and of odd number, the two halves of the analysis, are of different scenes, so they share no
    word; which scenes these are depends on the seed alone. A thing said and its prefix are of one concept,
    so that no sentence stands twice, in languages with one order neither.

    Args:
        concept: One of :data:`SYNTAX`.
        n: Number of pairs.
        prefixes: What may stand before a clause.
        seed: Chooses them.

    Raises:
        ValueError: If there are fewer.
    """
    scenes = list(SCENES)
    random.Random(f"{seed}/scenes").shuffle(scenes)
    rng = random.Random(f"{seed}/{concept}")
    queues = [_queue(concept, sorted(scenes[half::2]), prefixes=prefixes, rng=rng) for half in range(2)]
    total = 2 * min(map(len, queues))
    if n > total:
        raise ValueError(f"{concept} has {total} pairs of sentences; got per_concept {n}")
    chosen = [queues[number % 2][number // 2] for number in range(n)]
    return [(clause, clause.opposite(concept), prefix) for clause, prefix in chosen]


def _queue(
    concept: str, scenes: Sequence[str], *, prefixes: Sequence[str], rng: random.Random
) -> list[tuple[Clause, str]]:
    """Positive clauses of one half: every thing said comes once before any comes again."""
    every = [said for scene in scenes for said in things_said(scene)[1]]
    waiting: dict[Said, list[tuple[Clause, str]]] = {}
    for (at, said), (place, prefix) in product(enumerate(every), enumerate(prefixes)):
        if (at + place) % len(SYNTAX) == SYNTAX.index(concept):
            waiting.setdefault(said, []).extend(
                (clause, prefix) for clause in _positive(concept, said, prefix)
            )
    for clauses in waiting.values():
        rng.shuffle(clauses)
    queue = []
    while any(waiting.values()):
        order = rng.sample(list(waiting), len(waiting))
        queue += [waiting[said].pop() for said in order if waiting[said]]
    return queue


def _positive(concept: str, said: Said, prefix: str) -> list[Clause]:
    """With the feature of a concept, in all that may vary beside it."""
    if concept == ORDER:
        return [Clause(said, *plural, True) for plural in ((False, False), (True, False), (False, True))]
    # Of the two orders one, so that a language which has one order says nothing twice.
    first = zlib.crc32(repr((*said, prefix)).encode()) % 2 == 0
    if concept == SUBJECT:
        return [Clause(said, True, False, first), Clause(said, True, True, True)]
    return [Clause(said, False, True, first), Clause(said, True, True, True)]
