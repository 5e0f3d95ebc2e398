"""Where the router of a mixture of experts sends the tokens of sentences."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.capture.inputs import Encoded, InputBatch, forward, make_batches
from babelscope.errors import StudyError
from babelscope.models.architectures import ARCHITECTURES
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import dimensions
from babelscope.models.hooks import expert_place, watching


@torch.inference_mode()
def routed_shares(loaded: LoadedModel, encoded: Encoded, *, batch_size: int) -> NDArray[np.float64]:
    """Share of the sentences' own tokens that is sent to each expert.

    Args:
        loaded: A mixture of experts.
        encoded: The sentences as inputs; start and end token do not count.
        batch_size: Sentences at a time.

    Returns:
        Shape ``(L, E)``: blocks, and experts of a block. A row sums to the number of experts that each token
        is sent to.

    Raises:
        StudyError: If the model is no mixture of experts.
    """
    config = loaded.config
    if ARCHITECTURES[config["model_type"]].experts is None:
        mixtures = ", ".join(name for name, entry in ARCHITECTURES.items() if entry.experts)
        raise StudyError("architecture", config["model_type"], f"a mixture of experts: {mixtures}")
    sizes = dimensions(config)
    counts_LE = np.zeros((sizes.n_layers, sizes.experts))
    n_tokens = 0
    for batch in make_batches(loaded, encoded.rows, batch_size=batch_size):
        own_BS = _own(batch)
        n_tokens += int(own_BS.sum())
        watchers = [
            (expert_place(loaded.model, layer, "sent"), partial(_count, counts_LE[layer - 1], own_BS))
            for layer in range(1, sizes.n_layers + 1)
        ]
        with watching(watchers):
            forward(loaded, batch)
    shares: NDArray[np.float64] = counts_LE / n_tokens
    return shares


def _own(batch: InputBatch) -> NDArray[np.bool_]:
    positions_S = np.arange(batch.mask_BS.shape[1])
    own: NDArray[np.bool_] = (positions_S >= 1) & (positions_S < batch.stops[:, None])
    return own


def _count(counts_E: NDArray[np.float64], own_BS: NDArray[np.bool_], sent_BSE: torch.Tensor) -> None:
    counts_E += sent_BSE.float().cpu().numpy()[own_BS].sum(axis=0)
