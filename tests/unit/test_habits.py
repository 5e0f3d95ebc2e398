"""What the repository asks of people and machines is what it has: targets, versions, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import babelscope

ROOT = Path(__file__).resolve().parents[2]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
PAGES = ("README.md", "CONTRIBUTING.md", "RELEASING.md", ".github/pull_request_template.md")


def made(text: str) -> set[str]:
    """Targets of make that a text names as commands."""
    return set(re.findall(r"(?:^|`)\s*make ([a-z][a-z-]*)", text, re.M))


def test_ci_elsewhere_calls_the_targets_of_ci_here():
    runs = "\n".join(step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"])
    here = made((ROOT / ".ci/run").read_text(encoding="utf-8"))
    assert here >= {"lint", "demo", "plan", "test"}
    # All tests, whose three parts are jobs of their own there.
    assert (here - {"test"}) | {"test-fast", "test-engine", "test-slurm"} <= made(runs) <= TARGETS


@pytest.mark.parametrize("page", PAGES)
def test_targets_that_a_page_names_are_there(page):
    assert made((ROOT / page).read_text(encoding="utf-8")) <= TARGETS


def test_the_pythons_that_are_tested_are_those_that_are_allowed():
    pythons = WORKFLOW["jobs"]["unit"]["strategy"]["matrix"]["python"]
    assert f'requires-python = ">={pythons[0]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_version_of_the_package_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == babelscope.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest[1] == babelscope.__version__


def test_hooks_of_a_commit_check_what_lint_checks():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"] if "entry" in hook]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    tools = {command.split()[0] for command in re.findall(r"\$\(BIN\)/(.*)", lint)}
    assert {entry.split()[0].removeprefix(".venv/bin/") for entry in entries} | {"snakemake"} == tools


def test_forms_ask_for_what_helps():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/fault.yml").read_text(encoding="utf-8"))
    asked = {part["id"]: part for part in form["body"]}
    assert "/export/" in asked["study"]["attributes"]["description"]
    assert all(part["validations"]["required"] for part in asked.values())


def test_the_catalog_knows_the_environments_that_are_there():
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert catalog["usage"]["software-stack-deployment"]["conda"] == any((ROOT / "envs").glob("*.yaml"))
