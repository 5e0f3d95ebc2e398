"""Sizes, durations and counts as they are printed."""

from __future__ import annotations

from humanfriendly import format_size, format_timespan  # type: ignore[import-untyped]
from humanfriendly.text import pluralize  # type: ignore[import-untyped]


def size(n_bytes: float) -> str | None:
    """Bytes, such as ``1.5 GB`` (10^9); None for none at all, which tables show as a dash."""
    return str(format_size(round(n_bytes))) if n_bytes else None


def duration(seconds: float) -> str:
    """A time, such as ``2 hours and 5 minutes``; from a minute and a half on in whole minutes."""
    return str(format_timespan(round(seconds) if seconds < 90 else 60 * round(seconds / 60), max_units=2))


def counted(n: int, noun: str) -> str:
    """A number of things, such as ``1 job`` or ``2 jobs``."""
    return str(pluralize(n, noun))
