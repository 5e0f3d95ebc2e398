"""What a model computes on sentences: one forward pass for everything that is stored.

Names of shapes: ``B`` sentences of a batch, ``S`` positions, ``U`` units, ``d`` hidden size. The input is the
start token and the sentence's tokens, padded on the right. Units are pooled over the sentence's own tokens,
never over padding or the start token, inside the hook, so that no per-token values of units are kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope import __version__
from babelscope.architectures import site_widths
from babelscope.checkpoints import Checkpoint
from babelscope.errors import BabelscopeError, DataError
from babelscope.hooks import hooked, site_modules
from babelscope.store import Provenance, UnitWriter, write_token_states

logger = logging.getLogger(__name__)

Site = tuple[int, str]

#: Largest difference between a sentence alone and in a batch, relative to the layer's scale.
PARITY_TOLERANCE = {"float32": 1e-4, "bfloat16": 6e-2, "float16": 1e-2}

#: Sentences are sorted by length inside a window of so many, and written window by window.
_WINDOW = 1024


class ParityError(BabelscopeError):
    """A sentence gives other activations in a batch than alone: the model looks at padding."""


@dataclass(frozen=True)
class ExtractionSettings:
    """What is extracted and how; the study's ``extraction``."""

    sites: tuple[str, ...]
    pooling: str = "max"
    """max, mean or last, over the tokens of a sentence."""
    dtype: str = "float32"
    """Stored as float16 or float32."""
    compute_dtype: str = "float32"
    device: str = "auto"
    batch_size: int = 64
    max_length: int = 64
    """Longest input in tokens, start token included."""
    tokens_per_language: int = 1500
    """Tokens whose states are kept."""
    mean_sentences: int = 1000
    """Sentences whose mean state is kept."""
    parity_sentences: int = 8
    """Sentences of the parity self-test; 0 leaves it out."""


@dataclass(frozen=True)
class Batch:
    """Sentences of similar length.

    Attributes:
        rows: Their numbers.
        ids_BS: Token ids, padded on the right.
        mask_BS: 1 for real tokens, start token included.
    """

    rows: NDArray[np.intp]
    ids_BS: torch.Tensor
    mask_BS: torch.Tensor


def encode(
    checkpoint: Checkpoint, sentences: Sequence[tuple[str, str]], max_length: int
) -> tuple[list[list[int]], int]:
    """Token ids of sentences, start token first, and how many were cut.

    Args:
        checkpoint: Whose tokenizer and start token.
        sentences: (id, text).
        max_length: Longest input in tokens, start token included.

    Raises:
        DataError: If a sentence has no token.
    """
    encoded = checkpoint.tokenizer(
        [text for _, text in sentences], add_special_tokens=False, return_attention_mask=False
    )["input_ids"]
    cut = 0
    inputs = []
    for (name, text), ids in zip(sentences, encoded, strict=True):
        if not ids:
            raise DataError(f"sentence {name}", f"has no token: {text!r}", "remove it")
        cut += len(ids) + 1 > max_length
        inputs.append([checkpoint.start_token, *ids[: max_length - 1]])
    return inputs, cut


def make_batches(
    inputs: Sequence[Sequence[int]], *, batch_size: int, pad: int, device: torch.device
) -> Iterator[Batch]:
    """Batches of similar length; together they hold every input once."""
    lengths = np.array([len(ids) for ids in inputs])
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        width = int(lengths[rows].max())
        ids_BS = torch.full((len(rows), width), pad, dtype=torch.long)
        mask_BS = torch.zeros((len(rows), width), dtype=torch.long)
        for at, row in enumerate(rows):
            ids_BS[at, : lengths[row]] = torch.tensor(inputs[row])
            mask_BS[at, : lengths[row]] = 1
        yield Batch(rows, ids_BS.to(device), mask_BS.to(device))


def bare_forward(checkpoint: Checkpoint, batch: Batch) -> None:
    """The forward pass that an extraction cannot do without: all blocks, no logits."""
    checkpoint.model.base_model(
        input_ids=batch.ids_BS, attention_mask=batch.mask_BS, use_cache=False
    )


