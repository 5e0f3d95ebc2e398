"""Clauses of subject, verb and object, for concepts of form: number, person and their agreement, and order.

What a clause says does not tell any of these concepts: each is a feature of the form, and a sentence that has
the feature stands beside one of the same words that lacks it. The words come from scenes, which share none.
As in the rest of the grammar forms are written in the lexicon, not made by rules.

A language whose forms do not show a concept lacks it. Chinese has no forms here: a noun is the same for one
and for many, its verb too, for all persons, and an object before its verb needs a word more. (It could show
where the place stands.)
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import NamedTuple

from babelscope.io.yaml import packaged_yaml
from babelscope.text.grammar.lexicon import LANGUAGES

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
#: How often a document's clause has a pronoun for its subject, and how often it says the place.
_PRONOUNS, _PLACES = 0.2, 0.4
#: A document keeps to a number, a person and an order, as texts speak on of the same; so often.
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
    subject_plural: bool = False
    object_plural: bool = False
    verb_first: bool = True
    """Whether the verb stands before the object, in languages that have both orders; said of clauses without
    an adjunct, others have the usual order."""
    pronoun: bool = False
    """Whether a pronoun is the subject, *I* or *he*."""
    first_person: bool = False
    adjunct: bool = False
    """Whether the place is said."""
    adjunct_plural: bool = False
    adjunct_first: bool = False
    """Whether the place stands at the beginning."""

    def opposite(self, concept: str) -> Clause:
        """The same words, with the other value of the feature of a concept."""
        name = _FEATURES[concept]
        return replace(self, **{name: not getattr(self, name)})  # type: ignore[arg-type]


_FEATURES = {
    "plural_subject": "subject_plural",
    "plural_object": "object_plural",
    "plural_adjunct": "adjunct_plural",
    "first_person_subject": "first_person",
    "fronted_adjunct": "adjunct_first",
    "verb_before_object": "verb_first",
}
#: Concepts of form; a positive sentence has the feature of the name. The last is not shown by all languages.
SYNTAX = tuple(_FEATURES)
_ORDER = "verb_before_object"


class Verb(NamedTuple):
    """Forms of a verb."""

    third: Mapping[str, tuple[str, str]]
    """Singular and plural by gender of the subject; of ``-`` if no verb agrees with it."""
    first: str


@dataclass(frozen=True)
class Forms:
    """One language.

    Attributes:
        orders: Patterns of ``{s}``, ``{v}`` and ``{o}``: ``vo``, and ``ov`` if the language has both; and
            with the place ``{a}``, ``front`` and ``later``.
        pronouns: *I* and *he*.
        subjects, objects: Per scene its nouns, singular and plural, as they stand in a clause.
        genders: Of each subject.
        verbs: Per scene its verbs.
        places: Per scene where it is, singular and plural.
    """

    orders: Mapping[str, str]
    pronouns: tuple[str, str]
    subjects: Mapping[str, tuple[tuple[str, str], ...]]
    objects: Mapping[str, tuple[tuple[str, str], ...]]
    genders: Mapping[str, tuple[str, ...]]
    verbs: Mapping[str, tuple[Verb, ...]]
    places: Mapping[str, tuple[str, str]]


def has_forms(lang: str) -> bool:
    """Whether clauses can be written in a language."""
    return lang in _WITH_FORMS


def concepts_of(lang: str) -> tuple[str, ...]:
    """The concepts that the forms of a language show."""
    if not has_forms(lang):
        return ()
    return tuple(each for each in SYNTAX if each != _ORDER or "ov" in load_forms(lang).orders)


@cache
def load_forms(lang: str) -> Forms:
    """The clauses of a language.

    Raises:
        ValueError: If there are none, or the grammar does not know the language.
    """
    if not has_forms(lang):
        known = "shows no number" if lang in LANGUAGES else "is not known"
        raise ValueError(f"language {lang!r} {known}; these have clauses: {', '.join(_WITH_FORMS)}")
    raw = packaged_yaml("babelscope.text.grammar", f"lexicons/syntax/{lang}.yaml")
    genders = raw["genders"] or "-"

    def pair(entry: str) -> tuple[str, str]:
        one, many = entry.split("/")
        return one, many

    def verb(entry: str) -> Verb:
        *third, first = entry.split("/")
        assert len(third) == 2 * len(genders), (lang, entry)
        by_gender = {gender: (third[2 * at], third[2 * at + 1]) for at, gender in enumerate(genders)}
        return Verb(by_gender, first)

    scenes = raw["scenes"]
    assert tuple(scenes) == SCENES, lang
    nouns = {name: [entry.partition("|") for entry in of["subjects"]] for name, of in scenes.items()}
    first, third = raw["pronouns"]
    return Forms(
        orders=raw["orders"],
        pronouns=(first, third),
        subjects={name: tuple(pair(text) for text, _, _ in of) for name, of in nouns.items()},
        objects={name: tuple(map(pair, of["objects"])) for name, of in scenes.items()},
        genders={name: tuple(gender or "-" for _, _, gender in of) for name, of in nouns.items()},
        verbs={name: tuple(map(verb, of["verbs"])) for name, of in scenes.items()},
        places={name: pair(of["place"]) for name, of in scenes.items()},
    )


def clause_text(clause: Clause, forms: Forms) -> str:
    """A clause in a language, without what stands around it; in its one order if it has no other."""
    scene, subject, verb, object_ = clause.said
    if clause.adjunct:
        order = "front" if clause.adjunct_first else "later"
    else:
        order = "vo" if clause.verb_first or "ov" not in forms.orders else "ov"
    noun = forms.subjects[scene][subject][clause.subject_plural]
    third, first = forms.verbs[scene][verb]
    said_of_noun = third[forms.genders[scene][subject]][clause.subject_plural]
    if clause.pronoun:
        he = next(iter(third.values()))[0]  # the first gender is the masculine
        noun, said_of_noun = (forms.pronouns[0], first) if clause.first_person else (forms.pronouns[1], he)
    text = forms.orders[order].format(
        s=noun,
        v=said_of_noun,
        o=forms.objects[scene][object_][clause.object_plural],
        a=forms.places[scene][clause.adjunct_plural],
    )
    return " ".join(text.split())


@cache
def things_said(scene: str) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """What documents say of a scene, and what is kept for analysis."""
    every = [Said(scene, *items) for items in product(range(_ITEMS), repeat=3)]
    every.sort(key=lambda said: zlib.crc32(repr(tuple(said)).encode()))
    return tuple(every[_HELD_OUT:]), tuple(every[:_HELD_OUT])


@cache
def _said_of_pronouns(scene: str) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """The same where a pronoun stands for the subject, so that the subject's noun makes no difference."""
    documents, analysed = things_said(scene)
    kept = {said[2:]: said for said in reversed(analysed)}
    return tuple(said for said in documents if said[2:] not in kept), tuple(kept.values())


