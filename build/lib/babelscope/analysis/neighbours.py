"""Concepts that are near each other: the null that concepts share experts as a group alone.

If animals share experts across languages but *dog* shares no more with *dog* than with *cat*, the plain
permutation of concepts sees sharing all the same: a random other concept is seldom an animal. So labels are
permuted among neighbours only. Such a test holds its level if, given that nothing finer than the blocks is
shared, the labels within a block could be exchanged. A study's own groups serve, or else blocks in which
every concept stands with its nearest. Names of shapes: ``C`` concepts, ``Q``
permutations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def blocks_of_groups(groups: Mapping[str, Sequence[str]], concepts: Sequence[str]) -> Ints:
    """Block of each concept, ``(C,)``: those of one group have one, a concept of no group its own."""
    group_of = {concept: name for name, members in groups.items() for concept in members}
    names = [("group", group_of[each]) if each in group_of else ("alone", each) for each in concepts]
    numbers = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def nearest_blocks(shared_CC: Floats) -> Ints:
    """Blocks in which every concept stands with the one that it shares most experts with, within languages;
    ``(C,)``.

    Nothing that the test looks at is looked at here: a language's concepts are compared with each other,
    never with those of another language.

    Args:
        shared_CC: What the experts of two concepts share within languages, chosen on different sentences.
    """
    n = len(shared_CC)
    similar = (shared_CC + shared_CC.T) / 2
    np.fill_diagonal(similar, -np.inf)
    nearest = sparse.coo_array((np.ones(n), (np.arange(n), similar.argmax(axis=1))), shape=(n, n))
    _, block_C = connected_components(nearest, directed=False)
    return np.asarray(block_C, dtype=np.int64)


def permuted_within(block_C: Ints, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Random permutations of concepts that stay within their block, ``(n, C)``."""
    order_QC = np.empty((n, len(block_C)), dtype=np.intp)
    # Sorting by block, and within it at random, gives the members of each block in random order.
    shuffled_QC = np.argsort(block_C + rng.random((n, len(block_C))), axis=1)
    order_QC[:, np.argsort(block_C, kind="stable")] = shuffled_QC
    return order_QC


def relabellings(block_C: Ints) -> float:
    """How many different permutations within blocks there are."""
    return float(math.prod(math.factorial(int(size)) for size in np.bincount(block_C)))
