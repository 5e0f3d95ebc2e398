"""Per scenario a committed list of jobs per rule, of every file, and of the columns of every table.

A change of the workflow shows as a diff of ``snapshots/``, to be reviewed with it. To renew them::

    pytest tests/workflow/test_snapshots.py --renew
"""

from __future__ import annotations

import copy
import difflib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import yaml

from babelscope.ops.layout import parse
from babelscope.ops.stages import STAGES
from cluster_study import shrunk_demo
from made_up_text import LANGUAGES, write_all
from mini_study import MiniStudy, mini_config
from series import series
from tiny_models import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.workflow

SNAPSHOTS = Path(__file__).parent / "snapshots"
RUN = "Of a run: what Snakemake plans, what lies on the disk afterwards, and the columns of the tables."
PLANNED = "Of a plan, so without columns of tables and without files that no rule names as its output."


def planned(study: MiniStudy) -> dict[str, Any]:
    """Jobs per rule, and every output; outputs of one rule with the same wildcards are one job's."""
    said = study.snakemake("--summary", "--nolock").stdout
    header, *rows = [line.split("\t") for line in said.splitlines() if line.count("\t") >= 5]
    rule, path = header.index("rule"), header.index("output_file")
    files = {row[path].removeprefix(f"results/{study.config['study']}/"): row[rule] for row in rows}
    jobs = {
        (rule, *map(parse(file).wildcards.get, STAGES[rule].axes.wildcards)) for file, rule in files.items()
    }
    return {"jobs": dict(sorted(Counter(rule for rule, *_ in jobs).items())), "files": sorted(files)}


def columns(table: Path) -> list[str]:
    if table.suffix == ".parquet":
        return list(parquet.read_schema(table).names)
    return table.read_text(encoding="utf-8").partition("\n")[0].split("\t")


def found(study: MiniStudy) -> dict[str, Any]:
    """The same of a study that ran, with all that lies in its folder."""
    content = planned(study)
    lying = {str(path.relative_to(study.results)): path for path in study.results.rglob("*")}
    assert set(content["files"]) <= lying.keys()
    content["files"] = sorted(
        name for name, path in lying.items() if path.is_file() and path.name != ".snakemake_timestamp"
    )
    tables = sorted((study.results / "tables").iterdir())
    return {**content, "tables": {table.name: columns(table) for table in tables}}


def demo_shrunk(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    return planned(MiniStudy(folder, shrunk_demo()))


def words(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    return found(request.getfixturevalue("finished"))


def local_series(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    return found(request.getfixturevalue("local_run"))


def hub_series(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    return found(request.getfixturevalue("hub_run").study)


def concept_files(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """Sentences and their labels from a file per concept and language; ranges of several cells."""
    write_all(folder / "data", concepts=2)
    config = copy.deepcopy(mini_config())
    config["languages"] = LANGUAGES[:3]
    config["corpora"]["text"] |= {"path": "{data}/pretraining/{lang}.txt", "languages": LANGUAGES[:3]}
    config["models"]["tiny"]["steps"] = [0, [4, 6], 8]
    config["sentences"] = {"source": "concepts"}
    config["concepts"] = {
        "source": "files",
        "path": "{data}/concepts/{lang}/{concept}.json",
        "min_positive": 10,
    }
    config["generation"]["languages"] = LANGUAGES[:2]
    config["granularity"] = {"languages_per_job": 2, "layers_per_job": 2}
    return planned(MiniStudy(folder, config))


def encoder(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """It writes no text, so there is no generation."""
    study = series(
        request.getfixturevalue("finished"), folder, "encoder",
        {"source": "local", "path": "{data}/bert/{step}", "steps": [0, 4]},
    )  # fmt: skip
    for step in (0, 4):
        tiny_model("bert", seed=step).save_pretrained(folder / f"data/bert/{step}")
        tiny_tokenizer().save_pretrained(folder / f"data/bert/{step}")
    study.config["generation"] = {"enabled": False}
    return planned(study)


SCENARIOS: dict[str, tuple[Callable[[pytest.FixtureRequest, Path], dict[str, Any]], str]] = {
    "demo-shrunk": (demo_shrunk, PLANNED),
    "words": (words, RUN),
    "local-series": (local_series, RUN),
    "hub-series": (hub_series, RUN),
    "concept-files": (concept_files, PLANNED),
    "encoder": (encoder, PLANNED),
}


def text_of(content: dict[str, Any], comment: str) -> str:
    # Columns in one line each, so that a diff shows the table.
    rest = {key: content[key] for key in ("jobs", "files")}
    lines = [f"# {comment}", yaml.safe_dump(rest, sort_keys=False, width=200).rstrip()]
    if "tables" in content:
        lines += ["tables:", *(f"  {name}: {json.dumps(of)}" for name, of in content["tables"].items())]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_is_as_its_snapshot(request, scenario, tmp_path):
    describe, comment = SCENARIOS[scenario]
    text = text_of(describe(request, tmp_path), comment)
    snapshot = SNAPSHOTS / f"{scenario}.yaml"
    if request.config.getoption("--renew", default=False):
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(text, encoding="utf-8")
    committed = snapshot.read_text(encoding="utf-8").splitlines() if snapshot.exists() else []
    diff = list(difflib.unified_diff(committed, text.splitlines(), "committed", "now", lineterm="", n=1))
    if diff:
        renew = f"if this is meant: pytest {Path(__file__).relative_to(Path(__file__).parents[2])} --renew"
        pytest.fail("\n".join([f"{scenario} is no longer as its snapshot; {renew}", *diff]), pytrace=False)