class _Pooler:
    """Pools values over the real tokens of each sentence of a batch."""

    def __init__(self, batch: Batch, pooling: str) -> None:
        counted_BS = batch.mask_BS.bool()
        counted_BS[:, 0] = False  # the start token says nothing about the sentence
        self.counted_BS = counted_BS
        self.pooling = pooling
        self.left_out_BS1 = ~counted_BS[:, :, None]
        self.full = bool(counted_BS[:, 1:].all())
        self.share_B1S = counted_BS[:, None, :] / counted_BS.sum(dim=1)[:, None, None]
        self.last_B = batch.mask_BS.sum(dim=1) - 1

    def units(self, values_BSU: torch.Tensor) -> torch.Tensor:
        """Pool values of shape ``(B, S, U)`` to ``(B, U)``."""
        if self.pooling == "max":
            if self.full:
                return values_BSU[:, 1:].amax(dim=1)
            lowest = torch.finfo(values_BSU.dtype).min
            return values_BSU.masked_fill(self.left_out_BS1, lowest).amax(dim=1)
        if self.pooling == "mean":
            return self.means(values_BSU)
        return values_BSU[torch.arange(len(values_BSU), device=values_BSU.device), self.last_B]

    def means(self, values_BSd: torch.Tensor) -> torch.Tensor:
        """Means over the real tokens, ``(B, d)``."""
        return (self.share_B1S.to(values_BSd.dtype) @ values_BSd)[:, 0]


class _Recorder:
    """Collects, batch by batch, what the hooks see."""

    def __init__(self, checkpoint: Checkpoint, sites: Sequence[str], pooling: str) -> None:
        self.pooling = pooling
        self.widths = site_widths(checkpoint.model.config.to_dict(), sites)
        self.pooled: dict[Site, list[torch.Tensor]] = {}
        self.states: dict[int, torch.Tensor] = {}
        self.pooler: _Pooler | None = None
        self.hooks = []
        for layer, site in self.widths:
            for module, end in site_modules(checkpoint, layer, site):
                self.hooks.append((module, end, self._pool((layer, site))))
        for layer in range(checkpoint.n_layers + 1):
            ((module, end),) = site_modules(checkpoint, layer, "resid")
            self.hooks.append((module, end, self._keep(layer)))

    def _pool(self, site: Site) -> Any:
        def see(values_BSU: torch.Tensor) -> None:
            assert self.pooler is not None
            self.pooled.setdefault(site, []).append(self.pooler.units(values_BSU))

        return see

    def _keep(self, layer: int) -> Any:
        def see(values_BSd: torch.Tensor) -> None:
            self.states[layer] = values_BSd

        return see

    def run(self, checkpoint: Checkpoint, batch: Batch) -> dict[Site, torch.Tensor]:
        """Run a batch inside :func:`hooked`; pooled values per site, ``(B, U)``."""
        self.pooled, self.states = {}, {}
        self.pooler = _Pooler(batch, self.pooling)
        bare_forward(checkpoint, batch)
        return {
            site: parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for site, parts in self.pooled.items()
        }


def pad_token(checkpoint: Checkpoint) -> int:
    """Id used for padding; any will do, since padding is masked and on the right."""
    found = checkpoint.tokenizer.pad_token_id
    return int(found) if found is not None else checkpoint.start_token


