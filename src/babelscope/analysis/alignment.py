"""How far the experts of different languages agree: overlap, transfer and reliability together."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from babelscope.analysis.experts import select_experts
from babelscope.analysis.overlap import overlap_table
from babelscope.analysis.ranking import BestFile
from babelscope.analysis.reliability import reliability_table
from babelscope.analysis.scores import check_alike
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.transfer import transfer_table


def align_experts(
    best: Mapping[str, BestFile], search: pd.DataFrame, settings: AlignmentSettings, *, k: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Experts, overlap, transfer and reliability of one (model, step), over all languages.

    Args:
        best: Per language its best units; all over the same units and concepts.
        search: The table of :func:`babelscope.analysis.reliability.search_units`.
        settings: Resamples, permutations, seed.
        k: Number of experts.

    Returns:
        The tables of :func:`select_experts` of all languages, :func:`overlap_table`,
        :func:`transfer_table` and :func:`reliability_table`, each with ``model`` and ``step``.

    Raises:
        StudyError: If K exceeds the number of units that are kept.
        ValueError: If languages do not have the same concepts or units.
    """
    check_alike(best.values())
    first = next(iter(best.values()))
    experts = {lang: select_experts(file, k=k) for lang, file in best.items()}
    tables = (
        overlap_table(experts, first.units, first.concepts, settings),
        transfer_table(best, settings, k=k),
        reliability_table(search, experts, first, settings),
    )
    for table in tables:
        table.insert(0, "model", first.provenance.model)
        table.insert(1, "step", first.provenance.step)
    return pd.concat(experts.values(), ignore_index=True), *tables
