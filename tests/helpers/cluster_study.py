"""A checkout of the repository with the demo study, shrunk, run by ``snakemake --profile slurm`` in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slurm_lab import SlurmLab

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a test says that what it waits for never comes. A busy machine is slow, and that is no fault.
PATIENCE = 1500
TRACKED = ("Snakefile", "config", "envs", "profiles", "slurm", "src", "workflow")


@dataclass
class ClusterStudy:
    """A working directory that is a checkout, and the study in it."""

    folder: Path
    lab: SlurmLab
    config: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.config["study"]

    def command(self, *args: str) -> list[str]:
        """What a user types, but for the seconds between two looks at the queue."""
        (self.folder / "study.yaml").write_text(
            yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        )
        return [
            sys.executable, "-m", "snakemake", "--profile", "slurm", "--configfile", "study.yaml",
            "--slurm-init-seconds-before-status-checks", "3", *args,
        ]  # fmt: skip

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start the command and come back at once; its output is in ``run.log``."""
        with (self.folder / "run.log").open("w") as log:
            return subprocess.Popen(
                self.command(*args),
                cwd=self.folder,
                env={**self.lab.environment, "HF_HUB_OFFLINE": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def run(self, *args: str, check: bool = True, timeout: float = PATIENCE) -> str:
        """Run the command to its end; what it printed."""
        process = self.start(*args)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"no end after {timeout} s\n{self.printed()[-4000:]}") from None
        if check:
            assert status == 0, self.printed()[-6000:]
        return self.printed()

    def submit(self, script: str, options: Sequence[str], *args: str) -> int:
        """Submit a script of the profile, with options of sbatch and arguments of Snakemake; the job's id.

        What the job prints is then ``run.log``.
        """
        self.command()  # writes the study's config
        log = self.folder / "run.log"
        log.write_text("")
        python = Path(sys.executable).parent
        done = subprocess.run(
            ["sbatch", "--parsable", f"--output={log}", *options, f"profiles/slurm/{script}", "study.yaml", *args],
            cwd=self.folder,
            env={
                **self.lab.environment, "HF_HUB_OFFLINE": "1",
                "PATH": f"{self.lab.base}/bin:{python}:{os.environ['PATH']}", **self.environment,
                "PYTHONPATH": os.pathsep.join([str(self.folder / "src"), self.environment.get("PYTHONPATH", "")]),
            },
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout)

    def printed(self) -> str:
        return (self.folder / "run.log").read_text()

    def submitted(self) -> dict[int, str]:
        """Slurm ids of the jobs that the last command submitted, with their rule."""
        found = re.findall(r"submitted with SLURM jobid (\d+) \(log: (\S+)\)", self.printed())
        return {int(job): re.search(r"/(?:rule|group)_(\w+)/", log)[1] for job, log in found}

    def tables(self) -> dict[str, str]:
        """Hashes of the study's tables and of its report's findings."""
        files = sorted(self.results.glob("tables/*"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    def copy(self, folder: Path) -> ClusterStudy:
        """The same in another folder, file times kept."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True, copy_function=shutil.copy2)
        shutil.rmtree(folder / ".snakemake/locks", ignore_errors=True)
        return ClusterStudy(folder, self.lab, json.loads(json.dumps(self.config)), dict(self.environment))

    def forget(self, *patterns: str) -> None:
        """Remove results, as if their jobs had not run."""
        for pattern in patterns:
            found = list(self.results.glob(pattern))
            assert found, pattern
            for path in found:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def checkout(folder: Path, lab: SlurmLab) -> ClusterStudy:
    """A checkout with a study that has not run."""
    for name in TRACKED:
        source = ROOT / name
        if source.is_symlink():
            (folder / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / name)
    # What a site edits.
    partitions = {
        "cpu": {"max_runtime": 60, "max_mem_mb": 16000, "max_threads": 4},
        "gpu": {"max_runtime": 60, "max_mem_mb": 16000, "max_threads": 4, "max_gpu": 2},
    }
    (folder / "profiles/slurm/partitions.yaml").write_text(yaml.safe_dump({"partitions": partitions}))
    return ClusterStudy(folder, lab, shrunk_demo())


def shrunk_demo() -> dict[str, Any]:
    """The demo with three languages, one model of two small layers, two steps and little text."""
    demo: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    languages = ["en", "es", "ru"]
    bridged = demo["models"]["bridged"]
    bridged["architecture_config"] |= {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32}
    bridged["training"] |= {"batch_size": 8, "warmup_steps": 2, "decay_steps": 16}
    bridged["steps"] = [[0, 4]]
    return demo | {
        "study": "shrunk",
        "languages": languages,
        "corpora": {"bridged": demo["corpora"]["bridged"] | {"documents": 1500, "languages": languages}},
        "tokenizers": {"subword": {"corpus": "bridged", "vocabulary_size": 600}},
        "models": {"bridged": bridged},
        "sentences": {"source": "grammar", "per_concept": 10},
        "concepts": {"source": "grammar", "min_positive": 10},
        "extraction": demo["extraction"] | {"tokens_per_language": 120, "mean_sentences": 40},
        "probes": demo["probes"] | {"tokens_per_language": 100, "anchor_min_languages": 2, "bootstrap": 50},
        "experts": demo["experts"] | {"k": 6, "min_languages": 2, "bootstrap": 50, "permutations": 50},
        "generation": demo["generation"]
        | {"k": 4, "steps": [4], "languages": ["es"], "samples": 2, "max_new_tokens": 6},
        "granularity": {"languages_per_job": 3, "layers_per_job": 3},
    }
