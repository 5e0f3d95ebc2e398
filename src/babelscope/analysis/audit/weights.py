"""What the audit measures of one checkpoint: its weights, and its loss on held-out text.

Weights are read tensor by tensor and chunk by chunk, so memory holds one tensor, never the model. The
digest depends on the values alone: not on the file format, the sharding, the 16 or 32 bits they are
stored in, the prefix of their names, nor on whether tied weights are stored once or twice.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.analysis.audit.files import CheckpointAudit, HeldOutLoss, WeightFacts
from babelscope.capture.inputs import encode_sentences, make_batches
from babelscope.errors import DataError
from babelscope.models.architectures import is_encoder
from babelscope.models.checkpoints import LoadedModel, check_weights, load_checkpoint
from babelscope.models.files import read_config, read_manifest, weight_files, weights_hash
from babelscope.models.tokenizer_files import cut_hash
from babelscope.models.wrappers import text_name
from babelscope.text.clones import plain

logger = logging.getLogger(__name__)

#: Entries of a tensor that its sketch holds; smaller tensors are held whole. BLOOM-560m: 1.8 MB a step.
SKETCH_ENTRIES = 2048

#: Entries that are hashed at a time, as float32: 4 MB.
_CHUNK = 2**20

#: Bytes of logits of one batch, in float32: a CPU is faster with what its cache nearly holds, a GPU with much
#: at a time. With BLOOM's vocabulary a sentence of 96 tokens takes 100 MB.
_LOGIT_BYTES = {"cpu": 2**25, "cuda": 2**31}

#: First parts of names that one format writes and another leaves out.
_PREFIX = re.compile(r"^(transformer\.)?(model\.)?(gpt_neox\.)?(bert\.)?(roberta\.)?(decoder\.)?")


def measure_weights(folder: Path | str) -> WeightFacts:
    """Digest, norms and sketch of the weights in a folder.

    The sketch holds the same entries of a tensor at every step: they are drawn once, without
    replacement, from a seed that is its name and size.

    Raises:
        DataError: If a file is missing or cannot be read.
    """
    values: dict[str, str] = {}
    facts: dict[str, tuple[int, bool, float, int, NDArray[np.float32]]] = {}
    for name, tensor in _sorted_tensors(Path(folder)):
        if name in values:
            raise DataError(folder, f"holds the tensor {name} twice", "remove the files of other checkpoints")
        values[name], norm, n_bad = _read(tensor)
        facts[name] = tensor.numel(), tensor.ndim >= 2, norm, n_bad, _sketch(name, tensor)
    if not facts:
        raise DataError(folder, "its weight files hold no weights")
    # A set without names: tied weights and prefixes make no difference.
    digest = hashlib.sha256("".join(sorted(set(values.values()))).encode())
    sizes, matrices, norms, bad, sketches = zip(*facts.values(), strict=True)
    return WeightFacts(
        digest=digest.hexdigest(),
        n_weights=sum(sizes),
        n_nonfinite=sum(bad),
        first_nonfinite=next((name for name, n in zip(facts, bad, strict=True) if n), ""),
        names=tuple(facts),
        sizes_T=np.array(sizes, dtype=np.int64),
        is_matrix_T=np.array(matrices, dtype=np.bool_),
        norms_T=np.array(norms, dtype=np.float64),
        counts_T=np.array([len(sketch) for sketch in sketches], dtype=np.int64),
        sketch_M=np.concatenate(sketches),
    )


def _sorted_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights of a folder by their names without prefix, one at a time; no buffers, no masks."""
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    places = [
        (_PREFIX.sub("", text), name, file, read)
        for file in weight_files(folder)
        for name, read in _readers(file).items()
        if (text := text_name(name, config)) is not None
    ]
    for bare, name, file, read in sorted(places, key=lambda place: place[:2]):
        try:
            tensor = read()
        except Exception as error:  # a damaged file has errors of many kinds
            raise DataError(file, f"its tensor {name} cannot be read: {error}") from error
        # Some versions of transformers store constants: masks, rotary frequencies.
        leaf = bare.rsplit(".", 1)[-1]
        is_buffer = leaf in ("masked_bias", "inv_freq") or (leaf == "bias" and tensor.ndim == 4)
        if tensor.is_floating_point() and not is_buffer:
            yield bare, tensor


