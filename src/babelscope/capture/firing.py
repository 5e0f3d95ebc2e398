"""What units do on the sentences of a language: their pooled values, and how often neurons fire.

One forward pass gives both. A neuron *fires* at a token if the value that the MLP hands on is above zero.
Names of shapes: ``N`` sentences, ``U`` units, ``B`` sentences of a batch, ``S`` positions, ``D`` width of a
part of a site.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.capture.inputs import InputBatch, encode_sentences, end_tokens, make_batches
from babelscope.capture.pooling import Recorder
from babelscope.capture.settings import ExtractionSettings, is_padded
from babelscope.capture.store import LayerSite, check_values
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import site_widths
from babelscope.models.hooks import Watcher, site_modules, watching

#: The site whose units fire, whatever sites a study has.
NEURONS = "mlp_act"


class OfLanguage(NamedTuple):
    """What the units of a model do on the sentences of one language."""

    values: Mapping[LayerSite, NDArray[Any]]
    """Pooled, at each (layer, site) of the study, ``(N, U)``."""
    fired: Mapping[int, NDArray[np.int64]]
    """Tokens at which each neuron of a layer fires, ``(U,)``."""
    n_tokens: int
    """Tokens of all sentences."""


class _Firing:
    """Counts on the device, over the own tokens of the sentences of each batch."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._counts: dict[tuple[int, int], torch.Tensor] = {}
        self._own_BS1: torch.Tensor | None = None

    def watchers(self) -> Iterator[Watcher]:
        for layer, site in site_widths(self._loaded.config, (NEURONS,)):
            for part, place in enumerate(site_modules(self._loaded.model, site, layer)):
                yield place, partial(self._count, (layer, part))

    def expect(self, batch: InputBatch) -> None:
        """The batch that runs next: all but its start and end tokens count."""
        position_S = np.arange(batch.mask_BS.shape[1])
        own_BS = (position_S >= 1) & (position_S < batch.stops[:, None])
        self._own_BS1 = torch.from_numpy(own_BS[:, :, None]).to(batch.mask_BS.device)

    def _count(self, key: tuple[int, int], x_BSD: torch.Tensor) -> None:
        assert self._own_BS1 is not None
        fires_BSD = (x_BSD > 0) & self._own_BS1.to(x_BSD.device)
        counts_D = fires_BSD.sum(dim=(0, 1))
        self._counts[key] = self._counts[key] + counts_D if key in self._counts else counts_D

    def counts(self) -> dict[int, NDArray[np.int64]]:
        """Of every layer, its parts one after the other."""
        parts: dict[int, list[NDArray[np.int64]]] = {}
        for (layer, _), counts_D in sorted(self._counts.items()):
            parts.setdefault(layer, []).append(counts_D.cpu().numpy().astype(np.int64))
        return {layer: np.concatenate(of) for layer, of in parts.items()}


@torch.inference_mode()
def units_on(
    loaded: LoadedModel, sentences: Iterable[tuple[str, str]], settings: ExtractionSettings, *, where: str
) -> OfLanguage:
    """Run a model over the sentences of a language.

    Args:
        loaded: The checkpoint.
        sentences: Id and text of each.
        settings: Of the extraction. Values are of its first pooling, or ``max`` if that is over padding.
        where: Names the sentences in an error.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite or does not fit the stored type.
    """
    encoded = encode_sentences(loaded, sentences, max_length=settings.max_length, where=where)
    pooling = "max" if is_padded(settings.poolings[:1]) else settings.poolings[0]
    recorder, firing = Recorder(loaded, settings.sites, (pooling,)), _Firing(loaded)
    dtype, n = settings.unit_type(pooling), len(encoded.rows)
    values = {place: np.empty((n, width), dtype) for place, width in recorder.units.items()}
    with watching([*recorder.watchers(), *firing.watchers()]):
        for batch in make_batches(loaded, encoded.rows, batch_size=settings.batch_size):
            firing.expect(batch)
            recorder.run(batch, means=False)
            names = [encoded.sentence_ids[row] for row in batch.rows]
            for (layer, site), parts in recorder.pooled()[pooling].items():
                at = f"{where}, layer {layer}, site {site}"
                pooled_BU = check_values(np.concatenate(parts, axis=1), dtype, names, at)
                values[layer, site][batch.rows] = pooled_BU
    n_tokens = sum(len(row) - 1 - len(end_tokens(loaded)) for row in encoded.rows)
    return OfLanguage(values, firing.counts(), n_tokens)
