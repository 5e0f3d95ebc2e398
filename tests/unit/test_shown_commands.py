"""Every command that the docs show and the program prints can be typed as it stands."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.cli import parse_config
from snakemake.settings.types import ConfigSettings

from babelscope.cli import _parsers
from babelscope.ops.engine import named_study, naming
from babelscope.ops.stages import JobCells
from babelscope.ops.status import INTERRUPTED, Failure, File, Progress, progress_text
from babelscope.study.loading import load_study, read_study
from shown_commands import ROOT, check, commands_in

PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "config/*.md",
        "notebooks/*.md",
        "results/README.md",
        "profiles/**/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.name != "commands.md" and "_build" not in path.parts
)


@pytest.fixture(scope="module")
def demo():
    return load_study(read_study(ROOT / "config/config.yaml"))


def test_commands_are_found():
    text = (
        "Say `make env`, or\n`babelscope plan\n--configfile STUDY`.\n```bash\nsnakemake -n   # a plan\n```\n"
    )
    assert list(commands_in(text)) == [
        "snakemake -n   # a plan",
        "make env",
        "babelscope plan --configfile STUDY",
    ]
    assert sum(len(list(commands_in((ROOT / page).read_text()))) for page in PAGES) > 100


@pytest.mark.parametrize(
    "wrong",
    [
        "snakemake --configfile STUDY scores",
        "snakemake results/STUDY/export/MODEL/STEP",
        "snakemake scored --configfile STUDY",
        "snakemake --until score_unit",
        "babelscope recover --cores 1",
        "babelscope forget",
        "babelscope hub --name mine",
        "make everything",
    ],
)
def test_a_wrong_one_is_told(demo, wrong):
    with pytest.raises(AssertionError):
        check(wrong, demo)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_the_docs(demo, page):
    for command in commands_in((ROOT / page).read_text(encoding="utf-8")):
        check(command, demo, also=["results/demo/tables/reach.parquet"])  # an example of docs/extend.md


def _literals():
    for path in sorted((ROOT / "src/babelscope").rglob("*")):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path, node.value
        elif path.suffix in (".yaml", ".j2"):
            yield path, path.read_text()


def test_commands_in_what_the_library_says(demo):
    found = [(path, command) for path, text in _literals() for command in commands_in(text)]
    assert len(found) > 10
    for path, command in found:
        try:
            check(command, demo)
        except AssertionError as error:
            raise AssertionError(f"{path}: {command}") from error


#: A study whose file has a name that a shell would take apart.
NAMED = naming(Path("my studies/a b.yaml"), ["seed=3", "data=/where it/lies"])


def printed_by_status():
    names = {"model": "bridged-seed0", "steps": "0..2048", "langs": "en..hi"}
    job = JobCells("extract_activations", "bridged-seed0", (0, 2048), (), wildcards=tuple(names.items()))
    output = f"results/demo/{job.files[0]}"
    failure = Failure(job.stage, output, job, "", (), "7")
    cut = File(output, job.stage, job, INTERRUPTED)
    text = progress_text(Progress((cut,), (failure,), None), study=shlex.join(NAMED), profile="my site")
    return [*commands_in(text), *re.findall(r"^  [\w ]+: +(snakemake .*)$", text, re.M)]


def test_commands_that_status_prints(demo):
    commands = printed_by_status()
    assert len(commands) == 4
    for command in commands:
        check(command, demo)
        words = shlex.split(command)
        assert words[words.index("--configfile") :] == NAMED
        assert ("--profile" in words) == (words[0] == "snakemake")


def test_a_run_names_its_study_as_it_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my studies").mkdir()
    Path("my studies/a b.yaml").write_text("study: s\n")
    settings = ConfigSettings(config={"seed": 3, "data": "/where it/lies"}, configfiles=[Path(NAMED[1])])
    said = named_study(SimpleNamespace(config_settings=settings))
    args = _parsers()[0].parse_args(["recover", *shlex.split(said)])
    assert (args.configfile, parse_config(args.config)) == (Path(NAMED[1]), dict(settings.config))
    assert named_study(SimpleNamespace(config_settings=ConfigSettings())) == ""
