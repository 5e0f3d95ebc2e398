"""One forward pass over the sentences of a language feeds everything that is stored.

What the model computes is reduced inside the hooks, on the device, as each batch runs: units are pooled
over each sentence; of the residual stream, the sampled tokens and the means of chosen sentences
are kept. Names of shapes: ``N`` sentences of the language, ``T`` sampled tokens, ``d`` width of the
residual stream.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from babelscope import __version__
from babelscope.capture.inputs import (
    Encoded,
    InputBatch,
    corpus_hash,
    encode_sentences,
    end_tokens,
    make_batches,
    without_special,
)
from babelscope.capture.parity import parity_check
from babelscope.capture.pooling import Recorder
from babelscope.capture.settings import ExtractionSettings, is_padded
from babelscope.capture.store import (
    Block,
    LayerSite,
    Provenance,
    check_values,
    write_token_states,
)
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import n_layers, site_widths
from babelscope.models.hooks import watching

UnitSink = Callable[
    [Sequence[Provenance], Sequence[str], Mapping[LayerSite, int], Iterable[Block], Sequence[int]], None
]
"""Takes the pooled units of a cell that one forward pass gives: where they come from, of each pooling; ids of
the sentences, widths, blocks in order, and the number of tokens of each sentence."""


@torch.inference_mode()
def extract_language(
    loaded: LoadedModel,
    sentences: Iterable[tuple[str, str]],
    *,
    units: UnitSink,
    tokens: h5py.Group,
    model: str,
    step: int,
    lang: str,
    settings: ExtractionSettings,
    seed: int,
) -> None:
    """Run the model over the sentences of one language: give its pooled units away, write its token states.

    The host holds at most 1 GiB of pooled units at a time, what ``units`` holds, and the token states of the
    language. After an error the group is of no use: open its file with :func:`babelscope.io.h5.atomic_h5`.

    Args:
        loaded: The checkpoint.
        sentences: Id and text of each; the rows of the unit file, in this order.
        units: Takes the pooled units as they come: writes them, such as
            ``partial(write_units, group)``, or scores them (:func:`babelscope.analysis.scores.score_blocks`).
            Called for each forward pass of ``settings.passes`` that units are pooled of.
        tokens: Empty group for token states and means, see :class:`babelscope.capture.store.TokenFile`.
        model: Run id.
        step: Training step of the checkpoint.
        lang: Language of the sentences.
        settings: What is kept.
        seed: Of the token sample; each language has its own sample.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite or does not fit the stored type.
        ParityError: If the model looks at padding.
    """
    pairs = list(sentences)
    where = f"sentences of {lang}"
    encoded = encode_sentences(
        loaded, pairs, max_length=settings.max_length, where=where, prefix=settings.prefix
    )
    parity_check(loaded, encoded, settings)
    provenance = Provenance(
        model=model,
        step=step,
        lang=lang,
        weights_hash=loaded.weights_hash,
        tokenizer_hash=loaded.tokenizer_hash,
        repo=loaded.repo,
        commit=loaded.commit,
        corpus_hash=corpus_hash(pairs),
        sites=settings.sites,
        pooling=settings.poolings[0],
        dtype=settings.unit_type(settings.poolings[0]),
        package_version=__version__,
        n_truncated=encoded.n_truncated,
        prefix=settings.prefix,
        dictionaries_hash=loaded.dictionaries_hash,
    )
    kept = _States(loaded, encoded, settings, lang=lang, seed=seed)
    for poolings in settings.passes:
        recorder = Recorder(loaded, settings.sites, poolings)
        with watching(recorder.watchers()):
            blocks = _windows(recorder, kept, encoded, settings)
            if poolings:
                own = [replace(provenance, pooling=name, dtype=settings.unit_type(name)) for name in poolings]
                units(own, encoded.sentence_ids, recorder.units, blocks, kept.n_own)
            else:
                for _ in blocks:
                    pass
    kept.write(tokens, replace(provenance, dtype=settings.state_type))


def _windows(
    recorder: Recorder, kept: _States, encoded: Encoded, settings: ExtractionSettings
) -> Iterator[Block]:
    """Run all inputs in windows of sentences: the first row and the pooled units of each."""
    n, units = len(encoded.rows), recorder.units
    window = min(n, settings.window_rows(sum(units.values()) * len(recorder.poolings)))
    held = {
        pooling: {unit: np.empty((window, width), np.float32) for unit, width in units.items()}
        for pooling in recorder.poolings
    }
    for start in range(0, n, window):
        stop = min(start + window, n)
        for batch in pooling_batches(recorder, encoded, settings, range(start, stop)):
            kept.run(recorder, batch)
            for pooling, found in recorder.pooled().items():
                for unit, parts in found.items():
                    first = 0
                    for part_BD in parts:
                        after = first + part_BD.shape[1]
                        held[pooling][unit][batch.rows - start, first:after] = part_BD
                        first = after
        yield (
            start,
            {
                pooling: {unit: rows[: stop - start] for unit, rows in block.items()}
                for pooling, block in held.items()
            },
        )


def pooling_batches(
    recorder: Recorder, encoded: Encoded, settings: ExtractionSettings, chosen: Sequence[int] | None = None
) -> Iterator[InputBatch]:
    """Batches of the inputs that the poolings of a recorder ask for.

    Args:
        recorder: Its poolings are of one forward pass.
        encoded: The inputs.
        settings: Size of a batch, and length of padded inputs.
        chosen: Rows to take; all by default.
    """
    loaded, size, first = recorder.loaded, settings.batch_size, encoded.first
    if not is_padded(recorder.poolings):
        return make_batches(loaded, encoded.rows, batch_size=size, first=first, chosen=chosen)
    rows, width = without_special(loaded, encoded.rows), settings.max_length
    return make_batches(loaded, rows, batch_size=size, first=first - 1, chosen=chosen, width=width)


def pooled_batches(
    loaded: LoadedModel, sentences: Iterable[tuple[str, str]], settings: ExtractionSettings, *, where: str
) -> Iterator[tuple[NDArray[np.intp], dict[LayerSite, NDArray[np.float32]]]]:
    """Pooled values of all units, a batch of sentences at a time: what extraction gives of its first pooling.

    Args:
        loaded: The checkpoint.
        sentences: Id and text of each.
        settings: Of the extraction.
        where: Names the sentences in an error.

    Yields:
        Rows of the batch among the sentences, shape ``(B,)``; per (layer, site) shape ``(B, units)``.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite or does not fit the stored type.
    """
    encoded = encode_sentences(
        loaded, sentences, max_length=settings.max_length, where=where, prefix=settings.prefix
    )
    pooling = settings.poolings[0]
    recorder = Recorder(loaded, settings.sites, (pooling,))
    for batch in pooling_batches(recorder, encoded, settings):
        # Hooks and the mode without gradients end before the caller goes on, who may stop at any batch.
        with watching(recorder.watchers()), torch.inference_mode():
            recorder.run(batch, means=False)
            found = recorder.pooled()[pooling]
            pooled = {place: np.concatenate(parts, axis=1) for place, parts in found.items()}
        names = [encoded.sentence_ids[row] for row in batch.rows]
        yield (
            batch.rows,
            {
                place: check_values(
                    values_BU,
                    settings.unit_type(pooling),
                    names,
                    f"{where}, layer {place[0]}, site {place[1]}",
                )
                for place, values_BU in pooled.items()
            },
        )


class _States:
    """Of the residual stream: states of a sample of tokens, mean states of some sentences.

    Row i of the arrays of states is token i of the sample; a sentence's tokens stand together.
    """

    def __init__(
        self, loaded: LoadedModel, encoded: Encoded, settings: ExtractionSettings, *, lang: str, seed: int
    ) -> None:
        self.loaded, self.encoded = loaded, encoded
        self.n_own = [len(row) - encoded.first - len(end_tokens(loaded)) for row in encoded.rows]
        self.rows, self.positions = _sample_tokens(
            self.n_own, settings.tokens_per_language, first=encoded.first, seed=seed, lang=lang
        )
        self.mean_rows = _rows_with_means(encoded.sentence_ids, settings.mean_sentences)
        self._mean_index = np.full(len(encoded.rows), -1, dtype=np.intp)
        self._mean_index[self.mean_rows] = np.arange(len(self.mean_rows))
        layers = range(n_layers(loaded.config) + 1)
        d = site_widths(loaded.config, ("resid",))[0, "resid"]
        self.states = {layer: np.empty((len(self.rows), d), dtype=np.float32) for layer in layers}
        self.means = {layer: np.empty((len(self.mean_rows), d), dtype=np.float32) for layer in layers}

    def run(self, recorder: Recorder, batch: InputBatch) -> None:
        """Run a batch and keep what is wanted of its states; of padded inputs nothing is."""
        if is_padded(recorder.poolings):
            recorder.run(batch, means=False)
            return
        low = np.searchsorted(self.rows, batch.rows, side="left")
        high = np.searchsorted(self.rows, batch.rows, side="right")
        chosen = _ranges(low, high)
        rows_in_batch = np.repeat(np.arange(len(batch.rows)), high - low)
        with_mean = self._mean_index[batch.rows] >= 0
        recorder.run(batch, means=bool(with_mean.any()), tokens=(rows_in_batch, self.positions[chosen]))
        for layer, values_Td in recorder.states().items():
            self.states[layer][chosen] = values_Td
        for layer, values_Bd in recorder.means().items():
            self.means[layer][self._mean_index[batch.rows[with_mean]]] = values_Bd[with_mean]

    def write(self, group: h5py.Group, provenance: Provenance) -> None:
        """Write everything, after the last batch."""
        ids, rows = self.encoded.sentence_ids, self.encoded.rows
        token_ids = [rows[row][position] for row, position in zip(self.rows, self.positions, strict=True)]
        write_token_states(
            group,
            provenance,
            token_sentence_ids=[ids[row] for row in self.rows],
            token_positions=self.positions.tolist(),
            token_ids=token_ids,
            token_texts=_spellings(self.loaded.tokenizer, token_ids),
            states=self.states,
            mean_sentence_ids=[ids[row] for row in self.mean_rows],
            means=self.means,
        )


def _sample_tokens(
    n_own: Sequence[int], n: int, *, first: int = 1, seed: int, lang: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sentences and positions of ``n`` tokens drawn uniformly, in order.

    ``n_own`` are the own tokens of each sentence; ``first`` is the position of the first of them.
    """
    n_tokens = np.asarray(n_own)
    total = int(n_tokens.sum())
    generator = np.random.default_rng([seed, zlib.crc32(lang.encode())])
    drawn = np.sort(generator.choice(total, size=min(n, total), replace=False, shuffle=False))
    ends = np.cumsum(n_tokens)
    sentences = np.searchsorted(ends, drawn, side="right")
    positions = drawn - (ends - n_tokens)[sentences] + first
    return sentences.astype(np.intp), positions.astype(np.intp)


def _rows_with_means(sentence_ids: Sequence[str], n: int) -> NDArray[np.intp]:
    """Rows of the first ``n`` ids in the order of a hash, so that all languages choose the same."""
    hashes = [hashlib.sha256(sentence_id.encode()).digest() for sentence_id in sentence_ids]
    first = sorted(range(len(hashes)), key=hashes.__getitem__)[:n]
    return np.array(sorted(first), dtype=np.intp)


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
