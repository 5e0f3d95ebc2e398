"""What studies cost: ``python benchmarks/cost.py`` writes docs/cost.md and docs/paper.md.

docs/cost.md compares plans with the benchmark files of studies that have run here (results/demo,
results/real-text); docs/paper.md has the plan of the paper's study, computed from its config on made-up text
of the right shape. Nothing is run but one dry run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from babelscope.ops.costs import MAX_THREADS, CostModel
from babelscope.ops.measured import compare, comparison_text
from babelscope.ops.plan import make_plan, plan_text
from babelscope.ops.stages import RUN_A_MODEL
from babelscope.ops.terminal import size
from babelscope.study.config import Study
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from made_up_text import write_all  # noqa: E402

#: Of the paper only the number of concepts is known; the sentences of one, half of them positive, are ours,
#: and so is their length: about 35 tokens, as NTREX-128 has with XGLM's vocabulary.
CONCEPTS, SENTENCES, BYTES = 200, 400, 140
MEASURED = {"demo": "config/config.yaml", "real-text": "config/studies/real-text.yaml"}
#: Other ways to cut the paper's study into jobs.
CUTS = ((1, 1), (4, 31), (16, 31))


def study_of(config: str, **changes: object) -> Study:
    return load_study({**yaml.safe_load((ROOT / config).read_text()), **changes})


def planning_seconds(data: Path) -> float:
    """Seconds of ``snakemake --dry-run`` of the paper's study."""
    command = [
        sys.executable, "-m", "snakemake", "--configfile", "config/studies/paper.yaml", "--config",
        f"data={data}", "study=planned-paper", "--dry-run", "--cores", "2", "--quiet", "host", "reason",
        "rules", "--workflow-profile", "none", "--nolock",
    ]  # fmt: skip
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"^total +\d+$", done.stdout, re.M)
    return time.monotonic() - start


def cost_page() -> str:
    lines = [
        "# What a study costs, and how well that is known",
        "",
        "`babelscope plan` says before anything runs what a study takes: per rule jobs, hours, memory, disk",
        "and downloads. The same figures set the memory and the time limit of every job. A job's time is the",
        "operations it needs over a rate, plus what starting costs; bytes follow from the stored shapes.",
        "",
        "Written by `make cost` from the `benchmark:` files of runs on two cores without a GPU; seconds are",
        "summed over jobs. The constants were fitted to such runs, so they show the fit, not a",
        "prediction; for other machines expect a factor of two. A GPU was not at hand: its rate, an A100 at",
        "a third of its 312 Tflop/s, is taken from the paper's own training time.",
        "",
    ]
    for name, config in MEASURED.items():
        folder = ROOT / "results" / name / "benchmarks"
        if not folder.is_dir():
            lines += [f"## {name}", "", "Has not run here in this version.", ""]
            continue
        study = study_of(config)
        lines += [f"## {name}", "", comparison_text(compare(CostModel(study), folder)), "", _disk(study), ""]
    return "\n".join(lines)


def _disk(study: Study) -> str:
    """Planned and real size of the lasting results."""
    plan = make_plan(CostModel(study), concurrent=2)
    areas = {
        "models": "pretrain_step", "activations": "extract_activations", "best": "rank_units",
        "audit": "audit_checkpoint",
    }  # fmt: skip
    kept = {row.stage: row.kept for row in plan.rows}
    lines = ["| on the disk | planned | real |", "| --- | --- | --- |"]
    for area, stage in areas.items():
        folder = ROOT / "results" / study.name / area
        real = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        lines.append(f"| {area} | {size(kept[stage]) or '-'} | {size(real) or '-'} |")
    return "\n".join(lines)


def paper_page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        data = write_all(Path(folder), concepts=CONCEPTS, sentences=SENTENCES // 2, length=BYTES)
        seconds = planning_seconds(data)
        study = study_of("config/studies/paper.yaml", data=str(data))
        costs = CostModel(study, gpu=True, max_threads=MAX_THREADS)
        plan = make_plan(costs, concurrent=50, limit=4e11)
        table = plan_text(plan, gpu=True)
        cuts = []
        for languages, layers in CUTS:
            granularity = {"languages_per_job": languages, "layers_per_job": layers}
            cut = study_of("config/studies/paper.yaml", data=str(data), granularity=granularity)
            rows = make_plan(CostModel(cut, gpu=True, max_threads=MAX_THREADS), concurrent=50).rows
            gpu = sum(row.jobs for row in rows if row.stage in RUN_A_MODEL)
            longest = max(row.longest for row in rows) / 3600
            total = sum(row.jobs for row in rows)
            cuts.append(f"| {languages} | {layers} | {total:,} | {gpu:,} | {longest:.1f} h |")
    lines = [
        "# The paper's study, and what it costs",
        "",
        "`config/studies/paper.yaml`: three models, 16 languages, 200 concepts, the 500 best units of each.",
        "Written by `make cost` from the config. Not run for these docs: it needs GPUs and your concepts.",
        "",
        f"Reckoned with {CONCEPTS} concepts of {SENTENCES} sentences (about 35 tokens each; sentences that",
        "concepts share count once, so this is the most), 50 jobs at a time, and at most 400 GB of scores",
        "that wait to be ranked (the profile's `scores_gb`). Of what is kept, `pretrain_step`,",
        "`fetch_checkpoint` and `initialise_checkpoint` are the checkpoints. The text to pre-train on is",
        "yours, so the first rules are not what they will be. [docs/cost.md](cost.md) says how well such",
        "plans fit.",
        "",
        "```",
        table,
        "```",
        "",
        f"Snakemake plans it in {seconds:.0f} s on two cores.",
        "",
        "## How much one job takes",
        "",
        "`granularity` cuts the same work into other jobs; the files and their bytes stay the same (a test",
        "compares them). The config has the third line.",
        "",
        "| languages per job | layers per job | jobs | on a GPU | longest job |",
        "| --- | --- | --- | --- | --- |",
        *cuts,
        "",
        "Where it is too much: fewer sites (`mlp_act` alone has less than half the units), fewer steps,",
        "fewer sentences. Scores grow with concepts x units, what is kept of them with concepts x",
        "`experts.kept`.",
        "",
        "## What is assumed",
        "",
        "The paper does not publish all settings. These are ours; the report lists them with their values.",
        "",
        "| setting | why |",
        "| --- | --- |",
        *(f"| `{key}` | {' '.join(why.split())} |" for key, why in study.assumed.items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs/cost.md").write_text(cost_page(), encoding="utf-8")
    (ROOT / "docs/paper.md").write_text(paper_page(), encoding="utf-8")
    print("wrote docs/cost.md and docs/paper.md")
