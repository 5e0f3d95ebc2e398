"""How far the experts of different languages agree: overlap, transfer and reliability together."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from babelscope.analysis.overlap import overlap_table
from babelscope.analysis.reliability import reliability_table
from babelscope.analysis.scores import ScoreFile, check_alike
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.transfer import transfer_table


def align_experts(
    scores: Mapping[str, ScoreFile], experts: Mapping[str, pd.DataFrame], settings: AlignmentSettings
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Overlap, transfer and reliability of one (model, step), over all languages.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        settings: Resamples, permutations, seed.

    Returns:
        The tables of :func:`overlap_table`, :func:`transfer_table` and :func:`reliability_table`, each with
        ``model`` and ``step`` in front.

    Raises:
        ValueError: If languages do not have the same concepts or units.
    """
    check_alike(scores.values())
    first = next(iter(scores.values()))
    tables = (
        overlap_table(experts, first.units, first.concepts, settings),
        transfer_table(scores, experts, settings),
        reliability_table(scores, experts, settings),
    )
    for table in tables:
        table.insert(0, "model", first.provenance.model)
        table.insert(1, "step", first.provenance.step)
    return tables
