"""How far the experts of different languages agree: overlap, transfer and reliability together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from babelscope.analysis.experts import select_experts
from babelscope.analysis.overlap import overlap_tables
from babelscope.analysis.ranking import BestFile
from babelscope.analysis.reliability import reliability_table
from babelscope.analysis.scores import check_alike
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.transfer import transfer_table


def align_experts(
    best: Mapping[str, BestFile],
    search: pd.DataFrame,
    settings: AlignmentSettings,
    *,
    k: int,
    groups: Mapping[str, Sequence[str]] | None = None,
    kinship: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Experts, overlap, transfer and reliability of one (model, step), over all languages.

    Args:
        best: Per language its best units; all over the same units and concepts.
        search: The table of :func:`babelscope.analysis.reliability.search_units`.
        settings: Resamples, permutations, seed.
        k: Number of experts.
        groups: Concepts that are near each other, see :func:`babelscope.analysis.overlap.overlap_tables`.
        kinship: How alike languages are written, see there.

    Returns:
        The tables of :func:`select_experts` of all languages, of overlap,
        :func:`transfer_table`, :func:`reliability_table` and the draws of overlap, each with ``model`` and
        ``step``.

    Raises:
        StudyError: If K exceeds the number of units that are kept.
        ValueError: If languages do not have the same concepts or units.
    """
    check_alike(best.values())
    best = dict(sorted(best.items()))  # what is drawn does not depend on the order of the study
    first = next(iter(best.values()))
    experts = {lang: select_experts(file, k=k) for lang, file in best.items()}
    found = overlap_tables(
        {lang: file.chosen(k) for lang, file in best.items()},
        first.units,
        first.concepts,
        settings,
        tied={lang: file.tied(k) for lang, file in best.items()},
        split_by_words=np.all([file.split_by_words for file in best.values()], axis=0),
        groups=groups,
        kinship=kinship,
    )
    tables = (
        found.table,
        transfer_table(best, settings, k=k),
        reliability_table(search, experts, best, settings),
        found.draws,
    )
    for table in tables:
        table.insert(0, "model", first.provenance.model)
        table.insert(1, "step", first.provenance.step)
    return pd.concat(experts.values(), ignore_index=True), *tables
