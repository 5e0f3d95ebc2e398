"""Lines of text files: read, checked, named, and written as tables.

A line is stripped of white space at its ends, and a sentence that holds a tab is refused. Tables are TSV
without quotes, written whole or not at all.

The id of a sentence is the same in every language where it means the same: ``house-0017`` is of the grammar
(``plural_object-neg-0017`` the one beside ``plural_object-0017``),
``sun-00017`` of a concept file, ``L00042`` line 42 of parallel files.
"""

from __future__ import annotations

import codecs
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TextIO

from babelscope.errors import TextError
from babelscope.io.files import written_whole
from babelscope.io.formulas import as_cell, of_cell
from babelscope.text.packed import LARGEST, is_packed, lines_of, open_text
from babelscope.text.plain import LOOKED_AT, check_not_packed, check_prose, is_seen

logger = logging.getLogger(__name__)

#: Training text up to this size is read whole while planning, longer text only at its start. Bytes.
_READ_WHOLE = 50_000_000
_READ_START = 1_000_000
#: Bytes by which a packed file is known.
_HEAD = 64


def iter_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file without their ends, read as they are asked for; of a packed one those within.

    A line ends with LF or CR LF; a Unicode line separator inside a sentence is no end. A byte order mark is
    left out.

    Raises:
        TextError: If the file cannot be read or is not UTF-8, with the byte offset; or if a line holds NUL or
            a carriage return, with its number.
    """
    with open_text(path) as file:
        offset = 0
        for number, raw in enumerate(lines_of(path, file), 1):
            if offset == 0:
                check_not_packed(path, raw[:_HEAD])
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, raw[error.start], offset + error.start) from error
            if offset == 0:
                line = line.removeprefix("\ufeff")
            offset += len(raw)
            line = line.removesuffix("\n").removesuffix("\r")
            _check_line(path, number, line)
            yield line


def _check_line(path: Path, number: int, line: str) -> None:
    if "\r" in line:
        problem = f"line {number} holds a carriage return: is it one line or two?"
        raise TextError(path, problem, "end lines with LF, or with CR LF, and nothing else")
    if "\0" in line:
        raise TextError(path, f"line {number} holds NUL: it is no text", "a sentence or document a line")


def _not_utf8(path: Path, byte: int, offset: int) -> TextError:
    problem = f"is not UTF-8: byte 0x{byte:02x} at offset {offset}"
    return TextError(path, problem, "convert it, with iconv for instance")


def check_utf8(path: Path, limit: int | None = None) -> str:
    """The text of a file, unpacked; refuse what is not UTF-8.

    Args:
        path: The file.
        limit: Bytes that are read; all if None. A character that the limit cuts is left out.

    Raises:
        TextError: With the byte offset of the first wrong byte, or if all are too many to be read at once.
    """
    with open_text(path) as file:
        content = file.read(LARGEST if limit is None else limit)
        whole = not file.read(1)
    if limit is None and not whole:
        raise TextError(path, f"has more than {LARGEST:,} bytes", "split it")
    check_not_packed(path, content[:_HEAD])
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=whole)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content[error.start], error.start) from error


def check_training_text(path: Path, lang: str) -> None:
    """Refuse text to pre-train on that is empty, not UTF-8, or no text but a table, JSON or mark-up, or has
    a line that holds NUL or a carriage return.

    Of a file of more than 50 MB, or a packed one, only the first MB is read here; the job reads the rest.

    Raises:
        TextError: With the language, the byte offset, the line, or what it seems to be.
    """
    whole = path.stat().st_size <= _READ_WHOLE and not is_packed(path)
    text = check_utf8(path, limit=None if whole else _READ_START)
    text = text.removeprefix("\ufeff")
    if not is_seen(text):
        raise TextError(path, f"language {lang} has no text", "add some, or drop the language")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        _check_line(path, number, line.removesuffix("\r"))
    # Something else may have been appended to prose.
    for start in (0, len(lines) // 2, max(0, len(lines) - LOOKED_AT)) if whole else (0,):
        check_prose(path, lines[start : start + LOOKED_AT] if whole else lines[:-1])


def check_lines(path: Path, *, duplicates: str = "error") -> list[tuple[int, str]]:
    """The sentences of a file with the numbers of their lines from 1; later copies are left out.

    Raises:
        TextError: As :func:`check_distinct`, if a sentence holds a tab, or if they are no text but JSON or
            mark-up.
    """
    check_prose(path, list(islice(iter_lines(path), LOOKED_AT)))

    def sentences() -> Iterator[str]:
        for number, line in enumerate(iter_lines(path), 1):
            sentence = line.strip()
            if "\t" in sentence:
                raise TextError(path, f"line {number} holds a tab", "one sentence a line, no tabs")
            yield sentence

    return check_distinct(path, sentences(), duplicates=duplicates)


def check_distinct(
    path: Path, sentences: Iterable[str], *, duplicates: str, label: str = ""
) -> list[tuple[int, str]]:
    """Sentences with their numbers from 1; refuse empty and, if asked, repeated ones.

    Args:
        path: Where they stand.
        sentences: The sentences, white space removed.
        duplicates: ``error``, or ``keep_first`` to leave out later copies, with a warning.
        label: What kind of sentences a list holds; lines of a file by default.

    Raises:
        TextError: With the number of the first such sentence, or if there is none.
    """
    word = "sentence" if label else "line"
    first: dict[str, int] = {}
    repeated: list[str] = []
    for number, sentence in enumerate(sentences, 1):
        where = f"{label} {word} {number}".lstrip()
        if not is_seen(sentence):
            said = "holds nothing that can be seen" if sentence else "is empty"
            raise TextError(path, f"{where} {said}", "remove it; in all languages, if they are parallel")
        if sentence in first:
            problem = f"{where} repeats {word} {first[sentence]}: {sentence[:80]!r}"
            if duplicates == "error":
                raise TextError(path, problem, "remove one, or set sentences.duplicates: keep_first")
            repeated.append(problem)
        first.setdefault(sentence, number)
    if not first:
        raise TextError(path, f"has no {f'{label} sentence'.lstrip()}")
    if repeated:
        more = f", and {len(repeated) - 1} more that repeat one" if repeated[1:] else ""
        _warn_once(f"{path}: {repeated[0]}{more}; left out")
    return [(number, sentence) for sentence, number in first.items()]


@cache
def _warn_once(text: str) -> None:
    """Planning reads a file several times."""
    logger.warning("%s", text)


def check_parallel(files: Mapping[str, Path]) -> None:
    """Refuse parallel files of different lengths.

    Raises:
        TextError: Naming the first file that differs, with both counts.
    """
    counts = {lang: sum(1 for _ in iter_lines(path)) for lang, path in files.items()}
    usual, _ = Counter(counts.values()).most_common(1)[0]
    for lang, count in counts.items():
        if count != usual:
            problem = f"has {count} lines, most of the other languages have {usual}"
            raise TextError(files[lang], problem, "line i must be the same sentence everywhere")


def line_id(number: int) -> str:
    """Id of a line of parallel text, by its number counted from 1."""
    return f"L{number:05d}"


def half_of(sentence_id: str) -> str:
    """Half of a sentence by the number that ends its id: ``a`` if it is even, else ``b``.

    The same sentence is in the same half in every language, so experts of two languages can be
    chosen on disjoint sentences.
    """
    if not sentence_id[-1:].isdecimal():
        raise ValueError(f"a sentence id ends with a number; got {sentence_id!r}")
    return "ab"[int(sentence_id[-1]) % 2]


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A UTF-8 file to write that appears under ``path`` only if the body ends without an error."""
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        yield file


#: What no cell of a table of ours may hold.
_IN_A_CELL = frozenset("\t\n\r\0")


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table whose fields hold neither tabs nor line ends."""
    with text_file(path) as file:
        for row in (header, *rows):
            fields = [as_cell(field) if isinstance(field, str) else str(field) for field in row]
            if odd := [field for field in fields if not _IN_A_CELL.isdisjoint(field)]:
                hint = "write it without; one line, no tabs"
                raise TextError(path, f"{odd[0]!r} holds a tab, a line end or NUL", hint)
            file.write("\t".join(fields) + "\n")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """The rows of what :func:`write_tsv` wrote, all as text, however long."""
    with path.open(encoding="utf-8", newline="\n") as file:
        header, *rows = [line.removesuffix("\n").split("\t") for line in file]
    return [dict(zip(header, map(of_cell, row), strict=True)) for row in rows]