def extract_language(
    checkpoint: Checkpoint,
    sentences: Sequence[tuple[str, str]],
    *,
    units_path: Path,
    tokens_path: Path,
    model: str,
    step: int,
    lang: str,
    settings: ExtractionSettings,
    seed: int,
) -> None:
    """Run all sentences of one language and store pooled units, sampled token states, sentence means.

    Args:
        checkpoint: The loaded model.
        sentences: (id, text), in the order of the rows.
        units_path: See :class:`babelscope.store.UnitFile`.
        tokens_path: See :class:`babelscope.store.TokenFile`.
        model: Run id, for the provenance and for errors.
        step: Step of the checkpoint.
        lang: Language of the sentences.
        settings: What to extract.
        seed: Of the sample of tokens.

    Raises:
        ParityError: If padding changes the activations.
        NumericsError: If an activation is not finite or does not fit the stored type.
    """
    inputs, n_truncated = encode(checkpoint, sentences, settings.max_length)
    if settings.parity_sentences:
        cell = f"model {model}, step {step}, language {lang}"
        parity_check(checkpoint, _spread(inputs, settings.parity_sentences), settings, cell)
    names = [name for name, _ in sentences]
    sampled = sample_tokens(inputs, settings.tokens_per_language, seed=seed, lang=lang)
    averaged = _first_by_hash(names, settings.mean_sentences)
    provenance = Provenance(
        model=model,
        step=step,
        lang=lang,
        weights_hash=checkpoint.weights_hash,
        tokenizer_hash=checkpoint.tokenizer_hash,
        corpus_hash=hashlib.sha256("\n".join(map("\t".join, sentences)).encode()).hexdigest(),
        sites=tuple(settings.sites),
        pooling=settings.pooling,
        dtype=settings.dtype,
        package_version=__version__,
        n_truncated=n_truncated,
    )
    recorder = _Recorder(checkpoint, settings.sites, settings.pooling)
    n_layers, width = checkpoint.n_layers + 1, checkpoint.model.config.hidden_size
    states = np.zeros((n_layers, len(sampled), width), dtype=np.float32)
    means = np.zeros((n_layers, len(averaged), width), dtype=np.float32)
    row_of_mean = np.full(len(inputs), -1)
    row_of_mean[averaged] = np.arange(len(averaged))
    rows_of_sample: dict[int, list[int]] = {}
    for at, (row, _) in enumerate(sampled):
        rows_of_sample.setdefault(int(row), []).append(at)
    with (
        UnitWriter(units_path, provenance, names, recorder.widths, dtype=settings.dtype) as writer,
        torch.inference_mode(),
        hooked(recorder.hooks),
    ):
        for start in range(0, len(inputs), _WINDOW):
            window = inputs[start : start + _WINDOW]
            values = {
                site: np.empty((len(window), units), dtype=np.float32)
                for site, units in recorder.widths.items()
            }
            for batch in make_batches(
                window,
                batch_size=settings.batch_size,
                pad=pad_token(checkpoint),
                device=checkpoint.device,
            ):
                for site, pooled_BU in recorder.run(checkpoint, batch).items():
                    values[site][batch.rows] = pooled_BU.float().cpu().numpy()
                rows = batch.rows + start
                _store_samples(recorder, rows, sampled, rows_of_sample, states)
                _store_means(recorder, rows, row_of_mean, means)
            writer.write_rows(start, values)
    token_ids = [inputs[row][position] for row, position in sampled]
    write_token_states(
        tokens_path,
        provenance,
        token_sentence_ids=[names[row] for row, _ in sampled],
        token_positions=[int(position) for _, position in sampled],
        token_ids=token_ids,
        token_texts=[checkpoint.tokenizer.decode([token]) for token in token_ids],
        states=dict(enumerate(states)),
        mean_sentence_ids=[names[row] for row in averaged],
        means=dict(enumerate(means)),
        dtype=settings.dtype,
    )
    logger.info("%s step %d %s: %d sentences, %d cut", model, step, lang, len(inputs), n_truncated)


def _store_samples(
    recorder: _Recorder,
    rows: NDArray[np.intp],
    sampled: NDArray[np.intp],
    rows_of_sample: dict[int, list[int]],
    states: NDArray[np.float32],
) -> None:
    here = [(at, b) for b, row in enumerate(rows) for at in rows_of_sample.get(int(row), ())]
    if not here:
        return
    numbers = np.array([at for at, _ in here])
    in_batch = torch.tensor([b for _, b in here])
    positions = torch.tensor(sampled[numbers, 1])
    for layer, values_BSd in recorder.states.items():
        states[layer, numbers] = values_BSd[in_batch, positions].float().cpu().numpy()


def _store_means(
    recorder: _Recorder,
    rows: NDArray[np.intp],
    row_of_mean: NDArray[np.intp],
    means: NDArray[np.float32],
) -> None:
    wanted = np.flatnonzero(row_of_mean[rows] >= 0)
    if not len(wanted):
        return
    assert recorder.pooler is not None
    for layer, values_BSd in recorder.states.items():
        means_Bd = recorder.pooler.means(values_BSd).float().cpu().numpy()
        means[layer, row_of_mean[rows[wanted]]] = means_Bd[wanted]


