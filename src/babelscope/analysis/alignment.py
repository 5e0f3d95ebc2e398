"""How far the experts of different languages agree: overlap, transfer and reliability together."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from babelscope.analysis.overlap import overlap_table
from babelscope.analysis.reliability import reliability_table
from babelscope.analysis.scores import ScoreFile
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.transfer import transfer_table


def align_experts(
    scores: Mapping[str, ScoreFile],
    experts: Mapping[str, pd.DataFrame],
    settings: AlignmentSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Overlap, transfer and reliability of one (model, step), over all languages.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        settings: Resamples, permutations, seed.

    Returns:
        The tables of :func:`babelscope.analysis.overlap.overlap_table`,
        :func:`babelscope.analysis.transfer.transfer_table` and
        :func:`babelscope.analysis.reliability.reliability_table`, each with ``model`` and ``step`` in front.

    Raises:
        ValueError: If languages do not have the same concepts or units.
    """
    first_lang, first = next(iter(scores.items()))
    for lang, file in scores.items():
        if file.concepts != first.concepts or file.units != first.units:
            raise ValueError(
                f"{lang} and {first_lang} were scored for other concepts or units: "
                f"{len(file.concepts)} concepts x {len(file.units)} units against "
                f"{len(first.concepts)} x {len(first.units)}"
            )
    draws = {"bootstrap": settings.bootstrap, "seed": settings.seed}
    permuted = {**draws, "permutations": settings.permutations}
    tables = (
        overlap_table(experts, first.units, first.concepts, **permuted),
        transfer_table(scores, experts, **draws),
        reliability_table(scores, experts, **permuted),
    )
    for table in tables:
        table.insert(0, "model", first.provenance.model)
        table.insert(1, "step", first.provenance.step)
    return tables
