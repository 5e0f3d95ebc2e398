"""Faults of single tensors: of a step that is sound as a whole, which are not its own. Needs no torch.

A layer in another's place, a transposed matrix or a shard of another step moves the whole too little to be
seen there. So each tensor is compared with itself at the steps beside it, by the entries of its sketch.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Entries from which distances of a tensor are compared: at rest they differ by 3 percent by chance.
MIN_ENTRIES = 256

#: A matrix is foreign if it is this many times as far from both neighbours as they are from each other ...
FOREIGN_FACTOR = 1.5

#: ... and if that is at least this share of its norm, so that rounding is none.
MIN_DISTANCE = 0.05

#: A matrix is unrelated if it has no cosine of the first size to any other step; neighbours have the second.
UNRELATED, RELATED = 0.1, 0.3

#: Entries of a matrix that are 0 here and at neither neighbour, as a share of all.
MIN_ZEROS = 0.01

#: A matrix of two steps is the same by mistake if the whole moved by this share of its norm meanwhile. In 16
#: bits a small learning rate may leave weights as they are; then the others hardly move either.
MIN_MOVE = 0.01


@dataclass(frozen=True)
class TensorPath:
    """One tensor at all steps."""

    entries_Sm: Floats
    """The same entries at every step."""
    norm_S: Floats
    is_matrix: bool

    def constant_at(self, at: int) -> bool:
        """Whether a tensor of several entries is one number."""
        entries_m = self.entries_Sm[at]
        return len(entries_m) > 1 and bool((entries_m == entries_m[0]).all())

    def zeros_at(self, at: int) -> float:
        """Share of its entries that are 0."""
        return float((self.entries_Sm[at] == 0).mean())

    def distance(self, a: int, b: int) -> float:
        """Euclidean, over the entries of the sketch."""
        return float(np.linalg.norm(self.entries_Sm[a] - self.entries_Sm[b]))


def strange_tensors(
    paths: Mapping[str, TensorPath],
    steps: Sequence[int],
    kept: Sequence[int],
    judged: Sequence[int],
    moved: Callable[[int, int], float],
) -> dict[int, dict[str, str]]:
    """The tensors of each step that are not its own, and why.

    Args:
        paths: By name.
        steps: Of all places.
        kept: Places of the steps that are sound as a whole: the neighbours of each other.
        judged: Those of them that may be at fault; the first step has nothing before it.
        moved: Relative distance of two steps as a whole.
    """
    doubles = {name: _doubles(path, kept, moved) for name, path in paths.items() if path.is_matrix}
    # A matrix may rest for a while by itself; a shard or a layer that was not saved anew holds several.
    stale = Counter(
        at for of in doubles.values() for at, twin in of.items() if _are_neighbours(kept, at, twin)
    )
    found: dict[int, dict[str, str]] = {}
    for name, path in paths.items():
        of_others = {
            at: twin
            for at, twin in doubles.get(name, {}).items()
            if stale[at] > 1 or not _are_neighbours(kept, at, twin)
        }
        strange = _alone(path, [at for at in kept if at not in of_others])
        strange |= {at: f"that of step {steps[twin]}" for at, twin in of_others.items()}
        for at, why in strange.items():
            if at in judged:
                found.setdefault(at, {})[name] = why
    return found


def _are_neighbours(kept: Sequence[int], a: int, b: int) -> bool:
    return abs(kept.index(a) - kept.index(b)) == 1


def _alone(path: TensorPath, kept: Sequence[int]) -> dict[int, str]:
    """Places at which a tensor is out of line with its neighbours, and how."""
    found: dict[int, str] = {}
    compared = path.is_matrix and path.entries_Sm.shape[1] >= MIN_ENTRIES
    cosine_SS = _cosines(path.entries_Sm[list(kept)]) if compared and len(kept) > 2 else None
    for place in range(1, len(kept)):
        at, beside = kept[place], kept[place - 1 : place + 2 : 2]
        zeros = path.zeros_at(at)
        if path.constant_at(at) and not any(path.constant_at(other) for other in beside):
            found[at] = "one number everywhere"
        elif path.is_matrix and zeros >= MIN_ZEROS + max(path.zeros_at(other) for other in beside):
            found[at] = f"{zeros:.0%} zeros"
        elif compared and len(beside) == 2 and _is_foreign(path, at, *beside):
            found[at] = "off its path"
        elif cosine_SS is not None and _is_unrelated(cosine_SS, place):
            found[at] = "nothing in common with any other step"
    return found


def _is_foreign(path: TensorPath, at: int, before: int, after: int) -> bool:
    nearest = min(path.distance(before, at), path.distance(at, after))
    least = MIN_DISTANCE * float(np.linalg.norm(path.entries_Sm[before]))
    return nearest > max(FOREIGN_FACTOR * path.distance(before, after), least)


def _cosines(entries_Sm: Floats) -> Floats:
    norm_S = np.linalg.norm(entries_Sm, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(entries_Sm @ entries_Sm.T / np.outer(norm_S, norm_S), dtype=np.float64)


def _is_unrelated(cosine_SS: Floats, place: int) -> bool:
    others = [other for other in range(1, len(cosine_SS)) if other != place]
    among = [cosine_SS[a, b] for a, b in itertools.pairwise(others)]
    return (
        bool(among) and bool(np.max(cosine_SS[place, others]) < UNRELATED) and bool(np.min(among) >= RELATED)
    )


def _doubles(path: TensorPath, kept: Sequence[int], moved: Callable[[int, int], float]) -> dict[int, int]:
    """Places at which a tensor is that of another step by mistake, and that step's place.

    A tensor that rests, for a while or always, is no fault. So it is one that two steps have and no other,
    with steps between them, or before and after.
    """
    groups: dict[bytes, list[int]] = {}
    for at in kept:
        groups.setdefault(path.entries_Sm[at].tobytes() + path.norm_S[at].tobytes(), []).append(at)
    found: dict[int, int] = {}
    for group in groups.values():
        if len(group) != 2 or moved(*group) < MIN_MOVE or path.constant_at(group[0]):
            continue
        first, last = group
        beside = [_detour(path, at, [other for other in kept if other not in group]) for at in group]
        if _are_neighbours(kept, first, last):
            if not np.isnan(beside).any():  # a shard that was not saved anew
                found[last] = first
        elif np.isnan(beside).any():  # at an end of the series nobody knows whose it is
            found |= {first: last, last: first}
        else:
            found |= {first: last} if beside[0] > beside[1] else {last: first}
    return found


def _detour(path: TensorPath, at: int, others: Sequence[int]) -> float:
    """How much longer the path gets by going over a step; NaN at an end."""
    before, after = [other for other in others if other < at], [other for other in others if other > at]
    if not before or not after:
        return np.nan
    a, b = before[-1], after[0]
    return path.distance(a, at) + path.distance(at, b) - path.distance(a, b)
