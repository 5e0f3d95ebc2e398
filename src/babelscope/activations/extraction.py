"""One forward pass over the sentences of a language feeds everything that is stored.

Inputs are the start token, a sentence's tokens and, for encoders, the end token, padded on the right
under an attention mask. What the model computes is reduced inside the hooks, on the device, as each
batch runs: units are pooled over a sentence's own tokens (never the start or the end token, never
padding); of the residual stream, the sampled tokens and the means of chosen sentences are kept.

Names of shapes: ``B`` sentences of a batch, ``S`` positions, ``D`` width of a part of a site, ``N``
sentences of the language, ``T`` sampled tokens, ``d`` width of the residual stream.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope import __version__
from babelscope.activations.settings import ExtractionSettings
from babelscope.activations.store import Provenance, Site, UnitWriter, write_token_states
from babelscope.errors import BabelscopeError, DataError, StudyError
from babelscope.models.architectures import is_encoder, max_positions, n_layers, site_widths
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.hooks import Watcher, site_modules, watching

#: Largest difference between a sentence alone and in a batch, as a share of the largest value of
#: its layer and site. Batches change the order of summation; 16-bit types have 8 (bfloat16) or 11
#: binary digits, and the differences grow from layer to layer.
PARITY_TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}

_WINDOW_ROWS = 1024
_WINDOW_BYTES = 2**30
_MAX_SPANS = 8
_MEAN = "resid (mean)"


class ParityError(BabelscopeError):
    """A sentence gives other values in a batch than alone: the model looks at padding."""


@dataclass(frozen=True)
class Encoded:
    """Sentences as inputs of a model."""

    sentence_ids: list[str]
    rows: list[list[int]]
    """Token ids of each input, the start token first; last the end token, if the model has one."""
    n_truncated: int


@dataclass(frozen=True)
class Batch:
    """Inputs that run together, on the model's device."""

    rows: NDArray[np.intp]
    """Which sentences they are; shape ``(B,)``."""
    lengths: NDArray[np.intp]
    """Tokens of each input with its start and end token; shape ``(B,)``."""
    stops: NDArray[np.intp]
    """Position after the last of a sentence's own tokens, which start at 1; shape ``(B,)``."""
    input_ids_BS: torch.Tensor
    mask_BS: torch.Tensor


def encode_sentences(
    loaded: LoadedModel, sentences: Iterable[tuple[str, str]], *, max_length: int, where: str
) -> Encoded:
    """Turn sentences into inputs.

    Args:
        loaded: Model and tokenizer.
        sentences: Id and text.
        max_length: Longest input in tokens, with the start and the end token.
        where: Names the sentences in an error.

    Raises:
        DataError: If there are none, an id stands twice, or a sentence has no token.
        StudyError: If the model admits no input of this length.
    """
    limit = max_positions(loaded.config)
    if limit is not None and max_length > limit:
        allowed = f"at most {limit}, the longest input of {loaded.folder}"
        raise StudyError("extraction.max_length", max_length, allowed)
    end = _end(loaded)
    n_own = max_length - 1 - len(end)
    if n_own < 1:
        allowed = f"{2 + len(end)} or more: the start token, one of the sentence, the end token"
        raise StudyError("extraction.max_length", max_length, allowed)
    pairs = list(sentences)
    ids = [sentence_id for sentence_id, _ in pairs]
    if not ids:
        raise DataError(where, "has no sentences")
    if len(set(ids)) != len(ids):
        twice = next(sentence_id for sentence_id in ids if ids.count(sentence_id) > 1)
        raise DataError(where, f"the sentence id {twice!r} stands twice")
    texts = [text for _, text in pairs]
    encoded = loaded.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    rows, n_truncated = [], 0
    for sentence_id, tokens in zip(ids, encoded, strict=True):
        if not tokens:
            raise DataError(
                where,
                f"sentence {sentence_id!r} has no token besides the start token",
                "remove empty sentences, in all languages if they are parallel",
            )
        n_truncated += len(tokens) > n_own
        rows.append([loaded.start_id, *tokens[:n_own], *end])
    return Encoded(ids, rows, n_truncated)


