"""What the study of the paper costs, computed from its config: jobs, downloads, disk, GPU and CPU hours.

``python benchmarks/cost.py`` writes docs/paper.md. Jobs are those of a dry run on made-up text of the right
shape; bytes follow from the shapes that are stored; hours from operations that a model needs and a rate that
is named. Nothing is run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from babelscope.architectures import hidden_size, n_parameters
from babelscope.study import Study, load_study

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "workflow"))
from made_up_text import write_all  # noqa: E402

#: Of the paper only the number of concepts is known; the sentences of one, half of them positive, are ours.
CONCEPTS, SENTENCES = 200, 400
#: Tokens of a sentence with its start token, on NTREX-128 with XGLM's vocabulary about 35.
TOKENS = 35
#: Rate that is reckoned with: an A100 in bfloat16 at a third of its 312 Tflop/s, as the paper's own training
#: comes out (17 billion tokens in 72 hours).
GPU_FLOPS = 312e12 / 3
#: Average precisions a second on one core: (unit, concept) pairs times sentences, see docs/benchmarks.md.
SCORES_PER_SECOND = 200 * 4000 * 4096 / 0.26 / 2
STORED = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class Cost:
    """What the steps of one model cost; bytes and hours."""

    model: str
    steps: int
    parameters: int
    download: float
    checkpoints: float
    units: float
    tokens: float
    scores: float
    training: float
    extraction: float
    scoring: float


def costs(study: Study, run_id: str) -> Cost:
    model = study.models[run_id]
    config = study.model_config(run_id)
    parameters = n_parameters({"vocab_size": _vocabulary(study, run_id), **config})
    languages, steps = len(study.languages), len(model.steps)
    real = sum(not model.is_random(step) for step in model.steps)
    n_units, n_sentences = study.n_units(run_id), CONCEPTS * SENTENCES
    stored = STORED[study.extraction.dtype]
    layers, hidden = study.n_layers(run_id) + 1, hidden_size(config)
    rows = study.extraction.tokens_per_language + study.extraction.mean_sentences
    operations = 2 * parameters * n_sentences * TOKENS * languages * steps
    downloaded = parameters * 2 * real if model.source == "hub" else 0  # BLOOM is stored in 16 bits
    trained = 0.0
    if model.training is not None:
        training = model.training
        trained = 6 * parameters * training.batch_size * training.sequence_length * max(model.steps)
    return Cost(
        model=run_id,
        steps=steps,
        parameters=parameters,
        download=downloaded,
        checkpoints=downloaded + (4 * parameters if model.random_baseline else 0)
        if model.source == "hub"
        else (4 * steps + 8 * (steps - 1)) * parameters,
        units=n_sentences * n_units * stored,
        tokens=rows * layers * hidden * stored * languages * steps,
        scores=28 * CONCEPTS * n_units * languages * steps,
        training=trained / GPU_FLOPS / 3600,
        extraction=operations / GPU_FLOPS / 3600,
        scoring=n_units * CONCEPTS * n_sentences * languages * steps / SCORES_PER_SECOND / 3600,
    )


def _vocabulary(study: Study, run_id: str) -> int:
    model = study.models[run_id]
    if model.source == "pretrain":
        return study.tokenizers[model.tokenizer].vocabulary_size
    return int(study.model_config(run_id)["vocab_size"])


def dry_run(data: Path) -> tuple[Counter[str], float]:
    """Jobs per stage, and the seconds that planning them took."""
    command = [
        sys.executable, "-m", "snakemake", "--configfile", "config/studies/paper.yaml", "--config",
        f"data={data}", "study=planned-paper", "--dry-run", "--cores", "2", "--quiet", "host", "reason",
        "rules", "--workflow-profile", "none", "--nolock",
    ]  # fmt: skip
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - start
    jobs: Counter[str] = Counter()
    for rule, n in re.findall(r"^(\w+) +(\d+)$", done.stdout.split("Job stats:")[1], re.M):
        jobs[_stage(rule)] += int(n)
    return jobs, seconds


def _stage(rule: str) -> str:
    """The stage of a rule: batches of steps have rules of their own, named after it."""
    stages = (script.stem for script in (ROOT / "workflow/scripts").glob("*.py"))
    return max((stage for stage in stages if rule.startswith(stage)), key=len, default=rule)


def _size(n: float) -> str:
    return f"{n / 1e12:.1f} TB" if n >= 1e12 else f"{n / 1e9:.0f} GB"


def page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        data = write_all(Path(folder), concepts=CONCEPTS)
        jobs, seconds = dry_run(data)
        config = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text())
        study = load_study({**config, "data": str(data)})
        found = [costs(study, run_id) for run_id in study.models]
    total = jobs.pop("total")
    lines = [
        "# The paper's study, and what it costs",
        "",
        "`config/studies/paper.yaml`: three models, 16 languages, 200 concepts, the 500 best units of each.",
        "Written by `python benchmarks/cost.py` from the config. Not run for these docs: it needs GPUs and",
        "your concepts.",
        "",
        f"Reckoned with {CONCEPTS} concepts of {SENTENCES} sentences ({TOKENS} tokens each; sentences that",
        "concepts share count once, so this is the most), an A100 at a third of its 312 Tflop/s (the rate at",
        "which the paper's own training takes its 72 hours), and the rate of",
        "[docs/benchmarks.md](benchmarks.md) on a core. Hours are operations over rates: loading, tokenizing",
        "and writing come on top.",
        "",
        "| model | parameters | steps | download | checkpoints | pooled units, a language (temporary) "
        "| token states | scores |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {c.model} | {c.parameters:,} | {c.steps} | {_size(c.download) if c.download else '-'} "
            f"| {_size(c.checkpoints)} | {_size(c.units)} | {_size(c.tokens)} | {_size(c.scores)} |"
            for c in found
        ),
        "",
        "| model | pre-training, GPU hours | extraction, GPU hours | scoring, CPU hours |",
        "| --- | --- | --- | --- |",
        *(
            f"| {c.model} | {c.training:.0f} | {c.extraction:.1f} | {c.scoring:.0f} |"
            if c.training
            else f"| {c.model} | - | {c.extraction:.1f} | {c.scoring:.0f} |"
            for c in found
        ),
        "",
        f"{total} jobs, planned in {seconds:.0f} s on two cores:",
        "",
        "| rule | jobs |",
        "| --- | --- |",
        *(f"| {rule} | {n} |" for rule, n in sorted(jobs.items(), key=lambda pair: -pair[1])),
        "",
        "Where it is too much: fewer sites (`mlp_act` alone has less than half the units), fewer steps,",
        "fewer sentences. Scores grow with concepts x units, pooled units with sentences x units.",
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
    (ROOT / "docs/paper.md").write_text(page(), encoding="utf-8")
    print("wrote docs/paper.md")
