"""Sentences as inputs of a model, and the forward pass over them.

An input is the start token, the tokens of a prefix if there is one, a sentence's own tokens and, for
encoders, the end token, padded on the right under an attention mask. Names of shapes: ``B`` sentences of a
batch, ``S`` positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.errors import DataError, StudyError
from babelscope.models.architectures import is_encoder
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import max_positions


@dataclass(frozen=True)
class Encoded:
    """Sentences as inputs of a model."""

    sentence_ids: list[str]
    rows: list[list[int]]
    """Token ids of each input, the start token first; last the end token, if the model has one."""
    n_truncated: int
    bounds: list[list[tuple[int, int]]] = field(default_factory=list)
    """Where a sentence's own tokens begin and end in its text, in characters; empty unless asked for."""
    first: int = 1
    """Position of a sentence's first own token: after the start token and the prefix."""


@dataclass(frozen=True)
class InputBatch:
    """Inputs that run together, on the model's device."""

    rows: NDArray[np.intp]
    """Which sentences they are; shape ``(B,)``."""
    lengths: NDArray[np.intp]
    """Tokens of each input with its start and end token; shape ``(B,)``."""
    first: int
    """Position of the first of a sentence's own tokens, the same in all."""
    stops: NDArray[np.intp]
    """Position after the last of them; shape ``(B,)``."""
    input_ids_BS: torch.Tensor
    mask_BS: torch.Tensor


def encode_sentences(
    loaded: LoadedModel,
    sentences: Iterable[tuple[str, str]],
    *,
    max_length: int,
    where: str,
    prefix: str = "",
    bounds: bool = False,
) -> Encoded:
    """Turn sentences into inputs.

    Args:
        loaded: Model and tokenizer.
        sentences: Id and text.
        max_length: Longest input in tokens, with the start token, the prefix and the end token.
        where: Names the sentences in an error.
        prefix: Text before every sentence; its tokens are no own tokens of it.
        bounds: Say also where tokens stand in the text. Of a tokenizer that cannot say it, every token has
            the whole text.

    Raises:
        DataError: If there are none, an id stands twice, or a sentence has no token.
        StudyError: If the model admits no input of this length, or the tokens of the prefix depend on the
            sentence.
    """
    before, end = _prefix_tokens(loaded, prefix), end_tokens(loaded)
    n_own = _room(loaded, max_length, len(before), len(end))
    pairs = list(sentences)
    ids = [sentence_id for sentence_id, _ in pairs]
    if not ids:
        raise DataError(where, "has no sentences")
    if len(set(ids)) != len(ids):
        twice = next(sentence_id for sentence_id in ids if ids.count(sentence_id) > 1)
        raise DataError(where, f"the sentence id {twice!r} stands twice")
    encoded = _tokenize(loaded, [prefix + text for _, text in pairs], bounds=bounds)
    special = set(loaded.tokenizer.all_special_ids) - {loaded.tokenizer.unk_token_id}
    rows, n_truncated = [], 0
    for sentence_id, whole in zip(ids, encoded["input_ids"], strict=True):
        if whole[: len(before)] != before:
            allowed = "text whose tokens are the same before every sentence"
            hint = f"they are not before {sentence_id!r} ({where}): end it with a space or a line break"
            raise StudyError("extraction.prefix", prefix, allowed, hint)
        tokens = whole[len(before) :]
        if not tokens:
            problem = f"sentence {sentence_id!r} has no token besides the start token"
            raise DataError(where, problem, "remove empty sentences, in all languages if they are parallel")
        if not special.isdisjoint(tokens):  # a unigram model may have them among its pieces
            name = loaded.tokenizer.convert_ids_to_tokens(next(each for each in tokens if each in special))
            problem = f"sentence {sentence_id!r} holds {name!r}, which the tokenizer takes for its own"
            raise DataError(where, problem, "remove it from the text; in all languages, if they are parallel")
        n_truncated += len(tokens) > n_own
        rows.append([loaded.start_id, *before, *tokens[:n_own], *end])
    stand: list[list[tuple[int, int]]] = []
    if bounds:
        found = encoded.get("offset_mapping") or [
            [(0, len(prefix + text))] * len(whole)
            for (_, text), whole in zip(pairs, encoded["input_ids"], strict=True)
        ]
        own = slice(len(before), len(before) + n_own)
        stand = [
            [(max(0, start - len(prefix)), max(0, stop - len(prefix))) for start, stop in of_text[own]]
            for of_text in found
        ]
    return Encoded(ids, rows, n_truncated, stand, first=1 + len(before))


