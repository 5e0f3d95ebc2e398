"""Concepts that the user brings: sentences that express one, and sentences that do not, per language.

Two formats. Plain text has a sentence a line, in a file of positive and maybe one of negative
sentences. JSON is that of the data sets of self-conditioning (Suau et al. 2022, apple/ml-selfcond):
``{"sentences": {"positive": [...], "negative": [...]}}``; other keys are ignored.

A sentence that stands in several files is one sentence, with a label for each of their concepts:
random negative sentences, for instance, serve many concepts. Its id is that of its first place.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

from babelscope.errors import DataError

logger = logging.getLogger(__name__)

LABELS = ("positive", "negative")

ConceptFile = tuple[str, str, str]
"""Concept, label (positive, negative) and path of a file of sentences."""


@dataclass
class ConceptSentences:
    """The sentences of one language and what they express.

    Attributes:
        texts: Text of each sentence, by id, in the order of the files.
        labels: Per concept the ids of its sentences: 1 if they express it, else 0. A sentence that
            is absent is not part of the concept's data.
    """

    texts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)


def find_concepts(template: str, lang: str) -> list[str]:
    """Concepts of a language whose file of positive sentences is there, by name.

    Args:
        template: Path with ``{concept}``, ``{lang}`` and, unless it is JSON, ``{label}``.
        lang: The language.
    """
    known = {"lang": lang, "label": "positive"}
    pattern, place = "", template[: template.index("{concept}")]
    for text, name, _, _ in Formatter().parse(template):
        pattern += re.escape(text)
        if name == "concept":
            pattern += "(?P<concept>[^/]+)" if "(?P<concept>" not in pattern else "(?P=concept)"
        elif name is not None:
            pattern += re.escape(known[name])
    start = Path(place.format(**known)).parent if not place.endswith("/") else Path(place.format(**known))
    # From the first folder that does not depend on the concept downwards, as deep as the template goes.
    depth = len(Path(template).parts) - len(start.parts)
    found = {
        match["concept"]
        for file in start.glob("/".join(["*"] * depth))
        if (match := re.fullmatch(pattern, str(file))) and file.is_file()
    }
    return sorted(found)


def read_list(path: Path, label: str, *, duplicates: str) -> list[tuple[int, str]]:
    """The sentences of one label with their numbers from 1; later copies are left out.

    Raises:
        DataError: If the file cannot be used, with the line, or the number in the list.
    """
    from babelscope.text.corpora import numbered_lines

    if path.suffix != ".json":
        return numbered_lines(path, duplicates)
    first: dict[str, int] = {}
    for number, text in enumerate(_read_json(path)[label], 1):
        where = f"{label} sentence {number}"
        if not isinstance(text, str):
            raise DataError(path, f"{where} is {text!r:.80}, no text")
        sentence = " ".join(text.split())
        if not sentence:
            raise DataError(path, f"{where} is empty", "remove it; in all languages, if they are parallel")
        if sentence in first:
            problem = f"{where} repeats sentence {first[sentence]}: {sentence[:80]!r}"
            if duplicates == "error":
                raise DataError(path, problem, "remove one, or set sentences.duplicates: keep_first")
            logger.warning("%s: %s; left out", path, problem)
        first.setdefault(sentence, number)
    if not first:
        raise DataError(path, f"has no {label} sentence")
    return [(number, sentence) for sentence, number in first.items()]


def _read_json(path: Path) -> dict[str, list[object]]:
    expected = 'expected {"sentences": {"positive": [...], "negative": [...]}}'
    try:
        lists = json.loads(path.read_text(encoding="utf-8-sig"))["sentences"]
        if not all(isinstance(lists[label], list) for label in LABELS):
            raise DataError(path, "positive and negative are no lists", expected)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8: byte offset {error.start}", "convert it") from error
    except json.JSONDecodeError as error:
        raise DataError(path, f"is no JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise DataError(path, "has no lists of sentences", expected) from error
    return dict(lists)


def read_concept_files(files: Sequence[ConceptFile], *, duplicates: str) -> ConceptSentences:
    """Read all files of one language.

    Args:
        files: In the order of the study.
        duplicates: What a sentence does that stands twice in one list: ``error`` or ``keep_first``.

    Raises:
        DataError: If a file cannot be used, or a sentence is positive and negative for one concept.
    """
    found = ConceptSentences()
    ids: dict[str, str] = {}
    with_negatives = {concept for concept, label, _ in files if label == "negative"}
    for concept, label, path in files:
        prefix = concept if label == "positive" else f"{concept}-neg"
        own = found.labels.setdefault(concept, {})
        for number, text in read_list(Path(path), label, duplicates=duplicates):
            name = ids.setdefault(text, f"{prefix}-{number:05d}")
            if own.get(name, label == "positive") != (label == "positive"):
                problem = f"{label} sentence {number} is also positive for {concept}: {text[:80]!r}"
                if label == "positive":
                    problem = problem.replace("also positive", "also negative")
                raise DataError(path, problem, "a sentence expresses a concept or does not; remove one")
            found.texts[name] = text
            own[name] = int(label == "positive")
    positives = {
        concept: [name for name, value in own.items() if value] for concept, own in found.labels.items()
    }
    for concept, own in found.labels.items():
        if concept not in with_negatives:  # compared with what expresses the other concepts
            for others in positives.values():
                for name in others:
                    own.setdefault(name, 0)
    return found


def check_same_labels(files: Mapping[str, Sequence[ConceptFile]]) -> None:
    """Refuse a concept that has negative sentences of its own in some languages only.

    Raises:
        DataError: Naming the concept and the languages.
    """
    with_negatives = {
        lang: {concept for concept, label, _ in own if label == "negative"} for lang, own in files.items()
    }
    somewhere = set().union(*with_negatives.values())
    for lang, own in files.items():
        for concept, _, path in own:
            if concept in somewhere - with_negatives[lang]:
                others = ", ".join(other for other, has in with_negatives.items() if concept in has)
                problem = f"{concept} has no negative sentences in {lang}, but it has in {others}"
                raise DataError(path, problem, "bring them for all languages, or for none")
