"""The self-test of extraction: a sentence has the same values in a batch as alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.capture.inputs import Encoded, InputBatch, make_batches
from babelscope.capture.pooling import MEAN, Recorder
from babelscope.capture.settings import ExtractionSettings, is_padded
from babelscope.capture.store import LayerSite
from babelscope.errors import BabelscopeError
from babelscope.models.architectures import SITES
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import dimensions, max_positions
from babelscope.models.hooks import watching

#: Largest difference between a sentence alone and in a batch, as a share of the largest value of
#: its layer and site. Batches change the order of summation; 16-bit types have 8 (bfloat16) or 11
#: binary digits, and the differences grow from layer to layer.
PARITY_TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


class ParityError(BabelscopeError):
    """A sentence gives other values in a batch than alone: the model looks at padding."""

    section = "padding"


@torch.inference_mode()
def parity_check(loaded: LoadedModel, encoded: Encoded, settings: ExtractionSettings) -> float:
    """Compare sentences in one padded batch with the same sentences alone.

    Args:
        loaded: The checkpoint.
        encoded: Sentences as inputs.
        settings: Say which units are pooled how, of how many sentences, short to long, and the type of the
            forward pass, whose tolerance holds. Poolings over inputs of one length, where nothing depends on
            the batch, and dictionaries are left out.

    Returns:
        The largest difference over pooled units and mean states, as a share of the largest absolute
        value of its layer and site.

    Raises:
        ParityError: If it is above the tolerance of the type, with the layer and the site.
    """
    by_length = sorted(range(len(encoded.rows)), key=lambda row: len(encoded.rows[row]))
    n = min(settings.parity_sentences, len(by_length))
    chosen = [by_length[at] for at in np.linspace(0, len(by_length) - 1, n).round().astype(int)]
    # Every row gets padding, also the longest, as far as the model admits positions.
    longest = max(len(encoded.rows[row]) for row in chosen)
    extra = min(4, (max_positions(loaded.config) or longest + 4) - longest)
    (plain,) = (poolings for poolings in settings.passes if not is_padded(poolings))
    # Latents follow from the states of a token alone, and where one begins to be active rounding is a step.
    sites = [site for site in settings.sites if site in SITES] or ["resid"]
    recorder = Recorder(loaded, sites, plain)
    batches = partial(make_batches, loaded, encoded.rows, first=encoded.first)
    with watching(recorder.watchers()):
        (together,) = batches(batch_size=n, chosen=chosen, extra_padding=extra)
        in_batch = _all_values(recorder, together)
        alone: dict[tuple[str, LayerSite], list[NDArray[np.float32]]] = {}
        for row in together.rows:
            (single,) = batches(batch_size=1, chosen=[int(row)])
            for where, values in _all_values(recorder, single).items():
                alone.setdefault(where, []).append(values)
    worst, worst_where = -1.0, ("", (0, ""))
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
        layer, site = worst_where[1]
        hint = "the model looks at padding, so it cannot be run in batches"
        if dimensions(loaded.config).experts > 1 and settings.compute_dtype != "float32":
            hint = (
                "rounding may have changed which experts tokens are sent to: set extraction.compute_dtype: "
                "float32; if that is refused too, the model looks at padding"
            )
        raise ParityError(
            f"{loaded.folder}: sentences give other values in a batch than alone: largest "
            f"difference {worst:.2g} of the largest value at layer {layer}, site {site}; "
            f"allowed for {settings.compute_dtype}: {tolerance:g}"
            f"\nhint: {hint}"
        )
    return worst


def _all_values(recorder: Recorder, batch: InputBatch) -> dict[tuple[str, LayerSite], NDArray[np.float32]]:
    recorder.run(batch, means=True)
    means = {("mean", (layer, MEAN)): values.copy() for layer, values in recorder.means().items()}
    units = {
        (pooling, unit): np.concatenate(parts, axis=1)
        for pooling, found in recorder.pooled().items()
        for unit, parts in found.items()
    }
    return {**units, **means}
