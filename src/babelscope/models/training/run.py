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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from babelscope import __version__
from babelscope.errors import DataError, NumericsError, StudyError
from babelscope.io.files import unfinished_name
from babelscope.io.tables import write_table
from babelscope.models.architectures import architecture as find_architecture
from babelscope.models.architectures import max_positions
from babelscope.models.checkpoints import load_model, load_tokenizer, resolve_device, save_model
from babelscope.models.training.settings import TrainingSettings
from babelscope.runtime import PROGRESS
from babelscope.text.tokenization import TokenWindows, open_windows, tokenizer_hash

logger = logging.getLogger(__name__)

#: Seconds between two lines of progress.
LOG_SECONDS = 10.0

#: Tokens per language and split that the loss at a saved step is measured on, always the same ones.
EVALUATION_TOKENS = 2048

#: A model this small gains nothing from dropout, so it is 0 unless the study sets it.
DROPOUTS = {
    "xglm": ("dropout", "attention_dropout", "activation_dropout", "layerdrop"),
    "bloom": ("hidden_dropout", "attention_dropout"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "gpt_neox": ("hidden_dropout", "attention_dropout"),
    "opt": ("dropout", "attention_dropout", "layerdrop"),
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "qwen2",
            "qwen3",
            "gemma",
            "gemma2",
            "gemma3_text",
            "olmo",
            "olmo2",
            "olmo3",
            "smollm3",
            "apertus",
        ),
        ("attention_dropout",),
    ),
}

_PROGRESS_FILE = "training/progress.json"
_OPTIMIZER_FILE = "training/optimizer.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class WindowOrder:
    """Which window of which language stands at each place of the training data.

    The languages are one stream of random draws. The n-th window of a language is the n-th of a
    random order of its windows, a new one in each epoch of that language. Both depend on the seed
    alone, and a language's order not on the other languages.

    Args:
        n_windows: Windows of each language.
        shares: Probability of each language; normalised to sum to 1.
        seed: Of the run.
    """

    def __init__(self, n_windows: Mapping[str, int], shares: Mapping[str, float], seed: int) -> None:
        self.languages = sorted(lang for lang, share in shares.items() if share > 0)
        self._sizes = [n_windows[lang] for lang in self.languages]
        weights = np.array([shares[lang] for lang in self.languages], dtype=np.float64)
        self._edges = np.cumsum(weights / weights.sum())[:-1]
        self._seed = seed
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._place = -1
        self.seek(0)

    def seek(self, place: int) -> None:
        """Go to a place, counted in windows from the start of training."""
        if place == self._place:
            return
        self._rng = np.random.default_rng([self._seed, 0xBABE1])
        self._counts = np.zeros(len(self.languages), dtype=np.int64)
        self._place = 0
        while self._place < place:
            self._draw(min(1 << 20, place - self._place))

    def _draw(self, n: int) -> NDArray[np.int64]:
        langs = np.searchsorted(self._edges, self._rng.random(n), side="right")
        self._counts += np.bincount(langs, minlength=len(self.languages))
        self._place += n
        return langs

    def take(self, n: int) -> list[tuple[str, int]]:
        """The next ``n`` windows: language, and row among the language's windows."""
        seen = self._counts.copy()
        windows = []
        for lang in self._draw(n):
            epoch, position = divmod(int(seen[lang]), self._sizes[lang])
            seen[lang] += 1
            windows.append((self.languages[lang], int(self._order(int(lang), epoch)[position])))
        return windows

    def _order(self, lang: int, epoch: int) -> NDArray[np.int64]:
        known = self._orders.get(lang)
        if known is None or known[0] != epoch:
            rng = np.random.default_rng([self._seed, 0x0EDE5, epoch, *self.languages[lang].encode()])
            known = self._orders[lang] = (epoch, rng.permutation(self._sizes[lang]))
        return known[1]


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
) -> None:
    """Train from a saved step, or from random weights, through ``steps`` and save each of them.

    A step's folder is a Hugging Face checkpoint (``config.json``, ``model.safetensors``, tokenizer)
    with ``training/``: ``optimizer.safetensors``, ``progress.json`` (what the next job goes on
    from) and ``losses.tsv`` (nats per token, per language, on training and held-out windows).

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

    Raises:
        StudyError: If a setting is unknown, or does not fit the model or the windows.
        DataError: If ``previous`` is incomplete or was trained with other settings.
        NumericsError: If the loss or a gradient is not finite.
    """
    steps = list(steps)
    if not steps or steps != sorted(set(steps)) or steps[0] < 0 or set(steps) - set(out_dirs):
        raise ValueError(f"steps must increase and have a folder each; got {steps}, {list(out_dirs)}")
    if not isinstance(training, TrainingSettings):
        training = TrainingSettings(**training)
    windows = open_windows(tokens_h5)
    _check(name, training, windows, shares, tokenizer_dir)
    torch.set_num_threads(threads)
    place = torch.device(resolve_device(device))
    fingerprint = _fingerprint(
        architecture, architecture_config, training.model_dump(), seed, shares, windows
    )
    run = _Run(
        name=name,
        settings=training,
        windows=windows,
        order=WindowOrder({lang: len(windows.train[lang]) for lang in shares}, shares, seed),
        seed=seed,
        device=place,
        threads=threads,
        tokenizer_dir=Path(tokenizer_dir),
        fingerprint=fingerprint,
    )
    if previous is not None:
        _check_previous(previous, name, fingerprint, steps[0])
        run.resumed_from = int(_read_progress(previous)["step"])
    saved = _saved_steps(scratch, fingerprint, run.resumed_from, steps[-1]) if scratch else {}
    for step in sorted(saved):
        if step in out_dirs:
            _copy_step(saved[step], Path(out_dirs[step]))
    origin = saved[max(saved)] if saved else previous
    with _deterministic(place):
        if origin is None:
            run.initialise(architecture, architecture_config)
        else:
            run.load(Path(origin))
            if saved:
                logger.info("%s: goes on from step %d of an interrupted job", name, run.step, extra=PROGRESS)
        remaining = [step for step in steps if step not in saved]
        save = _make_save(run, out_dirs, scratch)
        run.train(remaining, save, 60 * save_minutes if scratch else math.inf)
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)


