"""What the audit measured of checkpoints, and its files: one group per step. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from babelscope.errors import DataError, StoreError
from babelscope.io.files import AGAIN
from babelscope.io.h5 import open_h5, read_strings, write_strings

#: Of the HDF5 files, for :func:`babelscope.io.h5.atomic_h5`.
KIND = "checkpoint audit"

_ARRAYS = ("sizes_T", "is_matrix_T", "norms_T", "counts_T", "sketch_M")
_PER_SENTENCE = ("nats_N", "tokens_N", "bytes_N")
_PLAIN = (
    *("model", "step", "digest", "n_weights", "n_nonfinite", "first_nonfinite"),
    *("no_loss", "weights_hash", "tokenizer_hash", "repo", "revision", "commit"),
)


@dataclass(frozen=True)
class HeldOutLoss:
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
        return _ratio_se(self.nats_N, self.tokens_N)

    def rise_se(self, other: HeldOutLoss) -> float:
        """Standard error of the difference to another loss, 0 if not known.

        Paired if both are of the same tokens of the same sentences.
        """
        if self.sentence_ids == other.sentence_ids and np.array_equal(self.tokens_N, other.tokens_N):
            error = _ratio_se(other.nats_N - self.nats_N, self.tokens_N)
        else:
            error = float(np.hypot(self.loss_se, other.loss_se))
        return error if np.isfinite(error) else 0.0

    @property
    def bits_per_byte(self) -> float:
        """Over the sentences that were not cut; NaN if all were. Does not depend on the tokenizer."""
        whole = self.bytes_N > 0
        if not whole.any():
            return float("nan")
        return float(self.nats_N[whole].sum() / np.log(2) / self.bytes_N[whole].sum())


def _ratio_se(numerators_N: NDArray[np.float64], tokens_N: NDArray[np.int64]) -> float:
    """Standard error of ``sum(numerators) / sum(tokens)`` over sentences; NaN for fewer than two."""
    n = len(numerators_N)
    if n < 2:
        return float("nan")
    residuals = numerators_N - numerators_N.sum() / tokens_N.sum() * tokens_N
    return float(np.sqrt(n * residuals.var(ddof=1)) / tokens_N.sum())


@dataclass(frozen=True)
class WeightFacts:
    """What the weights of a checkpoint are, without the weights.

    ``T`` tensors in the order of their names, ``M`` entries of the sketch.
    """

    digest: str
    """SHA-256 over the set of shapes and float32 values of all tensors."""
    n_weights: int
    n_nonfinite: int
    """Entries that are NaN or infinite."""
    first_nonfinite: str
    """Name of the first tensor that has some; empty if none has."""
    names: tuple[str, ...]
    """Without the prefix of the model class."""
    sizes_T: NDArray[np.int64]
    is_matrix_T: NDArray[np.bool_]
    """Whether a tensor has two dimensions or more."""
    norms_T: NDArray[np.float64]
    """Euclidean norm of each tensor, over its finite entries."""
    counts_T: NDArray[np.int64]
    """Entries of each tensor in the sketch."""
    sketch_M: NDArray[np.float32]

    def matrices(self) -> dict[tuple[str, int], tuple[float, NDArray[np.float64]]]:
        """Norm and sketch of each matrix, by its name and size."""
        sketches = np.split(self.sketch_M.astype(np.float64), np.cumsum(self.counts_T)[:-1])
        found = zip(self.names, self.sizes_T.tolist(), self.norms_T, sketches, self.is_matrix_T, strict=True)
        return {(name, size): (norm, sketch) for name, size, norm, sketch, is_matrix in found if is_matrix}

    def constants(self) -> list[str]:
        """Names of the matrices that are one number everywhere, such as 0."""
        found = []
        for (name, size), (norm, entries) in self.matrices().items():
            same = len(entries) > 1 and (entries == entries[0]).all()
            if same and np.isclose(norm, abs(entries[0]) * np.sqrt(size), rtol=1e-6):
                found.append(name)
        return found

    def distance_se(self, other: WeightFacts, distance: float) -> float:
        """Standard error of a distance, from the spread of the squared differences within each tensor."""
        variance, others = 0.0, other.matrices()
        for (name, size), (_, entries) in self.matrices().items():
            if (name, size) in others:
                squares = (others[name, size][1] - entries) ** 2
                n = len(squares)
                if 1 < n < size:
                    variance += size**2 * (1 - n / size) * squares.var(ddof=1) / n
        return float(np.sqrt(variance) / (2 * distance))


@dataclass(frozen=True, kw_only=True)
class CheckpointAudit(WeightFacts):
    """What was measured of one checkpoint."""

    model: str
    step: int
    losses: Mapping[str, HeldOutLoss] = field(default_factory=dict)
    no_loss: str = ""
    """Why there are no losses; empty if there are."""
    weights_hash: str = ""
    tokenizer_hash: str = ""
    """Of what decides how its tokenizer cuts text, see :func:`babelscope.models.tokenizer_files.cut_hash`."""
    repo: str = ""
    revision: str = ""
    commit: str = ""

    @property
    def not_finite(self) -> str:
        """What is not finite, in words; empty if all is."""
        found = []
        if self.n_nonfinite:
            numbers = f"{self.n_nonfinite:,} of {self.n_weights:,} weights"
            found.append(f"{numbers} are NaN or infinite, the first in {self.first_nonfinite}")
        langs = [lang for lang, held in self.losses.items() if not np.isfinite(held.loss)]
        if langs:
            found.append(f"the loss is no finite number in {', '.join(langs)}")
        return " and ".join(found)


def write_audit(group: h5py.Group, audit: CheckpointAudit) -> None:
    """Write an audit into a group, named by the step, of a file of the kind :data:`KIND`."""
    assert int(audit.counts_T.sum()) == len(audit.sketch_M)
    for name in _ARRAYS:
        group[name] = getattr(audit, name)
    for name in _PLAIN:
        group.attrs[name] = getattr(audit, name)
    write_strings(group, "names", audit.names)
    losses = group.create_group("losses", track_order=True)
    for lang, held in audit.losses.items():
        of_lang = losses.create_group(lang)
        write_strings(of_lang, "sentence_ids", held.sentence_ids)
        for name in _PER_SENTENCE:
            of_lang[name] = getattr(held, name)


def audit_files(paths: Iterable[Path]) -> dict[tuple[str, int], CheckpointAudit]:
    """Read the audits of files of the kind :data:`KIND`, each of which may hold several steps.

    Returns:
        By model and step, as they say of themselves.

    Raises:
        StoreError: If a file is missing, foreign, of another version or damaged, or a group is not
            named by the step that it says it is of.
        DataError: If a (model, step) comes twice.
    """
    found: dict[tuple[str, int], CheckpointAudit] = {}
    for path in paths:
        with open_h5(path, kind=KIND) as file:
            if not len(file):
                raise StoreError(path, "holds no step", AGAIN)
            for name, group in file.items():
                audit = _read_audit(group)
                if name != str(audit.step):
                    problem = f"its group {name} says that it is of model {audit.model}, step {audit.step}"
                    raise StoreError(path, problem, AGAIN)
                if (audit.model, audit.step) in found:
                    problem = f"model {audit.model}, step {audit.step} has another audit besides this one"
                    raise DataError(path, problem)
                found[audit.model, audit.step] = audit
    return found


def _read_audit(group: h5py.Group) -> CheckpointAudit:
    """Read what :func:`write_audit` wrote."""
    try:
        losses = {
            lang: HeldOutLoss(
                sentence_ids=tuple(read_strings(of_lang, "sentence_ids")),
                **{name: of_lang[name][:] for name in _PER_SENTENCE},
            )
            for lang, of_lang in group["losses"].items()
        }
        plain = {name: group.attrs[name] for name in _PLAIN}
        for name in ("step", "n_weights", "n_nonfinite"):
            plain[name] = int(plain[name])
        return CheckpointAudit(
            names=tuple(read_strings(group, "names")),
            losses=losses,
            **{name: group[name][:] for name in _ARRAYS},
            **plain,
        )
    except (KeyError, OSError, RuntimeError) as error:
        raise StoreError(group.file.filename, f"group {group.name} is damaged: {error}", AGAIN) from error
