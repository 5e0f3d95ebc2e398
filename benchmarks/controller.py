"""CPU of Snakemake's own process while a long job runs, after 100 and 1,000 jobs that have ended.

``python benchmarks/controller.py`` runs a Snakefile of trivial rules: so many short jobs, then one that
sleeps, and behind it sixty that are ready and wait. While they wait nothing is to be done. It is run with
the scheduler's timers as Snakemake sets them and without (:func:`babelscope.ops.engine.lift_timers`), on
this machine, and on a Slurm of its own where the daemons are installed; there the long job is Slurm's, and
the short ones are local rules.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rows import Row, run_alone

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from slurm_lab import SlurmLab  # noqa: E402

JOBS = (100, 1000)
#: Seconds over which the load is taken, and what is let pass before.
WINDOW, SETTLE = 20.0, 3.0
#: Of a core, at most.
MOST = 0.02
#: A run of Snakemake that takes longer hangs.
LIMIT = 300.0

SNAKEFILE = """
from babelscope.ops.engine import lift_timers

SHORT = [f"short/{i}" for i in range(int(config["short"]))]
WAITING = [f"waiting/{i}" for i in range(60)]

localrules: all, short, waiting

rule all:
    input: "long", WAITING

rule short:
    output: touch("short/{i}")

rule long:
    input: SHORT
    output: "long"
    priority: 10
    resources: slots=1, mem_mb=300, runtime=10
    shell: "touch begun; until [ -e go ]; do sleep 0.2; done; touch {output}"

rule waiting:
    input: SHORT[:50]
    output: touch("waiting/{i}")
    resources: slots=1

onstart:
    if int(config["lift"]):
        lift_timers(workflow)
"""


@dataclass(frozen=True)
class Load:
    """What was measured of one run.

    Attributes:
        share: CPU seconds of Snakemake's process for each second that it waits.
        ending: Seconds from the last output to the end of the process.
    """

    share: float
    ending: float


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load_after(short: int, *, lift: bool, lab: SlurmLab | None = None) -> Load:
    """Run the Snakefile.

    Args:
        short: Jobs that have ended before the long one starts.
        lift: Whether the timers are lifted.
        lab: The Slurm that the long job runs on; None for this machine.
    """
    environment = {**(lab.environment if lab else os.environ), "PYTHONPATH": str(ROOT / "src")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        command = [
            sys.executable, "-m", "snakemake", "--resources", "slots=1", "--quiet", "all",
            "--config", f"short={short}", f"lift={int(lift)}",
        ]  # fmt: skip
        if lab is None:
            command += ["--cores", "32"]
        else:
            command += [
                "--executor", "slurm", "--jobs", "32", "--local-cores", "32",
                "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3",
            ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + LIMIT
            while not (folder / "begun").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the long job of {' '.join(command)} did not begin")
                time.sleep(0.1)
            time.sleep(SETTLE)
            before, start = cpu_seconds(process.pid), time.monotonic()
            time.sleep(WINDOW)
            share = (cpu_seconds(process.pid) - before) / (time.monotonic() - start)
            (folder / "go").touch()
            if process.wait(LIMIT):
                raise RuntimeError(f"{' '.join(command)} failed")
            ended = time.time()
            last = max(file.stat().st_mtime for file in (folder / "waiting").iterdir())
        finally:
            process.kill()
            process.wait()
    return Load(share, ended - last)


def measure(small: bool = False) -> Iterator[Row]:
    """A row a place and number of jobs; small: the fewer jobs, on this machine."""
    places = ("local",) if small or SlurmLab.missing() else ("local", "Slurm")
    for place in places:
        with SlurmLab() if place == "Slurm" else nullcontext() as lab:
            for short in JOBS[:1] if small else JOBS:
                plain, lifted = (load_after(short, lift=lift, lab=lab) for lift in (False, True))
                yield Row(
                    f"controller after {short:,} jobs, {place}",
                    f"Snakemake's own timers: {plain.share:.1%} of a core",
                    f"{lifted.share:.1%} of a core; ends {lifted.ending:.1f} s after the last job",
                    lifted.share,
                    f"at most {MOST:.0%} of a core",
                    lifted.share <= MOST,
                )


if __name__ == "__main__":
    run_alone(measure, __doc__)
