"""CPU time and memory of ``snakemake --dry-run`` for the paper's study, and for ten times as much.

``python benchmarks/planning.py`` plans config/studies/paper.yaml on made-up text of the right shape, and a
study of 30 models x 44 steps x 16 languages, in processes of their own. Numbers are of whole processes,
start included.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rows import Row, run_alone

from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from made_up_text import write_all  # noqa: E402

PAPER = ROOT / "config/studies/paper.yaml"
#: As in docs/paper.md: concepts, positive and negative sentences of each, bytes of a sentence.
CONCEPTS, SENTENCES, BYTES = 200, 200, 140
MODELS, STEPS = 30, 44


@dataclass(frozen=True)
class Planning:
    """What planning a study took.

    Attributes:
        jobs: Jobs of the plan.
        seconds: CPU time, of all threads.
        wall: Seconds on the clock.
        megabytes: Largest resident memory, in 10^6 bytes.
    """

    jobs: int
    seconds: float
    wall: float
    megabytes: float


def ten_papers() -> dict[str, Any]:
    """A study of 30 seeds of the paper's own model, each with 44 steps that are jobs of their own."""
    config: dict[str, Any] = yaml.safe_load(PAPER.read_text())
    base: dict[str, Any] = yaml.safe_load((ROOT / config["extends"]).read_text())
    steps = load_study(base | {"generation": {"enabled": False}}).models["xglm-257m-seed0"].steps[:STEPS]
    model = base["models"]["xglm-257m"] | {"seeds": list(range(MODELS)), "steps": list(steps)}
    config["models"] = {"xglm-257m": model}
    config["generation"]["steps"] = [step for step in config["generation"]["steps"] if step in steps]
    config["assumed"] = {}
    return config | {"extends": str(ROOT / config["extends"]), "study": "ten-papers"}


def plan(config: Path, data: Path) -> Planning:
    """Plan a study.

    Raises:
        RuntimeError: If Snakemake fails.
    """
    command = [
        sys.executable, "-m", "snakemake", "--configfile", str(config), "--config", f"data={data}",
        f"study=planned-{config.stem}", "--dry-run", "--cores", "2", "--quiet", "host", "reason", "rules",
        "--workflow-profile", "none", "--nolock",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}
    with tempfile.TemporaryFile("w+") as out:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        out.seek(0)
        text = out.read()
    total = re.search(r"^total +(\d+)$", text, re.M)
    if process.returncode or total is None:
        raise RuntimeError(f"planning {config} failed:\n{text[-3000:]}")
    return Planning(int(total[1]), usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024 / 1e6)


def measure(small: bool = False) -> Iterator[Row]:
    """The paper's study; and ten times as much, unless it is to be small."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_all(folder / "data", concepts=CONCEPTS, sentences=SENTENCES, length=BYTES)
        paper = plan(PAPER, data)
        yield _row(f"planning the paper's study, {paper.jobs:,} jobs", "-", paper, most=(15, 600))
        if small:
            return
        ten = folder / "ten-papers.yaml"
        ten.write_text(yaml.safe_dump(ten_papers()))
        large = plan(ten, data)
        each = large.seconds / large.jobs / (paper.seconds / paper.jobs)
        stage = f"planning ten papers ({MODELS} models x {STEPS} steps x 16 languages), {large.jobs:,} jobs"
        against = f"the paper's study: {each:.2f} times its CPU time for each job"
        yield _row(stage, against, large, most=(180, 3000))


def _row(stage: str, against: str, took: Planning, *, most: tuple[float, float]) -> Row:
    seconds = max(took.seconds, took.wall)
    measured = f"{took.seconds:.1f} CPU s, {took.megabytes:,.0f} MB ({took.wall:.0f} s on the clock)"
    bound = f"at most {most[0]:.0f} s, {most[1]:,.0f} MB"
    kept = seconds <= most[0] and took.megabytes <= most[1]
    return Row(stage, against, measured, seconds, bound, kept)


if __name__ == "__main__":
    run_alone(measure, __doc__)
