"""The environments hold the pins of the lock, and CPU jobs start without torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
GPU = {"pretrain_step", "extract_activations", "generate_text", "audit_checkpoint", "initialise_checkpoint"}


def pins(lines):
    return {name.lower(): version for name, version in (line.split("==") for line in lines if "==" in line)}


@pytest.mark.parametrize("name", ["cpu", "gpu"])
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


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_only_jobs_that_run_a_model_import_torch(script):
    imports = [line for line in script.read_text().splitlines() if line.startswith("from babelscope")]
    code = "\n".join([*imports, "import sys", "print('torch' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(script.stem in GPU)


def test_every_script_belongs_to_a_rule_of_its_name():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    for script in SCRIPTS.glob("*.py"):
        assert f"../scripts/{script.name}" in rules
        assert re.search(rf'(rule {script.stem}:|rule\("{script.stem}"\))', rules), script.name
