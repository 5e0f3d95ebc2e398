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
        kept: Units that the study keeps of every concept.
        held: Of these the first that are here.
        unit: Numbers of these units by (step, language), best first, ``(C, held)``; -1 where none is left.
        ap: Their average precision, NaN where none is left.
        below: The most that a unit has which is not here, ``(C,)``.
        shared: What languages share of the experts of the same concept, of different ones in the mean, and
            of these the most, ``(3, S, P, C)``; NaN where it is not known. P are pairs of ``langs``.
    """

    steps: Sequence[int]
    langs: Sequence[str]
    concepts: Sequence[str]
    units: UnitIndex
    k: int
    kept: int
    held: int
    unit: Mapping[Cell, NDArray[np.int32]]
    ap: Mapping[Cell, NDArray[np.float32]]
    below: Mapping[Cell, Floats]
    shared: Floats

    @classmethod
    def of(cls, best: Mapping[Cell, BestFile], *, k: int, langs: Sequence[str], most: int) -> BestUnits:
        """Read them.

        Args:
            best: By (step, language), all of one model and of the same concepts and units.
            k: Number of experts.
            langs: In the order in which they are shown; those that were not ranked are left out.
            most: Units that may be held, over all steps, languages and concepts: no page has room for more,
                and a study may keep more than memory has.
        """
        first, steps = next(iter(best.values())), sorted({step for step, _ in best})
        there = {lang for _, lang in best}
        langs = [lang for lang in dict.fromkeys([*langs, *sorted(there)]) if lang in there]
        pairs, n_concepts = list(combinations(langs, 2)), len(first.concepts)
        held, kept = max(1, most // (len(best) * n_concepts)), 0
        shared = np.full((3, len(steps), len(pairs), n_concepts), np.nan)
        unit, ap, below = {}, {}, {}
        for s, step in enumerate(steps):
            files = {lang: best[step, lang] for lang in langs if (step, lang) in best}
            found = {lang: file.best("all") for lang, file in files.items()}
            sets = {lang: _sets(each.unit[:, :k], len(first.units)) for lang, each in found.items()}
            for p, (one, other) in enumerate(pairs):
                if one in sets and other in sets:
                    shared[:, s, p] = _own_and_others(sets[one], sets[other])
            for lang, file in files.items():
                ap_CK = found[lang].ap
                kept = max(kept, ap_CK.shape[1])
                below[step, lang] = file.below()
                if held < ap_CK.shape[1]:
                    below[step, lang] = np.fmax(below[step, lang], ap_CK[:, held - 1])
                unit[step, lang] = found[lang].unit[:, :held].astype(np.int32)
                ap[step, lang] = ap_CK[:, :held].astype(np.float32)
        held = min(held, kept)
        return cls(steps, langs, first.concepts, first.units, k, kept, held, unit, ap, below, shared)

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
        return pack({"concept": self.concepts[concept], "depth": min(depth, self.held)}, arrays)

    def overlaps(self) -> str:
        """The block of what two languages share of the experts of every concept, and of its null.

        ``shared`` and ``null`` (S, P, C) are shares of K as in the table of overlap on the same lines, so
        that their means over concepts are its values: of the concept in both languages, and the mean over
        this concept in the one and all others in the other language, both ways. ``most`` is the highest of
        those. In 16 bits; P are the ``pairs`` of the header.
        """
        names = ("shared", "null", "most")
        arrays = {name: words_of(values) for name, values in zip(names, self.shared, strict=True)}
        return pack({"pairs": [list(pair) for pair in combinations(self.langs, 2)]}, arrays)


def _sets(unit_CK: Ints, n_units: int) -> sparse.csr_array:
    """The sets of experts as a sparse matrix of ones, ``(C, units)``."""
    row, column = np.nonzero(unit_CK != NOBODY)
    ones = np.ones(len(row), dtype=np.int32)
    return sparse.csr_array((ones, (row, unit_CK[row, column])), shape=(len(unit_CK), n_units))


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
