"""Text: documents to pre-train on, sentences to analyse, and which sentence expresses what.

Sentences have ids that are the same in every language where they mean the same: ``house-0017`` from
the grammar, ``L00042`` for line 42 of parallel files. Tables are TSV, written whole or not at all.
A sentence is stripped of white space at its ends, and one that holds a tab is refused.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from babelscope.errors import DataError
from babelscope.io.files import written_whole
from babelscope.text.concept_files import ConceptFile, check_same_labels, read_concept_files

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

#: Sentences of each label that every half of the sentences needs.
_PER_HALF = 2

#: Training text up to this size is read whole while planning, longer text only at its start. Bytes.
_READ_WHOLE = 50_000_000
_READ_START = 1_000_000


def half_of(sentence_id: str) -> str:
    """Half of a sentence by the number that ends its id: ``a`` if it is even, else ``b``.

    The same sentence is in the same half in every language, so experts of two languages can be
    chosen on disjoint sentences.
    """
    digits = re.search(r"\d+$", sentence_id)
    if digits is None:
        raise ValueError(f"a sentence id ends with a number; got {sentence_id!r}")
    return "ab"[int(digits.group()) % 2]


# ------------------------------------------------------------------------------------- reading


def iter_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file without their ends, read as they are asked for.

    A line ends as Python's text files have it (LF, CR LF or CR); a Unicode line separator inside a
    sentence is no end. A byte order mark is left out.

    Raises:
        DataError: If the file cannot be read or is not UTF-8, with the byte offset.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    with file:
        offset = 0
        for raw in file:
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, raw[error.start], offset + error.start) from error
            if offset == 0:
                line = line.removeprefix("\ufeff")
            offset += len(raw)
            yield from line.removesuffix("\n").removesuffix("\r").split("\r")


def read_lines(path: Path) -> list[str]:
    """All lines of a file, see :func:`iter_lines`."""
    return list(iter_lines(path))


def _not_utf8(path: Path, byte: int, offset: int) -> DataError:
    problem = f"is not UTF-8: byte 0x{byte:02x} at offset {offset}"
    return DataError(path, problem, "convert it, with iconv for instance")


def check_utf8(path: Path, limit: int | None = None) -> str:
    """The text of a file; refuse what is not UTF-8.

    Args:
        path: The file.
        limit: Bytes that are read; all if None. A character that the limit cuts is left out.

    Raises:
        DataError: With the byte offset of the first wrong byte.
    """
    try:
        with path.open("rb") as file:
            content = file.read() if limit is None else file.read(limit)
            whole = not file.read(1)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=whole)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content[error.start], error.start) from error


def check_training_text(path: Path, lang: str) -> None:
    """Refuse text to pre-train on that is empty or not UTF-8.

    Of a file of more than 50 MB only the first MB is read here; the job reads the rest.

    Raises:
        DataError: With the language, or the byte offset.
    """
    whole = path.stat().st_size <= _READ_WHOLE
    text = check_utf8(path, limit=None if whole else _READ_START)
    if not text.removeprefix("\ufeff").strip():
        raise DataError(path, f"language {lang} has no text", "add some, or drop the language")


def check_lines(path: Path, *, duplicates: str = "error") -> list[str]:
    """Lines of a file of sentences; refuse empty and, if asked, repeated ones.

    Raises:
        DataError: With the numbers of the lines, counted from 1.
    """
    lines = [line.strip() for line in _without_tabs(path)]
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            hint = "remove it; in parallel files, in every language"
            raise DataError(path, f"line {number} is empty", hint)
        if line in first and duplicates == "error":
            problem = f"line {number} repeats line {first[line]}: {line[:80]!r}"
            raise DataError(path, problem, "remove one, or set sentences.duplicates: keep_first")
        first.setdefault(line, number)
    if not lines:
        raise DataError(path, "has no sentence")
    return lines


def _without_tabs(path: Path) -> Iterator[str]:
    for number, line in enumerate(iter_lines(path), 1):
        if "\t" in line.strip():
            raise DataError(path, f"line {number} holds a tab", "one sentence a line, no tabs")
        yield line


def check_parallel(files: Mapping[str, Path]) -> None:
    """Refuse parallel files of different lengths.

    Raises:
        DataError: Naming the first file that differs, with both counts.
    """
    counts = {lang: sum(1 for _ in iter_lines(path)) for lang, path in files.items()}
    usual, _ = Counter(counts.values()).most_common(1)[0]
    for lang, count in counts.items():
        if count != usual:
            problem = f"has {count} lines, most of the other languages have {usual}"
            raise DataError(files[lang], problem, "line i must be the same sentence everywhere")


# ------------------------------------------------------------------------------------- writing


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        yield file


def _write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with _text_file(path) as file:
        for row in (header, *rows):
            fields = [str(field) for field in row]
            assert not any("\t" in field or "\n" in field for field in fields), fields
            file.write("\t".join(fields) + "\n")


def _read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


# ------------------------------------------------------------------------ text to pre-train on


def make_documents_file(
    lang: str,
    out: Path,
    *,
    documents: int,
    languages: Sequence[str],
    weights: Mapping[str, float],
    code_switching: float,
    anchor_affinity: float,
    heldout: float,
    seed: int,
) -> None:
    """Let the grammar write the documents of one language.

    Args:
        lang: Language of the documents.
        out: JSONL file: ``text`` and ``split`` (train, heldout) per line.
        documents: Number of documents.
        languages: Languages that a sentence may be switched to.
        weights: Their shares.
        code_switching: Probability that a sentence is written in another language.
        anchor_affinity: Probability that a name or number is the concept's own.
        heldout: Share of documents that are held out.
        seed: Of everything random.
    """
    from babelscope.text.grammar import GrammarSettings, make_documents

    settings = GrammarSettings(code_switching=code_switching, anchor_affinity=anchor_affinity)
    texts = make_documents(
        lang, documents, languages=languages, weights=weights, settings=settings, seed=seed
    )
    _write_documents(texts, out, heldout=heldout, seed=seed, source=out)


def prepare_text_corpus(source: Path, out: Path, *, heldout: float, seed: int) -> None:
    """Turn a text file, a document a line, into documents; empty lines are left out and counted.

    Raises:
        DataError: If the file is not UTF-8 or has too little text to be split.
    """
    n_empty = 0

    def texts() -> Iterator[str]:
        nonlocal n_empty
        for line in iter_lines(source):
            if text := line.strip():
                yield text
            else:
                n_empty += 1

    _write_documents(texts(), out, heldout=heldout, seed=seed, source=source)
    if n_empty:
        logger.warning("%s: %d empty lines left out", source, n_empty)


def prepare_dataset_corpus(
    place: str, out: Path, *, name: str, split: str, column: str, heldout: float, seed: int
) -> None:
    """Turn a data set of the library ``datasets`` into documents, read as a stream.

    Args:
        place: A Parquet, JSON or CSV file, a folder that ``datasets`` can read, or a name on the hub (which
            the cache must hold where there is no network).
        out: JSONL file.
        name: Configuration of the data set; empty if it has none.
        split: Split to read.
        column: Column with the text.
        heldout: Share of documents that are held out.
        seed: Of the split into training and held-out documents.

    Raises:
        DataError: If the data set, the split or the column is not there, with those that are.
    """
    import datasets

    kinds = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}
    kind = kinds.get(Path(place).suffix)
    try:
        if kind:
            loaded = datasets.load_dataset(kind, data_files={split: place}, split=split, streaming=True)
        else:
            loaded = datasets.load_dataset(place, name or None, split=split, streaming=True)
        columns = list(loaded.features or next(iter(loaded)))
    except (OSError, ValueError, StopIteration) as error:
        hint = "paths are relative to the working directory; a name of the hub needs a network or its cache"
        raise DataError(place, f"cannot be read as a data set: {error}", hint) from error
    if column not in columns:
        raise DataError(
            place, f"has no column {column!r}; it has {', '.join(columns)}", "set corpora.*.column"
        )
    texts = (" ".join(str(row[column]).split()) for row in loaded if row[column])
    filled = (text for text in texts if text)
    _write_documents(filled, out, heldout=heldout, seed=seed, source=Path(place))


def _write_documents(texts: Iterable[str], out: Path, *, heldout: float, seed: int, source: Path) -> None:
    n = Counter[str]()
    with _text_file(out) as file:
        for number, text in enumerate(texts):
            split = "heldout" if _uniform(seed, number) < heldout or number == 0 else "train"
            n[split] += 1
            line = json.dumps({"text": text, "split": split}, ensure_ascii=False)
            file.write(line + "\n")
        if not n["train"]:
            problem = f"has no text to train on: {n['heldout']} documents, all held out"
            raise DataError(source, problem if n else "has no text", "a document is a line; add some")
    logger.info("%s: %d documents to train on, %d held out", out, n["train"], n["heldout"])


def _uniform(seed: int, number: int) -> float:
    """A number in [0, 1) that depends on the document's number alone, so that appended text keeps
    the split of what was there."""
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


# ------------------------------------------------------------------------- sentences to analyse


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
        from babelscope.text.grammar import make_sentences

        made = make_sentences(lang, per_concept=per_concept, seed=seed, concepts=concepts)
        pairs = [(sentence.sentence_id, sentence.text) for sentence in made]
    elif source == "parallel":
        assert text is not None
        pairs = [(f"L{number:05d}", line) for number, line in numbered_lines(text, duplicates)]
    else:
        pairs = list(read_concept_files(files, duplicates=duplicates).texts.items())
    rows = [(name, half_of(name), line) for name, line in pairs]
    _write_tsv(out, ("sentence_id", "half", "text"), rows)


def numbered_lines(path: Path, duplicates: str) -> list[tuple[int, str]]:
    """The sentences of a file with the numbers of their lines, later copies left out."""
    first: dict[str, int] = {}
    for number, line in enumerate(check_lines(path, duplicates=duplicates), 1):
        if line in first:
            logger.warning("%s: line %d left out, it repeats %d", path, number, first[line])
        first.setdefault(line, number)
    return [(number, line) for line, number in first.items()]


def read_sentences(path: Path) -> list[tuple[str, str]]:
    """(id, text) of the analysed sentences, in order."""
    return [(row["sentence_id"], row["text"]) for row in _read_tsv(path)]


# ---------------------------------------------------------------------------------------- labels


def label_sentences(
    source: str,
    sentences: Path,
    out: Path,
    *,
    label_text: Path | None,
    words: Mapping[str, Sequence[str]],
    files: Sequence[ConceptFile],
    duplicates: str = "error",
) -> None:
    """Write which sentences express which concept: ``concept``, ``sentence_id``, ``label``.

    A sentence that is absent for a concept is not part of that concept's data.

    Args:
        source: grammar, words or files.
        sentences: The analysed sentences of one language.
        out: TSV file.
        label_text: words: the file whose line i says what line i of every language expresses.
        words: words: per concept its words.
        files: files: the language's concept files.
        duplicates: files: as for :func:`prepare_sentences`.
    """
    ids = [row["sentence_id"] for row in _read_tsv(sentences)]
    if source == "files":
        labels = read_concept_files(files, duplicates=duplicates).labels
    elif source == "words":
        assert label_text is not None
        matches = match_words(read_lines(label_text), words)
        labels = {
            concept: {name: int(name in positive) for name in ids}
            for concept, lines in matches.items()
            for positive in [set(_line_ids(line + 1 for line in lines))]
        }
    else:
        concepts = dict.fromkeys(name.rpartition("-")[0] for name in ids)
        labels = {
            concept: {name: int(name.rpartition("-")[0] == concept) for name in ids} for concept in concepts
        }
    rows = [(concept, name, own[name]) for concept, own in labels.items() for name in ids if name in own]
    _write_tsv(out, ("concept", "sentence_id", "label"), rows)


def match_words(lines: Sequence[str], words: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Lines that hold one of a concept's words, as a whole word, upper or lower case.

    Whole words need white space or punctuation between them, so Chinese, Japanese or Thai does not
    do as the language of the lists.
    """
    patterns = {
        concept: re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, forms)) + r")(?!\w)", re.IGNORECASE)
        for concept, forms in words.items()
    }
    return {
        concept: [number for number, line in enumerate(lines) if pattern.search(line)]
        for concept, pattern in patterns.items()
    }


