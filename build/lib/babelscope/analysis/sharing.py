"""Which units are experts of one concept in several languages, on sentences that say different things.

Translations of one sentence share names, digits and length, and random units see those: where all languages
choose their experts on the same lines, random weights already share more units than permuted concepts do.
So the languages take turns, in the order of the study: the first chooses its experts on half a of the
sentences, the second on half b, the third on half a, and so on. A pair of a concept and a unit is *shared by
m languages* if the unit is among the experts of the concept in at least ``m`` of them, at least ``m // 2`` of
which chose it on half a and as many on half b. Names of shapes: ``L`` languages, ``C`` concepts, ``E``
experts, ``P`` pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.experts import expert_places, of_model
from babelscope.analysis.scores import OTHER_HALF
from babelscope.units import UnitIndex

Ints = NDArray[np.int64]


class Members(NamedTuple):
    """The experts of a language, on the half of the sentences that is its turn."""

    concept_E: NDArray[np.int32]
    """Number of the concept."""
    unit_E: NDArray[np.int32]
    """Number of the unit."""


class Shared(NamedTuple):
    """Pairs that any language has: concept times the number of units plus number of the unit, rising."""

    pair_P: Ints
    n_P: Ints
    """Languages that have it."""
    least_P: Ints
    """Those that chose it on the half on which fewer did."""

    def by(self, m: int) -> Ints:
        """The pairs that are shared by at least ``m`` languages."""
        return self.pair_P[(self.n_P >= m) & (self.least_P >= m // 2)]


def half_of(langs: Iterable[str]) -> dict[str, str]:
    """The half of the sentences on which each language chooses."""
    return {lang: list(OTHER_HALF)[at % 2] for at, lang in enumerate(sorted(langs))}


def members(
    experts: Mapping[str, pd.DataFrame], units: UnitIndex, concepts: Sequence[str]
) -> dict[str, Members]:
    """The experts of each language, on its half.

    Args:
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        units: All units of the model.
        concepts: Order of the concepts.
    """
    found = {}
    for lang, half in half_of(experts).items():
        concept_E, unit_E = expert_places(of_model(experts[lang], half), units, concepts)
        found[lang] = Members(concept_E.astype(np.int32), unit_E.astype(np.int32))
    return found


def shared(of_langs: Sequence[Members], n_units: int, pairing_LC: NDArray[np.intp] | None = None) -> Shared:
    """The pairs of all languages, and how many languages have each.

    Args:
        of_langs: By language, in the order of their names, so that every other one chose on the same half.
        n_units: Units of the model.
        pairing_LC: For each language and row the number of a concept, as :func:`pairings_of` gives it: rows
            then stand for concepts.
    """
    keys = []
    for at, (concept_E, unit_E) in enumerate(of_langs):
        row_E = concept_E if pairing_LC is None else np.argsort(pairing_LC[at])[concept_E]
        keys.append(2 * (row_E.astype(np.int64) * n_units + unit_E) + at % 2)
    # A key for each half on which a pair was chosen, side by side; so one sort does.
    key_K, n_K = np.unique(np.concatenate([*keys, np.empty(0, np.int64)]), return_counts=True)
    first_P = np.flatnonzero(np.diff(key_K // 2, prepend=-1))
    n_P = np.add.reduceat(n_K, first_P) if len(first_P) else np.empty(0, np.int64)
    on_one_P = n_K[first_P]
    return Shared(key_K[first_P] // 2, n_P, np.minimum(on_one_P, n_P - on_one_P))


def pairings_of(
    n_concepts: int, n_langs: int, n_nulls: int, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """For each language and row a concept, shape ``(L, C)``: the same in all, then ``n_nulls`` at random.

    Where random, the first language keeps its order, each language has each concept once, and no language has
    the first one's concept in the same row. With more languages than concepts some must meet.
    """
    pairings = [np.tile(np.arange(n_concepts), (n_langs, 1))]
    for _ in range(n_nulls if n_concepts > 1 and n_langs > 1 else 0):
        circle_C = rng.permutation(n_concepts)
        position_C = np.argsort(circle_C)
        shifts = np.resize(rng.permutation(np.arange(1, n_concepts)), n_langs - 1)
        paired = [circle_C[(position_C + shift) % n_concepts] for shift in (0, *shifts.tolist())]
        pairings.append(np.stack(paired))
    return pairings
