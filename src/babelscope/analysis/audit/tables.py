"""The audit of a study as tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.analysis.audit.files import CheckpointAudit, HeldOutLoss
from babelscope.analysis.audit.judge import Flag, judge
from babelscope.analysis.audit.series import Series, distance_se, make_series

logger = logging.getLogger(__name__)

_AS_MEASURED = ("n_weights", "n_nonfinite", "digest", "weights_hash", "repo", "revision", "commit", "no_loss")
_LOSSES = ["model", "step", "lang", "loss", "loss_se", "bits_per_byte", "n_sentences", "n_tokens"]


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
        mean_loss, distance_to_previous, distance_se, previous_step, n_weights, n_nonfinite, digest,
        weights_hash, repo, revision, commit, no_loss``; reasons and kinds are separated by ``; ``, the
        distance is relative to the norm of the previous step.

        The losses, one row per (model, step, lang): ``model, step, lang, loss, loss_se,
        bits_per_byte, n_sentences, n_tokens``.
    """
    by_model: dict[str, list[CheckpointAudit]] = {}
    for (model, _), audit in audits.items():
        by_model.setdefault(model, []).append(audit)
    rows, losses = [], []
    for model, unsorted in by_model.items():
        steps = sorted(unsorted, key=lambda audit: audit.step)
        series = make_series(steps)
        flags = judge(series)
        for at, audit in enumerate(steps):
            known = (known_faults or {}).get(model, {}).get(audit.step, "")
            rows.append(_row(steps, series, at, flags[audit.step], known))
            losses += [_loss_row(audit, lang, held) for lang, held in audit.losses.items()]
    table = pd.DataFrame(rows)
    if len(table):
        table["previous_step"] = table["previous_step"].astype("Int64")
    return table, pd.DataFrame(losses, columns=_LOSSES)


def _row(
    steps: Sequence[CheckpointAudit], series: Series, at: int, flags: Sequence[Flag], known: str
) -> dict[str, object]:
    audit = steps[at]
    for flag in flags:
        logger.warning("model %s, step %d: %s", audit.model, audit.step, flag.reason)
    return {
        "model": audit.model,
        "step": audit.step,
        "flag": bool(flags),
        "kinds": "; ".join(dict.fromkeys(flag.kind for flag in flags)),
        "reasons": "; ".join(flag.reason for flag in flags),
        "known_fault": known,
        "mean_loss": np.nan if series.curve is None else series.curve.mean_S[at],
        **_to_previous(steps, series, at),
        **{name: getattr(audit, name) for name in _AS_MEASURED},
    }


def _loss_row(audit: CheckpointAudit, lang: str, held: HeldOutLoss) -> tuple[object, ...]:
    return (
        audit.model, audit.step, lang, held.loss, held.loss_se, held.bits_per_byte,
        len(held.sentence_ids), int(held.tokens_N.sum()),
    )  # fmt: skip


def _to_previous(audits: Sequence[CheckpointAudit], series: Series, at: int) -> dict[str, object]:
    distance = error = np.nan
    if at and series.distances is not None:
        norm = series.distances.norm_S[at - 1]
        distance = float(series.distances.distance_SS[at - 1, at] / norm) if norm else np.nan
        if distance == 0:
            error = 0.0
        elif np.isfinite(distance):
            error = distance_se(audits[at - 1], audits[at], distance * norm) / norm
    previous = audits[at - 1].step if at else None
    return {"distance_to_previous": distance, "distance_se": error, "previous_step": previous}
