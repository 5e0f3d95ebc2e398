"""Every cell is taken by exactly one job, whatever the granularity."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelscope.ops.batches import NOTHING, chunks, make_batches, one_of


def cells(batches, plans):
    """All (model, step, part) that the batches' jobs write, in order."""
    found = []
    for batch in batches:
        for model in batch.models:
            steps = batch.steps if batch.by_step else [None]
            parts = batch.parts if batch.by_part else [None]
            for step in steps if batch.by_step else [None]:
                for part in parts if batch.by_part else [None]:
                    wildcards = SimpleNamespace(step=step, lang=part)
                    found += [
                        (model, s, p)
                        for s in batch.steps_of(wildcards)
                        for p in (batch.parts_of(wildcards) or [None])
                    ]
    return found


@given(
    plan=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    n_langs=st.integers(0, 7),
    size=st.integers(1, 8),
    shared=st.booleans(),
)
def test_every_cell_is_taken_exactly_once(plan, n_langs, size, shared):
    steps = iter(range(100))
    batches_of_steps = [[next(steps) for _ in range(n)] for n in plan]
    plans = {"a": batches_of_steps, "b": batches_of_steps if shared else [[7]]}
    langs = [f"l{i}" for i in range(n_langs)]
    parts = {"a": langs, "b": langs} if langs else None
    batches = make_batches(plans, parts, parts_per_job=size)
    expected = {
        (model, step, lang)
        for model, batched in plans.items()
        for batch in batched
        for step in batch
        for lang in (langs or [None])
    }
    found = cells(batches, plans)
    assert len(found) == len(set(found))
    assert set(found) == expected
    names = [batch.rule("score_units") for batch in batches]
    assert len(names) == len(set(names))


def test_one_rule_serves_single_cells():
    (batch,) = make_batches({"m": [[0], [64]]}, {"m": ["en", "fr"]})
    assert batch.rule("score_units") == "score_units"
    assert batch.step_paths == ["{step}"]
    assert batch.part_paths == ["{lang}"]
    assert batch.name == "{step}/{lang}"


def test_an_added_step_leaves_the_other_batches_alone():
    before = make_batches({"m": [[0, 64], [128, 256]]})
    after = make_batches({"m": [[0, 64], [100], [128, 256]]})
    kept = {(batch.steps, batch.step_paths[0]) for batch in before}
    assert kept <= {(batch.steps, batch.step_paths[0]) for batch in after}


def test_an_appended_language_leaves_full_chunks_alone():
    assert chunks("abcd", 2) == [("a", "b"), ("c", "d")]
    assert chunks("abcde", 2)[:2] == chunks("abcd", 2)


@pytest.mark.parametrize("values", [["en", "zh-Hans"], [0, 64], ["a.b"]])
def test_one_of_matches_exactly_the_values(values):
    import re

    for value in values:
        assert re.fullmatch(one_of(values), str(value))
    assert not re.fullmatch(one_of(["a.b"]), "axb")
    assert not re.fullmatch(NOTHING, "")
