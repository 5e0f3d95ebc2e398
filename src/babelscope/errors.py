"""Errors whose message is written for the person who can repair their cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class BabelscopeError(ValueError):
    """Base of all errors that a user can repair."""


class StudyError(BabelscopeError):
    """A value in the study's config is wrong.

    Args:
        key: Path of the key, such as ``models.mine.steps``.
        given: The value found there.
        allowed: What may stand there.
        hint: How to repair it, one sentence.
    """

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

    def __init__(self, path: Path | str, problem: str, hint: str = "") -> None:
        self.path, self.problem, self.hint = Path(path), problem, hint
        super().__init__(f"{path}: {problem}" + (f"\nhint: {hint}" if hint else ""))


class StoreError(DataError):
    """An HDF5 file of the store is truncated, foreign, incomplete or of another version."""


class NumericsError(BabelscopeError):
    """A computed value is not finite or does not fit the type it must be stored in."""
