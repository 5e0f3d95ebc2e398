"""Every cell is in exactly one range, whatever the granularity, and a label finds its members again."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from babelscope.ops.layout import CONSTRAINTS
from babelscope.ops.ranges import RangeError, Ranges, StudyRanges
from babelscope.ops.stages import all_jobs
from babelscope.study.loading import load_study
from babelscope.study.steps import chunks, label

DEMO = yaml.safe_load((Path(__file__).resolve().parents[2] / "config/config.yaml").read_text())


def demo(steps, *, keep=False, traces=None, views=None, **granularity):
    config = {**copy.deepcopy(DEMO), "keep_activations": keep}
    for model in config["models"].values():
        model["steps"] = steps
    parts = {"granularity": granularity, "generation": {"enabled": False}, "traces": traces or {}}
    parts["views"] = views or {}
    return load_study({**config, **parts})


@given(
    plan=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    languages=st.integers(1, 9),
    layers=st.integers(1, 6),
    per_job=st.integers(1, 4),
    keep=st.booleans(),
)
def test_every_cell_is_taken_by_exactly_one_job(plan, languages, layers, per_job, keep):
    numbers = iter(range(100))
    steps = [[next(numbers) for _ in range(n)] for n in plan]
    steps = [batch if len(batch) > 1 else batch[0] for batch in steps]
    study = demo(steps, keep=keep, languages_per_job=languages, layers_per_job=layers, steps_per_job=per_job)
    jobs = list(all_jobs(study))
    for rule, parts in (
        ("pretrain_step", [""]),
        ("audit_checkpoint", [""]),
        ("extract_activations", study.languages),
        ("score_units", study.languages if keep else []),
        ("rank_units", [""]),
        ("fit_language_probe", [str(layer) for layer in range(study.models["bridged-seed0"].n_layers + 1)]),
    ):
        found = [
            (job.model, step, part)
            for job in jobs
            if job.stage == rule
            for step in job.steps
            for part in job.parts or ("",)
        ]
        expected = {
            (run, step, part) for run in study.models for step in study.models[run].steps for part in parts
        }
        assert len(found) == len(set(found))
        assert set(found) == expected
    # Extraction writes scores unless it keeps what is scored from.
    scored_later = {file for job in jobs if job.stage == "score_units" for file in job.files}
    files = [
        file
        for job in jobs
        for file in job.files
        if job.stage != "extract_activations" or file not in scored_later
    ]
    assert len(files) == len(set(files)), "no two jobs write one file"


def test_a_range_of_one_is_its_member():
    study = demo([0, 64])
    assert list(StudyRanges.of(study).analysis["bridged-seed0"]) == ["0", "64"]
    assert list(StudyRanges.of(study).langs) == study.languages or list(StudyRanges.of(study).langs) == list(
        study.languages
    )


def test_training_is_cut_by_inner_lists_only():
    ranges = StudyRanges.of(demo([[0, 64], 128, 256], steps_per_job=2))
    assert list(ranges.training["bridged-seed0"]) == ["0..64", "128", "256"]
    assert list(ranges.analysis["bridged-seed0"]) == ["0..64", "128..256"]


def test_an_added_step_leaves_the_other_ranges_alone():
    before, after = (
        StudyRanges.of(demo(steps)).analysis["bridged-seed0"]
        for steps in ([[0, 64], 128], [[0, 64], 100, 128])
    )
    assert set(before) <= set(after)


def test_an_appended_language_leaves_full_ranges_alone():
    assert chunks("abcd", 2) == [("a", "b"), ("c", "d")]
    assert chunks("abcde", 2)[:2] == chunks("abcd", 2)


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,4}", fullmatch=True), min_size=1, unique=True),
    st.integers(1, 3),
)
def test_labels_name_their_members_and_fit_their_wildcard(names, size):
    ranges = Ranges("languages", chunks(names, size))
    assert [name for members in ranges.values() for name in members] == names
    for name, members in ranges.items():
        assert name == label(members)
        assert re.fullmatch(CONSTRAINTS["langs"], name)
        assert ranges.holding(members[-1:]) == [name]


def test_a_label_that_is_not_there_is_answered_with_those_that_are():
    ranges = Ranges("steps of tiny-seed0", [(0, 4)])
    with pytest.raises(RangeError, match=r"steps of tiny-seed0: got '8'; allowed: 0\.\.4"):
        ranges["8"]


@pytest.mark.parametrize(
    ("steps", "wanted", "traced"),
    [
        ([0, 1, 2, 4, 8, 16, 32], 3, ["0", "4", "32"]),
        ([0, 1, 2, 4, 8, 16, 32], 2, ["0", "32"]),
        ([0, 64, 128], 5, ["0", "64", "128"]),
        ([7], 5, ["7"]),
        ([0, 64, 128], [128, 0], ["0", "128"]),
        ([[0, 64, 128], 256, 512], 3, ["0..128", "512"]),
        ([0, [4, 8]], 5, ["0", "4..8"]),
        ([[0, 64], 128, 256, 512], 4, ["0..64", "256", "512"]),
    ],
)
def test_steps_are_traced_from_the_first_to_the_last(steps, wanted, traced):
    ranges = StudyRanges.of(demo(steps, traces={"steps": wanted})).tracing
    assert {model: list(found) for model, found in ranges.items()} == {"bridged-seed0": traced}


def test_controls_are_traced_where_a_study_asks_for_it():
    both = StudyRanges.of(demo([0, 64], traces={"controls": True})).tracing
    assert list(both) == ["bridged-seed0", "isolated-seed0"]
    assert not StudyRanges.of(demo([0, 64], traces={"enabled": False, "controls": True})).tracing


def test_experts_are_ablated_at_the_steps_of_views_where_a_study_asks_for_it():
    assert not StudyRanges.of(demo([0, 64, 128])).viewing
    ranges = StudyRanges.of(demo([[0, 64], 128, 256, 512], views={"ablation": True, "steps": 3})).viewing
    assert {name: list(found) for name, found in ranges.items()} == {
        "bridged-seed0": ["0", "128", "512"], "isolated-seed0": ["0", "128", "512"],
    }  # fmt: skip
    assert ranges["bridged-seed0"]["0"] == (0,)
    assert (
        ranges == StudyRanges.of(demo([[0, 64], 128, 256, 512], views={"patching": True, "steps": 3})).viewing
    )