def _end(loaded: LoadedModel) -> list[int]:
    """The end token, if the model has one."""
    return [] if loaded.end_id is None else [loaded.end_id]


def make_batches(
    loaded: LoadedModel,
    rows: Sequence[Sequence[int]],
    *,
    batch_size: int,
    chosen: Sequence[int] | None = None,
    extra_padding: int = 0,
) -> Iterator[Batch]:
    """Cut inputs into batches of similar length, the longest first.

    Args:
        loaded: Says the device and the padding.
        rows: Token ids of each input.
        batch_size: Inputs in a batch.
        chosen: The inputs to take; all by default.
        extra_padding: Positions to add to every batch.
    """
    taken = range(len(rows)) if chosen is None else chosen
    # Longest first: a batch that does not fit into memory fails at once. The sort is stable.
    order = sorted(taken, key=lambda row: -len(rows[row]))
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        lengths = np.array([len(rows[row]) for row in members], dtype=np.intp)
        width = int(lengths[0]) + extra_padding
        ids_BS = np.full((len(members), width), loaded.pad_id, dtype=np.int64)
        for position, row in enumerate(members):
            ids_BS[position, : lengths[position]] = rows[row]
        mask_BS = (np.arange(width) < lengths[:, None]).astype(np.int64)
        device = loaded.device
        yield Batch(
            rows=np.array(members, dtype=np.intp),
            lengths=lengths,
            stops=lengths - len(_end(loaded)),
            input_ids_BS=torch.from_numpy(ids_BS).to(device),
            mask_BS=torch.from_numpy(mask_BS).to(device),
        )


@torch.inference_mode()
def bare_forward(loaded: LoadedModel, batches: Iterable[Batch]) -> None:
    """Run the blocks and keep nothing. What extraction is measured against."""
    for batch in batches:
        _forward(loaded, batch)


def _forward(loaded: LoadedModel, batch: Batch) -> None:
    # Without the head: nothing reads the logits, and over a large vocabulary they cost the most.
    run = loaded.model.base_model
    if is_encoder({"model_type": loaded.model.config.model_type}):
        run(input_ids=batch.input_ids_BS, attention_mask=batch.mask_BS)
    else:
        run(input_ids=batch.input_ids_BS, attention_mask=batch.mask_BS, use_cache=False)


@dataclass(frozen=True)
class _Span:
    """Neighbouring rows of a batch, whose own tokens stop at equal or similar positions."""

    start: int
    stop: int
    shortest: int
    longest: int
    is_over_RS1: torch.Tensor
    """Between ``shortest`` and ``longest``, where some rows have stopped and others have not."""


