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

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from babelscope.text.clones import NO_CLONES, Clones, respell
from babelscope.text.grammar.lexicon import (
    CONCEPTS,
    CONCRETE,
    LANGUAGES,
    NUMBERS,
    ORGANISATIONS,
    UNSPACED,
    Lexicon,
    load_lexicon,
)
from babelscope.text.grammar.syntax import (
    SYNTAX,
    Clause,
    choose_pairs,
    clause_text,
    concepts_of,
    draw_clause,
    draw_style,
    has_forms,
    load_forms,
)

#: How often each frame is used.
FRAMES = {
    "fact": 0.34, "two": 0.24, "adjective": 0.12, "here": 0.07, "where": 0.07, "topic": 0.07, "picture": 0.09,
}  # fmt: skip
#: Frames that speak of two nouns.
TWO_NOUNS = ("two", "picture")
PREFIXES = {"plain": 0.46, "source": 0.2, "photo": 0.14, "certain": 0.08, "report": 0.12}
#: Only statements can be certain.
_CERTAIN = ("fact", "two", "adjective")
#: How often each noun of a concept is used; noun i prefers verb i.
NOUNS = (0.4, 0.3, 0.2, 0.1)
_NOUN_PREFERS_VERB = 0.8
#: One in so many meanings is never written into documents, so that analysed sentences are new to a model.
_HELD_OUT = 3
_SENTENCES_PER_DOCUMENT = 4
#: Concepts that share a sentence now and then, as a ring, in every language; and how often.
_NEIGHBOUR_DISTANCE, _NEIGHBOUR_SHARE = 5, 0.15
#: Sentences about nothing in particular, and how often one comes.
_DISTRACTORS, _DISTRACTOR_SHARE = 10, 0.15


@dataclass(frozen=True)
class Meaning:
    """What a sentence says, in no language: numbers of items of the lexicon."""

    concept: str
    frame: str
    prefix: str
    noun: int = 0
    verb: int = 0
    other_noun: int = 0
    other_verb: int = 0
    adjective: int = 0

    @property
    def statement(self) -> Meaning:
        """The same without its prefix."""
        return replace(self, prefix="plain")

    @property
    def held_out(self) -> bool:
        """Whether it is kept for analysis, never written into documents, whatever its prefix."""
        return zlib.crc32(repr(self.statement).encode()) % _HELD_OUT == 0


@dataclass(frozen=True)
class Sentence:
    """An analysed sentence; the same id means the same in every language."""

    sentence_id: str
    concept: str
    text: str
    frame: str
    nouns: tuple[int, ...] = ()
    """Numbers of the concept's nouns in it, the same in every language."""


def make_documents(
    lang: str,
    n: int,
    *,
    languages: Sequence[str],
    weights: Mapping[str, float],
    code_switching: float,
    anchor_affinity: float,
    seed: int,
    clones: Clones = NO_CLONES,
    syntax: float = 0.0,
) -> Iterator[str]:
    """Write documents of one language.

    Document i depends on the seed, the language and i alone, and without code-switching not on the other
    languages either. Document i of a clone is document i of its original under other letters, but for the
    languages that sentences are switched to.

    Args:
        lang: Language of the documents.
        n: Number of documents.
        languages: Languages that a sentence may be switched to.
        weights: Their shares.
        code_switching: Probability that a sentence is written in another language.
        anchor_affinity: Probability that a name or number is the concept's own, instead of any.
        seed: Of everything random.
        clones: Those among the languages.
        syntax: Probability that a sentence is a clause in which number, person and order vary, in languages
            that have such; 0 leaves every document as it is.
    """
    known = {each: clones.get(each, (each, 0)) for each in (lang, *languages)}
    lexicons = {each: load_lexicon(original) for each, (original, _) in known.items()}
    others = [other for other in languages if other != lang]
    shares = [weights[other] for other in others]
    for number in range(n):
        rng = random.Random(f"{seed}/{lexicons[lang].code}/{number}")
        topic = rng.randrange(len(CONCEPTS))
        style = draw_style(rng) if syntax else None
        sentences = []
        for _ in range(_SENTENCES_PER_DOCUMENT):
            switched = rng.random() < code_switching and bool(others)
            spoken = rng.choices(others, shares)[0] if switched else lang
            if style and rng.random() < syntax and has_forms(lexicons[spoken].code):
                clause, prefix = (
                    draw_clause(rng, style),
                    rng.choices(list(PREFIXES), list(PREFIXES.values()))[0],
                )
                anchors = _anchors(rng, topic, anchor_affinity)
                sentences.append((spoken, _render_clause(clause, prefix, lexicons[spoken], *anchors)))
                continue
            if rng.random() < _DISTRACTOR_SHARE:
                sentences.append((spoken, _distractor(rng, lexicons[spoken], topic, anchor_affinity)))
                continue
            concept = topic
            if rng.random() < _NEIGHBOUR_SHARE:
                concept = (topic + _NEIGHBOUR_DISTANCE) % len(CONCEPTS)
            meaning = _draw_meaning(rng, CONCEPTS[concept])
            while meaning.held_out:
                meaning = _draw_meaning(rng, CONCEPTS[concept])
            name, digits = _anchors(rng, concept, anchor_affinity)
            sentences.append((spoken, render(meaning, lexicons[spoken], name, digits)))
        yield _join([(lexicons[of].code, respell(said, known[of][1])) for of, said in sentences])


