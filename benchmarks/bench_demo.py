"""The demo in a fresh folder, against a plain training loop of its two models: minutes, for an idle machine.

    python benchmarks/bench_demo.py

``snakemake --cores 2`` of config/config.yaml from nothing to its report, while its processes are watched.
Then the demo's two models are trained as one would without us: the config class of transformers, AdamW, the
same windows in the same order, no hooks, nothing saved; two processes at once, one thread each, from their
start to their end. What the loop comes to is compared with what the demo came to.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml
from rows import Ratio, Row, Side, Took, run_alone, shown

ROOT = Path(__file__).resolve().parents[1]
MOST_TIMES, MINUTES, GIGABYTES, MEGABYTES, SECONDS = 1.6, 5, 1.5, 250, 90
CORES = 2
#: Nats per token: as far the held-out losses of the loop and of the demo may be apart.
APART = 0.05
#: What the page shows in a panel for which there is nothing.
_NOT_YET, _PANELS = "<!-- not yet -->", 2


@dataclass
class Watched:
    """What the processes of a run took, from samples.

    Attributes:
        tree: Most memory of all processes at once, in bytes; pages that several share count once (PSS).
        engine: Most resident memory of the first process.
        job: The same of a process that it started, with those that this one started.
        aside: Processor time of processes that nobody waits for, such as the one that draws the page.
        found: Seconds until what was waited for was there.
    """

    tree: int = 0
    engine: int = 0
    job: int = 0
    aside: float = 0.0
    found: float | None = None
    _asides: dict[int, float] = field(default_factory=dict)

    def sample(self, pid: int) -> None:
        try:
            engine = psutil.Process(pid)
            self.engine = max(self.engine, engine.memory_info().rss)
            groups = [[child, *child.children(recursive=True)] for child in engine.children()]
        except psutil.Error:
            return
        everyone = [engine, *(process for group in groups for process in group)]
        self.tree = max(
            self.tree, sum(_of(process, lambda p: p.memory_full_info().pss) for process in everyone)
        )
        for group in groups:
            self.job = max(self.job, sum(_of(process, lambda p: p.memory_info().rss) for process in group))
            leader = group[0]
            if _of(leader, lambda p: "babelscope.report.progress" in p.cmdline()):
                self._asides[leader.pid] = _of(leader, lambda p: sum(p.cpu_times()[:2]))
        self.aside = sum(self._asides.values())


def _of(process: psutil.Process, what: Callable[[psutil.Process], Any]) -> Any:
    """Something of a process, or 0 if it has just ended."""
    try:
        return what(process)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


def run_watched(
    command: Sequence[str], cwd: Path, until: Callable[[], bool], *, pause: float = 0.5
) -> tuple[Took, Watched]:
    """Run a command to its end and watch its processes.

    Args:
        command: The program and its arguments.
        cwd: Where it runs.
        until: Says whether what is waited for is there.
        pause: Seconds between two samples.

    Raises:
        SystemExit: If it fails, with what it said.
    """
    watched, ended = Watched(), threading.Event()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=said, stderr=said)

        def watch() -> None:
            while not ended.wait(pause):
                watched.sample(process.pid)
                if watched.found is None and until():
                    watched.found = time.perf_counter() - start

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        ended.set()
        watcher.join()
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-5000:]}")
    return Took(wall, usage.ru_utime + usage.ru_stime + watched.aside), watched


def has_losses(page: Path) -> bool:
    """Whether the page of the running study shows losses."""
    return page.exists() and page.read_text(encoding="utf-8").count(_NOT_YET) < _PANELS


def train_plainly(run: str, config: Path, results: Path, out: Path) -> None:
    """The loop, in a process of its own: as one trains a model with transformers and nothing else."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from babelscope.models.training.order import WindowOrder
    from babelscope.models.training.run import EVALUATION_TOKENS
    from babelscope.study.loading import load_study
    from babelscope.text.tokenization import language_shares, open_windows

    torch.set_num_threads(1)
    study = load_study(yaml.safe_load(config.read_text()))
    model_of, given = study.models[run], study.models[run].training
    (tokens,) = (results / "tokens").glob(f"{model_of.corpus}.{model_of.tokenizer}.*.h5")
    windows, shares = open_windows(tokens), language_shares(tokens, study.mixture(model_of.corpus))
    order = WindowOrder({lang: len(windows.train[lang]) for lang in shares}, shares, model_of.seed)
    torch.manual_seed(model_of.seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(results / f"models/{run}/0"))
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": given.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=1.0,
        betas=given.betas,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: given.learning_rate_at(done + 1))
    model.train()
    for _ in range(model_of.steps[-1]):
        chosen = order.take(given.batch_size)
        batch = np.stack([windows.train[lang][row] for lang, row in chosen]).astype(np.int64)
        ids_BL = torch.from_numpy(batch)
        loss = model(input_ids=ids_BL, labels=ids_BL).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), given.clip_norm or float("inf"))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    losses, n = {}, math.ceil(EVALUATION_TOKENS / windows.sequence_length)  # what the demo looks at
    with torch.inference_mode():
        for lang in shares:
            ids = torch.from_numpy(windows.heldout[lang][:n].astype(np.int64))
            losses[lang] = float(model(input_ids=ids, labels=ids).loss)
    out.write_text(json.dumps(losses))


