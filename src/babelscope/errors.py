"""Errors whose message is written for the person who can repair their cause.

What others have written (a hub, a study, a log) is part of many messages, so it is made fit to be seen here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

TROUBLESHOOTING = "docs/troubleshooting.md"
#: In an installed package, which has no docs, the same page; setup.py puts it there.
_CARRIED = Path(__file__).with_name("troubleshooting.md")
_PAGE = str(_CARRIED) if _CARRIED.is_file() else TROUBLESHOOTING

#: Up to the last @ of what names the host, as a password may hold one; also where an address has no scheme.
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@|(?<![\w/@])[\w.+%-]+:[^/?#\s]+@(?=[\w.-]+(:\d+)?(/|\s|$))")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_BEARER = re.compile(r"(?<=\bBearer )\S{8,}", re.IGNORECASE)
#: Where the environment may have a token of the hub, whatever it looks like.
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def without_secrets(text: str) -> str:
    """A text without the logins of addresses (``user:password@``) and without tokens of the hub."""
    for name in TOKENS:
        token = os.environ.get(name, "")
        if len(token) >= 8:
            text = text.replace(token, "hf_...")
    return _BEARER.sub("hf_...", _TOKEN.sub("hf_...", _LOGIN.sub("", text)))


def shown(text: object, *, one_line: bool = False) -> str:
    """A text as it may be printed, whoever wrote it: it moves no cursor, and no address in it has a login.

    Args:
        text: The text.
        one_line: Make line ends spaces, where what follows one would be read as something else.
    """
    clean = without_secrets(str(text))
    if one_line:
        clean = " ".join(clean.split())
    if clean.isprintable():
        return clean
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in clean
    )


class BabelscopeError(ValueError):
    """Base of all errors that a user can repair; what is raised is of a kind.

    Attributes:
        section: Anchor of its kind in docs/troubleshooting.md, which an installed package carries. A note of
            the error leads there: Python prints notes below the message, and they are no part of it where one
            error quotes another.
    """

    section: ClassVar[str] = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.add_note(f"see {_PAGE}#{self.section}")

    def __str__(self) -> str:
        return shown(super().__str__())


def explained(error: BabelscopeError) -> str:
    """The message and what leads on, as a terminal or a log shows it."""
    return "\n".join([str(error), *error.__notes__])


class StudyError(BabelscopeError):
    """A value in the study's config is wrong.

    Args:
        key: Path of the key, such as ``models.mine.steps``.
        given: The value found there.
        allowed: What may stand there.
        hint: How to repair it, one sentence.
    """

    section = "a-value-of-the-study"

    def __init__(self, key: str, given: Any, allowed: str, hint: str = "") -> None:
        self.key, self.given, self.allowed, self.hint = key, given, allowed, hint
        shown = repr(given)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        message = f"config key `{key}`: got {shown}; allowed: {allowed}"
        super().__init__(message + (f"\nhint: {hint}" if hint else ""))


class DataError(BabelscopeError):
    """A text or table that the study names cannot be used as it is.

    Args:
        path: The file.
        problem: What is wrong and where (line, byte offset, id).
        hint: How to repair it, one sentence.
    """

    section = "a-file"

    def __init__(self, path: Path | str, problem: str, hint: str = "") -> None:
        self.path, self.problem, self.hint = Path(path), problem, hint
        super().__init__(f"{path}: {problem}" + (f"\nhint: {hint}" if hint else ""))


class TextError(DataError):
    """A corpus, sentences, concepts or words cannot be read as what the study says that they are."""

    section = "text"


class ModelError(DataError):
    """A checkpoint or a tokenizer is incomplete, damaged, foreign or not what is supported."""

    section = "a-model"


class StoreError(DataError):
    """An HDF5 file of the store is truncated, foreign, incomplete or of another version."""

    section = "a-stored-file"


class ResultsError(BabelscopeError):
    """Something that is asked for is not in the results."""

    section = "not-in-the-results"

    @classmethod
    def lacks(cls, what: str, name: object, there: Sequence[object], hint: str = "") -> ResultsError:
        """Names what is there.

        Args:
            what: Of which kind it is.
            name: What was asked for.
            there: What could be.
            hint: How it comes to be there, one sentence.
        """
        shown = ", ".join(map(str, there)) or "none"
        return cls(f"no {what} {name!r}; there are: {shown}" + (f"\nhint: {hint}" if hint else ""))


class NumericsError(BabelscopeError):
    """A computed value is not finite or does not fit the type it must be stored in."""

    section = "numbers"
