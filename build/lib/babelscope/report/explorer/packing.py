"""Blocks of numbers that a page carries: a JSON header and arrays, packed, as text.

A block is the length of its header (4 bytes, little-endian), the header (JSON, filled up with spaces to a
multiple of 4 bytes) and the arrays one after the other, each filled up with zeros to a multiple of 4; all of
it packed with zlib and written as base64. The header's ``arrays`` has of each its dtype, shape and offset
behind the header. The script of the page reads it back (``templates/explorer/blocks.js``).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 4
_DTYPES = {"u1": np.uint8, "u2": np.uint16, "u4": np.uint32}

#: Stands for no value among shares of 16 bits.
MISSING = 65535


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> str:
    """A block as text; equal input gives equal text.

    Args:
        header: Values that JSON knows.
        arrays: Of unsigned integers of 1, 2 or 4 bytes.

    Raises:
        ValueError: If an array is of another type.
    """
    places, parts, offset = {}, [], 0
    for name, values in (arrays or {}).items():
        kind = f"{values.dtype.kind}{values.dtype.itemsize}"
        if kind not in _DTYPES:
            raise ValueError(f"array {name!r} is of {values.dtype}; a block holds {', '.join(_DTYPES)}")
        content = values.astype(f"<{kind}").tobytes()
        places[name] = [kind, list(values.shape), offset]
        parts.append(content + b"\0" * (-len(content) % _ALIGNED))
        offset += len(parts[-1])
    # ASCII keeps lone surrogates and everything else as it was.
    head = json.dumps({**header, "arrays": places}, separators=(",", ":")).encode("ascii")
    head += b" " * (-len(head) % _ALIGNED)
    whole = len(head).to_bytes(4, "little") + head + b"".join(parts)
    return base64.b64encode(zlib.compress(whole, 9)).decode("ascii")


def unpack(block: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a block: the inverse of :func:`pack`."""
    whole = zlib.decompress(base64.b64decode(block))
    start = 4 + int.from_bytes(whole[:4], "little")
    header: dict[str, Any] = json.loads(whole[4:start])
    arrays = {}
    for name, (kind, shape, offset) in header.pop("arrays").items():
        values = np.frombuffer(whole, f"<{kind}", int(np.prod(shape)), start + offset)
        arrays[name] = values.reshape(shape).astype(_DTYPES[kind])
    return header, arrays


def planes_of(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of whole numbers, the low ones of all first, ``(bytes, n)``: planes pack better than numbers.

    Raises:
        ValueError: If a number is below 0.
    """
    number_N = np.asarray(numbers, dtype=np.int64)
    if number_N.size and number_N.min() < 0:
        raise ValueError(f"numbers of 0 and more have planes; got {number_N.min()}")
    n_planes = max(1, (int(number_N.max(initial=0)).bit_length() + 7) // 8)
    return np.stack([(number_N >> (8 * at)) & 255 for at in range(n_planes)]).astype(np.uint8)


def numbers_of(planes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The inverse of :func:`planes_of`."""
    parts = [plane.astype(np.int64) << (8 * at) for at, plane in enumerate(planes)]
    return np.asarray(np.sum(parts, axis=0), dtype=np.int64)


def bytes_of(shares: NDArray[Any]) -> NDArray[np.uint8]:
    """Shares between 0 and 1 as bytes; the error is at most .002."""
    return np.asarray(np.round(np.clip(shares, 0, 1) * 255), dtype=np.uint8)


def words_of(shares: NDArray[Any]) -> NDArray[np.uint16]:
    """Shares between 0 and 1 in 16 bits; :data:`MISSING` where they are NaN."""
    known = np.isfinite(shares)
    whole = np.round(np.clip(np.where(known, shares, 0), 0, 1) * (MISSING - 1)).astype(np.uint16)
    return np.where(known, whole, np.uint16(MISSING))