def _readers(file: Path) -> dict[str, Callable[[], torch.Tensor]]:
    """Reads each tensor of a file, by name; from a file that is mapped into memory, only when it is used."""
    from safetensors import safe_open

    try:
        if file.suffix == ".safetensors":
            opened: Any = safe_open(file, framework="pt").__enter__()  # type: ignore[no-untyped-call]
            return {name: partial(opened.get_tensor, name) for name in opened.keys()}  # noqa: SIM118
        load = partial(torch.load, file, map_location="cpu", weights_only=True)
        try:
            tensors = load(mmap=True)
        except RuntimeError:  # the format before torch 1.6 cannot be mapped
            tensors = load()
        return {
            name: partial(tensors.__getitem__, name)
            for name, value in tensors.items()
            if isinstance(value, torch.Tensor)
        }
    except Exception as error:  # each format has errors of its own
        raise DataError(file, f"its weights cannot be read: {error}") from error


def _read(tensor: torch.Tensor) -> tuple[str, float, int]:
    """Hash of shape and values, norm of the finite entries, number of the others."""
    digest = hashlib.sha256(repr(tuple(tensor.shape)).encode())
    square, n_bad = 0.0, 0
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), _CHUNK):
        values = flat[start : start + _CHUNK].float().contiguous()
        digest.update(values.numpy().tobytes())
        finite = torch.isfinite(values)
        n_bad += int((~finite).sum())
        square += float(torch.where(finite, values, 0.0).double().square().sum())
    return digest.hexdigest(), math.sqrt(square), n_bad


def _sketch(name: str, tensor: torch.Tensor) -> NDArray[np.float32]:
    n = tensor.numel()
    flat = tensor.reshape(-1)
    if n > SKETCH_ENTRIES:
        seed = int.from_bytes(hashlib.sha256(f"{name} {n}".encode()).digest()[:8], "little")
        drawn = np.random.default_rng(seed).choice(n, size=SKETCH_ENTRIES, replace=False, shuffle=False)
        flat = flat[torch.from_numpy(np.sort(drawn))]
    return np.asarray(flat.float().numpy(), dtype=np.float32).copy()


def heldout_loss(
    loaded: LoadedModel,
    sentences: Sequence[tuple[str, str]],
    *,
    max_length: int,
    where: str,
    prefix: str = "",
) -> HeldOutLoss:
    """Negative log-likelihood of each sentence after the start token and the prefix, padding left out.

    Args:
        loaded: A causal language model and its tokenizer.
        sentences: Id and text.
        max_length: Longest input in tokens with its start token and prefix; longer ones are cut.
        where: Names the sentences in an error.
        prefix: Text before every sentence, whose tokens do not count.

    Returns:
        Per sentence its nats, its tokens and, unless it was cut, its bytes of UTF-8; of a clone those of its
        original, whose letters are shorter.
    """
    encoded = encode_sentences(loaded, sentences, max_length=max_length, where=where, prefix=prefix)
    rows, first = encoded.rows, encoded.first
    n_bytes = [
        len(plain(text).encode("utf-8")) if len(row) < max_length else 0
        for (_, text), row in zip(sentences, rows, strict=True)
    ]
    return HeldOutLoss(
        sentence_ids=tuple(encoded.sentence_ids),
        nats_N=nats_of_inputs(loaded, rows, first),
        tokens_N=np.array([len(row) - first for row in rows], dtype=np.int64),
        bytes_N=np.array(n_bytes, dtype=np.int64),
    )


