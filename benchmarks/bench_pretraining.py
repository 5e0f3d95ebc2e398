"""Pre-training the demo's model against the Trainer of transformers on the same batches.

    python benchmarks/bench_pretraining.py

Both sides start from the same weights and take the same windows in the same order, with the same optimizer
and learning rate, on one thread, in processes of their own that take turns. What counts is the processor time
of the steps, without start-up and saving.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from demo_model import SEED, make_text, recipe, train
from rows import Row, run_alone, shown

#: Steps before the clock starts, all of them, runs of each side.
SIZE, SMALL = (5, 40, 3), (1, 3, 1)
BOUND = 1.5


def settings() -> dict[str, Any]:
    """The demo's, with a learning rate that stays, so that both sides have one."""
    given = {**recipe()["training"], "learning_rate": 0.001, "warmup_steps": 0, "schedule": "constant"}
    return {key: value for key, value in given.items() if key not in ("decay_steps", "final_lr_share")}


class Clock:
    """Processor time and page faults from the end of the warm-up on."""

    def __init__(self, warm: int, steps: int) -> None:
        self.warm, self.steps, self.done = warm, steps, 0

    def tick(self) -> None:
        """A step has ended."""
        self.done += 1
        if self.done in (self.warm, self.steps):
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found = time.process_time(), faults
            if self.done == self.warm:
                self.first = found
            else:
                self.seconds, self.faults = (b - a for a, b in zip(self.first, found, strict=True))


def ours(folder: Path, text: dict[str, Any], clock: Clock) -> None:
    from babelscope.models.training import run
    from babelscope.runtime import job

    update = run._Run._update

    def counted(self: Any) -> float:
        loss = update(self)
        clock.tick()
        return loss

    run._Run._update = counted  # type: ignore[method-assign]
    shutil.rmtree(folder / "ours", ignore_errors=True)  # a step that is there would be taken over
    with job(folder / "ours.log", threads=1):
        train(text, folder / "ours", [clock.steps], settings())


def theirs(folder: Path, text: dict[str, Any], clock: Clock) -> None:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from babelscope.models.training.order import WindowOrder
    from babelscope.text.tokenization import open_windows

    torch.set_num_threads(1)
    given = settings()
    windows = open_windows(text["tokens_h5"]).train
    order = WindowOrder({lang: len(rows) for lang, rows in windows.items()}, text["shares"], SEED)

    class Windows(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            while True:
                ((lang, row),) = order.take(1)
                ids = torch.from_numpy(windows[lang][row].astype(np.int64))
                yield {"input_ids": ids, "labels": ids}

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    model = AutoModelForCausalLM.from_pretrained(folder / "start/0")
    Trainer(
        model,
        TrainingArguments(
            output_dir=str(folder / "trainer"),
            use_cpu=True,
            max_steps=clock.steps,
            per_device_train_batch_size=given["batch_size"],
            learning_rate=given["learning_rate"],
            lr_scheduler_type="constant",
            adam_beta1=given["betas"][0],
            adam_beta2=given["betas"][1],
            weight_decay=given["weight_decay"],
            max_grad_norm=1.0,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Windows(),
        callbacks=[Ticks()],
    ).train()
    model.save_pretrained(folder / "trainer")


def difference(folder: Path, steps: int) -> float:
    """How far the weights of the two sides are from each other, relative to how far they moved."""
    from safetensors.torch import load_file

    start, one, other = (
        load_file(folder / name / "model.safetensors") for name in ("start/0", f"ours/{steps}", "trainer")
    )
    apart = sum(float((one[name] - other[name]).square().sum()) for name in start)
    moved = sum(float((one[name] - start[name]).square().sum()) for name in start)
    return float((apart / moved) ** 0.5)


def measure(small: bool = False) -> list[Row]:
    """Run both sides in turn.

    Raises:
        SystemExit: If the two sides do not come to the same weights.
    """
    warm, steps, repeats = SMALL if small else SIZE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = make_text(folder)
        train(text, folder / "start", [0], settings())
        found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for _ in range(repeats):
            for side, runs in found.items():
                command = [sys.executable, __file__, "--side", side, str(folder), str(warm), str(steps)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr or done.stdout)
                runs.append(json.loads((folder / f"{side}.json").read_text()))
        apart = difference(folder, steps)
    if apart > 0.01:
        raise SystemExit(f"the two sides come to different weights: {apart:.3g} of how far they moved")
    given = settings()
    tokens = (steps - warm) * given["batch_size"] * given["sequence_length"]
    rate = {side: tokens / median(run["seconds"] for run in runs) for side, runs in found.items()}
    faults = {side: median(run["faults"] for run in runs) for side, runs in found.items()}
    times = rate["ours"] / rate["theirs"]
    return [
        Row(
            "pre-training of the demo's model, tokens per CPU second",
            "the Trainer of transformers, same weights and batches",
            f"{shown(times)} times",
            times,
            f"at least {BOUND}",
            times >= BOUND,
            f"{rate['ours']:,.0f} tokens per CPU second against {rate['theirs']:,.0f} (medians of {repeats} "
            f"runs of {steps - warm} steps in turn, one thread); {faults['ours']:,.0f} page faults against "
            f"{faults['theirs']:,.0f}. After {steps} steps the weights of the two are {apart:.1g} of how far "
            "they moved from each other.",
        )
    ]


def run_side(side: str, folder: Path, warm: int, steps: int) -> None:
    """One side, in a process of its own; what it took goes into a file."""
    languages = sorted(file.stem for file in folder.glob("*.jsonl"))
    text = {
        "tokens_h5": folder / "tokens.h5",
        "tokenizer_dir": folder / "tokenizer",
        "shares": dict.fromkeys(languages, 1.0),
    }
    clock = Clock(warm, steps)
    {"ours": ours, "theirs": theirs}[side](folder, text, clock)
    (folder / f"{side}.json").write_text(json.dumps({"seconds": clock.seconds, "faults": clock.faults}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        run_side(sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))
    else:
        run_alone(measure, __doc__)
