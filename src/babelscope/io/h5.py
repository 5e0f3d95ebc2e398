"""HDF5 files that are whole or not there, and say what they are."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from babelscope.errors import StoreError
from babelscope.io.files import AGAIN, written_whole

SCHEMA_VERSION = 1


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


def open_h5(path: Path, *, kind: str) -> h5py.File:
    """Open a file of the store for reading.

    Raises:
        StoreError: If it is missing, truncated, foreign, incomplete or of another version.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(path, "does not exist")
    try:
        file = h5py.File(path, "r")
        found, version = file.attrs.get("kind"), file.attrs.get("schema_version")
    except (OSError, RuntimeError) as error:
        raise StoreError(path, f"is truncated or no HDF5 file ({error})", AGAIN) from error
    problem = ""
    if found != kind:
        problem = f"holds {found!r}, not {kind!r}: it is no such file of babelscope"
    elif version != SCHEMA_VERSION:
        problem = f"has schema version {version}, this program reads {SCHEMA_VERSION}"
    elif not file.attrs.get("complete", False):
        problem = "was not written to its end"
    if problem:
        file.close()
        raise StoreError(path, problem, AGAIN)
    return file


def write_strings(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write strings without NUL characters as a dataset."""
    group.create_dataset(name, data=list(values), dtype=h5py.string_dtype(), shape=(len(values),))


def read_strings(group: h5py.Group, name: str) -> list[str]:
    """Read what :func:`write_strings` wrote.

    Raises:
        StoreError: If the dataset is missing.
    """
    if name not in group:
        raise StoreError(group.file.filename, f"lacks the dataset {name}", AGAIN)
    return [str(value) for value in group[name].asstr()[:]]