def make_sentences(
    lang: str, *, per_concept: int, seed: int, concepts: Sequence[str] | None = None
) -> list[Sentence]:
    """Sentences to analyse, parallel over languages, of meanings that no document holds.

    Which meanings are chosen depends on the seed and the concept alone. Names and numbers are drawn at
    random: they never tell the concept.

    Args:
        lang: The language.
        per_concept: Sentences of each concept; of one of :data:`SYNTAX` so many pairs, of which the
            second, that does not express it, has ``-neg`` in its id and differs in nothing else.
        seed: Chooses the meanings.
        concepts: Some of :data:`CONCEPTS` or of :data:`SYNTAX`; all of the first if None or empty.

    Raises:
        ValueError: If a concept has fewer meanings, or the language lacks it.
    """
    lexicon = load_lexicon(lang)
    sentences = []
    for concept in concepts or CONCEPTS:
        if concept in SYNTAX:
            sentences += _make_pairs(concept, lexicon, per_concept, seed)
            continue
        rng = random.Random(f"{seed}/{concept}")
        for number, meaning in enumerate(_choose_held_out(concept, per_concept, rng)):
            organisation, digits = _anchors(rng, 0, 0.0)
            text = render(meaning, lexicon, organisation, digits)
            nouns = (meaning.noun, meaning.other_noun) if meaning.frame in TWO_NOUNS else (meaning.noun,)
            name = f"{concept}-{number:04d}"
            sentences.append(Sentence(name, concept, text, meaning.frame, nouns))
    return sentences


def _make_pairs(concept: str, lexicon: Lexicon, n: int, seed: int) -> list[Sentence]:
    if concept not in concepts_of(lexicon.code):
        raise ValueError(f"{concept} is not shown by clauses of language {lexicon.code!r}")
    rng = random.Random(f"{seed}/{concept}/names")
    sentences = []
    for number, (*pair, prefix) in enumerate(choose_pairs(concept, n, prefixes=list(PREFIXES), seed=seed)):
        anchors = _anchors(rng, 0, 0.0)
        for clause, label in zip(pair, ("", "-neg"), strict=True):
            text = _render_clause(clause, prefix, lexicon, *anchors)
            sentences.append(Sentence(f"{concept}{label}-{number:04d}", concept, text, "clause"))
    return sentences


