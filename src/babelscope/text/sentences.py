"""The analysed sentences of a language: ``sentence_id``, ``half``, ``text``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from babelscope.text.concepts import ConceptFile, read_concept_files
from babelscope.text.grammar.generate import make_sentences
from babelscope.text.lines import check_lines, half_of, line_id, read_tsv, write_tsv


def prepare_sentences(
    source: str,
    lang: str,
    out: Path,
    *,
    text: Path | None,
    files: Sequence[ConceptFile],
    concepts: Sequence[str],
    per_concept: int,
    duplicates: str,
    seed: int,
) -> None:
    """Write the analysed sentences of one language: ``sentence_id``, ``half``, ``text``.

    Of the grammar also ``words``: which of its concept's nouns are in it, ``n0`` to ``n3`` in every language.

    Args:
        source: grammar, parallel or concepts.
        lang: The language.
        out: TSV file.
        text: parallel: the language's file.
        files: concepts: the language's concept files.
        concepts: grammar: the concepts.
        per_concept: grammar: sentences per concept.
        duplicates: parallel: ``error``, or ``keep_first`` to leave out later copies.
        seed: grammar: chooses the sentences, the same meanings in every language.

    Raises:
        DataError: If the text cannot be used.
    """
    if source == "grammar":
        made = make_sentences(lang, per_concept=per_concept, seed=seed, concepts=concepts)
        rows = [
            (
                each.sentence_id,
                half_of(each.sentence_id),
                each.text,
                " ".join(f"n{noun}" for noun in each.nouns),
            )
            for each in made
        ]
        write_tsv(out, ("sentence_id", "half", "text", "words"), rows)
        return
    if source == "parallel":
        assert text is not None
        pairs = [(line_id(number), line) for number, line in check_lines(text, duplicates=duplicates)]
    else:
        pairs = list(read_concept_files(files, duplicates=duplicates).texts.items())
    write_tsv(out, ("sentence_id", "half", "text"), [(name, half_of(name), line) for name, line in pairs])


def read_sentences(path: Path) -> list[tuple[str, str]]:
    """(id, text) of the analysed sentences, in order."""
    return [(row["sentence_id"], row["text"]) for row in read_tsv(path)]