def draw_style(rng: random.Random) -> Clause:
    """The scene of a document, and the form that its clauses mostly have."""
    said = Said(rng.choice(SCENES), 0, 0, 0)
    return Clause(said, **{name: rng.random() < 0.5 for name in _FEATURES.values()})


def draw_clause(rng: random.Random, style: Clause) -> Clause:
    """A clause of a document."""
    pronoun, adjunct = rng.random() < _PRONOUNS, rng.random() < _PLACES
    said = rng.choice((_said_of_pronouns if pronoun else things_said)(style.said.scene)[0])
    drawn = {
        name: getattr(style, name) if rng.random() < _KEPT else rng.random() < 0.5
        for name in _FEATURES.values()
    }
    if drawn["subject_plural"] and drawn["object_plural"]:
        drawn["verb_first"] = True  # before their verb German could not tell plural objects from subjects
    return Clause(said, pronoun=pronoun, adjunct=adjunct, **drawn)


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
    queues = [_queue(concept, sorted(scenes[half::2]), prefixes, rng) for half in range(2)]
    total = 2 * min(map(len, queues))
    if n > total:
        raise ValueError(f"{concept} has {total} pairs of sentences; got per_concept {n}")
    chosen = [queues[number % 2][number // 2] for number in range(n)]
    return [(clause, clause.opposite(concept), prefix) for clause, prefix in chosen]


def _queue(
    concept: str, scenes: Sequence[str], prefixes: Sequence[str], rng: random.Random
) -> list[tuple[Clause, str]]:
    """Positive clauses of one half: every thing said comes once before any comes again."""
    every = [said for scene in scenes for said in things_said(scene)[1]]
    of_pronouns = {said for scene in scenes for said in _said_of_pronouns(scene)[1]}
    waiting: dict[Said, list[tuple[Clause, str]]] = {}
    for (at, said), (place, prefix) in product(enumerate(every), enumerate(prefixes)):
        if (at + place) % len(SYNTAX) != SYNTAX.index(concept):
            continue
        # Of the two orders one, so that a language which has one order says nothing twice.
        first = zlib.crc32(repr((*said, prefix)).encode()) % 2 == 0
        clauses = _POSITIVE[concept](said, first)
        if clauses[0].pronoun and said not in of_pronouns:
            continue
        waiting.setdefault(said, []).extend((clause, prefix) for clause in clauses)
    for clauses_of in waiting.values():
        rng.shuffle(clauses_of)
    queue = []
    while any(waiting.values()):
        order = rng.sample(list(waiting), len(waiting))
        queue += [waiting[said].pop() for said in order if waiting[said]]
    return queue


def _subjects(said: Said, first: bool) -> list[Clause]:
    plural = Clause(said, subject_plural=True)
    return [
        replace(plural, verb_first=first),
        replace(plural, object_plural=True),
        replace(plural, adjunct=True, adjunct_first=first),
        replace(plural, adjunct=True, adjunct_first=not first, adjunct_plural=True, object_plural=True),
    ]


def _objects(said: Said, first: bool) -> list[Clause]:
    plural = Clause(said, object_plural=True)
    return [
        replace(plural, verb_first=first),
        replace(plural, subject_plural=True),
        replace(plural, adjunct=True, adjunct_first=first),
        replace(plural, adjunct=True, adjunct_first=not first, adjunct_plural=True, subject_plural=True),
    ]


def _adjuncts(said: Said, first: bool) -> list[Clause]:
    plural = Clause(said, adjunct=True, adjunct_plural=True)
    return [
        replace(
            plural, subject_plural=subject, object_plural=object_, adjunct_first=first == (subject == object_)
        )
        for subject, object_ in product((False, True), repeat=2)
    ]


def _persons(said: Said, first: bool) -> list[Clause]:
    mine = Clause(said, pronoun=True, first_person=True)
    return [
        replace(mine, verb_first=first),
        replace(mine, verb_first=not first, object_plural=True),
        replace(mine, adjunct=True, adjunct_first=first),
        replace(mine, adjunct=True, adjunct_first=not first, adjunct_plural=True, object_plural=True),
    ]


def _fronted(said: Said, first: bool) -> list[Clause]:
    front = Clause(said, adjunct=True, adjunct_first=True)
    return [
        replace(
            front, subject_plural=subject, object_plural=object_, adjunct_plural=first == (subject == object_)
        )
        for subject, object_ in product((False, True), repeat=2)
    ]


def _orders(said: Said, _: bool) -> list[Clause]:
    """Not of two plurals, see :func:`draw_clause`."""
    return [
        Clause(said, subject_plural=subject, object_plural=object_)
        for subject, object_ in ((False, False), (True, False), (False, True))
    ]


#: Per concept the clauses that have its feature, in what may vary beside it; both orders take turns.
_POSITIVE: Mapping[str, Callable[[Said, bool], list[Clause]]] = {
    "plural_subject": _subjects,
    "plural_object": _objects,
    "plural_adjunct": _adjuncts,
    "first_person_subject": _persons,
    "fronted_adjunct": _fronted,
    "verb_before_object": _orders,
}