def check_concepts(
    files: Mapping[str, Path], label_text: Path, words: Mapping[str, Sequence[str]], needed: int
) -> None:
    """Refuse concepts with too few positive or negative lines in some language.

    Args:
        files: Per language its parallel lines; later copies of a line do not count.
        label_text: The lines that the words are looked for in.
        words: Per concept its words.
        needed: Positive lines that a concept needs.

    Raises:
        DataError: Naming concepts, languages, how many there are and how many are needed.
    """
    matches = match_words(read_lines(label_text), words)
    problems = []
    for lang, path in files.items():
        kept = {number for number, _ in numbered_lines(path, "keep_first")}
        for concept, lines in matches.items():
            positive = kept & {line + 1 for line in lines}
            ids, others = _line_ids(positive), _line_ids(kept - positive)
            problems += _too_few(concept, lang, ids, others, needed)
    _raise_too_few(problems)


def _line_ids(numbers: Iterable[int]) -> list[str]:
    """Ids of lines of parallel text, by numbers counted from 1."""
    return [f"L{number:05d}" for number in sorted(numbers)]


def check_concept_files(
    files: Mapping[str, Sequence[ConceptFile]], needed: int, *, duplicates: str = "error"
) -> None:
    """The same for concept files (per language); their sentences are checked as well.

    Raises:
        DataError: See :func:`check_concepts`, :func:`check_lines`; also if a concept has a file of
            negative sentences in some languages only.
    """
    check_same_labels(files)
    problems = []
    for lang, own in files.items():
        for concept, labels in read_concept_files(own, duplicates=duplicates).labels.items():
            positive = [name for name, label in labels.items() if label]
            negative = [name for name, label in labels.items() if not label]
            problems += _too_few(concept, lang, positive, negative, needed)
    _raise_too_few(problems)


