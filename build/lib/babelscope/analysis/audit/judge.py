"""Which checkpoints of a series are not what their names say.

Public suites hold duplicates and broken weights: of the eight steps of BLOOM-560m one holds the weights
of another, one writes noise. The audit sees seven signs: weights that are not finite, another tokenizer,
equal weights under two names, a loss on held-out text that is out of line with the steps beside it, weights
that lie far from both neighbours or have nothing in common with the series, two steps that fit each other's
place, and single tensors that are not those of the step. It judges what it measures, never what a registry
says; both are shown.

What it cannot see: a fault of the first step of a series (nothing comes before it), steps that all hold
the same fault, a duplicate of a step that the study does not take, the weights of a sister run at the last
step. Step 0 is never flagged for its loss.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.audit.files import CheckpointAudit
from babelscope.analysis.audit.tensors import TensorPath, strange_tensors

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

#: A loss counts as above another if it is so by this many standard errors, besides a margin in nats.
LOSS_Z = 4.0

#: A loss is out of line if it is above both neighbours by LOSS_Z standard errors and by this many nats per
#: token. Spikes of training and restarts of the learning rate that a checkpoint happens to catch stay
#: below it; BLOOM-560m's false step 500000 is 0.35 above its neighbour.
MIN_RISE = 0.1

#: The last step has one neighbour only, so more is asked of it: text that a small model has begun to
#: learn by heart raises its held-out loss slowly.
MIN_LAST_RISE = 0.25

#: A step is foreign if it is this many times as far from both neighbours as they are from each other.
#: On a path that goes forward, even a random walk, the neighbours are farther apart than either is from
#: what lies between them, so 1 is the most that is healthy.
FOREIGN_FACTOR = 1.5

#: Weights without a cosine of this size to any other step are unrelated to the series, as new random
#: weights are (cosine 0, so at distance sqrt(2) of all weights of the same norm) ...
UNRELATED = 0.1

#: ... if all neighbours among the other steps have at least this one.
RELATED = 0.3

#: Two steps are exchanged if putting them back makes the path through the weights beside them shorter by
#: this share (a random walk gains 22 %, a straight path 40 %; at rest, nothing) ...
SWAP_SHORTENS = 0.15

#: ... and leaves at most this share of the rises of the loss beside them. With two signs, rises of this
#: many nats count (besides LOSS_Z).
SWAP_LEAVES = 0.2
MIN_SWAP_RISE = 0.02

#: Without losses, more is asked of an exchange with the first or last step: weights that are at rest and then
#: annealed gain 17 % if the last two are exchanged.
SWAP_SHORTENS_AT_END = 0.3

#: Equal weights belong to the step where they lengthen the path at most this share of what they do elsewhere.
DETOUR_SHARE = 0.6

_AS_MEASURED = (
    *("n_weights", "n_nonfinite", "digest", "weights_hash", "tokenizer_hash"),
    *("repo", "revision", "commit", "no_loss"),
)
_LOSSES = ["model", "step", "lang", "loss", "loss_se", "bits_per_byte", "n_sentences", "n_tokens"]


@dataclass(frozen=True)
class Curve:
    """Losses of one model."""

    loss_SL: Floats
    """Nats per token."""
    rise_se_SSL: Floats
    """Standard error of the difference of the loss of two steps."""

    def above(self, least: float) -> Floats:
        """By how much the loss of the second step exceeds that of the first and the margin; ``(S, S, L)``."""
        rise_SSL = self.loss_SL[None, :, :] - self.loss_SL[:, None, :]
        return rise_SSL - np.maximum(LOSS_Z * self.rise_se_SSL, least)

    @property
    def mean_S(self) -> Floats:
        """Mean over languages at each step."""
        return np.asarray(self.loss_SL.mean(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Distances:
    """How far the matrices of the steps of one model are from each other, estimated from sketches.

    Only tensors of two dimensions or more count: gains that begin at 1 make all checkpoints alike.
    A distance is the root of ``sum over tensors of size / entries * sum over entries of (a - b)^2``, an
    unbiased estimate of the squared Euclidean distance; it is 0 where the digests are equal.
    """

    distance_SS: Floats
    """Euclidean; NaN where a step has weights that are not finite."""
    cosine_SS: Floats
    norm_S: Floats
    """Exact norm of each step."""


@dataclass(frozen=True)
class Series:
    """What the judge sees of one model, steps in their order."""

    steps: tuple[int, ...]
    digests: tuple[str, ...]
    broken: tuple[str, ...]
    """Per step what is not finite, in words; empty if all is."""
    curve: Curve | None = None
    distances: Distances | None = None
    tokenizers: tuple[str, ...] = ()
    """Hash of each step's tokenizer; empty if not known."""
    tensors: Mapping[str, TensorPath] = field(default_factory=dict)
    """Each tensor that all steps have."""