def _room(loaded: LoadedModel, max_length: int, n_prefix: int, n_end: int) -> int:
    """Own tokens that an input holds beside the start token, the prefix and the end token."""
    limit = max_positions(loaded.config)
    if limit is not None and max_length > limit:
        allowed = f"at most {limit}, the longest input of {loaded.folder}"
        raise StudyError("extraction.max_length", max_length, allowed)
    others = 1 + n_prefix + n_end
    if max_length <= others:
        of_prefix = f"{n_prefix} of the prefix, " if n_prefix else ""
        allowed = f"{others + 1} or more: the start token, {of_prefix}one of the sentence, the end token"
        raise StudyError("extraction.max_length", max_length, allowed)
    return max_length - others


def _tokenize(loaded: LoadedModel, texts: Sequence[str], *, bounds: bool) -> Any:
    """Tokens of texts, and where they stand if the tokenizer can say it."""
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    if bounds and loaded.tokenizer.is_fast:
        options["return_offsets_mapping"] = True
    # Special tokens enter by id alone: a text that holds how one is written holds these characters.
    return loaded.tokenizer(texts, split_special_tokens=True, **options)


def _prefix_tokens(loaded: LoadedModel, prefix: str) -> list[int]:
    """Tokens that a prefix brings before a sentence; the space at its end is the sentence's."""
    # Tokenizers put the space between two words with the second one, or in a mark of its own.
    text = prefix.rstrip()
    return list(_tokenize(loaded, [text], bounds=False)["input_ids"][0]) if text else []


def without_special(loaded: LoadedModel, rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Inputs without the start and the end token."""
    return [list(row[1 : len(row) - len(end_tokens(loaded))]) for row in rows]


def end_tokens(loaded: LoadedModel) -> list[int]:
    """The end token, if the model has one."""
    return [] if loaded.end_id is None else [loaded.end_id]


def make_batches(
    loaded: LoadedModel,
    rows: Sequence[Sequence[int]],
    *,
    batch_size: int,
    first: int = 1,
    chosen: Sequence[int] | None = None,
    extra_padding: int = 0,
    width: int | None = None,
) -> Iterator[InputBatch]:
    """Cut inputs into batches of similar length, the longest first.

    Args:
        loaded: Says the device and the padding.
        rows: Token ids of each input.
        batch_size: Inputs in a batch.
        first: Position of a sentence's first own token.
        chosen: The inputs to take; all by default.
        extra_padding: Positions to add to every batch.
        width: Positions of every batch; by default those of its longest input.
    """
    taken = range(len(rows)) if chosen is None else chosen
    # Longest first: a batch that does not fit into memory fails at once. The sort is stable.
    order = sorted(taken, key=lambda row: -len(rows[row]))
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        lengths = np.array([len(rows[row]) for row in members], dtype=np.intp)
        n_positions = (width or int(lengths[0])) + extra_padding
        ids_BS = np.full((len(members), n_positions), loaded.pad_id, dtype=np.int64)
        for position, row in enumerate(members):
            ids_BS[position, : lengths[position]] = rows[row]
        mask_BS = (np.arange(n_positions) < lengths[:, None]).astype(np.int64)
        device = loaded.device
        yield InputBatch(
            rows=np.array(members, dtype=np.intp),
            lengths=lengths,
            first=first,
            stops=lengths - len(end_tokens(loaded)),
            input_ids_BS=torch.from_numpy(ids_BS).to(device),
            mask_BS=torch.from_numpy(mask_BS).to(device),
        )


def forward(loaded: LoadedModel, batch: InputBatch) -> None:
    """Run the blocks on a batch, for what hooks see of it."""
    # Without the head: nothing reads the logits, and over a large vocabulary they cost the most.
    encoder = is_encoder({"model_type": loaded.model.config.model_type})
    options = {} if encoder else {"use_cache": False}
    loaded.model.base_model(input_ids=batch.input_ids_BS, attention_mask=batch.mask_BS, **options)


def corpus_hash(sentences: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over ids and texts, in their order."""
    digest = hashlib.sha256()
    for sentence_id, text in sentences:
        for part in (sentence_id, text):
            content = part.encode("utf-8")
            digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
