"""The analysed sentences of a language: ``sentence_id``, ``half``, ``text``, ``words``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from babelscope.text.clones import respell
from babelscope.text.concepts import ConceptFile, read_concept_files
from babelscope.text.grammar.generate import make_sentences
from babelscope.text.lines import check_lines, iter_lines, line_id, read_tsv, write_tsv
from babelscope.text.sentence_groups import Grouping


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
    letters: int = 0,
    groups: str | None = None,
) -> None:
    """Write the analysed sentences of one language: ``sentence_id, half, text, words, group``.

    Words are known of the grammar's concepts of meaning alone: which of its concept's nouns are in a
    sentence, ``n0`` to ``n3`` in every language.

    Args:
        source: grammar, parallel or concepts.
        lang: The language; of a clone its original.
        out: TSV file.
        text: parallel: the language's file.
        files: concepts: the language's concept files.
        concepts: grammar: the concepts.
        per_concept: grammar: sentences per concept.
        duplicates: parallel: ``error``, or ``keep_first`` to leave out later copies.
        seed: grammar: chooses the sentences, the same meanings in every language.
        letters: Number of the clone whose sentences they become; 0: they stay as they are.
        groups: parallel, concepts: file of the groups of the sentences; of concepts with {concept}, {label}.
            Without it ``group`` is empty, and the half goes by the number of the sentence.

    Raises:
        TextError: If the text cannot be used.
    """
    words: dict[str, str] = {}
    grouping = Grouping()
    if source == "grammar":
        made = make_sentences(lang, per_concept=per_concept, seed=seed, concepts=concepts)
        pairs = [(sentence.sentence_id, sentence.text) for sentence in made]
        words = {each.sentence_id: " ".join(f"n{noun}" for noun in each.nouns) for each in made}
    elif source == "parallel":
        assert text is not None
        grouping = Grouping.of_lines(Path(groups) if groups else None, sum(1 for _ in iter_lines(text)), text)
        pairs = [(line_id(number), line) for number, line in check_lines(text, duplicates=duplicates)]
    else:
        read = read_concept_files(files, duplicates=duplicates, groups=groups)
        pairs, grouping = list(read.texts.items()), read.grouping
    rows = [
        (
            name,
            grouping.half_of(name),
            respell(line, letters),
            words.get(name, ""),
            grouping.group_of.get(name, ""),
        )
        for name, line in pairs
    ]
    write_tsv(out, ("sentence_id", "half", "text", "words", "group"), rows)


def read_sentences(path: Path) -> list[tuple[str, str]]:
    """(id, text) of the analysed sentences, in order."""
    return [(row["sentence_id"], row["text"]) for row in read_tsv(path)]


def read_halves(path: Path) -> dict[str, str]:
    """The half of each analysed sentence, by its id."""
    return {row["sentence_id"]: row["half"] for row in read_tsv(path)}
