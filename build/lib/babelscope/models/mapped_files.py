"""Keep files that are mapped into memory from filling it. Linux only; elsewhere nothing is done.

safetensors and torch map weight files. Each page that was read stays resident until the file is closed, and
transformers closes all shards at the end: a model that is cast as it is loaded would take its size on disk
beside its size in memory. Pages of a mapped file can be dropped at any time, since they can be read again.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DONTNEED = 4  # madvise's MADV_DONTNEED
_SECONDS = 0.2


@contextmanager
def pages_dropped(files: Iterable[Path]) -> Iterator[None]:
    """While the body runs, drop the resident pages of these files again and again."""
    names = {str(file.resolve()) for file in files}
    if sys.platform != "linux" or not names:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SECONDS):
            drop_pages(names)

    watcher = threading.Thread(target=watch, name="pages-dropped", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def drop_pages(names: Iterable[str]) -> int:
    """Drop the resident pages of mapped files, by absolute path; how many bytes were resident."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    dropped = 0
    for start, stop, resident, changed in _mappings(set(names)):
        # A page that was written to is ours alone: dropping it would lose the change.
        if resident and not changed:
            libc.madvise(start, stop - start, _DONTNEED)
            dropped += resident
    return dropped


def _mappings(names: set[str]) -> Iterator[tuple[int, int, int, int]]:
    """Of each mapping of the files: first and last address, bytes resident, bytes changed."""
    start = stop = resident = -1
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        parts = line.split(maxsplit=5)
        if not parts[0].endswith(":"):
            start = -1
            if len(parts) == 6 and parts[5] in names:
                start, stop = (int(number, 16) for number in parts[0].split("-"))
        elif start >= 0 and parts[0] == "Rss:":
            resident = int(parts[1]) * 1024
        elif start >= 0 and parts[0] == "Anonymous:":
            yield start, stop, resident, int(parts[1]) * 1024
