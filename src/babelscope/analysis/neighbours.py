"""Concepts that are near each other: the null that concepts share experts as a group alone.

If animals share experts across languages but *dog* shares no more with *dog* than with *cat*, the plain
permutation of concepts sees sharing all the same: a random other concept is seldom an animal. So labels are
permuted among neighbours only. Such a test holds its level if, given that nothing finer than the blocks is
shared, the labels within a block could be exchanged. Blocks that are too small cost power and stay valid;
so a study's own groups serve, or else pairs of nearest concepts. Names of shapes: ``C`` concepts, ``Q``
permutations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def blocks_of_groups(groups: Mapping[str, Sequence[str]], concepts: Sequence[str]) -> Ints:
    """Block of each concept, ``(C,)``: those of one group have one, a concept of no group its own."""
    group_of = {concept: name for name, members in groups.items() for concept in members}
    names = [("group", group_of[each]) if each in group_of else ("alone", each) for each in concepts]
    numbers = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def nearest_blocks(shared_CC: Floats) -> Ints:
    """Pairs of concepts that share most experts within languages, as blocks ``(C,)``.

    The most similar two are paired first, then the most similar of the rest; an odd one out joins the pair
    of its nearest.

    Nothing that the test looks at is looked at here: a language's concepts are compared with each other,
    never with those of another language. And what is looked at does not change if the labels of a pair are
    exchanged in one language, as the test does, so that choosing the pair does not favour either labelling.

    Args:
        shared_CC: What the experts of two concepts share within languages, chosen on different sentences.
    """
    n = len(shared_CC)
    similar = (shared_CC + shared_CC.T) / 2
    first, second = np.triu_indices(n, 1)
    block_C = np.full(n, -1, dtype=np.int64)
    n_blocks = 0
    for at in np.argsort(-similar[first, second], kind="stable"):
        a, b = first[at], second[at]
        if block_C[a] < 0 and block_C[b] < 0:
            block_C[[a, b]], n_blocks = n_blocks, n_blocks + 1
    for alone in np.flatnonzero(block_C < 0):
        others = np.where(np.arange(n) == alone, -np.inf, similar[alone])
        block_C[alone] = max(0, block_C[others.argmax()]) if n > 1 else 0
    return block_C


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
