"""Shared units: on disjoint lines, against a count by hand and against what translations fake."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from babelscope.analysis.sharing import Members, half_of, members, pairings_of, shared
from babelscope.units import UnitIndex


def some(*pairs: tuple[int, int]) -> Members:
    """Experts given as concept and unit."""
    concept, unit = np.array([*pairs, (0, 0)][: len(pairs)], dtype=np.int32).reshape(-1, 2).T
    return Members(concept, unit)


def test_counted_by_hand():
    # Languages 0 and 2 choose on half a, 1 and 3 on half b.
    of_langs = [some((0, 5), (1, 7)), some((0, 5)), some((0, 5), (1, 7)), some((1, 6))]
    found = shared(of_langs, 10)
    assert found.pair_P.tolist() == [5, 16, 17]
    assert found.n_P.tolist() == [3, 1, 2]
    assert found.by(2).tolist() == [5]  # (1, 7) is shared by two that chose on the same lines
    assert found.by(3).tolist() == [5]
    assert found.by(4).tolist() == []
    assert shared([some(), some()], 10).by(2).tolist() == []


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.lists(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 4))), min_size=n, max_size=n)
    )
)
def test_as_counted_pair_by_pair(sets):
    found = shared([some(*sorted(pairs)) for pairs in sets], 5)
    for m in range(2, len(sets) + 1):
        expected = [
            5 * concept + unit
            for concept in range(3)
            for unit in range(5)
            if sum((concept, unit) in pairs for pairs in sets) >= m
            and min(sum((concept, unit) in pairs for pairs in sets[at::2]) for at in (0, 1)) >= m // 2
        ]
        assert found.by(m).tolist() == expected


def test_a_pairing_has_another_concept_in_every_language():
    """The same unit is the expert of concept c in every language: under a pairing no row has it twice."""
    of_langs = [some(*((c, c) for c in range(6))) for _ in range(4)]
    own, *nulls = pairings_of(6, 4, 10, np.random.default_rng(0))
    assert len(shared(of_langs, 6, own).by(4)) == 6
    for pairing in nulls:
        assert len(shared(of_langs, 6, pairing).by(2)) == 0


def test_what_all_languages_see_on_the_same_lines_is_not_shared():
    """Random units agree between translations (they see names and length of a line), and not between lines."""
    rng, langs = np.random.default_rng(0), ["en", "fr", "ru", "zh"]
    concepts, units, k = [f"c{at}" for at in range(20)], UnitIndex.of([(1, "mlp_act", 400)]), 20
    rows = []
    for subset in ("all", "a", "b"):
        for concept in concepts:
            rows += [
                ("model", subset, concept, rank, 1, "mlp_act", unit)
                for rank, unit in enumerate(rng.choice(400, k, replace=False))
            ]
    columns = ["scope", "subset", "concept", "rank", "layer", "site", "unit"]
    table = pd.DataFrame(rows, columns=columns)  # the same in all languages, another one on each half
    of_langs = members(dict.fromkeys(langs, table), units, concepts)
    assert half_of(langs) == {"en": "a", "fr": "b", "ru": "a", "zh": "b"}
    counts = [
        len(shared(list(of_langs.values()), 400, pairing).by(2))
        for pairing in pairings_of(20, 4, 50, np.random.default_rng(1))
    ]
    # On the same lines all 20 x 20 would be shared by all four. By chance a unit is on both halves: 20 of them.
    assert 5 < counts[0] < 40
    assert counts[0] <= np.mean(counts[1:])