@torch.inference_mode()
def nats_of_inputs(loaded: LoadedModel, rows: Sequence[Sequence[int]], first: int = 1) -> NDArray[np.float64]:
    """Negative log-likelihood of each input after its first tokens, in nats; ``(N,)``.

    Args:
        loaded: A causal language model.
        rows: Token ids of each input, the start token first, as
            :func:`babelscope.capture.inputs.encode_sentences` gives them.
        first: Position of the first token that counts: those before it are the start token and a prefix.
    """
    nats = np.zeros(len(rows), dtype=np.float64)
    for batch in make_batches(loaded, rows, batch_size=rows_at_once(loaded, rows)):
        logits_BSV = loaded.model(
            input_ids=batch.input_ids_BS, attention_mask=batch.mask_BS, use_cache=False
        ).logits
        # Real tokens only: half of a batch may be padding, and the softmax costs more than the model.
        is_next_BS = batch.mask_BS[:, first:] == 1
        loss_T = torch.nn.functional.cross_entropy(
            logits_BSV[:, first - 1 : -1][is_next_BS].float(),
            batch.input_ids_BS[:, first:][is_next_BS],
            reduction="none",
        )
        of_row_T = is_next_BS.nonzero()[:, 0].cpu().numpy()
        nats[batch.rows] = np.bincount(
            of_row_T, weights=loss_T.double().cpu().numpy(), minlength=len(batch.rows)
        )
    return nats


def rows_at_once(loaded: LoadedModel, rows: Sequence[Sequence[int]]) -> int:
    """Inputs of a batch whose logits find room."""
    row_bytes = 4 * max(len(row) for row in rows) * int(loaded.model.config.vocab_size)
    return max(1, _LOGIT_BYTES[loaded.device.type] // row_bytes)


def choose_sentences(sentences: Sequence[tuple[str, str]], n: int) -> list[tuple[str, str]]:
    """The first ``n`` sentences in the order of a hash of their ids: the same ids in every language."""
    return sorted(sentences, key=lambda pair: hashlib.sha256(pair[0].encode()).digest())[:n]


def audit_checkpoint(
    folder: Path | str,
    sentences: Mapping[str, Sequence[tuple[str, str]]],
    *,
    tokenizer: Path | str | None = None,
    model: str,
    step: int,
    n_sentences: int,
    max_length: int,
    prefix: str = "",
    compute_dtype: str = "float32",
    device: str = "auto",
) -> CheckpointAudit:
    """Measure one checkpoint; :func:`babelscope.analysis.audit.judge.collect_audit` judges it.

    Args:
        folder: Hugging Face folder of the checkpoint.
        sentences: Id and text per language: the analysed sentences of the study. Models that are
            pre-trained here have not seen them; of others that is not known.
        tokenizer: Folder of the tokenizer; the same one by default.
        model: Run id.
        step: Its training step.
        n_sentences: Sentences of a language, at most.
        max_length: Tokens of an input with its start token and prefix, as in extraction.
        prefix: Text before every sentence, as in extraction.
        compute_dtype: Of the forward pass: float32, bfloat16 or float16.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DataError: If the weights or the tokenizer cannot be used.
    """
    folder = Path(folder)
    check_weights(folder)
    facts = measure_weights(folder)
    if facts.n_nonfinite:
        logger.warning(
            "model %s, step %d: %d weights are NaN or infinite, the first in %s",
            model, step, facts.n_nonfinite, facts.first_nonfinite,
        )  # fmt: skip
    losses: dict[str, HeldOutLoss] = {}
    encoder, origin = is_encoder(read_config(folder)), read_manifest(folder)
    if not encoder:
        loaded = load_checkpoint(folder, tokenizer=tokenizer, dtype=compute_dtype, device=device)
        for lang, pairs in sentences.items():
            chosen = choose_sentences(pairs, n_sentences)
            losses[lang] = heldout_loss(
                loaded, chosen, max_length=max_length, where=f"sentences of {lang}", prefix=prefix
            )
        of_files = loaded.weights_hash  # reading gigabytes again takes seconds
    else:
        of_files = weights_hash(folder)
    return CheckpointAudit(
        **vars(facts),
        model=model,
        step=step,
        losses=losses,
        no_loss="an encoder has no causal loss" if encoder else "",
        weights_hash=of_files,
        tokenizer_hash=cut_hash(folder if tokenizer is None else tokenizer),
        repo=origin.repo,
        revision=origin.revision,
        commit=origin.commit,
    )
