"""HDF5 files that are whole or not there, and say what they are.

HDF5 lets a file take data from other files: by links, by external storage, by virtual data sets. Ours never
do, so a file that does is refused before anything of it is read, as is one that declares more than it holds.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from babelscope.errors import StoreError
from babelscope.io.files import AGAIN, written_whole

SCHEMA_VERSION = 1
#: Files in which nothing foreign was found, as they then were: looking takes 50 µs an object, and a job opens
#: some files for every layer.
_SOUND: set[tuple[int, ...]] = set()

_TYPES = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.STRING)
#: Bytes that one packed by gzip can stand for at most.
_DEFLATE = 1032
_STRINGS = 100
#: Bytes that a chunk may have, though its data set is smaller.
_CHUNK = 2**20


@contextmanager
def atomic_h5(path: Path, *, kind: str) -> Iterator[h5py.File]:
    """An HDF5 file that appears under ``path`` only if the body ends without an error.

    Args:
        path: The final name.
        kind: What the file holds; a reader asks for the same word.

    Raises:
        StoreError: If the disk is full; nothing is left behind.
    """
    path = Path(path)
    try:
        # Without times and with a fixed format, equal content gives equal bytes.
        with (
            written_whole(path) as unfinished,
            h5py.File(unfinished, "w", libver=("v110", "v110"), track_order=False) as file,
        ):
            yield file
            file.attrs["kind"] = kind
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["complete"] = True
            file.flush()
    except (OSError, RuntimeError) as error:
        if _is_disk_full(error):
            free = shutil.disk_usage(path.parent).free
            problem = f"the disk is full: {free:,} bytes are free and the file needs more"
            raise StoreError(path, problem, "free some space and run again") from error
        raise


def _is_disk_full(error: BaseException) -> bool:
    # h5py reports a failed write as an OSError or RuntimeError with the reason in its text only.
    codes = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    reasons = [os.strerror(code) for code in codes] + [f"errno = {code}," for code in codes]
    return getattr(error, "errno", None) in codes or any(text in str(error) for text in reasons)


def open_any(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, whatever it holds, if all that it gives is its own.

    Raises:
        StoreError: If it is missing, truncated, takes data from elsewhere, or declares more than it holds.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(path, "is no file" if path.exists() else "does not exist")
    try:
        file = h5py.File(path, "r")
        problem = _foreign_once(file)
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(path, f"is truncated or no HDF5 file ({error})", AGAIN) from error
    if problem:
        file.close()
        raise StoreError(path, problem, f"babelscope writes no such file; {AGAIN}")
    return file


def _foreign_once(file: h5py.File) -> str:
    status = os.stat(file.filename)
    seen = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
    if seen in _SOUND:
        return ""
    problem = _foreign(file)
    if not problem:
        _SOUND.add(seen)
    return problem


def _foreign(file: h5py.File) -> str:
    """What in a file is not its own, in words; empty if all is."""
    links: list[tuple[bytes, int]] = []
    file.id.links.visit(lambda name, link: links.append((name, link.type)), info=True)
    for name, kind in links:
        where = name.decode(errors="replace")
        if kind != h5py.h5l.TYPE_HARD:
            return f"{where} is a link to another place, maybe in another file"
        found = h5py.h5o.open(file.id, name)
        if isinstance(found, h5py.h5d.DatasetID) and (problem := _foreign_data(found)):
            return f"{where} {problem}"
    return ""


def _foreign_data(data: h5py.h5d.DatasetID) -> str:
    made = data.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
        return "takes its data from another file"
    stored = data.get_type()
    if stored.get_class() not in _TYPES:
        return f"is of type {stored.dtype}; allowed: numbers and text"
    declared = data.get_space().get_simple_extent_npoints() * stored.get_size()
    packed = any(made.get_filter(at)[0] == h5py.h5z.FILTER_DEFLATE for at in range(made.get_nfilters()))
    if declared > data.get_storage_size() * (_DEFLATE if packed else 1):
        return f"declares {declared:,} bytes and holds {data.get_storage_size():,}"
    if made.get_layout() == h5py.h5d.CHUNKED:  # one is read as a whole, however little of it is there
        chunk = math.prod(made.get_chunk()) * stored.get_size()
        if chunk > max(declared, _CHUNK):
            return f"has chunks of {chunk:,} bytes for {declared:,}"
    return ""


def open_h5(path: Path, *, kind: str) -> h5py.File:
    """Open a file of the store for reading.

    Raises:
        StoreError: As for :func:`open_any`, or if it is foreign, incomplete or of another version.
    """
    file = open_any(path)
    found, version, whole = (file.attrs.get(name) for name in ("kind", "schema_version", "complete"))
    problem = ""
    if any(isinstance(value, np.ndarray) for value in (found, version, whole)):
        problem = "does not say what it holds, in which version, and whether it is whole: it has lists there"
    elif found != kind:
        problem = f"holds {found!r}, not {kind!r}: it is no such file of babelscope"
    elif version != SCHEMA_VERSION:
        problem = f"has schema version {version}, this program reads {SCHEMA_VERSION}"
    elif not whole:
        problem = "was not written to its end"
    if problem:
        file.close()
        raise StoreError(path, problem, AGAIN)
    return file


def write_strings(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write strings without NUL characters as a dataset."""
    # HDF5 keeps where each string lies, 16 bytes apiece that are nearly alike, and the strings elsewhere.
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": (len(values),)}
    group.create_dataset(
        name,
        data=list(values),
        dtype=h5py.string_dtype(),
        shape=(len(values),),
        track_times=False,
        **(packed if len(values) else {}),
    )


def read_strings(group: h5py.Group, name: str) -> list[str]:
    """Read what :func:`write_strings` wrote.

    Raises:
        StoreError: If the dataset is missing, or many of its strings are one that is stored once.
    """
    path = group.file.filename
    if name not in group:
        raise StoreError(path, f"lacks the dataset {name}", AGAIN)
    data, found, left = group[name].asstr(), list[str](), os.path.getsize(path)
    for start in range(0, len(group[name]), _STRINGS):
        found += map(str, data[start : start + _STRINGS])
        left -= sum(map(len, found[start:]))
        if left < 0:
            raise StoreError(path, f"{name} has more text than the file is long", AGAIN)
    return found
