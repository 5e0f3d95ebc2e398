"""The file of the audit of one checkpoint, written by its job and read by the judge. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from babelscope.errors import StoreError
from babelscope.io.h5 import atomic_h5, open_h5

_KIND = "checkpoint audit"
_ARRAYS = ("sizes_T", "is_matrix_T", "norms_T", "counts_T", "sketch_M")
_TEXT = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class Held:
    """Loss of the ``N`` sentences of one language."""

    sentence_ids: tuple[str, ...]
    nats_N: NDArray[np.float64]
    """Negative log-likelihood of a sentence, all tokens but the start token."""
    tokens_N: NDArray[np.int64]
    """How many tokens that are."""
    bytes_N: NDArray[np.int64]
    """Bytes of the text in UTF-8; 0 where the input was cut."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return float(self.nats_N.sum() / self.tokens_N.sum())

    @property
    def loss_se(self) -> float:
        """Standard error of :attr:`loss` over sentences, as a ratio of two sums."""
        return ratio_se(self.nats_N, self.tokens_N)

    @property
    def bits_per_byte(self) -> float:
        """Over the sentences that were not cut; NaN if all were. Does not depend on the tokenizer."""
        whole = self.bytes_N > 0
        if not whole.any():
            return float("nan")
        return float(self.nats_N[whole].sum() / np.log(2) / self.bytes_N[whole].sum())


def ratio_se(numerators_N: NDArray[np.float64], tokens_N: NDArray[np.int64]) -> float:
    """Standard error of ``sum(numerators) / sum(tokens)`` over sentences; NaN for fewer than two."""
    n = len(numerators_N)
    if n < 2:
        return float("nan")
    residuals = numerators_N - numerators_N.sum() / tokens_N.sum() * tokens_N
    return float(np.sqrt(n * residuals.var(ddof=1)) / tokens_N.sum())


@dataclass(frozen=True)
class CheckpointAudit:
    """What was measured of one checkpoint; arrays as in
    :class:`babelscope.analysis.audit.weights.WeightFacts`."""

    model: str
    step: int
    digest: str
    n_weights: int
    n_nonfinite: int
    first_nonfinite: str
    names: tuple[str, ...]
    sizes_T: NDArray[np.int64]
    is_matrix_T: NDArray[np.bool_]
    norms_T: NDArray[np.float64]
    counts_T: NDArray[np.int64]
    sketch_M: NDArray[np.float32]
    losses: Mapping[str, Held] = field(default_factory=dict)
    no_loss: str = ""
    """Why there are no losses; empty if there are."""
    weights_hash: str = ""
    repo: str = ""
    revision: str = ""
    commit: str = ""


def write_audit(path: Path, audit: CheckpointAudit) -> None:
    """Write the file of a checkpoint, whole or not at all."""
    assert int(audit.counts_T.sum()) == len(audit.sketch_M)
    with atomic_h5(path, kind=_KIND) as file:
        for part in fields(audit):
            value = getattr(audit, part.name)
            if part.name in _ARRAYS:
                file[part.name] = value
            elif part.name not in ("names", "losses"):
                file.attrs[part.name] = value
        file.create_dataset("names", data=np.array(audit.names, dtype=object), dtype=_TEXT)
        losses = file.create_group("losses", track_order=True)
        for lang, held in audit.losses.items():
            group = losses.create_group(lang)
            group.create_dataset("sentence_ids", data=np.array(held.sentence_ids, dtype=object), dtype=_TEXT)
            for name in ("nats_N", "tokens_N", "bytes_N"):
                group[name] = getattr(held, name)


def read_audit(path: Path) -> CheckpointAudit:
    """Read the file of a checkpoint.

    Raises:
        StoreError: If it is missing, foreign, of another version or damaged.
    """
    with open_h5(path, kind=_KIND) as file:
        try:
            losses = {
                lang: Held(
                    sentence_ids=tuple(group["sentence_ids"].asstr()[:]),
                    **{name: group[name][:] for name in ("nats_N", "tokens_N", "bytes_N")},
                )
                for lang, group in file["losses"].items()
            }
            plain = {
                part.name: file.attrs[part.name]
                for part in fields(CheckpointAudit)
                if part.name not in (*_ARRAYS, "names", "losses")
            }
            for name in ("step", "n_weights", "n_nonfinite"):
                plain[name] = int(plain[name])
            return CheckpointAudit(
                names=tuple(file["names"].asstr()[:]),
                losses=losses,
                **{name: file[name][:] for name in _ARRAYS},
                **plain,
            )
        except (KeyError, OSError, RuntimeError) as error:
            raise StoreError(path, f"is damaged: {error}", "remove the file and run again") from error