def run_loops(
    runs: Sequence[str], config: Path, results: Path, folder: Path
) -> tuple[Took, dict[str, float]]:
    """All loops at once, from start to end; and the mean held-out loss of each model.

    Raises:
        SystemExit: If one fails.
    """
    start, cpu = time.perf_counter(), 0.0
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    processes = []
    for run in runs:
        command = [
            sys.executable,
            __file__,
            "--loop",
            run,
            str(config),
            str(results),
            str(folder / f"{run}.json"),
        ]
        processes.append(subprocess.Popen(command, env=environment))
    for run, process in zip(runs, processes, strict=True):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        if process.returncode:
            raise SystemExit(f"the loop of {run} failed")
    took = Took(time.perf_counter() - start, cpu)
    found = {run: list(json.loads((folder / f"{run}.json").read_text()).values()) for run in runs}
    return took, {run: float(np.mean(losses)) for run, losses in found.items()}


def stages(results: Path) -> pd.DataFrame:
    """Jobs, seconds and memory of every stage, from Snakemake's benchmark files.

    Returns:
        Columns ``stage``, ``jobs``, ``seconds`` (sum over jobs), ``CPU seconds``, ``largest MB`` (resident
        memory).
    """
    rows = []
    for folder in sorted(path for path in (results / "benchmarks").iterdir() if path.is_dir()):
        jobs = pd.concat([pd.read_csv(file, sep="\t") for file in sorted(folder.rglob("*.tsv"))])
        numbers = jobs[["s", "cpu_time", "max_rss"]].apply(pd.to_numeric, errors="coerce")
        rows.append(
            (folder.name, len(jobs), numbers["s"].sum(), numbers["cpu_time"].sum(), numbers["max_rss"].max())
        )
    columns = ["stage", "jobs", "seconds", "CPU seconds", "largest MB"]
    return pd.DataFrame(rows, columns=columns).sort_values("seconds", ascending=False, ignore_index=True)


def section(table: pd.DataFrame) -> str:
    lines = [
        "## The demo, stage by stage",
        "",
        "From the `benchmark:` files of that run; seconds are summed over jobs, of which two run at once. "
        "Rules that take less than a second have no benchmark file.",
        "",
        f"| {' | '.join(table.columns)} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in table.itertuples(index=False):
        lines.append(f"| {row[0]} | {row[1]} | {row[2]:.1f} | {row[3]:.1f} | {row[4]:.0f} |")
    return "\n".join(lines)


def small_config() -> dict[str, Any]:
    """The demo as the tests shrink it."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from cluster_study import shrunk_demo

    return shrunk_demo()


def held_out(results: Path, run: str, step: int) -> float:
    table = pd.read_csv(results / f"models/{run}/{step}/training/losses.tsv", sep="\t")
    return float(table[table["split"] == "heldout"]["loss"].mean())


def measure(small: bool = False) -> list[Row]:
    from babelscope.study.loading import load_study

    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_SCRATCH")) as name:
        folder = Path(name)
        config = folder / "study.yaml"
        if small:
            config.write_text(yaml.safe_dump(small_config(), allow_unicode=True))
        else:
            shutil.copy(ROOT / "config/config.yaml", config)
        study = load_study(yaml.safe_load(config.read_text()))
        results = folder / study.results
        command = [
            sys.executable, "-m", "snakemake", "--cores", str(CORES), "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(folder), "--configfile", str(config),
            "--workflow-profile", str(ROOT / "profiles/default"),
        ]  # fmt: skip
        took, watched = run_watched(command, folder, lambda: has_losses(results / "progress.html"))
        size = sum(path.lstat().st_size for path in results.rglob("*") if path.is_file())
        runs = list(study.models)
        plain, losses = run_loops(runs, config, results, folder)
        ours = {run: held_out(results, run, study.models[run].steps[-1]) for run in runs}
        apart = max(abs(losses[run] - ours[run]) for run in runs)
        if not apart <= APART:
            raise SystemExit(f"the loops come to losses of {losses}, the demo to {ours}")
        table = stages(results)
    demo, loop = Side((took,)), Side((plain,))
    ratio = Ratio.of(demo, loop)
    times, near = ratio.at_most(MOST_TIMES)
    minutes, tree, megabytes = took.wall / 60, watched.tree / 1e9, size / 1e6
    found = watched.found if watched.found is not None else took.wall
    what = f"the demo, `snakemake --cores {CORES}` in a fresh folder"
    return [
        Row(
            what,
            f"a plain training loop of its {len(runs)} models, at once, one thread each",
            f"times as long: {ratio}",
            times,
            f"at most {MOST_TIMES}",
            near,
            f"The demo took {shown(took.wall)} s and {shown(took.cpu)} CPU s, the loops "
            f"{shown(plain.wall)} s and {shown(plain.cpu)} CPU s; their held-out losses differ by "
            f"{apart:.1g} nats per token at most.",
            section(table),
        ),
        Row(
            f"{what}: time", "-", f"{minutes:.1f} minutes", minutes, f"at most {MINUTES}", minutes <= MINUTES
        ),
        Row(
            f"{what}: memory",
            "-",
            f"{tree:.2f} GB of all its processes at once",
            tree,
            f"at most {GIGABYTES} GB",
            tree <= GIGABYTES,
            f"Of the demo's memory pages that several processes share count once (PSS). Its largest job has "
            f"{watched.job / 1e9:.2f} GB resident, Snakemake {watched.engine / 1e9:.2f} GB.",
        ),
        Row(
            f"{what}: results",
            "-",
            f"{megabytes:.0f} MB",
            megabytes,
            f"at most {MEGABYTES} MB",
            megabytes <= MEGABYTES,
        ),
        Row(
            f"{what}: first losses on the page of the running study",
            "-",
            f"after {found:.0f} s",
            found,
            f"at most {SECONDS} s",
            watched.found is not None and found <= SECONDS,
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--loop"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--loop", nargs=4)
        run, *paths = parser.parse_args().loop
        train_plainly(run, *map(Path, paths))
    else:
        run_alone(measure, __doc__)
