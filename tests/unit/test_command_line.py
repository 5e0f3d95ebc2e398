"""What stands on the command line means the same to the commands and to the run."""

from argparse import ArgumentParser
from pathlib import Path

import pytest
from snakemake.cli import parse_config
from snakemake.settings.types import ConfigSettings

from babelscope.commands import study_of
from babelscope.errors import StudyError
from babelscope.ops.engine import with_told

FILE = """
study: demo
seed: 1
data: data
extraction: {sites: [mlp_act], max_length: 96}
models: {small: {steps: [0, 4]}}
"""

TOLD = [
    [],
    ["seed=3", "data=/where/it/lies"],
    ["seed=0x3", "data=007", "study='quoted'", "keep_scores=True", "keep_scores=true"],
    ["extraction={max_length: 64}"],  # merged; its number is text
    ["extraction={sites: [mlp_out, resid]}", "extraction={dtype: float16}"],
    ["models={small: {steps: [8]}, large: {steps: [0]}}"],
    ["models=none", "seed=1e3", "data="],
    ["languages=[en, no]", "assumed={a.b: why}"],
]


@pytest.mark.parametrize("told", TOLD, ids=" ".join)
def test_it_is_merged_as_snakemake_merges_it(tmp_path, told):
    path = tmp_path / "study.yaml"
    path.write_text(FILE)
    run = ConfigSettings(config=parse_config(told), configfiles=[path]).overwrite_config
    args = arguments("--configfile", str(path), "--config", *told)
    assert study_of._config(args, "") == run


def arguments(*given):
    parser = ArgumentParser()
    study_of.add_arguments(parser)
    return parser.parse_args(list(given))


def test_a_study_that_is_named_on_the_command_line_stands_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/config.yaml").write_text(FILE)
    assert study_of._config(arguments("--config", "study=mine"), "") == {"study": "mine"}
    assert study_of._config(arguments("--config", "seed=5"), "")["study"] == "demo"


def test_a_study_that_is_extended_on_the_command_line_is_not_below_the_demo(tmp_path, monkeypatch):
    """The plan was that of the demo with the keys of the other below it; the run took the other alone."""
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/config.yaml").write_text(FILE)
    assert study_of._config(arguments("--config", "extends=mine.yaml"), "") == {"extends": "mine.yaml"}


def test_what_the_run_refuses_is_refused(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(StudyError, match=r"`extraction.max_length`: got '64'.*\nhint: .*--config"):
        study_of.load(arguments("--config", "extraction={max_length: 64}"))
    kept = study_of.load(arguments("--config", "extraction={dtype: float16}")).extraction
    assert kept.sites == ("attn_out", "mlp_out")  # as in the file


@pytest.mark.parametrize("told", ["seed", "1=2", "a.b=3", "=x"])
def test_what_is_no_key_and_value(told):
    with pytest.raises(StudyError, match=r"`--config`: got .*KEY=VALUE"):
        with_told({}, [told])


def test_a_key_of_before_is_named_by_what_it_is_now(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(StudyError, match=r"`probes.l2_c`.*\nhint: it is `c` now"):
        study_of.load(arguments("--config", "probes={l2_c: 1}"))