def _too_few(
    concept: str, lang: str, positive: Sequence[str], negative: Sequence[str], needed: int
) -> list[str]:
    if len(positive) < needed:
        return [f"{concept} in {lang}: {len(positive)} positive sentences, {needed} needed"]
    for label, ids in (("positive", positive), ("negative", negative)):
        halves = Counter(map(half_of, ids))
        if min(halves["a"], halves["b"]) < _PER_HALF:
            counts = f"{halves['a']} and {halves['b']} {label} sentences in the halves a and b"
            return [f"{concept} in {lang}: {counts}, {_PER_HALF} needed in each"]
    return []


def _raise_too_few(problems: Sequence[str]) -> None:
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        hint = (
            "add sentences or words, lower concepts.min_positive, or leave the concept out of "
            "concepts.ids; a sentence with an even number is in half a, the others in half b"
        )
        raise DataError("concepts", "; ".join(problems[:10]) + more, hint)


def count_concepts(files: Mapping[str, Path]) -> pd.DataFrame:
    """Sentences per language and concept.

    Args:
        files: Per language its labels.

    Returns:
        Columns ``lang, concept, n_positive, n_negative, n_positive_a, n_positive_b``.
    """
    import pandas as pd

    rows = []
    for lang, path in files.items():
        counts: dict[str, Counter[str]] = {}
        for row in _read_tsv(path):
            counter = counts.setdefault(row["concept"], Counter())
            if row["label"] == "1":
                counter.update(["n_positive", f"n_positive_{half_of(row['sentence_id'])}"])
            else:
                counter.update(["n_negative"])
        names = ("n_positive", "n_negative", "n_positive_a", "n_positive_b")
        rows += [
            {"lang": lang, "concept": concept, **{name: counter[name] for name in names}}
            for concept, counter in counts.items()
        ]
    return pd.DataFrame(rows)


def write_concept_words(
    source: str,
    out: Path,
    *,
    words: Mapping[str, Sequence[str]],
    label_language: str,
    concepts: Sequence[str],
    languages: Sequence[str],
) -> None:
    """Write the words by which a concept is found in generated text: concept -> language -> words.

    From the grammar, words of every language; from word lists, those of their language; from
    concept files, none.
    """
    found: dict[str, dict[str, list[str]]] = {concept: {} for concept in concepts}
    if source == "grammar":
        from babelscope.text.grammar import concept_words

        for lang in languages:
            by_concept = concept_words(lang)
            for concept in concepts:
                found[concept][lang] = list(by_concept[concept])
    elif source == "words":
        for concept, forms in words.items():
            found[concept][label_language] = [form.lower() for form in forms]
    with _text_file(out) as file:
        file.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
