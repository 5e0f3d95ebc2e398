"""What hooks reduce a forward pass to, on the device, as each batch runs.

Units are pooled over positions of each sentence, usually its own tokens (see
:data:`babelscope.capture.settings.POOLINGS`), in several ways at once; of the residual stream, the
states of wanted tokens and the means of sentences are kept. Names of shapes: ``B`` sentences of a batch,
``S`` positions, ``D`` width of a part of a site, ``d`` width of the residual stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.capture.inputs import InputBatch, forward
from babelscope.capture.settings import POOLINGS, Pooling
from babelscope.capture.store import LayerSite
from babelscope.errors import BabelscopeError
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import n_layers, site_widths
from babelscope.models.hooks import Watcher, site_modules

#: In place of a site: the mean state of a sentence after a layer.
MEAN = "resid (mean)"

_MAX_SPANS = 8


class SiteError(BabelscopeError):
    """A model does not run a site as its architecture has it, so units cannot be read there."""

    section = "a-site-that-cannot-be-read"


_Key = tuple[str, int, str, int]
"""A pooling, a layer, a site (or :data:`MEAN`), a part of it."""


@dataclass(frozen=True)
class _Span:
    """Neighbouring rows of a batch that are pooled up to equal or similar positions."""

    start: int
    stop: int
    shortest: int
    longest: int
    is_over_RS1: torch.Tensor
    """Between ``shortest`` and ``longest``, where some rows have stopped and others have not."""


class _Pooler:
    """Reduces ``(B, S, D)`` over the positions of each sentence that count, into ``(B, D)``.

    Rows come sorted by length, so a few spans of rows hold one length each. A span is reduced as it
    lies, without a copy; only where its rows end at different positions, these are masked.
    """

    def __init__(self, batch: InputBatch, device: torch.device, over: str) -> None:
        n, width = batch.mask_BS.shape
        self.first = 0 if over == "special" else batch.first
        stops_B = {"own": batch.stops, "special": batch.lengths, "padded": np.full(n, width)}[over]
        self.last_B = torch.from_numpy(stops_B - 1).to(device)
        self.rows_B = torch.arange(n, device=device)
        self.n_tokens_B1 = (self.last_B[:, None] + 1 - self.first).float()
        starts = [0, *(np.flatnonzero(np.diff(stops_B)) + 1).tolist()]
        if len(starts) > _MAX_SPANS:
            starts = list(range(0, n, -(-n // _MAX_SPANS)))
        self.spans = []
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            stops = stops_B[start:stop]
            shortest, longest = int(stops.min()), int(stops.max())
            is_over_RS = np.arange(shortest, longest) >= stops[:, None]
            is_over_RS1 = torch.from_numpy(is_over_RS[:, :, None]).to(device)
            self.spans.append(_Span(start, stop, shortest, longest, is_over_RS1))

    def max(self, x_BSD: torch.Tensor, out_BD: torch.Tensor) -> None:
        for span in self.spans:
            x_RSD, out_RD = x_BSD[span.start : span.stop], out_BD[span.start : span.stop]
            torch.amax(x_RSD[:, self.first : span.shortest], dim=1, out=out_RD)
            if span.longest > span.shortest:
                tail_RSD = x_RSD[:, span.shortest : span.longest]
                tail_RD = tail_RSD.masked_fill(span.is_over_RS1, -torch.inf).amax(dim=1)
                torch.maximum(out_RD, tail_RD, out=out_RD)

    def mean(self, x_BSD: torch.Tensor, out_BD: torch.Tensor) -> None:
        for span in self.spans:
            x_RSD, out_RD = x_BSD[span.start : span.stop], out_BD[span.start : span.stop]
            torch.sum(x_RSD[:, self.first : span.shortest], dim=1, dtype=torch.float32, out=out_RD)
            if span.longest > span.shortest:
                tail_RSD = x_RSD[:, span.shortest : span.longest].masked_fill(span.is_over_RS1, 0.0)
                out_RD += tail_RSD.sum(dim=1, dtype=torch.float32)
        out_BD /= self.n_tokens_B1

    def last(self, x_BSD: torch.Tensor, out_BD: torch.Tensor) -> None:
        out_BD.copy_(x_BSD[self.rows_B, self.last_B])


class Recorder:
    """Runs batches and keeps what the hooks reduce them to.

    The hooks write into tensors that live as long as the recorder: small results that are allocated
    between large activations would break up the heap, at the price of a tenth of the time.
    """

    def __init__(self, loaded: LoadedModel, sites: Sequence[str], poolings: Sequence[str]) -> None:
        self.loaded = loaded
        self.poolings = tuple(poolings)
        self.n_layers = n_layers(loaded.config)
        self.units = site_widths(loaded.config, sites)
        self._results: dict[_Key, torch.Tensor] = {}
        self._seen: set[_Key] = set()
        self._states: dict[int, torch.Tensor] = {}
        self._n_rows = 0
        self._batch: InputBatch | None = None
        self._poolers: dict[tuple[torch.device, str], _Pooler] = {}
        self._wants_means = False
        self._tokens: tuple[torch.Tensor, torch.Tensor] | None = None

    def watchers(self) -> Iterator[Watcher]:
        """All hooks; for :func:`babelscope.models.hooks.watching`."""
        for layer, site in self.units if self.poolings else ():
            for part, place in enumerate(site_modules(self.loaded.model, site, layer)):
                yield place, partial(self._reduce, self.poolings, (layer, site, part))
        for layer in range(self.n_layers + 1):
            (place,) = site_modules(self.loaded.model, "resid", layer)
            yield place, partial(self._keep_states, layer)

    def run(
        self,
        batch: InputBatch,
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
        self._batch = batch
        self._poolers.clear()
        self._wants_means = means
        self._tokens = None
        if tokens is not None and len(tokens[0]):
            rows, positions = (torch.from_numpy(index).to(batch.mask_BS.device) for index in tokens)
            self._tokens = rows, positions
        forward(self.loaded, batch)

    def pooled(self) -> dict[str, dict[LayerSite, list[NDArray[np.float32]]]]:
        """Pooled units of the batch: by pooling the parts of each (layer, site), shape ``(B, D)`` each."""
        found: dict[str, dict[LayerSite, list[NDArray[np.float32]]]] = {
            pooling: {unit: [] for unit in self.units} for pooling in self.poolings
        }
        for pooling, layer, site, part in sorted(self._seen):
            if site != MEAN:
                found[pooling][layer, site].append(self._read((pooling, layer, site, part)))
        for layer, site in self.units:
            if not all(parts[layer, site] for parts in found.values()):
                raise SiteError(
                    f"{self.loaded.folder}: the model does not run site {site} of layer {layer}"
                    "\nhint: an option of its config, such as BLOOM's slow_but_exact, goes around it"
                )
        return found

    def means(self) -> dict[int, NDArray[np.float32]]:
        """Mean state of each sentence of the batch by layer, shape ``(B, d)``."""
        return {key[1]: self._read(key) for key in self._seen if key[2] == MEAN}

    def states(self) -> dict[int, NDArray[np.float32]]:
        """States of the wanted tokens by layer, shape ``(tokens, d)``."""
        return {layer: _numpy(values_Td) for layer, values_Td in self._states.items()}

    def _read(self, key: _Key) -> NDArray[np.float32]:
        return _numpy(self._results[key][: self._n_rows])

    def _reduce(self, poolings: Sequence[str], at: tuple[int, str, int], x_BSD: torch.Tensor) -> None:
        assert self._batch is not None
        shape = self._batch.mask_BS.shape
        if x_BSD.shape[:2] != shape:
            raise SiteError(
                f"{self.loaded.folder}: layer {at[0]}, site {at[1]}, comes as {tuple(x_BSD.shape)}, "
                f"not for {tuple(shape)} sentences and positions at once"
                "\nhint: an option of its config, such as chunk_size_feed_forward, cuts it up"
            )
        for pooling in poolings:
            how, key = POOLINGS[pooling], (pooling, *at)
            result = self._results.get(key)
            if result is None or len(result) < len(x_BSD):
                dtype = torch.float32 if how.reduce == "mean" else x_BSD.dtype
                result = x_BSD.new_empty((len(x_BSD), x_BSD.shape[-1]), dtype=dtype)
                self._results[key] = result
            getattr(self._pooler_on(x_BSD.device, how), how.reduce)(x_BSD, result[: len(x_BSD)])
            self._seen.add(key)

    def _keep_states(self, layer: int, x_BSd: torch.Tensor) -> None:
        if self._wants_means:
            self._reduce(("mean",), (layer, MEAN, 0), x_BSd)
        if self._tokens is not None:
            rows, positions = (index.to(x_BSd.device) for index in self._tokens)
            self._states[layer] = x_BSd[rows, positions]

    def _pooler_on(self, device: torch.device, how: Pooling) -> _Pooler:
        """What reduces this batch on a device: a model may be spread over several."""
        assert self._batch is not None
        if (device, how.over) not in self._poolers:
            self._poolers[device, how.over] = _Pooler(self._batch, device, how.over)
        return self._poolers[device, how.over]


def _numpy(values: torch.Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()
