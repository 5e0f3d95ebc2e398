"""Files appear under their names only when they are whole.

A job may be killed at any moment, and a node that was given up may go on writing beside the job that took
its place. So every output is written under a name of its own, flushed to the disk, and renamed.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Formatter

from babelscope.errors import DataError

#: What to do about a file of ours that cannot be used.
AGAIN = "remove the file and run again; it is computed anew"

#: Marks what is not whole. After a job was killed such files may remain; nothing reads them.
_MARK = ".tmp-"
_HOST = re.sub(r"\W", "_", socket.gethostname())


def unfinished_name(path: Path) -> Path:
    """Where ``path`` is written until it is whole: no other process, on no other machine, has this name."""
    return path.with_name(f"{path.name}{_MARK}{_HOST}-{os.getpid()}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write a file under; it becomes ``path`` if the body ends without an error.

    Args:
        path: The final name; parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # a renamed file must not be found empty after a crash
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a text under its name only when it is complete."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def by_name(paths: Iterable[Path | str], names: Iterable[str]) -> dict[str, Path]:
    """Files that say nothing of themselves, by their names without the suffix, such as ``en``.

    Args:
        paths: The files, in any order.
        names: The names that they must have, all and no others; the order of what is returned.

    Raises:
        DataError: Naming the first file that is missing, stands twice, or has another name.
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.stem in found:
            raise DataError(path, f"has the name of {found[path.stem]}; one file is expected for it")
        found[path.stem] = path
    wanted = list(names)
    for name in wanted:
        if name not in found:
            raise DataError(name, f"has no file; there are {', '.join(map(str, found.values()))}")
    for name, path in found.items():
        if name not in wanted:
            raise DataError(path, f"is none of {', '.join(wanted)}")
    return {name: found[name] for name in wanted}


def fitting_paths(template: str, field: str, **known: str) -> dict[str, str]:
    """What is there of the paths that a template gives, by the value of one of its fields.

    Args:
        template: Path with ``{field}``, maybe more than once, each a part of the name of a file or folder.
        field: Its name.
        known: Values of the other fields.
    """
    pattern, wanted = "", ""
    for text, name, _, _ in Formatter().parse(template):
        text += known[name] if name not in (None, field) else ""
        pattern += re.escape(text)
        wanted += glob.escape(text)
        if name == field:
            pattern += "(?P<value>[^/]+)" if "(?P<value>" not in pattern else "(?P=value)"
            wanted += "*"
    matches = [re.fullmatch(pattern, path) for path in glob.glob(wanted)]
    return {match["value"]: match[0] for match in matches if match}


def file_sha256(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def leftovers(folder: Path) -> list[Path]:
    """What killed jobs have left unfinished under a folder, files and folders."""
    found = [path for path in folder.rglob(f"*{_MARK}*") if _MARK in path.name]
    return sorted(path for path in found if not any(_MARK in parent.name for parent in path.parents))