def _make_save(run: _Run, out_dirs: Mapping[int, Path], scratch: Path | None) -> Callable[[bool], None]:
    """A function that writes the current step; its argument says whether the study wants it."""
    earlier: list[Path] = []

    def save(wanted: bool) -> None:
        folder = scratch / str(run.step) if scratch is not None else Path(out_dirs[run.step])
        run.write(folder, evaluate=wanted)
        if scratch is None:
            return
        if wanted:
            _copy_step(folder, Path(out_dirs[run.step]))
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

    def initialise(self, architecture: str, architecture_config: Mapping[str, Any]) -> None:
        """Random weights."""
        config = _model_config(
            self.name, architecture, architecture_config, self.tokenizer_dir, self.settings
        )
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.manual_seed(self.seed)  # on the CPU, so that a GPU starts from the same weights
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32
        )
        self._adopt(model)

    def load(self, folder: Path) -> None:
        """Weights, moments and position of a saved step."""
        progress = _read_progress(folder)
        self.step, self.seconds = int(progress["step"]), float(progress["seconds"])
        self._adopt(load_model(folder))
        if self.step == 0:
            return
        moments = load_file(folder / _OPTIMIZER_FILE)
        for name, parameter in self.model.named_parameters():
            try:
                found = {moment: moments.pop(f"{name}/{moment}") for moment in _MOMENTS}
            except KeyError as error:
                hint = "remove the folder and run again; it is trained anew"
                raise DataError(folder / _OPTIMIZER_FILE, f"lacks {error}", hint) from error
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.step), device=self.device),
                **{moment: value.to(self.device) for moment, value in found.items()},
            }

    def _adopt(self, model: Any) -> None:
        self.model = model.to(self.device)
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=self.settings.learning_rate,
            betas=(self.settings.betas[0], self.settings.betas[1]),
            fused=True,
        )

    def train(self, steps: Sequence[int], save: Callable[[bool], None], save_seconds: float) -> None:
        """Train through ``steps``; call ``save(True)`` at each, ``save(False)`` now and then."""
        pace = _Pace(self, steps[-1] if steps else self.step)
        saved_at = time.monotonic()
        wanted = list(steps)
        if wanted and wanted[0] == self.step:
            save(True)
            wanted.pop(0)
        self.order.seek(self.step * self.settings.batch_size)
        self.model.train()
        while wanted:
            self.step += 1
            loss = self._update()
            pace.tick(loss)
            if self.step == wanted[0]:
                pace.pause()
                save(True)
                wanted.pop(0)
                saved_at = time.monotonic()
                pace.go_on()
            elif time.monotonic() - saved_at > save_seconds:
                pace.pause()
                save(False)
                saved_at = time.monotonic()
                pace.go_on()

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
                loss = self.model(input_ids=part_BL, labels=part_BL, use_cache=False).loss
            (loss / settings.accumulation).backward()
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
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = unfinished_name(folder.with_name(f".{folder.name}"))
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            (unfinished / "training").mkdir(parents=True)
            save_model(self.model, self.tokenizer_dir, unfinished)
            save_file(self._moments(), unfinished / _OPTIMIZER_FILE)
            if evaluate:
                write_table(self.losses(), unfinished / "training/losses.tsv")
            progress = self._progress()
            (unfinished / _PROGRESS_FILE).write_text(json.dumps(progress, indent=1) + "\n")
            _publish(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _moments(self) -> dict[str, torch.Tensor]:
        moments = {}
        for name, parameter in self.model.named_parameters():
            state = self.optimizer.state.get(parameter, {})
            for moment in _MOMENTS:
                if moment in state:
                    moments[f"{name}/{moment}"] = state[moment].contiguous()
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


class _Pace:
    """Measures the speed of training, without the saves, and reports it."""

    def __init__(self, run: _Run, last: int) -> None:
        self.run, self.last = run, last
        self.tokens_per_step = run.settings.batch_size * run.settings.sequence_length
        self.seconds_before, self.first = run.seconds, run.step
        self.running, self.started = 0.0, time.monotonic()
        self.shown = self.started

    def tick(self, loss: float) -> None:
        now = time.monotonic()
        if now - self.shown < LOG_SECONDS:
            return
        self.shown = now
        self._measure(now)
        left = (self.last - self.run.step) * self.tokens_per_step / self.run.tokens_per_second
        logger.info(
            "%s: step %d of %d, loss %.3f, %s tokens/s, %s left",
            self.run.name, self.run.step, self.last, loss,
            f"{self.run.tokens_per_second:,.0f}", _duration(left), extra=PROGRESS,
        )  # fmt: skip

    def _measure(self, now: float) -> None:
        seconds = self.running + now - self.started
        done = (self.run.step - self.first) * self.tokens_per_step
        self.run.seconds = self.seconds_before + seconds
        self.run.tokens_per_second = done / seconds if seconds else 0.0

    def pause(self) -> None:
        now = time.monotonic()
        self._measure(now)
        self.running += now - self.started

    def go_on(self) -> None:
        self.started = time.monotonic()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _mix(seed: int, step: int) -> int:
    """A seed for a step, unrelated to those of its neighbours."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _model_config(
    name: str,
    architecture: str,
    given: Mapping[str, Any],
    tokenizer_dir: Path,
    settings: TrainingSettings,
) -> Any:
    """A config of transformers with the study's settings and the tokenizer's ids.

    Raises:
        StudyError: If the config class does not know a setting, or windows are too long for it.
    """
    key = f"models.{name.rsplit('-seed', 1)[0]}.architecture_config"
    find_architecture(architecture)
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
                **dict.fromkeys(DROPOUTS.get(architecture, ()), 0.0),
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
    if longest is not None and longest < settings.sequence_length:
        allowed = f"room for training.sequence_length, {settings.sequence_length} positions"
        raise StudyError(key, dict(given), allowed, f"as it is, the model has {longest}")
    return config


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
    if windows.tokenizer_hash != tokenizer_hash(tokenizer_dir):
        raise DataError(tokenizer_dir, "is not the tokenizer that made the windows of the corpus")
    missing = sorted(set(shares) - set(windows.train))
    if missing:
        raise StudyError("shares", missing, f"languages of the corpus: {', '.join(windows.train)}")
    if not sum(shares.values()) > 0 or min(shares.values()) < 0:
        raise StudyError("shares", dict(shares), "shares that are not negative and not all 0")


def _fingerprint(*parts: Any) -> str:
    """What must not change along a chain."""
    *settings, windows = parts
    text = json.dumps([*settings, windows.tokens_hash, windows.tokenizer_hash], sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_progress(folder: Path) -> dict[str, Any]:
    path = Path(folder) / _PROGRESS_FILE
    try:
        progress = json.loads(path.read_text(encoding="utf-8"))
        progress["step"], progress["seconds"], progress["settings_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "remove the folder and run again; it is trained anew"
        raise DataError(path, f"cannot be read: {error}", hint) from error
    return dict(progress)


def _check_previous(previous: Path, name: str, fingerprint: str, first: int) -> None:
    progress = _read_progress(previous)
    if progress["settings_hash"] != fingerprint:
        raise DataError(
            previous,
            f"was trained with other settings or text than model {name} has now",
            "remove the model's folder and run again; it is trained anew",
        )
    if progress["step"] >= first:
        raise ValueError(f"cannot go from step {progress['step']} back to {first}")


def _saved_steps(scratch: Path, fingerprint: str, resumed_from: int | None, last: int) -> dict[int, Path]:
    """Complete folders of an interrupted job with the same settings."""
    saved = {}
    for file in Path(scratch).glob(f"*/{_PROGRESS_FILE}"):
        folder = file.parent.parent
        progress = _read_progress(folder)
        same = progress["settings_hash"] == fingerprint and progress["resumed_from"] == resumed_from
        if same and progress["step"] <= last:
            saved[int(progress["step"])] = folder
    return saved


def _files(folder: Path) -> Iterator[Path]:
    """Relative paths of the files of a step; the one that declares it complete comes last."""
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file()]
    yield from sorted(files, key=lambda file: file == Path(_PROGRESS_FILE))


def _publish(unfinished: Path, folder: Path) -> None:
    for file in _files(unfinished):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished / file, folder / file)


def _copy_step(source: Path, folder: Path) -> None:
    unfinished = unfinished_name(folder.with_name(f".{folder.name}"))
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, unfinished)
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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
