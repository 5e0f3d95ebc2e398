"""The registry of public suites: every entry, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from babelscope.errors import DataError, StudyError
from babelscope.models.dimensions import n_parameters
from babelscope.study.suites import load_suite, step_warnings, suite_names

README = Path(__file__).resolve().parents[2] / "docs" / "suites.md"
LOADABLE = [name for name in suite_names() if not (load_suite(name).convert or load_suite(name).custom_code)]


@pytest.mark.parametrize("name", suite_names())
def test_every_entry_is_whole(name):
    suite = load_suite(name)
    assert suite.title
    assert suite.licence
    assert suite.sources
    assert suite.languages or suite.languages_note
    assert all(fault.source.startswith("https://") for fault in suite.faults)


@pytest.mark.parametrize("name", LOADABLE)
def test_the_sizes_give_the_number_of_parameters(name):
    """A wrong width or depth in the registry shows in the count."""
    suite = load_suite(name)
    if suite.parameters is None or "architecture_config" in suite.unconfirmed:
        pytest.skip("its sizes are not confirmed, and marked so")
    config = {"model_type": suite.architecture, **suite.architecture_config}
    assert n_parameters(config) == pytest.approx(suite.parameters, rel=0.005)


def test_the_suites_that_people_ask_for():
    assert {"bloom-560m", "bloom-7b1", "pythia-70m", "pythia-410m-seed9", "olmo-2-7b", "smollm3-3b", "apertus-8b",
            "lucie-7b", "viking-33b", "poro-34b", "fuxitranyu-8b", "b-gpt-el_en-sequential", "croissant-base"} <= set(
        suite_names())  # fmt: skip


def test_where_steps_lie():
    assert tuple(load_suite("lucie-7b").place(5000).values()) == (
        "OpenLLM-France/Lucie-7B",
        "step0005000",
        "",
    )
    assert tuple(load_suite("viking-7b").place(100).values()) == ("LumiOpen/Viking-7B", "100B", "")
    assert tuple(load_suite("croissant-base").place(15000).values()) == ("croissantllm/base_15k", "main", "")
    assert load_suite("olmo-2-7b").place(102000)["revision"] == "stage1-step102000-tokens428B"
    assert tuple(load_suite("pythia-70m-seed3").place(512).values()) == (
        "EleutherAI/pythia-70m-seed3",
        "step512",
        "",
    )
    assert load_suite("multiberts-seed-2").place(40)["repo"] == "google/multiberts-seed_2-step_40k"
    bloom = load_suite("bloom-1b7")
    assert tuple(bloom.tokenizer_place(1000).values()) == ("bigscience/bloom-1b7", "main", "")
    assert len(load_suite("pythia-70m").steps) == 154


def test_known_faults_warn():
    (duplicate, broken, unconfirmed) = step_warnings(load_suite("bloom-560m"), [10000, 500000, 600000])
    assert "step 500000 holds the weights of step 10000" in duplicate
    assert "step 600000 is broken" in broken
    assert "tokens_per_step" in unconfirmed
    seen, said, many = step_warnings(load_suite("pythia-2.8b"), [0, 8, 16, 32, 64, 128, 143000])
    assert "by its outputs: https://github.com/iamtatsuki05/lenslapse" in seen
    assert "by a report: https://github.com/EleutherAI/pythia/issues/198" in said
    assert "steps 0, 8, 16, 32, 64 and 1 more" in many
    (some, *_) = step_warnings(load_suite("pythia-6.9b"), [143000])
    assert "not known which steps" in some


def test_a_suite_that_is_not_there():
    with pytest.raises(StudyError, match="did you mean `bloom-560m`"):
        load_suite("bloom560m")


def test_the_example_in_the_readme_is_valid(tmp_path):
    text = README.read_text(encoding="utf-8")
    example = next(block for block in text.split("```yaml\n") if block.startswith("family: mine")).split(
        "```"
    )[0]
    (tmp_path / "mine.yaml").write_text(example)
    assert load_suite("my-suite", tmp_path).steps[:2] == (1000, 2000)


ENTRY = {
    "title": "x", "repo": "org/name", "revision": "step{step}", "architecture": "gpt2", "licence": "mit",
    "architecture_config": {"n_layer": 2}, "steps": [1, 2], "languages": ["en"],
    "sources": ["https://huggingface.co/org/name"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"stps": [1]}, "suites.x.stps"),
        ({"steps": [2, 1]}, "steps"),
        ({"licence": None}, "licence"),
        ({"sources": None}, "sources is missing"),
        ({"revision": "main"}, "steps 1 and 2 have one place"),
        ({"revision": "{stop}"}, "its place cannot be filled in"),
        (
            {
                "faults": [
                    {"steps": [3], "kind": "broken", "evidence": "report", "note": "x", "source": "https://x"}
                ]
            },
            "names step 3",
        ),
        (
            {
                "faults": [
                    {"steps": [1], "kind": "odd", "evidence": "report", "note": "x", "source": "https://x"}
                ]
            },
            "duplicate, broken",
        ),
        ({"unconfirmed": ["stesp"]}, "names 'stesp'"),
        ({"tokens": {1: 20, 2: 10}}, "tokens fall"),
        ({"architecture": None}, "architecture is missing"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(tmp_path, change, problem):
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not None}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"family": "mine", "suites": {"x": entry}}))
    with pytest.raises((DataError, StudyError), match=problem) as raised:
        load_suite("x", tmp_path)
    assert "mine.yaml" in str(raised.value) or "steps" in str(raised.value)