def sample_tokens(
    inputs: Sequence[Sequence[int]], n: int, *, seed: int, lang: str
) -> NDArray[np.intp]:
    """``n`` (sentence, position) pairs, uniformly over all tokens except start tokens, in order.

    All of them if there are fewer than ``n``.
    """
    counts = np.array([len(ids) - 1 for ids in inputs])
    total = int(counts.sum())
    key = int.from_bytes(hashlib.sha256(lang.encode()).digest()[:8], "big")
    chosen = np.random.default_rng([seed, key]).permutation(total)[:n]
    chosen.sort()
    ends = np.cumsum(counts)
    rows = np.searchsorted(ends, chosen, side="right")
    positions = chosen - (ends[rows] - counts[rows]) + 1
    return np.stack([rows, positions], axis=1).astype(np.intp)


def _first_by_hash(names: Sequence[str], n: int) -> NDArray[np.intp]:
    """Rows of ``n`` sentences, the same ids in every language that has them, in order."""
    keys = [hashlib.sha256(name.encode()).digest() for name in names]
    return np.sort(np.array(sorted(range(len(names)), key=keys.__getitem__)[:n], dtype=np.intp))


def _spread(inputs: Sequence[list[int]], n: int) -> list[list[int]]:
    """``n`` inputs of lengths from the shortest to the longest."""
    by_length = sorted(inputs, key=len)
    at = np.unique(np.linspace(0, len(by_length) - 1, n).astype(int))
    return [by_length[i] for i in at]


def parity_check(
    checkpoint: Checkpoint,
    inputs: Sequence[list[int]],
    settings: ExtractionSettings,
    cell: str = "",
) -> float:
    """Compare sentences alone and as one padded batch.

    Args:
        checkpoint: The loaded model.
        inputs: Token ids of different lengths, start token first.
        settings: Sites and pooling; ``compute_dtype`` gives the tolerance.
        cell: Names the cell in the error.

    Returns:
        The largest difference, relative to the largest value of its site.

    Raises:
        ParityError: If it exceeds the tolerance of the number format.
    """
    recorder = _Recorder(checkpoint, settings.sites, settings.pooling)

    def pooled(batch_size: int) -> dict[str, torch.Tensor]:
        parts: dict[str, torch.Tensor] = {}
        for batch in make_batches(
            inputs, batch_size=batch_size, pad=pad_token(checkpoint), device=checkpoint.device
        ):
            found = {f"layer {at}, {site}": v for (at, site), v in recorder.run(checkpoint, batch).items()}
            assert recorder.pooler is not None
            for layer, values_BSd in recorder.states.items():
                found[f"layer {layer}, mean state"] = recorder.pooler.means(values_BSd)
            for name, values in found.items():
                whole = parts.setdefault(name, values.new_zeros((len(inputs), values.shape[1])).float())
                whole[torch.tensor(batch.rows)] = values.float()
        return parts

    with torch.inference_mode(), hooked(recorder.hooks):
        alone, together = pooled(1), pooled(len(inputs))
    tolerance = PARITY_TOLERANCE[settings.compute_dtype]
    worst, where = 0.0, ""
    for name, values in alone.items():
        if not torch.isfinite(values).all():
            continue  # the writer names the first bad sentence
        scale = float(values.abs().max()) or 1.0
        difference = float((values - together[name]).abs().max()) / scale
        if not difference <= worst:
            worst, where = difference, name
    logger.info("parity %s: largest relative difference %.2g (%s)", cell, worst, where)
    if not worst <= tolerance:
        raise ParityError(
            f"{cell}: the same sentence differs by {worst:.3g} of the layer's scale alone and in a padded "
            f"batch ({where}); {settings.compute_dtype} explains at most {tolerance:g}"
            "\nhint: the model looks at padding; set extraction.batch_size to 1, or report the architecture"
        )
    return worst


__all__ = [
    "Batch",
    "ExtractionSettings",
    "ParityError",
    "bare_forward",
    "encode",
    "extract_language",
    "make_batches",
    "parity_check",
    "sample_tokens",
]
