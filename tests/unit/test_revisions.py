"""Revisions of a repository are read whole: no step is dropped, merged with another one or out of order."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from babelscope.models.hub.revisions import read_name, series_of

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/revisions.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["names"][0])
def test_names_are_read(case):
    found, others = series_of(map(str, case["names"]))
    assert [each.revisions for each in found] == case["series"]
    assert [list(each.revisions) for each in found] == [sorted(each) for each in case["series"]]
    assert [clash.split(" is ")[0] for each in found for clash in each.clashes] == case.get("clashes", [])
    assert others == case.get("others", [])
    if "tokens" in case:
        assert found[0].tokens == case["tokens"]
    if "in_tokens" in case:
        assert [each.in_tokens for each in found] == [case["in_tokens"]]


def test_steps_in_tokens_say_so():
    (series,), _ = series_of(["250M", "1B"])
    assert series.in_tokens
    assert series.tokens == {250_000_000: 250_000_000, 1_000_000_000: 1_000_000_000}
    (both,), _ = series_of(["step50-tokens2B", "step100-tokens4B"])
    assert not both.in_tokens
    assert both.tokens == {50: 2_000_000_000, 100: 4_000_000_000}


@given(
    st.lists(
        st.from_regex(r"[a-z]{0,5}[-_]?[0-9]{0,4}(\.[0-9])?[kMBT]?(-tokens[0-9]B)?", fullmatch=True),
        unique=True,
    )
)
def test_no_name_is_lost(names):
    found, others = series_of(names)
    told = [name for each in found for name in each.revisions.values()]
    told += [clash.split(" is step ")[0] for each in found for clash in each.clashes]
    assert sorted([*told, *others]) == sorted(names)
    for each in found:
        assert all(read_name(name).step == step for step, name in each.revisions.items())