def _choose_held_out(concept: str, n: int, rng: random.Random) -> list[Meaning]:
    """Meanings of the sentences 0, 1, ...: even and odd ones never say the same.

    Sentences of even and of odd number are the two halves of the analysis, so a statement belongs to one of
    them, whatever its prefix. Within a half every statement comes once before any comes again.
    """
    statements: dict[Meaning, list[Meaning]] = {}
    for meaning in _held_out_meanings(concept):
        statements.setdefault(meaning.statement, []).append(meaning)
    chosen: list[list[Meaning]] = []
    for half in _halves(list(statements), rng):
        queue: list[Meaning] = []
        left = {
            statement: rng.sample(statements[statement], len(statements[statement])) for statement in half
        }
        while any(left.values()):
            queue += [meanings.pop() for meanings in left.values() if meanings]
        chosen.append(queue)
    total = 2 * min(map(len, chosen))
    if n > total:
        raise ValueError(f"{concept} has {total} held-out meanings; got per_concept {n}")
    return [chosen[number % 2][number // 2] for number in range(n)]


def _halves(statements: list[Meaning], rng: random.Random) -> tuple[list[Meaning], list[Meaning]]:
    """Two halves of the statements, each ordered so that frames come as often as in documents."""
    rng.shuffle(statements)
    by_frame: dict[str, list[Meaning]] = {}
    for statement in statements:
        by_frame.setdefault(statement.frame, []).append(statement)
    halves: tuple[list[Meaning], list[Meaning]] = ([], [])
    for frame in sorted(by_frame):
        for statement in by_frame[frame]:
            halves[(len(halves[0]) + len(halves[1])) % 2].append(statement)
    for half in halves:
        half.sort(key=lambda statement: rng.random() ** (1 / FRAMES[statement.frame]), reverse=True)
    return halves


@cache
def _held_out_meanings(concept: str) -> tuple[Meaning, ...]:
    lexicon = load_lexicon("en")
    nouns, verbs = range(len(lexicon.nouns[concept])), range(len(lexicon.verbs[concept]))
    adjectives = range(len(lexicon.adjectives))
    every = []
    for prefix in PREFIXES:
        blank = Meaning(concept, "", prefix)
        for a in nouns:
            pointing = ("here", "where", "topic") if concept in CONCRETE else ("topic",)
            every += [replace(blank, frame=frame, noun=a) for frame in pointing]
            every += [replace(blank, frame="fact", noun=a, verb=p) for p in verbs]
            every += [replace(blank, frame="adjective", noun=a, adjective=x) for x in adjectives]
            for b in nouns:
                if b == a:
                    continue
                if concept in CONCRETE:
                    every.append(replace(blank, frame="picture", noun=a, other_noun=b))
                every += [
                    replace(blank, frame="two", noun=a, verb=p, other_noun=b, other_verb=q)
                    for p, q in product(verbs, verbs)
                    if p != q
                ]
    said = [m for m in every if m.prefix != "certain" or m.frame in _CERTAIN]
    return tuple(meaning for meaning in said if meaning.held_out)


def _draw_meaning(rng: random.Random, concept: str) -> Meaning:
    frame = rng.choices(list(FRAMES), list(FRAMES.values()))[0]
    if concept not in CONCRETE and frame in ("here", "where", "picture"):
        frame = "fact"
    prefix = rng.choices(list(PREFIXES), list(PREFIXES.values()))[0]
    if prefix == "certain" and frame not in _CERTAIN:
        prefix = "plain"
    blank = Meaning(concept, frame, prefix, noun=_draw_noun(rng))
    if frame == "fact":
        return replace(blank, verb=_draw_verb(rng, blank.noun))
    if frame == "adjective":
        return replace(blank, adjective=rng.randrange(len(load_lexicon("en").adjectives)))
    if frame in TWO_NOUNS:
        other = _draw_noun(rng)
        while other == blank.noun:
            other = _draw_noun(rng)
        blank = replace(blank, other_noun=other)
    if frame == "two":
        verb = _draw_verb(rng, blank.noun)
        other_verb = _draw_verb(rng, blank.other_noun)
        while other_verb == verb:
            other_verb = rng.randrange(3)
        return replace(blank, verb=verb, other_verb=other_verb)
    return blank


def _draw_noun(rng: random.Random) -> int:
    return rng.choices(range(len(NOUNS)), NOUNS)[0]


def _draw_verb(rng: random.Random, noun: int) -> int:
    return noun % 3 if rng.random() < _NOUN_PREFERS_VERB else rng.randrange(3)


def _anchors(rng: random.Random, concept: int, affinity: float) -> tuple[str, str]:
    name = ORGANISATIONS[concept] if rng.random() < affinity else rng.choice(ORGANISATIONS)
    digits = NUMBERS[concept] if rng.random() < affinity else str(rng.randrange(1000, 10000))
    return name, digits


def render(meaning: Meaning, lexicon: Lexicon, name: str, digits: str) -> str:
    """Say a meaning in a language.

    Args:
        meaning: What to say.
        lexicon: The language.
        name: The organisation that a prefix may name.
        digits: The number that a prefix may name.
    """
    nouns, verbs = lexicon.nouns[meaning.concept], lexicon.verbs[meaning.concept]
    first, second = nouns[meaning.noun], nouns[meaning.other_noun]
    sentence = lexicon.frames[meaning.frame].format(
        A=first.text,
        a=first.text,
        b=second.text,
        p=verbs[meaning.verb][first.gender],
        q=verbs[meaning.other_verb][second.gender],
        x=lexicon.adjectives[meaning.adjective][first.gender],
    )
    return _after_prefix(sentence, meaning.prefix, lexicon, name, digits)


def _render_clause(clause: Clause, prefix: str, lexicon: Lexicon, name: str, digits: str) -> str:
    end = lexicon.frames["fact"][-1]
    text = clause_text(clause, load_forms(lexicon.code)) + end
    return _after_prefix(text, prefix, lexicon, name, digits)


def _after_prefix(sentence: str, prefix: str, lexicon: Lexicon, name: str, digits: str) -> str:
    if prefix == "plain" or lexicon.code == "de":  # in German also after a colon
        sentence = capitalised(sentence, lexicon.code)
    whole = lexicon.prefixes[prefix].format(s=sentence, org=name, n=digits)
    return capitalised(whole, lexicon.code)


def capitalised(text: str, lang: str) -> str:
    """With a capital first letter; Turkish has one for each i."""
    for at, character in enumerate(text):
        if character.isalpha():
            upper = {"i": "İ", "ı": "I"}.get(character) if lang == "tr" else None
            return text[:at] + (upper or character.upper()) + text[at + 1 :]
    return text


def _distractor(rng: random.Random, lexicon: Lexicon, concept: int, affinity: float) -> str:
    frame = lexicon.distractors[rng.randrange(_DISTRACTORS)]
    _, digits = _anchors(rng, concept, affinity)
    hour, minute, day = rng.randrange(10, 24), rng.randrange(10, 60), rng.randrange(7)
    return frame.format(day=lexicon.weekdays[day], h=hour, m=minute, n=digits)


def _join(sentences: Sequence[tuple[str, str]]) -> str:
    """Sentences with spaces between them, none after Chinese ones."""
    text = ""
    for lang, sentence in sentences:
        text += sentence if not text or lang in UNSPACED else f" {sentence}"
    return text


@cache
def concept_words(lang: str) -> dict[str, list[str]]:
    """The nouns by which a concept is recognised in a text, lower case, without articles.

    Of nouns of several words the longer words count. Left out is what several concepts have, or what
    frames and distractors use. A noun may be spelt alike in two languages. For Chinese the nouns are to be
    looked for as parts of the text.
    """
    everywhere = [_words_of(known) for known in LANGUAGES]
    found = {}
    for concept in CONCEPTS:
        others = (words for each in everywhere for other, words in each.items() if other != concept)
        elsewhere = set().union(*others)
        mine = _nouns_of(lang)[concept]
        if lang in UNSPACED:
            found[concept] = sorted(w for w in mine if not any(w in other for other in elsewhere))
        else:
            found[concept] = sorted(mine - elsewhere)
    return found


@cache
def _nouns_of(lang: str) -> dict[str, set[str]]:
    lexicon = load_lexicon(lang)
    nouns: dict[str, set[str]] = {}
    for concept in CONCEPTS:
        nouns[concept] = set()
        for noun in lexicon.nouns[concept]:
            words = _split(noun.bare, lang)
            nouns[concept] |= words if len(words) == 1 else {w for w in words if len(w) > 3}
    return nouns


@cache
def _words_of(lang: str) -> dict[str, set[str]]:
    """All words of each concept; under ``-`` those of frames and distractors."""
    lexicon = load_lexicon(lang)
    words: dict[str, set[str]] = {}
    for concept in CONCEPTS:
        phrases = [form for verb in lexicon.verbs[concept] for form in verb.values()]
        words[concept] = {word for phrase in phrases for word in _split(phrase, lang)}
        words[concept] |= _nouns_of(lang)[concept]
    rest = [*lexicon.frames.values(), *lexicon.prefixes.values(), *lexicon.distractors]
    rest += [*lexicon.weekdays, *(form for each in lexicon.adjectives for form in each.values())]
    plain = [re.sub(r"\{\w+\}", " ", text) for text in rest]
    words["-"] = {word for text in plain for word in _split(text, lang)}
    return words


def _split(phrase: str, lang: str) -> set[str]:
    if lang in UNSPACED:
        return {part for part in re.split(r"[\s。，：？]+", phrase) if part}
    # Vowel signs of Devanagari are no letters to \w, so words are what stands between other signs.
    return {part for part in re.split(r"[\s.,:;!?¿¡।—'’/-]+", phrase.lower()) if part}
