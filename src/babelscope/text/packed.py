"""Text files as bytes, packed or not: gzip, bzip2 and xz are unpacked as they are read, and zstd where a
library for it is there. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from babelscope.errors import TextError

#: Most bytes of a line, or of a file that is read at once: a small packed file may stand for one that fills
#: the memory.
LARGEST = 100_000_000
_HEAD = 8
_OPENERS: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda path: _open_zstd(path)),
}
#: What the libraries raise at bytes that are damaged or cut off.
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)


def is_packed(path: Path) -> bool:
    """Whether a file is packed in a way that is unpacked here.

    Raises:
        OSError: If it cannot be read.
    """
    return _packing(path) is not None


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a text file, unpacked.

    Raises:
        TextError: If it cannot be read, what is packed in it is damaged, or zstd cannot be unpacked here.
    """
    try:
        packing = _packing(path)
        file = path.open("rb") if packing is None else packing[1](path)
    except OSError as error:
        raise TextError(path, f"cannot be read: {error.strerror or error}") from error
    try:
        with file:
            yield file
    except _DAMAGED as error:
        if packing is None:
            raise
        problem = f"cannot be unpacked: its {packing[0]} is damaged or cut off ({error})"
        raise TextError(path, problem, "copy it once more, or unpack it by hand") from error


def lines_of(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The lines of an open file with their ends.

    Raises:
        TextError: If a line is longer than :data:`LARGEST`.
    """
    number = 0
    while line := file.readline(LARGEST):
        number += 1
        if len(line) == LARGEST:
            problem = f"line {number} has {LARGEST:,} bytes or more"
            raise TextError(path, problem, "a sentence or document a line")
        yield line


def _packing(path: Path) -> tuple[str, Callable[[Path], Any]] | None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return next((how for magic, how in _OPENERS.items() if head.startswith(magic)), None)


def _open_zstd(path: Path) -> Any:
    try:
        zstandard: Any = import_module("zstandard")
    except ImportError as error:
        hint = "install the package zstandard, or unpack the file (unzstd)"
        raise TextError(path, "is zstd, which cannot be unpacked here", hint) from error
    return zstandard.open(path, "rb")
