"""Groups of sentences, such as documents or templates, which halves and splits keep whole.

Sentences of one document share names, topic and author. Where a document has sentences in both halves, what
is chosen on the one half is not quite held out on the other. A file of groups is plain text: line i names the
group of sentence i, in all languages alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from babelscope.errors import TextError
from babelscope.text.lines import half_of, iter_lines, line_id, read_tsv


def read_groups(path: Path, n_sentences: int, sentences: Path) -> list[str]:
    """The group of each sentence of a file.

    Args:
        path: The file of groups.
        n_sentences: Number of sentences, those included that are left out as copies.
        sentences: Where they stand, for the message.

    Raises:
        TextError: If the file cannot be read, a line is empty or holds a tab, or there are fewer or more
            lines than sentences.
    """
    groups = [line.strip() for line in iter_lines(path)]
    if len(groups) != n_sentences:
        problem = f"has {len(groups)} lines, {sentences} has {n_sentences} sentences"
        raise TextError(path, problem, "line i names the group of sentence i, in all languages alike")
    for number, group in enumerate(groups, 1):
        if not group:
            hint = "a sentence of no group needs a name that no other line has"
            raise TextError(path, f"line {number} is empty", hint)
        if "\t" in group:
            raise TextError(path, f"line {number} holds a tab", "a line is the name of one group, no more")
    return groups


def halves_of_groups(groups: Sequence[str], where: Path | str) -> dict[str, str]:
    """The half of each group, ``a`` or ``b``, so that both have about as many sentences.

    The largest group goes first, each to the half that has fewer sentences so far; equal ones go by name, so
    the halves do not depend on the order of the sentences.

    Args:
        groups: Of each sentence its group.
        where: The file or files of groups, for the message.

    Raises:
        TextError: If there is one group only.
    """
    sizes = Counter(groups)
    if len(sizes) < 2:
        problem = f"all {len(groups)} sentences are of one group, {next(iter(sizes), '')!r}"
        raise TextError(where, problem, "halves of whole groups need two groups or more; or leave out groups")
    filled = {"a": 0, "b": 0}
    halves = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], name)):
        halves[group] = min(filled, key=filled.__getitem__)
        filled[halves[group]] += sizes[group]
    return halves


@dataclass(frozen=True)
class Grouping:
    """Which half a sentence is in: that of its group or, where sentences have no groups, by its number.

    Attributes:
        group_of: Group of each sentence, by id; empty if they have none.
        halves: Half of each group.
    """

    group_of: Mapping[str, str] = field(default_factory=dict)
    halves: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_lines(cls, path: Path | None, n_lines: int, sentences: Path) -> Grouping:
        """Of parallel lines, by the file of their groups; without one they have none.

        Raises:
            TextError: As :func:`read_groups` and :func:`halves_of_groups`.
        """
        if path is None:
            return cls()
        groups = read_groups(path, n_lines, sentences)
        by_id = {line_id(number): group for number, group in enumerate(groups, 1)}
        return cls(by_id, halves_of_groups(groups, path))

    def half_of(self, sentence_id: str) -> str:
        """``a`` or ``b``."""
        return self.halves[self.group_of[sentence_id]] if self.group_of else half_of(sentence_id)


def groups_by_sentence(tables: Iterable[Path]) -> dict[str, str]:
    """Group of each sentence id, of the tables of sentences of several languages; empty if there are none."""
    rows = (row for path in tables for row in read_tsv(path))
    return {row["sentence_id"]: row["group"] for row in rows if row["group"]}
