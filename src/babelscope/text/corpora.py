"""Documents to pre-train on, as JSON lines: ``text``, and ``split`` (train or heldout)."""

from __future__ import annotations

import hashlib
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from babelscope.errors import TextError
from babelscope.io.files import is_below
from babelscope.io.json import parse_json
from babelscope.text.clones import NO_CLONES, Clones, respell
from babelscope.text.grammar.generate import make_documents
from babelscope.text.lines import iter_lines, text_file
from babelscope.text.plain import fault_of, is_seen

logger = logging.getLogger(__name__)

#: Formats of files by the ends of their names, before those of packed files.
_KINDS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}
_PACKED = (".gz", ".bz2", ".xz", ".zst")


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
    clones: Clones = NO_CLONES,
    syntax: float = 0.0,
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
        clones: Those among the languages.
        syntax: Probability that a sentence is a clause in which number, person and order vary.
    """
    texts = make_documents(
        lang, documents, languages=languages, weights=weights, code_switching=code_switching,
        anchor_affinity=anchor_affinity, seed=seed, clones=clones, syntax=syntax,
    )  # fmt: skip
    _write_documents(texts, out, heldout=heldout, seed=seed, source=out)


def prepare_text_corpus(source: Path, out: Path, *, heldout: float, seed: int, letters: int = 0) -> None:
    """Turn a text file, a document a line, into documents; empty lines are left out and counted.

    Args:
        source: Text file.
        out: JSONL file.
        heldout: Share of documents that are held out.
        seed: Of the split into training and held-out documents.
        letters: Number of the clone that the text is made into; 0: it stays as it is.

    Raises:
        TextError: If the file is not UTF-8 or has too little text to be split.
    """
    texts = (respell(line.strip(), letters) for line in iter_lines(source))
    _write_documents(texts, out, heldout=heldout, seed=seed, source=source)


def check_enough(source: Path, lang: str, *, heldout: float, seed: int, window: int) -> None:
    """Refuse a text that cannot fill a window, however a tokenizer that is trained here cuts it.

    Args:
        source: Text file, a document a line.
        lang: Its language.
        heldout: Share of documents that are held out.
        seed: Of the split into training and held-out documents.
        window: Tokens of a window.

    Raises:
        TextError: With the most tokens that there can be: all bytes of the training documents, and for each
            document its start and a space.
    """
    documents = (line.strip() for line in iter_lines(source))
    most = 0
    for number, text in enumerate(filter(is_seen, documents)):
        if _split(number, heldout, seed) == "train":
            most += len(unicodedata.normalize("NFC", text).encode()) + 2
        if most >= window:
            return
    problem = f"language {lang} has at most {most} training tokens, less than one window of {window}"
    hint = "add documents, one a line, shorten training.sequence_length or leave the language out"
    raise TextError(source, problem, hint)


def kind_of_file(place: str) -> str | None:
    """What ``datasets`` calls the format of a file, by its name; None for a folder or a name on the hub."""
    name = Path(place)
    if name.suffix in _PACKED:
        name = name.with_suffix("")
    return _KINDS.get(name.suffix)


def is_local(place: str) -> bool:
    """Whether a data set is a file or folder here; else it is a name on the hub, ``NAME`` or ``ORG/NAME``."""
    begins = place.startswith(("/", "./", "../", "~"))
    return begins or place.count("/") > 1 or kind_of_file(place) is not None or Path(place).exists()


def prepare_dataset_corpus(
    place: str,
    out: Path,
    *,
    name: str,
    split: str,
    column: str,
    heldout: float,
    seed: int,
    letters: int = 0,
) -> None:
    """Turn a data set of the library ``datasets`` into documents, read as a stream.

    Args:
        place: A Parquet, JSON or CSV file, which may be packed, a folder that ``datasets`` can read, or a
            name on the hub (which the cache must hold where there is no network).
        out: JSONL file.
        name: Configuration of the data set; empty if it has none.
        split: Split to read.
        column: Column with the text.
        heldout: Share of documents that are held out.
        seed: Of the split into training and held-out documents.
        letters: Number of the clone that the text is made into; 0: it stays as it is.

    Raises:
        TextError: If the data set, the split or the column is not there, with those that are, the column
            holds other things than text, or files of a folder lie outside it.
    """
    import datasets

    kind = kind_of_file(place)
    try:
        if kind:
            loaded = datasets.load_dataset(kind, data_files={split: place}, split=split, streaming=True)
        else:
            builder = datasets.load_dataset_builder(place, name or None)
            if Path(place).is_dir():
                _check_inside(place, builder.config.data_files or {})
            loaded = builder.as_streaming_dataset(split=split)
        columns = list(loaded.features or next(iter(loaded)))
    except (OSError, ValueError, StopIteration) as error:
        hint = "paths are relative to the working directory; a name of the hub needs a network or its cache"
        raise TextError(place, f"cannot be read as a data set: {error}", hint) from error
    if column not in columns:
        problem = f"has no column {column!r}; it has {', '.join(columns)}"
        raise TextError(place, problem, "set corpora.*.column")
    texts = (respell(text, letters) for text in _texts_of(place, column, (row[column] for row in loaded)))
    _write_documents(texts, out, heldout=heldout, seed=seed, source=Path(place))


def _texts_of(place: str, column: str, values: Iterable[object]) -> Iterator[str]:
    """The texts of a column; a list or a mapping of texts, as in pairs of translations, is none."""
    for number, value in enumerate(values, 1):
        if value is not None and not isinstance(value, str):
            problem = f"column {column!r}, row {number} is no text: {value!r:.80}"
            raise TextError(place, problem, "write the texts to a column of their own, and name it as column")
        yield " ".join((value or "").split())


def _check_inside(place: str, files: Mapping[str, Iterable[str]]) -> None:
    """Refuse a folder whose README.md, or a link in it, has other files read than those in it."""
    for file in (str(file) for group in files.values() for file in group):
        if "://" in file or not is_below(Path(file), Path(place)):
            hint = "its README.md names files, or a link leads out; put the files into the folder"
            raise TextError(place, f"would have {file} read, which does not lie in it", hint)


def _write_documents(texts: Iterable[str], out: Path, *, heldout: float, seed: int, source: Path) -> None:
    n = Counter(train=0, heldout=0, empty=0)
    with text_file(out) as file:
        for text in texts:
            if fault := fault_of(text):
                raise TextError(
                    source, f"document {sum(n.values()) + 1} holds {fault}", "take it out of the text"
                )
            if not is_seen(text):
                n["empty"] += 1
                continue
            split = _split(n["train"] + n["heldout"], heldout, seed)
            n[split] += 1
            file.write(json.dumps({"text": text, "split": split}, ensure_ascii=False) + "\n")
        if not n["train"]:
            problem = f"has no text to train on: {n['heldout']} documents, all held out"
            hint = "a document is a line; add some"
            raise TextError(source, problem if n["heldout"] else "has no text", hint)
    if n["empty"]:
        logger.warning("%s: %d empty lines left out", source, n["empty"])
    logger.info("%s: %d documents to train on, %d held out", out, n["train"], n["heldout"])


def _split(number: int, heldout: float, seed: int) -> str:
    """Whether a document, numbered from 0, is held out or trained on."""
    return "heldout" if _uniform(seed, number) < heldout or number == 0 else "train"


def _uniform(seed: int, number: int) -> float:
    """A number in [0, 1) that depends on the document's number alone, so that appended text keeps
    the split of what was there."""
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def read_documents(path: Path) -> Iterator[tuple[str, str]]:
    """Text and split of each document of a file.

    Raises:
        TextError: If the file cannot be read, or a line is not a document.
    """
    for number, line in enumerate(iter_lines(path), 1):
        try:
            document = parse_json(line)
            text, split = document["text"], document["split"]
        except (ValueError, KeyError, TypeError) as error:
            raise TextError(path, f"line {number} is not a document: {error}") from error
        yield text, split
