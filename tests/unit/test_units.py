"""Numbers, places and names of units are one thing said three ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.units import UnitIndex, place_of

SITES = st.lists(
    st.tuples(
        st.integers(0, 120), st.sampled_from(["mlp_act", "attn_out", "resid", "a.b", "x"]), st.integers(1, 9)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda site: site[:2],
).map(lambda sites: UnitIndex.of(sorted(sites, key=lambda site: site[0])))


@given(index=SITES, seed=st.integers(0, 2**32 - 1))
def test_numbers_places_and_names_turn_into_each_other(index, seed):
    numbers = np.random.default_rng(seed).integers(len(index), size=20)
    assert index.numbers(*index.places(numbers)).tolist() == numbers.tolist()
    assert len(set(index.names(np.arange(len(index))))) == len(index)
    places = zip(*(part.tolist() for part in index.places(numbers)), strict=True)
    assert [place_of(name) for name in index.names(numbers)] == list(places)


@given(index=SITES)
def test_numbers_go_by_site_then_by_index(index):
    expected = [(layer, site, unit) for layer, site, width in index.sites for unit in range(width)]
    assert (
        list(zip(*(part.tolist() for part in index.places(np.arange(len(index)))), strict=True)) == expected
    )
    parts = [(layer, site, list(range(len(index))[part])) for layer, site, part in index.parts()]
    assert [n for _, _, numbers in parts for n in numbers] == list(range(len(index)))
    assert [(layer, site, len(numbers)) for layer, site, numbers in parts] == list(index.sites)
    assert sum(index.width(layer) for layer in index.layers) == len(index)


def test_names_are_written_as_people_write_them():
    index = UnitIndex.of([(3, "mlp_act", 200), (12, "resid", 4)])
    assert index.names([117, 203]) == ["L03.mlp_act.117", "L12.resid.3"]
    assert index.names([]) == index.numbers([], [], []).tolist() == []


def test_units_that_are_not_there_are_named():
    index = UnitIndex.of([(1, "mlp_act", 4), (2, "resid", 2)])
    for place in ((1, "mlp_act", 4), (1, "mlp_act", -1), (2, "mlp_act", 0), (1, "attn_out", 0)):
        name = f"L0{place[0]}.{place[1]}.{place[2]}"
        with pytest.raises(ValueError, match=f"no unit {name} among the 6 units of 2 sites"):
            index.numbers([2, place[0]], ["resid", place[1]], [0, place[2]])
    with pytest.raises(ValueError, match="numbers 0 to 5; got 2 to 6"):
        index.split([2, 6])
    with pytest.raises(ValueError, match="stands once"):
        UnitIndex.of([(1, "mlp_act", 4), (1, "mlp_act", 4)])
