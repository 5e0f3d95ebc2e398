"""The environments hold the pins of the lock, and CPU jobs start without torch."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
GPU = {
    "pretrain_step", "extract_activations", "generate_text", "audit_checkpoint", "initialise_checkpoint",
    "choose_sentences", "trace_sentences", "ablate_experts", "patch_experts",
    "find_language_units",
}  # fmt: skip


def pins(lines):
    return {name.lower(): version for name, version in (line.split("==") for line in lines if "==" in line)}


@pytest.mark.parametrize("name", ["cpu", "gpu", "report"])
def test_pins_are_those_of_the_lock(name):
    lock = pins((ROOT / "constraints.txt").read_text().split())
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    chosen = pins(environment["dependencies"][-1]["pip"])
    assert chosen.items() <= lock.items()
    assert ("torch" in chosen) == (name == "gpu")


def test_every_dependency_is_locked():
    lock = pins((ROOT / "constraints.txt").read_text().split())
    project = (ROOT / "pyproject.toml").read_text()
    needed = re.findall(r'^    "([\w-]+)', project.split("dependencies = [")[1].split("]")[0], re.MULTILINE)
    assert len(needed) > 15
    assert {name.lower() for name in needed} <= set(lock)


def environment_of(script):
    """The environment of the rule that a script belongs to."""
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        before, found, _ = file.read_text().partition(f"../scripts/{script}.py")
        if found:
            return re.findall(r"envs/(\w+)\.yaml", before)[-1]
    raise AssertionError(script)


def brought_by(names):
    """Packages that come with some, themselves among them."""
    found, open_ = set(), list(names)
    while open_:
        name = open_.pop()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                open_.append(needed.name.lower())
    return found


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_job_finds_all_that_it_imports_in_its_environment(script):
    """Of the packages that the project names, a script may load those of its environment only."""
    imports = [line for line in script.read_text().splitlines() if line.startswith("from babelscope")]
    code = "\n".join(
        [
            *imports,
            "import sys",
            "from importlib.metadata import packages_distributions",
            "tops = {name.partition('.')[0] for name in sys.modules}",
            "found = packages_distributions()",
            "print(*{name.lower() for top in tops for name in found.get(top, [])})",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'^    "([\w-]+)', project.split("dependencies = [")[1].split("]")[0], re.MULTILINE)
    loaded = set(done.stdout.split()) & {name.lower() for name in named}
    environment = yaml.safe_load((ROOT / "envs" / f"{environment_of(script.stem)}.yaml").read_text())
    assert loaded <= brought_by(pins(environment["dependencies"][-1]["pip"])), environment["name"]


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_only_jobs_that_run_a_model_import_torch(script):
    imports = [line for line in script.read_text().splitlines() if line.startswith("from babelscope")]
    code = "\n".join([*imports, "import sys", "print('torch' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(script.stem in GPU)


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_only_the_job_that_fetches_reaches_a_hub(script, tmp_path):
    """The library reads once, at its import, whether it is to stay offline: a script must not import it before."""
    imports = [line for line in script.read_text().splitlines() if line.startswith("from babelscope")]
    jobs = re.findall(r"^(?:with|   ) (job\(.*\))[:,]$", script.read_text(), re.M)
    assert len(jobs) == 1
    code = "\n".join(
        [
            *imports,
            "from types import SimpleNamespace",
            f"snakemake = SimpleNamespace(log=[{str(tmp_path / 'log')!r}], threads=1)",
            f"with {jobs[0]}:",
            "    import huggingface_hub.constants",
            "print(huggingface_hub.constants.HF_HUB_OFFLINE)",
        ]
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(script.stem != "fetch_checkpoint")


def test_every_script_belongs_to_a_rule_of_its_name():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    for script in SCRIPTS.glob("*.py"):
        assert f"../scripts/{script.name}" in rules
        assert re.search(rf'(rule {script.stem}:|rule\("{script.stem}"\))', rules), script.name


@pytest.mark.parametrize(("target", "with_tests"), [("demo", False), ("env", False), ("test-fast", True)])
def test_the_demo_needs_nothing_of_the_tests(target, with_tests, tmp_path):
    command = ["make", "--dry-run", target, f"VENV={tmp_path}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    installs = [
        line.split("constraints.txt ")[1] for line in done.stdout.splitlines() if "pip install" in line
    ]
    assert installs == ["--editable .", '--editable ".[dev]"'][: 1 + with_tests]
