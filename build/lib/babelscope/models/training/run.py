"""Pre-train a causal language model as a chain of jobs, each of which goes on from a saved step.

Nothing that a loader or a random generator has to remember is saved: the windows of a batch, the
learning rate and the seed of dropout are functions of the run's seed and the step. So a run that is
cut into jobs in another way, or killed and resumed, has the same weights (same machine, threads and
seed).

Legend: B windows of a batch, L tokens of a window.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from babelscope import __version__
from babelscope.errors import ModelError, NumericsError, StudyError
from babelscope.io.files import give_usual_mode
from babelscope.io.tables import write_table
from babelscope.models.architectures import architecture as architecture_of
from babelscope.models.checkpoints import (
    auto_class,
    load_model,
    load_tokenizer,
    resolve_device,
    save_model,
    weight_bytes,
)
from babelscope.models.dimensions import max_positions
from babelscope.models.files import weights_hash
from babelscope.models.training.loss import NextTokenLoss
from babelscope.models.training.order import WindowOrder
from babelscope.models.training.settings import TrainingSettings
from babelscope.models.training.steps import (
    LOSSES_FILE,
    OPTIMIZER_FILE,
    PROGRESS_FILE,
    check_previous,
    drop_states,
    has_state,
    is_whole,
    read_progress,
    saved_steps,
    written_step,
)
from babelscope.runtime import PROGRESS, tune_memory
from babelscope.text.tokenization import TokenWindows, open_windows, tokenizer_json_hash

logger = logging.getLogger(__name__)

#: Seconds between two lines of progress.
LOG_SECONDS = 10.0

#: Tokens per language and split that the loss at a saved step is measured on, always the same ones.
EVALUATION_TOKENS = 2048

_MOMENTS = ("exp_avg", "exp_avg_sq")


def pretrain_steps(
    *,
    tokens_h5: Path,
    tokenizer_dir: Path,
    architecture: str,
    architecture_config: Mapping[str, Any],
    training: TrainingSettings | Mapping[str, Any],
    seed: int,
    steps: Sequence[int],
    previous: Path | None,
    out_dirs: Mapping[int, Path],
    shares: Mapping[str, float],
    threads: int = 1,
    name: str = "model",
    device: str = "auto",
    scratch: Path | None = None,
    save_minutes: float = 10.0,
    version: int = 1,
) -> dict[int, str]:
    """Train from a saved step, or from random weights, through ``steps`` and save each of them.

    A step whose folder is whole and was made with the same settings, text and ``version`` is taken over as it
    is; only the others are trained, each from the last step before it that is there.

    A step's folder is a Hugging Face checkpoint (``config.json``, ``model.safetensors``, tokenizer)
    with ``training/``: ``progress.json``, ``losses.tsv`` (nats per token, per language, on training and
    held-out windows) and, of the last step, ``optimizer.safetensors``: what the next job goes on from.

    Args:
        tokens_h5: Windows that :func:`babelscope.text.tokenization.tokenize_corpus` wrote.
        tokenizer_dir: The tokenizer that made them.
        architecture: Model type of transformers, such as ``xglm``.
        architecture_config: Settings of its config class; dropouts that are not named are 0.
        training: How to train.
        seed: Of the initial weights, the order of the windows and dropout.
        steps: Steps to save, increasing; 0 is the random weights.
        previous: Folder of the step to go on from; None starts at step 0.
        out_dirs: Folder of each step.
        shares: Probability of each language.
        threads: Threads of torch on a CPU.
        name: Run id, for the log and for errors.
        device: auto, cpu or cuda.
        scratch: Folder for what a killed job can go on from; it is removed when the job ends well.
        save_minutes: Time between two saves to ``scratch``.
        version: Of the numbers that training gives; steps of another one are trained anew.

    Returns:
        The hash of the weights of each step.

    Raises:
        StudyError: If a setting is unknown, or does not fit the model or the windows.
        ModelError: If ``previous`` is incomplete or was trained with other settings.
        NumericsError: If the loss or a gradient is not finite.
    """
    if not isinstance(training, TrainingSettings):
        training = TrainingSettings(**training)
    windows = open_windows(tokens_h5)
    _check(name, training, windows, shares, tokenizer_dir)
    torch.set_num_threads(threads)
    run = _Run(
        name=name,
        settings=training,
        windows=windows,
        order=WindowOrder({lang: len(windows.train[lang]) for lang in shares}, shares, seed),
        seed=seed,
        device=torch.device(resolve_device(device)),
        threads=threads,
        tokenizer_dir=Path(tokenizer_dir),
        fingerprint=_fingerprint(version, architecture, architecture_config, training, seed, shares, windows),
    )
    if previous is not None:
        run.resumed_from = int(read_progress(previous)["step"])
    whole = {step: folder for step, folder in out_dirs.items() if is_whole(folder, run.fingerprint)}
    if whole:
        there = ", ".join(map(str, sorted(whole)))
        logger.info("%s: takes over %s, which is whole", name, there, extra=PROGRESS)
    save = _make_save(run, out_dirs, scratch)
    with _deterministic(run.device):
        for wanted in _stretches([step for step in steps if step not in whole], whole):
            origins = {**whole, **saved_steps(scratch, run.fingerprint)}
            before = [step for step, folder in origins.items() if step <= wanted[0] and has_state(folder)]
            if before:
                run.load(origins[max(before)])
                logger.info("%s: goes on from step %d", name, run.step, extra=PROGRESS)
            elif previous is not None:
                check_previous(previous, name, run.fingerprint)
                run.load(previous)
            else:
                run.initialise(architecture, architecture_config)
            run.train(wanted, save, 60 * save_minutes if scratch else math.inf)
    # Another job goes on from the last step; a step that is put between others later is trained from there
    # or from the end of the range before.
    drop_states(out_dirs[step] for step in steps[:-1])
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    return {step: weights_hash(out_dirs[step]) for step in steps}


def _stretches(missing: Sequence[int], whole: Collection[int]) -> Iterator[list[int]]:
    """Missing steps, cut where a step between them is whole."""
    for _, stretch in groupby(missing, key=lambda step: sum(other < step for other in whole)):
        yield list(stretch)


def _make_save(run: _Run, out_dirs: Mapping[int, Path], scratch: Path | None) -> Callable[[bool], None]:
    """A function that writes the current step; its argument says whether the study wants it."""
    earlier: list[Path] = []

    def save(wanted: bool) -> None:
        folder = out_dirs[run.step] if wanted or scratch is None else scratch / str(run.step)
        run.write(Path(folder), evaluate=wanted)
        while earlier:
            shutil.rmtree(earlier.pop(), ignore_errors=True)
        if not wanted:
            earlier.append(folder)

    return save


@dataclass
class _Run:
    """A training run at a step."""

    name: str
    settings: TrainingSettings
    windows: TokenWindows
    order: WindowOrder
    seed: int
    device: torch.device
    threads: int
    tokenizer_dir: Path
    fingerprint: str
    resumed_from: int | None = None
    step: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0

    model: Any = dataclasses.field(init=False)
    optimizer: torch.optim.AdamW = dataclasses.field(init=False)
    loss: NextTokenLoss = dataclasses.field(init=False)

    def initialise(self, architecture: str, architecture_config: Mapping[str, Any]) -> None:
        """Random weights."""
        from transformers.utils import logging as transformers_logging

        positions = self.settings.sequence_length
        config = _model_config(self.name, architecture, architecture_config, self.tokenizer_dir, positions)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.manual_seed(self.seed)  # on the CPU, so that a GPU starts from the same weights
        kind = auto_class({"model_type": architecture})
        self._adopt(kind.from_config(config, dtype=torch.float32))

    def load(self, folder: Path) -> None:
        """Weights, moments and position of a saved step."""
        progress = read_progress(folder)
        self.step, self.seconds = int(progress["step"]), float(progress["seconds"])
        self._adopt(load_model(folder))
        if self.step == 0:
            return
        moments = load_file(folder / OPTIMIZER_FILE)
        for name, parameter in self.model.named_parameters():
            try:
                found = {moment: moments.pop(f"{name}/{moment}") for moment in _MOMENTS}
            except KeyError as error:
                hint = "remove the folder and run again; it is trained anew"
                raise ModelError(folder / OPTIMIZER_FILE, f"lacks {error}", hint) from error
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.step), device=self.device),
                **{moment: value.to(self.device) for moment, value in found.items()},
            }

    def _adopt(self, model: Any) -> None:
        tune_memory(weight_bytes(model))
        self.model = model.to(self.device)
        self.loss = NextTokenLoss(self.model, whole=self.settings.precision != "float32")
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        rate, betas = self.settings.learning_rate, self.settings.betas
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)

    def train(self, steps: Sequence[int], save: Callable[[bool], None], save_seconds: float) -> None:
        """Train through ``steps``; call ``save(True)`` at each, ``save(False)`` now and then."""
        if steps[0] == self.step:
            save(True)
        self.order.seek(self.step * self.settings.batch_size)
        self.model.train()
        first, seconds_before = self.step, self.seconds
        saved_at = shown_at = time.monotonic()
        while self.step < steps[-1]:
            started = time.monotonic()
            self.step += 1
            loss = self._update()
            now = time.monotonic()
            self.seconds += now - started  # without the saves
            tokens = (self.step - first) * self.settings.batch_size * self.settings.sequence_length
            self.tokens_per_second = tokens / (self.seconds - seconds_before)
            if now - shown_at >= LOG_SECONDS:
                self._show(loss, steps[-1])
                shown_at = now
            if self.step in steps or now - saved_at > save_seconds:
                save(self.step in steps)
                saved_at = time.monotonic()

    def _show(self, loss: float, last: int) -> None:
        tokens = (last - self.step) * self.settings.batch_size * self.settings.sequence_length
        left = timedelta(seconds=round(tokens / self.tokens_per_second))
        logger.info(
            "%s: step %d of %d, loss %.3f, %s tokens/s, %s left",
            self.name, self.step, last, loss, f"{self.tokens_per_second:,.0f}", left, extra=PROGRESS,
        )  # fmt: skip

    def _update(self) -> float:
        """One optimizer step; the mean loss of its batch in nats per token."""
        settings = self.settings
        ids_BL = torch.from_numpy(self._batch()).to(self.device)
        rate = settings.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(_mix(self.seed, self.step))
        total = 0.0
        for part_BL in ids_BL.chunk(settings.accumulation):
            with self._autocast():
                loss = self.loss(part_BL)
            (loss / settings.accumulation).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / settings.accumulation
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), settings.clip_norm or math.inf, foreach=True
        )
        if not (math.isfinite(total) and math.isfinite(float(norm))):
            raise NumericsError(
                f"model {self.name}, step {self.step}: the loss is {total} and the norm of the "
                f"gradient {float(norm)} at learning rate {rate:.3g}; no step was saved after it\n"
                "hint: lower training.learning_rate, lengthen training.warmup_steps or set "
                "training.clip_norm"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _batch(self) -> NDArray[np.int64]:
        chosen = self.order.take(self.settings.batch_size)
        ids_BL = np.empty((len(chosen), self.windows.sequence_length), dtype=np.int64)
        for row, (lang, window) in enumerate(chosen):
            ids_BL[row] = self.windows.train[lang][window]
        return ids_BL

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def losses(self) -> pd.DataFrame:
        """Loss per language in nats per token, on the first windows of either split."""
        n = math.ceil(EVALUATION_TOKENS / self.windows.sequence_length)
        rows = []
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            for split in ("train", "heldout"):
                for lang in self.order.languages:
                    ids_BL = getattr(self.windows, split)[lang][:n]
                    if not len(ids_BL):
                        continue
                    loss, parts = 0.0, math.ceil(len(ids_BL) / 64)
                    for part_BL in np.array_split(ids_BL, parts):
                        ids = torch.from_numpy(part_BL.astype(np.int64)).to(self.device)
                        found = self.model(input_ids=ids, labels=ids, use_cache=False).loss
                        loss += float(found) * len(part_BL) / len(ids_BL)
                    n_tokens = len(ids_BL) * (self.windows.sequence_length - 1)
                    rows.append((self.name, self.step, lang, split, loss, n_tokens))
        self.model.train()
        return pd.DataFrame(rows, columns=["model", "step", "lang", "split", "loss", "n_tokens"])

    def write(self, folder: Path, *, evaluate: bool = True) -> None:
        """Save the step; every file appears whole, ``progress.json`` last."""
        with written_step(folder) as unfinished:
            (unfinished / "training").mkdir(parents=True)
            save_model(self.model, self.tokenizer_dir, unfinished)
            save_file(self._moments(), unfinished / OPTIMIZER_FILE)
            give_usual_mode(unfinished / OPTIMIZER_FILE)
            if evaluate:
                write_table(self.losses(), unfinished / LOSSES_FILE)
            progress = self._progress()
            (unfinished / PROGRESS_FILE).write_text(json.dumps(progress, indent=1) + "\n")

    def _moments(self) -> dict[str, torch.Tensor]:
        moments = {
            f"{name}/{moment}": self.optimizer.state[parameter][moment].contiguous()
            for name, parameter in self.model.named_parameters()
            if parameter in self.optimizer.state
            for moment in _MOMENTS
        }
        return moments or {"none": torch.zeros(0)}

    def _progress(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "resumed_from": self.resumed_from,
            "tokens_seen": self.step * self.settings.batch_size * self.settings.sequence_length,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "learning_rate": self.settings.learning_rate_at(self.step) if self.step else 0.0,
            "seed": self.seed,
            "settings_hash": self.fingerprint,
            "tokens_hash": self.windows.tokens_hash,
            "tokenizer_hash": self.windows.tokenizer_hash,
            "n_parameters": sum(p.numel() for p in self.model.parameters()),
            "device": str(self.device),
            "threads": self.threads,
            "torch": str(torch.__version__),
            "package_version": __version__,
        }


def _model_config(
    name: str, architecture: str, given: Mapping[str, Any], tokenizer_dir: Path, positions: int
) -> Any:
    """A config of transformers with the study's settings and the tokenizer's ids.

    ``positions`` is the length of the inputs that the model is trained on. Refused are settings that the
    config class does not know, and windows that are too long for it.
    """
    from transformers import AutoConfig

    key = f"models.{name.rsplit('-seed', 1)[0]}.architecture_config"
    dropouts = architecture_of(architecture).dropouts
    plain = AutoConfig.for_model(architecture)
    known = {*plain.to_dict(), *plain.attribute_map}
    for setting in given:
        if setting not in known:
            names = ", ".join(sorted(name for name in known if not name.startswith("_")))
            raise StudyError(f"{key}.{setting}", given[setting], f"a setting of {architecture}: {names}")
    tokenizer = load_tokenizer(tokenizer_dir)
    try:
        config = AutoConfig.for_model(
            architecture,
            **{
                **dict.fromkeys(dropouts, 0.0),
                **given,
                "vocab_size": len(tokenizer),
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
        )
    except (TypeError, ValueError) as error:
        hint = "see the config class of this architecture in the documentation of transformers"
        raise StudyError(key, dict(given), f"what transformers takes ({error})", hint) from error
    longest = max_positions(config.to_dict())
    if longest is not None and longest < positions:
        allowed = f"room for training.sequence_length, {positions} positions"
        raise StudyError(key, dict(given), allowed, f"as it is, the model has {longest}")
    return config


def _mix(seed: int, step: int) -> int:
    """A seed for a step, unrelated to those of its neighbours."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _check(
    name: str,
    training: TrainingSettings,
    windows: TokenWindows,
    shares: Mapping[str, float],
    tokenizer_dir: Path,
) -> None:
    key = f"models.{name.rsplit('-seed', 1)[0]}.training"
    if windows.sequence_length != training.sequence_length:
        allowed = f"the length of the windows, {windows.sequence_length}"
        raise StudyError(f"{key}.sequence_length", training.sequence_length, allowed)
    if windows.tokenizer_hash != tokenizer_json_hash(tokenizer_dir):
        raise ModelError(tokenizer_dir, "is not the tokenizer that made the windows of the corpus")
    missing = sorted(set(shares) - set(windows.train))
    if missing:
        raise StudyError("shares", missing, f"languages of the corpus: {', '.join(windows.train)}")
    if not sum(shares.values()) > 0 or min(shares.values()) < 0:
        raise StudyError("shares", dict(shares), "shares that are not negative and not all 0")


def _fingerprint(
    version: int,
    architecture: str,
    architecture_config: Mapping[str, Any],
    training: TrainingSettings,
    seed: int,
    shares: Mapping[str, float],
    windows: TokenWindows,
) -> str:
    """What must not change along a chain."""
    settings = [version, architecture, architecture_config, training.model_dump(), seed, shares]
    parts = [*settings, windows.tokens_hash, windows.tokenizer_hash]
    text = json.dumps(parts, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Algorithms on a GPU that give the same sums each time; a CPU has no others."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