class _Pooler:
    """Reduces ``(B, S, D)`` over each sentence's own tokens, into ``(B, D)``.

    Rows come sorted by length, so a few spans of rows hold one length each. A span is reduced as it
    lies, without a copy; only where its rows end at different positions, these are masked.
    """

    def __init__(self, batch: Batch) -> None:
        device = batch.mask_BS.device
        self.shape = batch.mask_BS.shape
        self.last_B = torch.from_numpy(batch.stops - 1).to(device)
        self.rows_B = torch.arange(len(batch.stops), device=device)
        self.n_tokens_B1 = self.last_B[:, None].float()
        n = len(batch.stops)
        starts = [0, *(np.flatnonzero(np.diff(batch.stops)) + 1).tolist()]
        if len(starts) > _MAX_SPANS:
            starts = list(range(0, n, -(-n // _MAX_SPANS)))
        self.spans = []
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            stops = batch.stops[start:stop]
            shortest, longest = int(stops.min()), int(stops.max())
            is_over_RS = np.arange(shortest, longest) >= stops[:, None]
            is_over_RS1 = torch.from_numpy(is_over_RS[:, :, None]).to(device)
            self.spans.append(_Span(start, stop, shortest, longest, is_over_RS1))

    def max(self, x_BSD: torch.Tensor, out_BD: torch.Tensor) -> None:
        for span in self.spans:
            x_RSD, out_RD = x_BSD[span.start : span.stop], out_BD[span.start : span.stop]
            torch.amax(x_RSD[:, 1 : span.shortest], dim=1, out=out_RD)
            if span.longest > span.shortest:
                tail_RSD = x_RSD[:, span.shortest : span.longest]
                tail_RD = tail_RSD.masked_fill(span.is_over_RS1, -torch.inf).amax(dim=1)
                torch.maximum(out_RD, tail_RD, out=out_RD)

    def mean(self, x_BSD: torch.Tensor, out_BD: torch.Tensor) -> None:
        for span in self.spans:
            x_RSD, out_RD = x_BSD[span.start : span.stop], out_BD[span.start : span.stop]
            torch.sum(x_RSD[:, 1 : span.shortest], dim=1, dtype=torch.float32, out=out_RD)
            if span.longest > span.shortest:
                tail_RSD = x_RSD[:, span.shortest : span.longest].masked_fill(span.is_over_RS1, 0.0)
                out_RD += tail_RSD.sum(dim=1, dtype=torch.float32)
        out_BD /= self.n_tokens_B1

    def last(self, x_BSD: torch.Tensor, out_BD: torch.Tensor) -> None:
        out_BD.copy_(x_BSD[self.rows_B, self.last_B])


class _Recorder:
    """Runs batches and keeps what the hooks reduce them to.

    The hooks write into tensors that live as long as the recorder: small results that are allocated
    between large activations would break up the heap, at the price of a tenth of the time.
    """

    def __init__(self, loaded: LoadedModel, sites: Sequence[str], pooling: str) -> None:
        self.loaded = loaded
        self.pooling = pooling
        self.n_layers = n_layers(loaded.config)
        self.units = site_widths(loaded.config, sites)
        self._results: dict[tuple[int, str, int], torch.Tensor] = {}
        self._seen: set[tuple[int, str, int]] = set()
        self._states: dict[int, torch.Tensor] = {}
        self._n_rows = 0
        self._pooler: _Pooler | None = None
        self._wants_means = False
        self._tokens: tuple[torch.Tensor, torch.Tensor] | None = None

    def watchers(self) -> Iterator[Watcher]:
        """All hooks; for :func:`babelscope.models.hooks.watching`."""
        for layer, site in self.units:
            for part, place in enumerate(site_modules(self.loaded.model, site, layer)):
                yield place, self._watch_units((layer, site, part))
        for layer in range(self.n_layers + 1):
            (place,) = site_modules(self.loaded.model, "resid", layer)
            yield place, self._watch_states(layer)

    def run(
        self,
        batch: Batch,
        *,
        means: bool,
        tokens: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None,
    ) -> None:
        """Run one batch. What is read of it is overwritten by the next.

        Args:
            batch: The inputs.
            means: Whether the mean states are wanted.
            tokens: Rows and positions in the batch whose states are wanted.
        """
        self._seen.clear()
        self._states.clear()
        self._n_rows = len(batch.rows)
        self._pooler = _Pooler(batch)
        self._wants_means = means
        self._tokens = None
        if tokens is not None and len(tokens[0]):
            rows, positions = (torch.from_numpy(index).to(batch.mask_BS.device) for index in tokens)
            self._tokens = rows, positions
        _forward(self.loaded, batch)

    def pooled(self) -> dict[Site, list[NDArray[np.float32]]]:
        """Pooled units of the batch: the parts of each (layer, site), shape ``(B, D)`` each."""
        found: dict[Site, list[NDArray[np.float32]]] = {unit: [] for unit in self.units}
        for layer, site, part in sorted(self._seen):
            if site != _MEAN:
                found[layer, site].append(self._read((layer, site, part)))
        for (layer, site), parts in found.items():
            if not parts:
                raise BabelscopeError(
                    f"{self.loaded.folder}: the model does not run site {site} of layer {layer}"
                    "\nhint: an option of its config, such as BLOOM's slow_but_exact, goes around it"
                )
        return found

    def means(self) -> dict[int, NDArray[np.float32]]:
        """Mean state of each sentence of the batch by layer, shape ``(B, d)``."""
        return {key[0]: self._read(key) for key in self._seen if key[1] == _MEAN}

    def states(self) -> dict[int, NDArray[np.float32]]:
        """States of the wanted tokens by layer, shape ``(tokens, d)``."""
        return {layer: _numpy(values_Td) for layer, values_Td in self._states.items()}

    def _read(self, key: tuple[int, str, int]) -> NDArray[np.float32]:
        return _numpy(self._results[key][: self._n_rows])

    def _reduce(self, pooling: str, x_BSD: torch.Tensor, key: tuple[int, str, int]) -> None:
        assert self._pooler is not None
        if x_BSD.shape[:2] != self._pooler.shape:
            raise BabelscopeError(
                f"{self.loaded.folder}: layer {key[0]}, site {key[1]}, comes as {tuple(x_BSD.shape)}, "
                f"not for {tuple(self._pooler.shape)} sentences and positions at once"
                "\nhint: an option of its config, such as chunk_size_feed_forward, cuts it up"
            )
        result = self._results.get(key)
        if result is None or len(result) < len(x_BSD):
            dtype = torch.float32 if pooling == "mean" else x_BSD.dtype
            result = x_BSD.new_empty((len(x_BSD), x_BSD.shape[-1]), dtype=dtype)
            self._results[key] = result
        getattr(self._pooler, pooling)(x_BSD, result[: len(x_BSD)])
        self._seen.add(key)

    def _watch_units(self, key: tuple[int, str, int]) -> Callable[[torch.Tensor], None]:
        def watch(x_BSD: torch.Tensor) -> None:
            self._reduce(self.pooling, x_BSD, key)

        return watch

    def _watch_states(self, layer: int) -> Callable[[torch.Tensor], None]:
        def watch(x_BSd: torch.Tensor) -> None:
            if self._wants_means:
                self._reduce("mean", x_BSd, (layer, _MEAN, 0))
            if self._tokens is not None:
                self._states[layer] = x_BSd[self._tokens]

        return watch


def _numpy(values: torch.Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()


@torch.inference_mode()
def extract_language(
    loaded: LoadedModel,
    sentences: Iterable[tuple[str, str]],
    *,
    units_path: Path,
    tokens_path: Path,
    model: str,
    step: int,
    lang: str,
    settings: ExtractionSettings,
    seed: int,
) -> None:
    """Run the model over the sentences of one language and write the two files of its cell.

    The host holds at most 1 GiB of pooled units at a time, and the token states of the language.

    Args:
        loaded: The checkpoint.
        sentences: Id and text of each; the rows of the unit file, in this order.
        units_path: Pooled units, see :class:`babelscope.activations.store.UnitFile`.
        tokens_path: Token states and sentence means, see :class:`babelscope.activations.store.TokenFile`.
        model: Run id.
        step: Training step of the checkpoint.
        lang: Language of the sentences.
        settings: What is kept.
        seed: Of the token sample; each language has its own sample.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite or does not fit the stored type. No file is written.
        ParityError: If the model looks at padding. No file is written.
        StoreError: If the disk is full. No unfinished file is left.
    """
    pairs = list(sentences)
    where = f"sentences of {lang}"
    encoded = encode_sentences(loaded, pairs, max_length=settings.max_length, where=where)
    parity_check(loaded, pairs, settings, encoded=encoded)
    provenance = Provenance(
        model=model,
        step=step,
        lang=lang,
        weights_hash=loaded.weights_hash,
        tokenizer_hash=loaded.tokenizer_hash,
        corpus_hash=corpus_hash(pairs),
        sites=settings.sites,
        pooling=settings.pooling,
        dtype=settings.dtype,
        package_version=__version__,
        n_truncated=encoded.n_truncated,
    )
    recorder = _Recorder(loaded, settings.sites, settings.pooling)
    n_own = [len(row) - 1 - len(_end(loaded)) for row in encoded.rows]
    sample = _sample_tokens(n_own, settings.tokens_per_language, seed=seed, lang=lang)
    sample_rows, sample_positions = sample
    mean_rows = _rows_with_means(encoded.sentence_ids, settings.mean_sentences)
    mean_index = np.full(len(encoded.rows), -1, dtype=np.intp)
    mean_index[mean_rows] = np.arange(len(mean_rows))
    layers = range(recorder.n_layers + 1)
    d = site_widths(loaded.config, ("resid",))[0, "resid"]
    states = {layer: np.empty((len(sample_rows), d), dtype=np.float32) for layer in layers}
    means = {layer: np.empty((len(mean_rows), d), dtype=np.float32) for layer in layers}

    n = len(encoded.rows)
    window = min(n, _window_rows(sum(recorder.units.values()), settings.batch_size))
    block = {unit: np.empty((window, width), np.float32) for unit, width in recorder.units.items()}
    writer = UnitWriter(units_path, provenance, encoded.sentence_ids, recorder.units, dtype=settings.dtype)
    with writer, watching(recorder.watchers()):
        for start in range(0, n, window):
            stop = min(start + window, n)
            for batch in make_batches(
                loaded, encoded.rows, batch_size=settings.batch_size, chosen=range(start, stop)
            ):
                # Row i of the sample array is token i; a sentence's tokens stand together.
                low = np.searchsorted(sample_rows, batch.rows, side="left")
                high = np.searchsorted(sample_rows, batch.rows, side="right")
                chosen = _ranges(low, high)
                rows_in_batch = np.repeat(np.arange(len(batch.rows)), high - low)
                with_mean = mean_index[batch.rows] >= 0
                recorder.run(
                    batch,
                    means=bool(with_mean.any()),
                    tokens=(rows_in_batch, sample_positions[chosen]),
                )
                for unit, parts in recorder.pooled().items():
                    first = 0
                    for part_BD in parts:
                        after = first + part_BD.shape[1]
                        block[unit][batch.rows - start, first:after] = part_BD
                        first = after
                for layer, values_Td in recorder.states().items():
                    states[layer][chosen] = values_Td
                for layer, values_Bd in recorder.means().items():
                    means[layer][mean_index[batch.rows[with_mean]]] = values_Bd[with_mean]
            writer.write_rows(start, {unit: rows[: stop - start] for unit, rows in block.items()})
        token_ids = [
            encoded.rows[row][position] for row, position in zip(sample_rows, sample_positions, strict=True)
        ]
        write_token_states(
            tokens_path,
            provenance,
            token_sentence_ids=[encoded.sentence_ids[row] for row in sample_rows],
            token_positions=sample_positions.tolist(),
            token_ids=token_ids,
            token_texts=_spellings(loaded.tokenizer, token_ids),
            states=states,
            mean_sentence_ids=[encoded.sentence_ids[row] for row in mean_rows],
            means=means,
            dtype=settings.dtype,
        )


@torch.inference_mode()
def parity_check(
    loaded: LoadedModel,
    sentences: Iterable[tuple[str, str]],
    settings: ExtractionSettings,
    *,
    encoded: Encoded | None = None,
) -> float:
    """Compare sentences in one padded batch with the same sentences alone.

    Args:
        loaded: The checkpoint.
        sentences: Id and text; ``settings.parity_sentences`` of them are taken, short to long.
        settings: Sites, pooling and the type whose tolerance holds.
        encoded: The sentences as inputs, if they are there already.

    Returns:
        The largest difference over pooled units and mean states, as a share of the largest absolute
        value of its layer and site.

    Raises:
        ParityError: If it is above the tolerance of the type, with the layer and the site.
    """
    if encoded is None:
        encoded = encode_sentences(
            loaded, sentences, max_length=settings.max_length, where="parity sentences"
        )
    by_length = sorted(range(len(encoded.rows)), key=lambda row: len(encoded.rows[row]))
    n = min(settings.parity_sentences, len(by_length))
    chosen = [by_length[at] for at in np.linspace(0, len(by_length) - 1, n).round().astype(int)]
    # Every row gets padding, also the longest, as far as the model admits positions.
    longest = max(len(encoded.rows[row]) for row in chosen)
    extra = min(4, (max_positions(loaded.config) or longest + 4) - longest)
    recorder = _Recorder(loaded, settings.sites, settings.pooling)
    with watching(recorder.watchers()):
        (together,) = make_batches(loaded, encoded.rows, batch_size=n, chosen=chosen, extra_padding=extra)
        in_batch = _all_values(recorder, together)
        alone: dict[Site, list[NDArray[np.float32]]] = {}
        for row in together.rows:
            (single,) = make_batches(loaded, encoded.rows, batch_size=1, chosen=[int(row)])
            for where, values in _all_values(recorder, single).items():
                alone.setdefault(where, []).append(values)
    worst, worst_where = -1.0, (0, "")
    for where, values in in_batch.items():
        singles = np.concatenate(alone[where])
        scale = float(np.abs(singles).max()) or 1.0
        with np.errstate(invalid="ignore"):
            difference = float(np.abs(values - singles).max()) / scale
        # A NaN is no difference here: the writer reports it, with its sentence.
        if difference > worst:
            worst, worst_where = difference, where
    tolerance = PARITY_TOLERANCE[settings.compute_dtype]
    if worst > tolerance:
        layer, site = worst_where
        raise ParityError(
            f"{loaded.folder}: sentences give other values in a batch than alone: largest "
            f"difference {worst:.2g} of the largest value at layer {layer}, site {site}; "
            f"allowed for {settings.compute_dtype}: {tolerance:g}"
            "\nhint: the model looks at padding, so it cannot be run in batches"
        )
    return worst


def _all_values(recorder: _Recorder, batch: Batch) -> dict[Site, NDArray[np.float32]]:
    recorder.run(batch, means=True)
    means = {(layer, _MEAN): values.copy() for layer, values in recorder.means().items()}
    units = {unit: np.concatenate(parts, axis=1) for unit, parts in recorder.pooled().items()}
    return {**units, **means}


def corpus_hash(sentences: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over ids and texts, in their order."""
    digest = hashlib.sha256()
    for sentence_id, text in sentences:
        for part in (sentence_id, text):
            content = part.encode("utf-8")
            digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _sample_tokens(
    n_own: Sequence[int], n: int, *, seed: int, lang: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sentences and positions of tokens drawn uniformly, in order.

    Args:
        n_own: Tokens of each sentence without start and end token; the first is at position 1.
        n: How many to draw.
        seed: Of the study.
        lang: Language of the sentences.
    """
    n_tokens = np.asarray(n_own)
    total = int(n_tokens.sum())
    generator = np.random.default_rng([seed, zlib.crc32(lang.encode())])
    drawn = np.sort(generator.choice(total, size=min(n, total), replace=False, shuffle=False))
    ends = np.cumsum(n_tokens)
    sentences = np.searchsorted(ends, drawn, side="right")
    positions = drawn - (ends - n_tokens)[sentences] + 1
    return sentences.astype(np.intp), positions.astype(np.intp)


def _rows_with_means(sentence_ids: Sequence[str], n: int) -> NDArray[np.intp]:
    """Rows of the first ``n`` ids in the order of a hash, so that all languages choose the same."""

    def key(row: int) -> bytes:
        return hashlib.sha256(sentence_ids[row].encode()).digest()

    return np.array(sorted(sorted(range(len(sentence_ids)), key=key)[:n]), dtype=np.intp)


def _window_rows(n_units: int, batch_size: int) -> int:
    """Sentences that are sorted by length together and written together."""
    fitting = _WINDOW_BYTES // (4 * n_units)
    return max(batch_size, min(_WINDOW_ROWS, fitting))


def _ranges(low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.intp]:
    """The numbers ``low[0] .. high[0] - 1, low[1] .. high[1] - 1, ...``."""
    counts = high - low
    offsets = np.repeat(low - (np.cumsum(counts) - counts), counts)
    return offsets + np.arange(int(counts.sum()))


def _spellings(tokenizer: Any, token_ids: Sequence[int]) -> list[str]:
    """How tokens are spelt; a part of a character is shown as the tokenizer names it."""
    known: dict[int, str] = {}
    for token in set(token_ids):
        text = tokenizer.decode([token])
        if not text or "\ufffd" in text:
            text = str(tokenizer.convert_ids_to_tokens(token))
        # HDF5 strings end at NUL.
        known[token] = text.replace("\0", "\u2400")
    return [known[token] for token in token_ids]
