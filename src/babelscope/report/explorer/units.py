"""The best units of every concept, of one model, and what their sets share.

Names of shapes: ``C`` concepts, ``K`` kept units, ``P`` pairs of languages, ``S`` steps, ``L`` languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from babelscope.analysis.ranking import NOBODY, BestFile
from babelscope.io.cells import Cell
from babelscope.report.explorer.packing import bytes_of, pack, planes_of, words_of
from babelscope.units import UnitIndex

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BestUnits:
    """The best units of one model, chosen on all sentences.

    Attributes:
        steps, langs, concepts: The axes.
        units: All units.
        k: Experts: the first so many of those that are kept.
        unit: Numbers of the kept units by (step, language), best first, ``(C, K)``; -1 where none is left.
        ap: Their average precision, NaN where none is left.
        below: The most that a unit has which is not kept, ``(C,)``.
    """

    steps: Sequence[int]
    langs: Sequence[str]
    concepts: Sequence[str]
    units: UnitIndex
    k: int
    unit: Mapping[Cell, Ints]
    ap: Mapping[Cell, Floats]
    below: Mapping[Cell, Floats]

    @classmethod
    def of(cls, best: Mapping[Cell, BestFile], *, k: int, langs: Sequence[str]) -> BestUnits:
        """Read them.

        Args:
            best: By (step, language), all of one model and of the same concepts and units.
            k: Number of experts.
            langs: In the order in which they are shown; those that were not ranked are left out.
        """
        first = next(iter(best.values()))
        unit, ap, below = {}, {}, {}
        for cell, file in best.items():
            found = file.best("all")
            unit[cell], ap[cell], below[cell] = found.unit, found.ap, file.below()
        there = {lang for _, lang in best}
        return cls(
            steps=sorted({step for step, _ in best}),
            langs=[lang for lang in dict.fromkeys([*langs, *sorted(there)]) if lang in there],
            concepts=first.concepts,
            units=first.units,
            k=k,
            unit=unit,
            ap=ap,
            below=below,
        )

    @property
    def kept(self) -> int:
        """Units that are kept of every concept."""
        return max(int(unit_CK.shape[1]) for unit_CK in self.unit.values())

    def block(self, concept: int, depth: int) -> str:
        """The block of one concept, down to a rank.

        Of each step and language, in this order, stand first the experts and then the others, each by
        number, as differences to the one before; ``top`` and ``rest`` (S, L) say how many there are,
        ``planes`` (bytes, n) has the differences, ``ap`` (n,) the average precision in 255ths, and ``below``
        (S, L) the most that all others have, in 255ths, rounded up. ``there`` (S, L) is 0 where nothing
        was ranked.
        """
        shape = len(self.steps), len(self.langs)
        top, rest = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
        below, there = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        deltas: list[Ints] = []
        precisions: list[Floats] = []
        for s, step in enumerate(self.steps):
            for at, lang in enumerate(self.langs):
                if (step, lang) not in self.unit:
                    continue
                unit_K, ap_K = self.unit[step, lang][concept], self.ap[step, lang][concept]
                unit_K = unit_K[: int((unit_K != NOBODY).sum())]  # nobody comes last
                bound = float(self.below[step, lang][concept])
                if len(unit_K) > depth:
                    bound = float(np.fmax(bound, ap_K[depth - 1]))
                    unit_K = unit_K[:depth]
                there[s, at], below[s, at] = 1, int(np.ceil(min(1.0, bound) * 255 - 1e-6))
                for count, part in ((top, slice(0, self.k)), (rest, slice(self.k, None))):
                    order_N = np.argsort(unit_K[part])
                    count[s, at] = len(order_N)
                    deltas.append(np.diff(unit_K[part][order_N], prepend=0))
                    precisions.append(ap_K[: len(unit_K)][part][order_N])
        arrays: dict[str, NDArray[Any]] = {
            "there": there,
            "top": top,
            "rest": rest,
            "below": below,
            "planes": planes_of(np.concatenate([np.empty(0, np.int64), *deltas])),
            "ap": bytes_of(np.concatenate([np.empty(0), *precisions])),
        }
        return pack({"concept": self.concepts[concept], "depth": min(depth, self.kept)}, arrays)

    def overlaps(self) -> str:
        """The block of what two languages share of the experts of every concept, and of its null.

        ``shared`` and ``null`` (S, P, C) are shares of K as in the table of overlap on the same lines, so
        that their means over concepts are its values: of the concept in both languages, and the mean over
        this concept in the one and all others in the other language, both ways. ``most`` is the highest of
        those. In 16 bits; P are the ``pairs`` of the header.
        """
        pairs = list(combinations(self.langs, 2))
        shape = len(self.steps), len(pairs), len(self.concepts)
        shared, null, most = (np.full(shape, np.nan) for _ in range(3))
        for s, step in enumerate(self.steps):
            sets = {lang: self._experts(step, lang) for lang in self.langs if (step, lang) in self.unit}
            for p, (one, other) in enumerate(pairs):
                if one in sets and other in sets:
                    shared[s, p], null[s, p], most[s, p] = _own_and_others(sets[one], sets[other])
        arrays = {"shared": words_of(shared), "null": words_of(null), "most": words_of(most)}
        return pack({"pairs": [list(pair) for pair in pairs]}, arrays)

    def _experts(self, step: int, lang: str) -> sparse.csr_array:
        """The sets of experts as a sparse matrix of ones, ``(C, units)``."""
        unit_CK = self.unit[step, lang][:, : self.k]
        row, column = np.nonzero(unit_CK != NOBODY)
        ones = np.ones(len(row), dtype=np.int32)
        shape = len(self.concepts), len(self.units)
        return sparse.csr_array((ones, (row, unit_CK[row, column])), shape=shape)


def _own_and_others(one: sparse.csr_array, other: sparse.csr_array) -> tuple[Floats, Floats, Floats]:
    """Shares of K of the same concept; of different ones the mean, and the highest. Each ``(C,)``."""
    n_one, n_other = (np.maximum(np.asarray(sets.sum(axis=1)), 1) for sets in (one, other))
    share_CC = (one @ other.T).toarray() / np.maximum(n_one[:, None], n_other)
    own_C, n_others = share_CC.diagonal(), len(share_CC) - 1
    if not n_others:
        return own_C, np.full(1, np.nan), np.full(1, np.nan)
    null_C = (share_CC.sum(axis=0) + share_CC.sum(axis=1) - 2 * own_C) / (2 * n_others)
    different_CC = np.where(np.eye(len(share_CC), dtype=bool), -1.0, share_CC)
    return own_C, null_C, np.maximum(different_CC.max(axis=0), different_CC.max(axis=1))
