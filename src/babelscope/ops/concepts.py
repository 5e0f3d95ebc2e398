"""What the concepts of a study have in its text, before any job runs; the tables that its report has too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from babelscope.study.config import Study
from babelscope.text.choosing import compare_concepts, count_words
from babelscope.text.concepts import count_concepts, label_sentences, positive_sentences
from babelscope.text.lines import iter_lines
from babelscope.text.sentences import prepare_sentences

if TYPE_CHECKING:
    import pandas as pd

#: Pairs of concepts that are shown.
_MOST = 20


@dataclass(frozen=True)
class ConceptTables:
    """The tables ``concepts``, ``concept_words`` and ``concept_pairs`` of docs/formats.md."""

    counts: pd.DataFrame
    words: pd.DataFrame
    pairs: pd.DataFrame


def look_at_concepts(study: Study) -> ConceptTables:
    """Prepare and label the sentences of all languages as the jobs of the study do, and count.

    Raises:
        TextError: If the text cannot be used.
    """
    sentences, labels = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for lang in study.languages:
            sentences[lang], labels[lang] = (Path(folder, f"{kind}-{lang}.tsv") for kind in "sl")
            _prepare(study, lang, sentences[lang], labels[lang])
        positive = {
            lang: {
                concept: [name for name, _ in own]
                for concept, own in positive_sentences(labels[lang], sentences[lang]).items()
            }
            for lang in study.languages
        }
        counts = count_concepts(labels)
    words, lang = study.word_lists, study.concepts.label_language
    text = study.label_files(study.languages[0]) if words else []
    lines = [line for file in text for line in iter_lines(Path(file))]
    return ConceptTables(counts, count_words(lines, words, lang), compare_concepts(positive, words, lang))


def _prepare(study: Study, lang: str, sentences: Path, labels: Path) -> None:
    source, parallel = study.sentences.source, study.sentences.source == "parallel"
    prepare_sentences(
        source,
        study.original(lang),
        sentences,
        text=Path(study.sentence_files(lang)[0]) if parallel else None,
        files=study.concept_files(lang),
        concepts=study.concept_ids,
        per_concept=study.sentences.per_concept,
        duplicates=study.sentences.duplicates,
        seed=study.seed,
        letters=study.letters(lang),
        groups=study.sentence_groups,
    )
    by_words = study.concepts.source == "words"
    label_sentences(
        study.concepts.source,
        sentences,
        labels,
        label_text=Path(study.label_files(lang)[0]) if by_words else None,
        words=study.word_lists,
        files=study.concept_files(lang),
        label_language=study.concepts.label_language,
        duplicates=study.sentences.duplicates,
    )


def concepts_text(found: ConceptTables, *, needed: int) -> str:
    """The tables for a terminal.

    Args:
        found: The tables.
        needed: Positive sentences that a concept needs.
    """
    parts = [f"positive sentences (in half a + b); ! has less than the {needed} of concepts.min_positive", ""]
    cells: dict[str, dict[str, str]] = {}
    for row in _rows(found.counts):
        mark = " !" if row.n_positive < needed else ""
        cells.setdefault(row.concept, {})[row.lang] = (
            f"{row.n_positive} ({row.n_positive_a} + {row.n_positive_b}){mark}"
        )
    langs = list(dict.fromkeys(found.counts["lang"]))
    body = [[concept, *(of.get(lang, "0 !") for lang in langs)] for concept, of in cells.items()]
    parts.append(tabulate(body, ["concept", *langs], tablefmt="plain", disable_numparse=True))
    if len(found.words):
        parts += ["", "sentences per word of the lists, in their language", ""]
        for concept, rows in found.words.groupby("concept", sort=False):
            said = ", ".join(f"{row.word} {row.n_sentences}" for row in _rows(rows))
            parts.append(f"{concept}: {said}")
        never = found.words[found.words["n_sentences"] == 0]
        said = ", ".join(f"{row.word} ({row.concept})" for row in _rows(never))
        parts += ["", f"words that stand in no sentence: {said or 'none'}"]
    parts += ["", "concepts that share sentences or words: " + ("" if len(found.pairs) else "none")]
    for row in _rows(found.pairs.head(_MOST)):
        listed = f"; in both lists: {row.words}" if row.words else ""
        shared = f"{row.n_shared} sentences, {row.share:.0%} of the rarer"
        parts.append(f"{row.concept_a}, {row.concept_b}: {shared}{listed}")
    if len(found.pairs) > _MOST:
        parts.append(f"and {len(found.pairs) - _MOST} more pairs")
    return "\n".join(parts).replace(": \n", ":\n")


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    yield from table.itertuples()
