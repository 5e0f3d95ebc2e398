"""What a few units do on every token, beside what they are on a sentence as a whole.

One forward pass gives pooled values, by the hooks of extraction, and the values of the units at each of a
sentence's own tokens. Names of shapes: ``N`` sentences, ``B`` of a batch, ``S`` positions, ``T`` own tokens
of a sentence, ``K`` wanted units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.capture.extraction import pooled_batches, pooling_batches
from babelscope.capture.inputs import Encoded, end_tokens
from babelscope.capture.pooling import Recorder
from babelscope.capture.settings import ExtractionSettings, is_padded
from babelscope.capture.store import LayerSite, check_values
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.hooks import Watcher, site_parts, watching
from babelscope.units import UnitPlace

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TracedBatch:
    """Some units on a batch of sentences."""

    rows: NDArray[np.intp]
    """Which sentences these are; shape ``(B,)``."""
    pooled_BK: Floats
    """Pooled as the study pools."""
    tokens: Callable[[int], Floats]
    """Values at the own tokens of a sentence by its place in the batch; shape ``(T, K)``."""


def pooled_units(
    loaded: LoadedModel,
    sentences: Sequence[tuple[str, str]],
    places: Sequence[UnitPlace],
    settings: ExtractionSettings,
    *,
    where: str,
) -> Floats:
    """Pooled values of some units on all sentences, shape ``(N, K)``.

    Args:
        loaded: The checkpoint.
        sentences: Id and text of each.
        places: The units.
        settings: Of the extraction.
        where: Names the sentences in an error.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite or does not fit the stored type.
    """
    values_NK = np.empty((len(sentences), len(places)), np.float32)
    for rows, pooled in pooled_batches(loaded, sentences, settings, where=where):
        values_NK[rows] = _columns(pooled, places)
    return values_NK


def traced_batches(
    loaded: LoadedModel,
    encoded: Encoded,
    places: Sequence[UnitPlace],
    settings: ExtractionSettings,
    *,
    where: str,
) -> Iterator[TracedBatch]:
    """Pooled values and those at every token, a batch of sentences at a time.

    Args:
        loaded: The checkpoint.
        encoded: The sentences as inputs.
        places: The units.
        settings: Of the extraction; the values are those of the forward pass of its first pooling.
        where: Names the sentences in an error.

    Raises:
        NumericsError: If a value is not finite or does not fit the stored type.
        ValueError: If the model has no such unit.
    """
    pooling = settings.poolings[0]
    recorder, wanted = Recorder(loaded, settings.sites, (pooling,)), _TokenValues(loaded, places)
    n_others = encoded.first + len(end_tokens(loaded))
    first = encoded.first - is_padded([pooling])  # padded inputs have no start token
    for batch in pooling_batches(recorder, encoded, settings):
        # Hooks and the mode without gradients end before the caller goes on, who may stop at any batch.
        with watching([*recorder.watchers(), *wanted.watchers()]), torch.inference_mode():
            recorder.run(batch, means=False)
            found = recorder.pooled()[pooling]
            pooled = {place: np.concatenate(parts, axis=1) for place, parts in found.items()}
            values_BSK = wanted.read()
        names = [encoded.sentence_ids[row] for row in batch.rows]
        pooled_BK = check_values(_columns(pooled, places), settings.unit_type(pooling), names, where)
        stops = [first + len(encoded.rows[row]) - n_others for row in batch.rows]
        yield TracedBatch(
            batch.rows, pooled_BK.astype(np.float32), partial(_own_tokens, values_BSK, first, stops)
        )


def _own_tokens(values_BSK: Floats, first: int, stops: Sequence[int], at: int) -> Floats:
    return values_BSK[at, first : stops[at]]


def _columns(pooled: dict[LayerSite, NDArray[np.float32]], places: Sequence[UnitPlace]) -> Floats:
    return np.stack([pooled[layer, site][:, unit] for layer, site, unit in places], axis=1)


class _TokenValues:
    """Keeps the columns of wanted units of whatever runs."""

    def __init__(self, loaded: LoadedModel, places: Sequence[UnitPlace]) -> None:
        self.loaded, self.places = loaded, places
        self._held: dict[tuple[int, str, int], torch.Tensor] = {}
        self._column: dict[UnitPlace, tuple[tuple[int, str, int], int]] = {}

    def watchers(self) -> Iterable[Watcher]:
        """A hook at each part of a site that holds a wanted unit."""
        for layer, site in sorted({place[:2] for place in self.places}):
            units = {unit for at, name, unit in self.places if (at, name) == (layer, site)}
            for number, (place, part) in enumerate(site_parts(self.loaded.model, site, layer)):
                own = sorted(unit for unit in units if part.start <= unit < part.stop)
                if own:
                    key = layer, site, number
                    self._column |= {(layer, site, unit): (key, at) for at, unit in enumerate(own)}
                    yield place, partial(self._keep, key, [unit - part.start for unit in own])

    def _keep(self, key: tuple[int, str, int], columns: list[int], x_BSD: torch.Tensor) -> None:
        self._held[key] = x_BSD[..., columns]

    def read(self) -> Floats:
        """Values of the last batch, ``(B, S, K)``, in the order of the units."""
        on_host = {key: values.float().cpu().numpy() for key, values in self._held.items()}
        missing = [place for place in self.places if place not in self._column]
        if missing:
            raise ValueError(f"{self.loaded.folder}: there is no unit {missing[0]}")
        columns = [self._column[place] for place in self.places]
        return np.stack([on_host[key][..., at] for key, at in columns], axis=-1)
