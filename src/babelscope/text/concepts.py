"""Concepts: which sentence expresses what, by the grammar, by words, or by files that the user brings.

Concept files have two formats. Plain text has a sentence a line, in a file of positive and maybe one of
negative sentences. JSON is that of the data sets of self-conditioning (Suau et al. 2022,
apple/ml-selfcond): ``{"sentences": {"positive": [...], "negative": [...]}}``; other keys are ignored.

A sentence that stands in several files is one sentence, with a label for each of their concepts:
random negative sentences, for instance, serve many concepts. Its id is that of its first place.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babelscope.errors import TextError
from babelscope.io.files import fitting_fields
from babelscope.io.json import parse_json
from babelscope.text.clones import NO_CLONES, Clones
from babelscope.text.grammar.generate import concept_words
from babelscope.text.labelled import read_labelled
from babelscope.text.lines import (
    check_distinct,
    check_lines,
    check_utf8,
    iter_lines,
    line_id,
    read_tsv,
    text_file,
    write_tsv,
)
from babelscope.text.plain import fault_of
from babelscope.text.sentence_groups import Grouping, halves_of_groups, read_groups
from babelscope.text.word_groups import split_by_words, word_families
from babelscope.text.words import WordFinder, fold

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("positive", "negative")

#: Sentences of each label that every half of the sentences needs.
_PER_HALF = 2

ConceptFile = tuple[str, ...]
"""Concept, label (positive, negative) and path of a file of sentences; of a labelled table also columns, as
:func:`babelscope.text.labelled.read_labelled` takes them."""


@dataclass
class ConceptSentences:
    """The sentences of one language and what they express.

    Attributes:
        texts: Text of each sentence, by id, in the order of the files.
        labels: Per concept the ids of its sentences: 1 if they express it, else 0. A sentence that
            is absent is not part of the concept's data.
        grouping: Its halves.
    """

    texts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    grouping: Grouping = field(default_factory=Grouping)


def find_concepts(template: str, lang: str) -> list[str]:
    """Concepts of a language whose file of positive sentences is there, by name.

    Args:
        template: Path with ``{concept}``, ``{lang}``, unless it is JSON ``{label}``, and maybe ``{group}``.
        lang: The language.

    Raises:
        TextError: If a concept stands in two groups.
    """
    return sorted(groups_of_concepts(template, lang))


def groups_of_concepts(template: str, lang: str) -> dict[str, str]:
    """The same with the ``{group}`` of each, any folder or part of a name; empty if the path has none."""
    fields = ("concept", "group") if "{group}" in template else ("concept",)
    found: dict[str, str] = {}
    there = fitting_fields(template, fields, lang=lang, label="positive")
    for (concept, *group), path in sorted(there.items()):
        if Path(path).is_file():
            if concept in found:
                problem = f"{concept} stands in {found[concept]} and in {group[0]}"
                raise TextError(path, problem, "a concept has one file in each language: rename one")
            found[concept] = "".join(group)
    return found


def _sentences_of(file: ConceptFile, *, duplicates: str) -> list[tuple[int, str]]:
    concept, label, path, *columns = file
    if not columns:
        return read_list(Path(path), label, duplicates=duplicates)
    texts = read_labelled(Path(path), columns).get(concept, [])
    return check_distinct(Path(path), texts, duplicates=duplicates, label=concept)


def read_list(path: Path, label: str, *, duplicates: str) -> list[tuple[int, str]]:
    """The sentences of one label with their numbers from 1; later copies are left out.

    Raises:
        TextError: If the file cannot be used, with the line, or the number in the list.
    """
    if path.suffix != ".json":
        return check_lines(path, duplicates=duplicates)
    texts = _read_json(path)[label]
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise TextError(path, f"{label} sentence {number} is {text!r:.80}, no text")
        if fault := fault_of(text):
            raise TextError(path, f"{label} sentence {number} holds {fault}: {text!r:.80}", "take it out")
    sentences = (" ".join(str(text).split()) for text in texts)
    return check_distinct(path, sentences, duplicates=duplicates, label=label)


def _read_json(path: Path) -> dict[str, list[object]]:
    expected = 'expected {"sentences": {"positive": [...], "negative": [...]}}'
    try:
        lists = parse_json(check_utf8(path).removeprefix("\ufeff"))["sentences"]
        if not all(isinstance(lists[label], list) for label in LABELS):
            raise TextError(path, "positive and negative are no lists", expected)
    except json.JSONDecodeError as error:
        raise TextError(path, f"is no JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise TextError(path, "has no lists of sentences", expected) from error
    return dict(lists)


def named_in_json(path: Path) -> str:
    """The concept that a file in JSON says that it is of; empty if it says none."""
    told = parse_json(check_utf8(path).removeprefix("\ufeff")).get("concept")
    return told if isinstance(told, str) else ""


def read_concept_files(
    files: Sequence[ConceptFile], *, duplicates: str, groups: str | None = None
) -> ConceptSentences:
    """Read all files of one language.

    Args:
        files: In the order of the study.
        duplicates: What a sentence does that stands twice in one list: ``error`` or ``keep_first``.
        groups: Path of the groups of each list, with {concept} and {label}. A sentence that stands in several
            lists is of the group of its first place.

    Raises:
        TextError: If a file cannot be used, or a sentence is positive and negative for one concept.
    """
    found = ConceptSentences()
    ids: dict[str, str] = {}
    group_of: dict[str, str] = {}
    in_files: list[str] = []
    with_negatives = {concept for concept, label, *_ in files if label == "negative"}
    for file in files:
        concept, label, path, *_ = file
        prefix, value = (concept, 1) if label == "positive" else (f"{concept}-neg", 0)
        own = found.labels.setdefault(concept, {})
        in_file = _groups_of_list(groups, concept, label, Path(path))
        in_files += in_file
        for number, text in _sentences_of(file, duplicates=duplicates):
            name = ids.setdefault(text, f"{prefix}-{number:05d}")
            if own.setdefault(name, value) != value:
                other = LABELS[value]
                problem = f"{label} sentence {number} is also {other} for {concept}: {text[:80]!r}"
                raise TextError(path, problem, "a sentence expresses a concept or does not; remove one")
            found.texts[name] = text
            if in_file:
                group_of.setdefault(name, in_file[number - 1])
    if groups is not None:
        found.grouping = Grouping(group_of, halves_of_groups(in_files, groups))
    positive = [name for own in found.labels.values() for name, value in own.items() if value]
    for concept, own in found.labels.items():
        if concept not in with_negatives:  # compared with what expresses the other concepts
            for name in positive:
                own.setdefault(name, 0)
    return found


def _groups_of_list(groups: str | None, concept: str, label: str, path: Path) -> list[str]:
    """Group of each sentence of a list; none if there are no groups."""
    if groups is None:
        return []
    n_sentences = len(_read_json(path)[label]) if path.suffix == ".json" else sum(1 for _ in iter_lines(path))
    return read_groups(Path(groups.format(concept=concept, label=label)), n_sentences, path)


def check_same_labels(files: Mapping[str, Sequence[ConceptFile]]) -> None:
    """Refuse a concept that has negative sentences of its own in some languages only.

    Raises:
        TextError: Naming the concept and the languages.
    """
    with_negatives = {
        lang: {concept for concept, label, *_ in own if label == "negative"} for lang, own in files.items()
    }
    somewhere = set().union(*with_negatives.values())
    for lang, own in files.items():
        for concept, _, path, *_ in own:
            if concept in somewhere - with_negatives[lang]:
                others = ", ".join(other for other, has in with_negatives.items() if concept in has)
                problem = f"{concept} has no negative sentences in {lang}, but it has in {others}"
                raise TextError(path, problem, "bring them for all languages, or for none")


def label_sentences(
    source: str,
    sentences: Path,
    out: Path,
    *,
    label_text: Path | None,
    words: Mapping[str, Sequence[str]],
    files: Sequence[ConceptFile],
    label_language: str = "",
    duplicates: str = "error",
) -> None:
    """Write which sentences express which concept: ``concept, sentence_id, half, label, words, word_group``.

    A sentence that is absent for a concept is not part of that concept's data. ``words`` are the words of the
    concept that a positive sentence is known to hold: of the grammar's meanings its nouns by number, of word
    lists those of the language of the lists; of concept files none are known. ``word_group`` splits the
    positive sentences in two, 1 and 2, that share none of them, the same in all languages; 0 is neither.

    Args:
        source: grammar, words or files.
        sentences: The analysed sentences of one language.
        out: TSV file.
        label_text: words: the file whose line i says what line i of every language expresses.
        words: words: per concept its words.
        files: files: the language's concept files.
        label_language: words: their language, and that of the label text.
        duplicates: files: as for :func:`prepare_sentences`.
    """
    read = read_tsv(sentences)
    half_by_id = {row["sentence_id"]: row["half"] for row in read}
    ids = list(half_by_id)
    words_of: dict[str, dict[str, frozenset[str]]] = {}
    if source == "files":
        labels = read_concept_files(files, duplicates=duplicates).labels
    elif source == "words":
        assert label_text is not None
        labels = {}
        for concept, lines in match_words(list(iter_lines(label_text)), words, label_language).items():
            words_of[concept] = {line_id(line + 1): of_line for line, of_line in lines.items()}
            labels[concept] = {name: int(name in words_of[concept]) for name in ids}
    else:
        of = {name: name.rpartition("-")[0] for name in ids}
        lists = dict.fromkeys(of.values())
        concepts = [concept for concept in lists if not concept.endswith("-neg")]
        labels = {concept: {name: int(of[name] == concept) for name in ids} for concept in concepts}
        for concept in concepts:  # one with negative sentences of its own is compared with these alone
            if (negative := f"{concept}-neg") in lists:
                both = (concept, negative)
                labels[concept] = {name: v for name, v in labels[concept].items() if of[name] in both}
        for row in read:
            own_words = frozenset((row.get("words") or "").split())
            words_of.setdefault(of[row["sentence_id"]], {})[row["sentence_id"]] = own_words
    rows = []
    for concept, own in labels.items():
        known = words_of.get(concept, {})
        groups = dict(zip(known, split_by_words(list(known.values()), least=_PER_HALF), strict=True))
        for name in ids:
            if name in own:
                held = " ".join(sorted(known.get(name, ()))) if own[name] else ""
                rows.append((concept, name, half_by_id[name], own[name], held, groups.get(name, 0)))
    write_tsv(out, ("concept", "sentence_id", "half", "label", "words", "word_group"), rows)


def match_words(
    lines: Sequence[str], words: Mapping[str, Sequence[str]], lang: str = ""
) -> dict[str, dict[int, frozenset[str]]]:
    """Lines that hold one of a concept's words, by :mod:`babelscope.text.words`; and these words, folded.

    Forms of one word count as one, see :func:`babelscope.text.word_groups.word_families`.

    Args:
        lines: Sentences.
        words: Per concept its words.
        lang: Language of both.
    """
    finder = WordFinder(words, lang)
    families = {
        concept: word_families([fold(form, lang) for form in forms]) for concept, forms in words.items()
    }
    found: dict[str, dict[int, set[str]]] = {concept: {} for concept in words}
    for number, line in enumerate(lines):
        for each in finder.find(line):
            word = families[each.concept].get(each.form, each.form)
            found[each.concept].setdefault(number, set()).add(word)
    return {concept: {at: frozenset(of) for at, of in lines.items()} for concept, lines in found.items()}


def check_concepts(
    files: Mapping[str, Path],
    label_text: Path,
    words: Mapping[str, Sequence[str]],
    needed: int,
    *,
    label_language: str = "",
    duplicates: str = "error",
    groups: Path | None = None,
) -> None:
    """Refuse concepts with too few positive or negative lines in some language; the lines are checked too.

    Args:
        files: Per language its parallel lines.
        label_text: The lines that the words are looked for in.
        words: Per concept its words.
        needed: Positive lines that a concept needs.
        label_language: Language of the words.
        duplicates: ``error``, or ``keep_first``: later copies of a line do not count.
        groups: File whose line i names the group of line i.

    Raises:
        TextError: As :func:`babelscope.text.lines.check_lines` and :meth:`Grouping.of_lines`; else naming
            concepts, languages, how many sentences there are and how many are needed.
    """
    label_lines = list(iter_lines(label_text))
    matches = match_words(label_lines, words, label_language)
    grouping = Grouping.of_lines(groups, len(label_lines), label_text)
    problems = []
    for lang, path in files.items():
        kept = {number for number, _ in check_lines(path, duplicates=duplicates)}
        for concept, lines in matches.items():
            positive = kept & {line + 1 for line in lines}
            ids, others = list(map(line_id, positive)), list(map(line_id, kept - positive))
            problems += _too_few(concept, lang, ids, others, needed, grouping.half_of)
    _raise_too_few(problems, grouped=groups is not None)


def check_concept_files(
    files: Mapping[str, Sequence[ConceptFile]],
    needed: int,
    *,
    duplicates: str = "error",
    groups: str | None = None,
) -> None:
    """The same for concept files (per language); their sentences are checked as well.

    Raises:
        TextError: As :func:`check_concepts`; also if a concept has a file of
            negative sentences in some languages only.
    """
    check_same_labels(files)
    problems = []
    for lang, own in files.items():
        read = read_concept_files(own, duplicates=duplicates, groups=groups)
        for concept, labels in read.labels.items():
            positive = [name for name, label in labels.items() if label]
            negative = [name for name, label in labels.items() if not label]
            problems += _too_few(concept, lang, positive, negative, needed, read.grouping.half_of)
    _raise_too_few(problems, grouped=groups is not None)


def _too_few(
    concept: str,
    lang: str,
    positive: Sequence[str],
    negative: Sequence[str],
    needed: int,
    half_of: Callable[[str], str],
) -> list[str]:
    if len(positive) < needed:
        return [f"{concept} in {lang}: {len(positive)} positive sentences, {needed} needed"]
    for label, ids in (("positive", positive), ("negative", negative)):
        halves = Counter(map(half_of, ids))
        if min(halves["a"], halves["b"]) < _PER_HALF:
            counts = f"{halves['a']} and {halves['b']} {label} sentences in the halves a and b"
            return [f"{concept} in {lang}: {counts}, {_PER_HALF} needed in each"]
    return []


def _raise_too_few(problems: Sequence[str], *, grouped: bool) -> None:
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        halves = "; a sentence with an even number is in half a, the others in half b"
        if grouped:
            halves = "; all sentences of a group (sentences.groups) are in one half"
        if not any("halves" in problem for problem in problems):
            halves = ""
        hint = (
            "add sentences or words, lower concepts.min_positive, or leave the concept out with "
            f"concepts.ids{halves}"
        )
        raise TextError("concepts", "; ".join(problems[:10]) + more, hint)


def fewest_in_a_half(
    labels: Mapping[str, Mapping[str, int]], half_of: Callable[[str], str]
) -> tuple[int, int]:
    """Positive and negative sentences in the half that has the fewest positive ones, of any concept.

    Args:
        labels: Per concept the ids of its sentences: 1 if they express it, else 0.
        half_of: The half of a sentence.
    """
    counts = [Counter((half_of(name), value) for name, value in own.items()) for own in labels.values()]
    return min((each[half, 1], each[half, 0]) for each in counts for half in "ab")


def count_concepts(files: Mapping[str, Path]) -> pd.DataFrame:
    """Sentences per language and concept.

    Args:
        files: Per language its labels.

    Returns:
        Columns ``lang, concept, n_positive, n_negative, n_positive_a, n_positive_b``.
    """
    import pandas as pd

    none = dict.fromkeys(("n_positive", "n_negative", "n_positive_a", "n_positive_b"), 0)
    counts: dict[tuple[str, str], Counter[str]] = {}
    for lang, path in files.items():
        for row in read_tsv(path):
            counter = counts.setdefault((lang, row["concept"]), Counter(none))
            if row["label"] == "1":
                counter.update(["n_positive", f"n_positive_{row['half']}"])
            else:
                counter.update(["n_negative"])
    return pd.DataFrame([{"lang": lang, "concept": name, **each} for (lang, name), each in counts.items()])


def positive_sentences(
    labels: Path, sentences: Path, *, half: str | None = None
) -> dict[str, list[tuple[str, str]]]:
    """The sentences that express each concept, in the order of the language: id and text.

    Args:
        labels: A language's table of ``concept, sentence_id, half, label``.
        sentences: Its table of ``sentence_id, half, text``.
        half: Of the concept's sentences, ``a`` or ``b``; both by default.
    """
    expressed: dict[str, set[str]] = {}
    for row in read_tsv(labels):
        if row["label"] == "1" and half in (None, row["half"]):
            expressed.setdefault(row["concept"], set()).add(row["sentence_id"])
    texts = [(row["sentence_id"], row["text"]) for row in read_tsv(sentences)]
    return {
        concept: [(name, text) for name, text in texts if name in ids] for concept, ids in expressed.items()
    }


def words_of_concepts(
    source: str,
    *,
    words: Mapping[str, Mapping[str, Sequence[str]]],
    concepts: Sequence[str],
    languages: Sequence[str],
    clones: Clones = NO_CLONES,
) -> dict[str, dict[str, list[str]]]:
    """The words by which a concept is found in text: concept -> language -> words.

    From the grammar, words of every language, and none of concepts of form; else those of the languages that
    word lists name, if there are lists. Those of a clone are its original's, in their own letters.

    Args:
        source: grammar, words or files.
        words: words, files: per concept and language its words.
        concepts: The concepts.
        languages: grammar: the languages.
        clones: Clones of the study.
    """
    originals = {clone: original for clone, (original, _) in clones.items()}
    found: dict[str, dict[str, list[str]]] = {concept: {} for concept in concepts}
    if source == "grammar":
        spoken = {lang: concept_words(originals.get(lang, lang)) for lang in languages}
        found = {
            concept: {lang: words_of[concept] for lang, words_of in spoken.items() if concept in words_of}
            for concept in concepts
        }
    else:
        for concept, forms in words.items():
            named = {**forms, **{clone: forms[of] for clone, of in originals.items() if of in forms}}
            found[concept] = {
                lang: [fold(form, originals.get(lang, lang)) for form in own] for lang, own in named.items()
            }
    return found


def write_concept_words(source: str, out: Path, **about: Any) -> None:
    """Write the words by which a concept is found in generated text.

    Args:
        source: grammar, words or files.
        out: JSON file.
        about: As :func:`words_of_concepts` has it.
    """
    with text_file(out) as file:
        file.write(json.dumps(words_of_concepts(source, **about), ensure_ascii=False, indent=1) + "\n")
