"""Files appear under their names only when they are whole.

A job may be killed at any moment, and a node that was given up may go on writing beside the job that took
its place. So every output is written under a name of its own, flushed to the disk, and renamed.

A results folder may be a stranger's, out of an archive. So nothing is written through a link: a name that is
written under cannot be foreseen and is made anew, and :func:`check_contained` looks for links that lead out.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from string import Formatter
from typing import BinaryIO

from babelscope.errors import DataError

#: What to do about a file of ours that cannot be used.
AGAIN = "remove the file and run again; it is computed anew"

#: Marks what is not whole. After a job was killed such files may remain; nothing reads them.
MARK = ".tmp-"
#: Folders that are looked into side by side.
_AT_A_TIME = 8
_HOST = re.sub(r"\W", "_", socket.gethostname())


def unfinished_name(path: Path) -> Path:
    """Where ``path`` is written until it is whole: a name that nobody else has, and nobody can foresee."""
    return path.with_name(f"{path.name}{MARK}{_HOST}-{os.getpid()}-{secrets.token_hex(8)}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write a file under; it becomes ``path`` if the body ends without an error.

    Args:
        path: The final name; parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # a renamed file must not be found empty after a crash
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def give_usual_mode(file: Path) -> None:
    """Let others read and write a file as the user's umask says; safetensors writes for the owner alone."""
    mask = os.umask(0o077)  # it can only be read by being set
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def write_text(text: str, path: Path) -> None:
    """Write a text under its name only when it is complete."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def open_to_append(path: Path) -> BinaryIO:
    """A file that an earlier process may have begun, to go on with; made if it is not there.

    Raises:
        DataError: If the name is a link, or of no file, so that something else would be written to.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    hint = "remove it and run again; nothing of babelscope makes it so"
    try:
        file = os.fdopen(os.open(path, flags, 0o666), "ab")
    except OSError as error:
        if path.is_symlink():
            raise DataError(
                path, f"is a link to {os.readlink(path)}, so it is not written to", hint
            ) from error
        if path.is_dir():
            raise DataError(path, "is a folder, so it is not written to", hint) from error
        raise
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        file.close()
        raise DataError(path, "is no file of its own, so it is not written to", hint)
    return file


def remove(path: Path) -> None:
    """Remove a file, a folder with all in it, or a link, but not what a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_contained(folder: Path) -> None:
    """Refuse a folder of results that would have us read or write elsewhere. Looks at every name in it once.

    Raises:
        DataError: Naming the first link that leads out of it, or what is neither file nor folder.
    """
    if folder.is_symlink():
        _refuse_outside(folder, folder.parent)
    waiting = [str(folder)] if folder.is_dir() else []
    # Several at a time, as a disk of a network is slow to answer; most folders hold none but files.
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        while waiting:
            looked_at = list(pool.map(_folders_and_links, waiting))
            for link in (link for _, links in looked_at for link in links):
                _refuse_outside(Path(link), folder)
            waiting = [inside for folders, _ in looked_at for inside in folders]


def _folders_and_links(folder: str) -> tuple[list[str], list[str]]:
    """Paths of the folders and of the links in a folder; nothing, if a job has removed it since."""
    folders, links = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.append(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    hint = "remove it; nothing of babelscope makes it"
                    raise DataError(entry.path, "is neither a file nor a folder", hint)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        hint = "remove it, or have it made readable: nothing in it was looked at"
        raise DataError(f"{folder:.200}", f"cannot be looked into: {error.strerror}", hint) from error
    return folders, links


def check_writable(folder: Path) -> None:
    """Refuse a folder of results that cannot be made or written to.

    Raises:
        DataError: Naming the folder that stands in the way.
    """
    place = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if place.exists() and not place.is_dir():
        raise DataError(place, "is no folder, so no results can be written", "move it away")
    if not os.access(place, os.W_OK | os.X_OK):
        hint = "have it made writable, or run in a folder of yours: results go to `results/STUDY` below it"
        raise DataError(place, "cannot be written to, so no results can be", hint)


def _refuse_outside(link: Path, folder: Path) -> None:
    target, root = os.path.realpath(link), os.path.realpath(folder)
    if os.path.commonpath([target, root]) != root:
        hint = "remove it; to keep results on another disk, make the folder `results` itself a link"
        raise DataError(link, f"is a link that leads out of {folder}, to {target}", hint)


def is_plain_name(name: object) -> bool:
    """Whether a text of others is the name of something in a folder, and not a path that leads out of it."""
    return isinstance(name, str) and name.isprintable() and "/" not in name and name not in ("", ".", "..")


def is_below(path: Path, folder: Path) -> bool:
    """Whether a file is there and lies below a folder, links followed."""
    return path.is_file() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_own_file(path: Path) -> bool:
    """Whether a name is a file, and no link to one."""
    return path.is_file() and not path.is_symlink()


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
    return {value: path for (value,), path in fitting_fields(template, (field,), **known).items()}


def fitting_fields(template: str, fields: Sequence[str], **known: str) -> dict[tuple[str, ...], str]:
    """The same by the values of several fields, in their order."""
    pattern, wanted = "", ""
    for text, name, _, _ in Formatter().parse(template):
        text += known[name] if name is not None and name not in fields else ""
        pattern += re.escape(text)
        wanted += glob.escape(text)
        if name in fields:
            pattern += f"(?P<{name}>[^/]+)" if f"(?P<{name}>" not in pattern else f"(?P={name})"
            wanted += "*"
    matches = [re.fullmatch(pattern, path) for path in glob.glob(wanted)]
    return {tuple(match[name] for name in fields): match[0] for match in matches if match}


def file_sha256(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def leftovers(folder: Path) -> list[Path]:
    """What killed jobs have left unfinished under a folder, files and folders."""
    found = [path for path in folder.rglob(f"*{MARK}*") if MARK in path.name]
    return sorted(path for path in found if not any(MARK in parent.name for parent in path.parents))
