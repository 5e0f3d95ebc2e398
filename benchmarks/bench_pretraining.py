"""Pre-training the demo's model against the Trainer of transformers on the same batches.

    python benchmarks/bench_pretraining.py --json out.json

Both sides start from the same weights and take the same windows in the same order, with the same optimizer
and learning rate, on one thread, in processes of their own that take turns. What counts is the processor time
of the steps, without start-up and saving.
"""

from __future__ import annotations

import argparse
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

WARM, STEPS, REPEATS = 5, 40, 3
TARGET = 1.5


def settings() -> dict[str, Any]:
    """The demo's, with a learning rate that stays, so that both sides have one."""
    given = {**recipe()["training"], "learning_rate": 0.001, "warmup_steps": 0, "schedule": "constant"}
    return {key: value for key, value in given.items() if key not in ("decay_steps", "final_lr_share")}


class Clock:
    """Processor time and page faults from the end of the warm-up on."""

    def __init__(self) -> None:
        self.steps = 0

    def tick(self) -> None:
        """A step has ended."""
        self.steps += 1
        if self.steps in (WARM, STEPS):
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found = time.process_time(), faults
            if self.steps == WARM:
                self.first = found
            else:
                self.seconds, self.faults = (b - a for a, b in zip(self.first, found, strict=True))


def ours(folder: Path, text: dict[str, Any]) -> Clock:
    from babelscope.models.training import run
    from babelscope.runtime import job

    clock, update = Clock(), run._Run._update

    def counted(self: Any) -> float:
        loss = update(self)
        clock.tick()
        return loss

    run._Run._update = counted  # type: ignore[method-assign]
    shutil.rmtree(folder / "ours", ignore_errors=True)  # a step that is there would be taken over
    with job(folder / "ours.log", threads=1):
        train(text, folder / "ours", [STEPS], settings())
    return clock


def theirs(folder: Path, text: dict[str, Any]) -> Clock:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from babelscope.models.training.order import WindowOrder
    from babelscope.text.tokenization import open_windows

    torch.set_num_threads(1)
    clock, given = Clock(), settings()
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
            max_steps=STEPS,
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
    return clock


def difference(folder: Path) -> float:
    """How far the weights of the two sides are from each other, relative to how far they moved."""
    from safetensors.torch import load_file

    start, one, other = (
        load_file(folder / name / "model.safetensors") for name in ("start/0", f"ours/{STEPS}", "trainer")
    )
    apart = sum(float((one[name] - other[name]).square().sum()) for name in start)
    moved = sum(float((one[name] - start[name]).square().sum()) for name in start)
    return float((apart / moved) ** 0.5)


def measure() -> list[dict[str, Any]]:
    """Run both sides in turn.

    Returns:
        A row: ``name``, ``against``, ``measured``, ``bound`` and ``details``, see ``run.py``.

    Raises:
        SystemExit: If the two sides do not come to the same weights.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = make_text(folder)
        train(text, folder / "start", [0], settings())
        found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for _ in range(REPEATS):
            for side, runs in found.items():
                command = [sys.executable, __file__, "--side", side, str(folder)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr or done.stdout)
                runs.append(json.loads((folder / f"{side}.json").read_text()))
        apart = difference(folder)
    if apart > 0.01:
        raise SystemExit(f"the two sides come to different weights: {apart:.3g} of how far they moved")
    given = settings()
    tokens = (STEPS - WARM) * given["batch_size"] * given["sequence_length"]
    rate = {side: tokens / median(run["seconds"] for run in runs) for side, runs in found.items()}
    faults = {side: median(run["faults"] for run in runs) for side, runs in found.items()}
    return [
        {
            "name": "pre-training of the demo's model, tokens per CPU second",
            "against": "the Trainer of transformers, same weights and batches",
            "measured": rate["ours"] / rate["theirs"],
            "bound": TARGET,
            "details": (
                f"{rate['ours']:,.0f} tokens per CPU second against {rate['theirs']:,.0f} (medians of "
                f"{REPEATS} runs of {STEPS - WARM} steps in turn, one thread); {faults['ours']:,.0f} page "
                f"faults against {faults['theirs']:,.0f}. After {STEPS} steps the weights of the two are "
                f"{apart:.1g} of how far they moved from each other."
            ),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side, folder = arguments.side[0], Path(arguments.side[1])
        languages = sorted(file.stem for file in folder.glob("*.jsonl"))
        text = {
            "tokens_h5": folder / "tokens.h5",
            "tokenizer_dir": folder / "tokenizer",
            "shares": dict.fromkeys(languages, 1.0),
        }
        clock = {"ours": ours, "theirs": theirs}[side](folder, text)
        result = {"seconds": clock.seconds, "faults": clock.faults}
        (folder / f"{side}.json").write_text(json.dumps(result))
        return
    rows = measure()
    for row in rows:
        print(f"{row['name']}: {row['measured']:.2f} times {row['against']}\n{row['details']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