class Flag(NamedTuple):
    """A sign that a checkpoint is not what its name says."""

    kind: str
    """``nonfinite``, ``tokenizer``, ``swap``, ``loss``, ``duplicate``, ``distance`` or ``tensor``."""
    reason: str
    """A sentence with numbers."""


def collect_audit(
    audits: Mapping[tuple[str, int], CheckpointAudit],
    *,
    known_faults: Mapping[str, Mapping[int, str]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judge all checkpoints of a study.

    Args:
        audits: By model and step, see :func:`babelscope.analysis.audit.files.audit_files`.
        known_faults: Per model and step what a registry says of it; shown, not judged by.

    Returns:
        The audit, one row per (model, step): ``model, step, flag, kinds, reasons, known_fault,
        mean_loss, distance_to_previous, distance_se, previous_step, constant, n_weights, n_nonfinite,
        digest, weights_hash, tokenizer_hash, repo, revision, commit, no_loss``; reasons and kinds are
        separated by ``; ``, the distance is relative to the norm of the previous step, and ``constant`` names
        the matrices that are one number everywhere.

        The losses, one row per (model, step, lang): ``model, step, lang, loss, loss_se,
        bits_per_byte, n_sentences, n_tokens``.
    """
    rows, losses = [], []
    for model in dict.fromkeys(model for model, _ in audits):
        steps = sorted((a for a in audits.values() if a.model == model), key=lambda audit: audit.step)
        series = Series(
            steps=tuple(audit.step for audit in steps),
            digests=tuple(audit.digest for audit in steps),
            broken=tuple(audit.not_finite for audit in steps),
            curve=_curve(steps),
            distances=_distances(steps),
            tokenizers=tuple(audit.tokenizer_hash for audit in steps),
            tensors=_paths(steps),
        )
        flags = judge(series)
        for at, audit in enumerate(steps):
            known = (known_faults or {}).get(model, {}).get(audit.step, "")
            rows.append(_row(steps, series, at, flags[audit.step], known))
            losses += [
                (
                    model, audit.step, lang, held.loss, held.loss_se, held.bits_per_byte,
                    len(held.sentence_ids), int(held.tokens_N.sum()),
                )
                for lang, held in audit.losses.items()
            ]  # fmt: skip
    return pd.DataFrame(rows).astype({"previous_step": "Int64"}), pd.DataFrame(losses, columns=_LOSSES)


def _row(
    audits: Sequence[CheckpointAudit], series: Series, at: int, flags: Sequence[Flag], known: str
) -> dict[str, object]:
    audit, previous = audits[at], audits[at - 1] if at else None
    for flag in flags:
        logger.warning("model %s, step %d: %s", audit.model, audit.step, flag.reason)
    distance = error = np.nan
    if previous is not None and series.distances is not None:
        norm = series.distances.norm_S[at - 1]
        distance = float(series.distances.distance_SS[at - 1, at] / norm) if norm else np.nan
        if distance == 0:
            error = 0.0
        elif np.isfinite(distance):
            error = audit.distance_se(previous, distance * norm) / norm
    return {
        "model": audit.model,
        "step": audit.step,
        "flag": bool(flags),
        "kinds": "; ".join(dict.fromkeys(flag.kind for flag in flags)),
        "reasons": "; ".join(flag.reason for flag in flags),
        "known_fault": known,
        "mean_loss": np.nan if series.curve is None else series.curve.mean_S[at],
        "distance_to_previous": distance,
        "distance_se": error,
        "previous_step": None if previous is None else previous.step,
        "constant": _few(audit.constants()),
        **{name: getattr(audit, name) for name in _AS_MEASURED},
    }


def judge(series: Series) -> dict[int, list[Flag]]:
    """The flags of each step; no flag, an empty list.

    The order matters: what is explained by one fault is no neighbour for the next. First weights that
    are not finite, then another tokenizer, exchanged steps, losses out of line (the worst first), equal
    weights, distances, and of steps without any of these single tensors.
    """
    judged = _Judge(series)
    judged.tokenizers()
    judged.swaps()
    judged.losses()
    judged.duplicates()
    judged.distances()
    judged.tensors()
    return dict(zip(series.steps, judged.flags, strict=True))


def most(values: Floats) -> Floats:
    """The largest number that more than half of the values reach, along the last axis."""
    return np.asarray(-np.sort(-values, axis=-1)[..., values.shape[-1] // 2], dtype=np.float64)


def _curve(audits: Sequence[CheckpointAudit]) -> Curve | None:
    langs = [lang for lang in audits[0].losses if all(lang in audit.losses for audit in audits)]
    if not langs:
        return None
    n = len(audits)
    loss_SL = np.array([[audit.losses[lang].loss for lang in langs] for audit in audits], dtype=np.float64)
    se_SSL = np.zeros((n, n, len(langs)))
    for a, b in itertools.combinations(range(n), 2):
        rises = [audits[a].losses[lang].rise_se(audits[b].losses[lang]) for lang in langs]
        se_SSL[a, b] = se_SSL[b, a] = rises
    return Curve(loss_SL, se_SSL)


def _distances(audits: Sequence[CheckpointAudit]) -> Distances | None:
    """Over the matrices that all steps have; None if there are none."""
    matrices = [audit.matrices() for audit in audits]
    shared = [key for key in matrices[0] if all(key in of_step for of_step in matrices)]
    if not shared:
        return None
    n = len(audits)
    dot_SS, square_S = np.zeros((n, n)), np.zeros(n)
    for key in shared:
        norms, sketches = zip(*(of_step[key] for of_step in matrices), strict=True)
        entries_Sm = np.array(sketches)
        dot_SS += key[1] / entries_Sm.shape[1] * (entries_Sm @ entries_Sm.T)
        square_S += [norm**2 for norm in norms]
    # A sketch may miss a weight that is not finite.
    finite_S = np.array([audit.n_nonfinite == 0 for audit in audits])
    dot_SS[~finite_S, :] = dot_SS[:, ~finite_S] = np.nan
    own_S = np.diag(dot_SS)
    distance_SS = np.sqrt(np.maximum(own_S[:, None] + own_S[None, :] - 2 * dot_SS, 0.0))
    digests = np.array([audit.digest for audit in audits])
    distance_SS[digests[:, None] == digests[None, :]] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine_SS = dot_SS / np.sqrt(own_S[:, None] * own_S[None, :])
    return Distances(distance_SS, cosine_SS, np.sqrt(square_S))


def _paths(audits: Sequence[CheckpointAudit]) -> dict[str, TensorPath]:
    """Each tensor that all steps have, of one size."""
    sketches = [np.split(a.sketch_M.astype(np.float64), np.cumsum(a.counts_T)[:-1]) for a in audits]
    places = [
        {key: at for at, key in enumerate(zip(a.names, a.sizes_T.tolist(), strict=True))} for a in audits
    ]
    found = {}
    for name, size in places[0]:
        if all((name, size) in of_step for of_step in places):
            of_steps = [of_step[name, size] for of_step in places]
            entries = [sketch[at] for sketch, at in zip(sketches, of_steps, strict=True)]
            norms = [a.norms_T[at] for a, at in zip(audits, of_steps, strict=True)]
            is_matrix = bool(audits[0].is_matrix_T[of_steps[0]])
            found[name] = TensorPath(np.array(entries), np.array(norms), is_matrix)
    return found


class _Judge:
    def __init__(self, series: Series) -> None:
        self.series = series
        self.steps = series.steps
        self.flags: list[list[Flag]] = [[] for _ in series.steps]
        self.kept = list(range(len(series.steps)))
        """Steps that are no fault so far: the neighbours of the others."""
        self.equal = [at for at, own in enumerate(series.digests) if series.digests.count(own) > 1]
        """Steps that share their weights with another one."""
        for at, problem in enumerate(series.broken):
            if problem:
                self.flag(at, "nonfinite", problem)
                self.drop(at)

    def flag(self, at: int, kind: str, reason: str) -> None:
        self.flags[at].append(Flag(kind, reason))

    def drop(self, *dropped: int) -> None:
        self.kept = [at for at in self.kept if at not in dropped]

    def around(self, at: int, without: Collection[int] = ()) -> tuple[int | None, int | None]:
        """The nearest kept steps before and after one."""
        others = [other for other in self.kept if other != at and other not in without]
        before, after = [other for other in others if other < at], [other for other in others if other > at]
        return (before[-1] if before else None), (after[0] if after else None)

    # -- another tokenizer

    def tokenizers(self) -> None:
        hashes = self.series.tokenizers
        usual = max(dict.fromkeys(hashes), key=hashes.count, default="")
        for at, found in enumerate(hashes):
            if found != usual:
                same = [step for step, other in zip(self.steps, hashes, strict=True) if other == usual]
                what = f"its tokenizer is not that of {_steps_text(same)}"
                self.flag(at, "tokenizer", f"{what}, so its losses and values compare with none of theirs")
                self.drop(at)

    # -- exchanged steps

    def swaps(self) -> None:
        distances, curve = self.series.distances, self.series.curve
        if distances is None or len(self.kept) < 4:
            return
        rise_SS = None if curve is None else np.maximum(most(curve.above(MIN_SWAP_RISE)), 0.0)
        while (best := self._best_swap(distances.distance_SS, rise_SS)) is not None:
            a, b, share = best
            for one, other in ((a, b), (b, a)):
                self.flag(
                    one, "swap",
                    f"it seems to be exchanged with step {self.steps[other]}: with the two in each other's "
                    f"place, the path through the weights beside them is {1 - share:.0%} shorter"
                    + ("" if curve is None else " and the loss no longer rises there"),
                )  # fmt: skip
            self.drop(a, b)

    def _best_swap(self, distance_SS: Floats, rise_SS: Floats | None) -> tuple[int, int, float] | None:
        # Equal weights are a fault of their own, and would seem to gain by any exchange.
        order = [at for at in self.kept if at not in self.equal]
        best = None
        for i, j in itertools.combinations(range(len(order)), 2):
            if not (self._is_related(order[i]) and self._is_related(order[j])):
                continue  # weights drawn anew may seem to fit elsewhere better, by their norm
            put_back = order.copy()
            put_back[i], put_back[j] = order[j], order[i]
            beside = [[at for at in (place - 1, place) if 0 <= at < len(order) - 1] for place in (i, j)]
            edges = sorted({at for places in beside for at in places})
            length = partial(_length, distance_SS)
            # Foreign weights are far from everything at either place: no place may lose by the exchange.
            # At an end of the series a place has one edge, which is about as long afterwards.
            if any(length(put_back, places) > 1.1 * length(order, places) for places in beside):
                continue
            share = length(put_back, edges) / length(order, edges)
            at_end = i == 0 or j == len(order) - 1
            if share > 1 - (SWAP_SHORTENS_AT_END if at_end and rise_SS is None else SWAP_SHORTENS):
                continue
            if rise_SS is not None:
                rises, left = _length(rise_SS, order, edges), _length(rise_SS, put_back, edges)
                if not (rises > 0 and left <= SWAP_LEAVES * rises):
                    continue
            if best is None or share < best[2]:
                best = order[i], order[j], share
        return best

    def _is_related(self, at: int) -> bool:
        """Whether weights have something in common with those of another step."""
        assert self.series.distances is not None
        others = [other for other in self.kept if other != at]
        return bool(np.max(self.series.distances.cosine_SS[at, others]) >= UNRELATED)

    # -- losses

    def losses(self) -> None:
        """Flag losses out of line, the one that contradicts most other steps first.

        A step is above or below both neighbours; the last can only be above. A foreign step that is too
        low makes those after it look too high: it contradicts many of them, each of them only it.
        """
        curve = self.series.curve
        if curve is None:
            return
        above_SS = most(curve.above(MIN_RISE))
        above_last_SS = most(curve.above(MIN_LAST_RISE))
        while True:
            candidates = []
            judged = [at for at in self.kept if at not in self.equal]
            for at in judged:
                before, after = self.around(at, without=self.equal)
                if before is None or self.steps[at] == 0:
                    continue
                by = above_last_SS[before, at]
                if after is not None:
                    by = min(above_SS[before, at], above_SS[after, at])
                if by > 0:
                    lower = sum(above_SS[other, at] > 0 for other in judged if other < at)
                    candidates.append((lower, 1, float(by), at))
                elif after is not None and self._may_be_low(at, before, after):
                    by = min(above_SS[at, before], above_SS[at, after])
                    higher = sum(above_SS[at, other] > 0 for other in judged if other > at)
                    if by > 0 and higher > 1:
                        candidates.append((higher, 0, float(by), at))
            if not candidates:
                return
            worst = max(candidates)[-1]
            self.flag(worst, "loss", f"its loss is out of line: {self._loss_text(curve, worst, self.equal)}")
            self.drop(worst)

    def _may_be_low(self, at: int, before: int, after: int) -> bool:
        """Whether a step that is below its neighbours is no mere restart of the learning rate after it."""
        found = self.series.distances
        if found is None:
            return True
        nearest = min(found.distance_SS[before, at], found.distance_SS[at, after])
        return bool(nearest > found.distance_SS[before, after])

    def _loss_text(self, curve: Curve, at: int, without: Collection[int]) -> str:
        beside = [other for other in self.around(at, without) if other is not None]
        steps = " and ".join(f"{curve.mean_S[other]:.2f} at step {self.steps[other]}" for other in beside)
        rises = [curve.loss_SL[at] - curve.loss_SL[other] for other in beside]
        above, below = ((np.min(signed, axis=0) > MIN_RISE).sum() for signed in (rises, np.negative(rises)))
        n, text = curve.loss_SL.shape[1], f"{curve.mean_S[at]:.2f} nats per token against {steps}"
        if n == 1 or not (above or below):
            return text
        how, most_of = ("higher", above) if above > below else ("lower", below)
        return f"{text}, {how} by more than {MIN_RISE:g} in {most_of} of {n} languages"

    # -- equal weights

    def duplicates(self) -> None:
        digests, curve = self.series.digests, self.series.curve
        for digest in dict.fromkeys(digests[at] for at in self.equal):
            group = [at for at in self.equal if digests[at] == digest]
            true, how = self._true_place(group)
            for at in group:
                others = _steps_text([self.steps[other] for other in group if other != at])
                text = f"its weights are those of {others}; "
                if true is None:
                    self.flag(at, "duplicate", text + how)
                elif at != true:
                    text += f"they belong to step {self.steps[true]}, where {how}"
                    if curve is not None and any(other is not None for other in self.around(at, group)):
                        text += f" (here {self._loss_text(curve, at, group)})"
                    self.flag(at, "duplicate", text)
            self.drop(*(at for at in group if at != true))

    def _true_place(self, group: Sequence[int]) -> tuple[int | None, str]:
        """Which step equal weights are of, and how that is known."""
        unknown = "whose they are is not known"
        fits = list(group)
        curve = self.series.curve
        if any(self.series.broken[at] for at in group):
            return None, unknown
        if curve is not None:
            above_SS = most(curve.above(MIN_RISE))
            fits = [at for at in group if self._loss_fits(above_SS, at, group)]
            if len(fits) == 1:
                return fits[0], "alone their loss is in line with the steps beside them"
            if not fits:
                return None, f"{unknown}: their loss is out of line at each of these steps"
        place = self._shortest_detour(fits, group)
        if place is not None:
            return place, "they lie between the weights of the steps beside them"
        if curve is None:
            return None, unknown
        return None, f"{unknown}, since the loss is in line at {_steps_text([self.steps[at] for at in fits])}"

    def _loss_fits(self, above_SS: Floats, at: int, group: Sequence[int]) -> bool:
        before, after = self.around(at, without=group)
        too_high = before is not None and above_SS[before, at] > 0
        too_low = after is not None and above_SS[at, after] > 0
        return not (too_high or too_low)

    def _shortest_detour(self, fits: Sequence[int], group: Sequence[int]) -> int | None:
        if self.series.distances is None:
            return None
        distance_SS = self.series.distances.distance_SS
        detours = []
        for at in fits:
            before, after = self.around(at, without=group)
            if before is None or after is None:
                return None
            detours.append(distance_SS[before, at] + distance_SS[at, after] - distance_SS[before, after])
        first, second = np.argsort(detours)[:2]
        if detours[second] > 0 and detours[first] <= DETOUR_SHARE * detours[second]:
            return fits[int(first)]
        return None

    # -- distances

    def distances(self) -> None:
        found = self.series.distances
        if found is None:
            return
        # A step that its loss already gave away is judged here too, as a second sign.
        out = {at for at, flags in enumerate(self.flags) for flag in flags if flag.kind == "loss"}
        first = next((at for at in self.kept if self.steps[at] > 0), None)
        for at in sorted({*self.kept, *out}):
            if self.steps[at] == 0 or at == first or any(f.kind == "duplicate" for f in self.flags[at]):
                continue
            if reason := self._foreign(found, at) or self._unrelated(found, at):
                self.flag(at, "distance", reason)

    def _foreign(self, found: Distances, at: int) -> str:
        before, after = self.around(at)
        if before is None or after is None:
            return ""
        apart = found.distance_SS[before, after]
        nearest = min(found.distance_SS[before, at], found.distance_SS[at, after])
        if not nearest > FOREIGN_FACTOR * apart:
            return ""
        return (
            f"its weights lie off the path: relative to the norm, they are at least "
            f"{nearest / found.norm_S[before]:.2f} from those of steps {self.steps[before]} and "
            f"{self.steps[after]}, which are {apart / found.norm_S[before]:.2f} from each other"
        )

    def _unrelated(self, found: Distances, at: int) -> str:
        others = [other for other in self.kept if other != at and self.steps[other] > 0]
        pairs = list(itertools.pairwise(others))
        if not pairs:
            return ""
        nearest = float(np.max(found.cosine_SS[at, others]))
        among = float(np.min([found.cosine_SS[a, b] for a, b in pairs]))
        if not (nearest < UNRELATED and among >= RELATED):
            return ""
        return (
            f"its weights have nothing in common with any other step: cosine at most {nearest:.2f}, against "
            f"{among:.2f} or more between other neighbouring steps, as if they were drawn anew"
        )

    # -- single tensors

    def tensors(self) -> None:
        whole, found = self.series.distances, self.series.tensors
        if whole is None or not found:
            return

        def moved(a: int, b: int) -> float:
            return float(whole.distance_SS[a, b] / whole.norm_S[a])

        sound = [at for at in self.kept if not self.flags[at]]
        judged = [at for at in sound[1:] if self.steps[at] > 0]
        strange = strange_tensors(found, self.steps, sound, judged, moved)
        # Of a step that is out of line as a whole, which tensors it is that make it so.
        for at, flags in enumerate(self.flags):
            if flags and {flag.kind for flag in flags} <= {"loss", "distance"}:
                strange |= strange_tensors(found, self.steps, sorted([*sound, at]), [at], moved)
        n_matrices = sum(path.is_matrix for path in found.values())
        for at, names in sorted(strange.items()):
            if not self.flags[at] or 2 * len(names) <= n_matrices:
                told = _few([f"{name} ({why})" for name, why in names.items()])
                n = f"{len(names)} of {len(found)} tensors"
                self.flag(at, "tensor", f"{n} are not in line with the steps beside it: {told}")


def _few(names: Sequence[str], shown: int = 3) -> str:
    """Names separated by commas, those that are too many as a number."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _length(between_SS: Floats, order: Sequence[int], edges: Sequence[int]) -> float:
    """Sum over edges of an order, each named by the position that it starts from."""
    return float(sum(between_SS[order[at], order[at + 1]] for at in edges))


def _steps_text(steps: Sequence[int]) -> str:
    names = [str(step) for step in steps]
    if len(names) == 1:
        return f"step {names[0]}"
    if len(names) > 6:
        return f"{len(names)} other steps, {', '.join(names[:5])} among them"
    return f"steps {', '.join(names[:-1])} and {names[-1]}"
