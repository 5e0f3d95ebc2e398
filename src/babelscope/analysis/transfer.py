"""Do the experts that were found in one language predict the concept in another?

Names of shapes: ``C`` concepts, ``L`` languages, ``U`` units, ``P`` pairs of languages.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from babelscope.analysis.experts import expert_sets, of_model
from babelscope.analysis.overlap import ALL, summarised_pairs
from babelscope.analysis.scores import OTHER_HALF, ScoreFile
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import two_way_interval

Floats = NDArray[np.float64]
_COLUMNS = (
    "source", "target", "concept", "ap", "low", "high", "ap_other_concepts", "positive_rate", "k", "n",
)  # fmt: skip


def transfer_table(
    scores: Mapping[str, ScoreFile], experts: Mapping[str, pd.DataFrame], settings: AlignmentSettings
) -> pd.DataFrame:
    """Average precision, in a target language, of the experts found in a source language.

    Experts are chosen on one half of the sentences and scored on the other, both ways, averaged; so a
    row whose source is its target is the held-out expertise.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        settings: Resamples of the intervals, and their seed.

    Returns:
        Columns ``source, target, concept, ap`` (mean over the experts), ``low``, ``high``,
        ``ap_other_concepts`` (the same experts for all other concepts), ``positive_rate``, ``k``,
        ``n``. Rows with concept ``*`` are means: source and target ``*`` over different languages,
        ``=`` over languages with themselves; their intervals resample concepts and languages.
    """
    langs, concepts = list(scores), next(iter(scores.values())).concepts
    k, own_LLC, other_LLC = _mean_ap(scores, experts)
    rate_LC = np.array([scores[lang].positive_rate for lang in langs])
    everyone = [(a, b) for a in range(len(langs)) for b in range(len(langs))]
    rows = []
    for a, b in everyone:
        for c, concept in enumerate(concepts):
            own, other, rate = own_LLC[a, b, c], other_LLC[a, b, c], rate_LC[b, c]
            rows.append((langs[a], langs[b], concept, own, np.nan, np.nan, other, rate, k, 1))
    for name, pairs in summarised_pairs(everyone).items():
        values_PC = np.array([own_LLC[pair] for pair in pairs])
        low, high = two_way_interval(values_PC, pairs, len(langs), settings.bootstrap, settings.seed)
        other = np.mean([other_LLC[pair] for pair in pairs])
        rows.append((name, name, ALL, values_PC.mean(), low, high, other, rate_LC.mean(), k, values_PC.size))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _mean_ap(
    scores: Mapping[str, ScoreFile], experts: Mapping[str, pd.DataFrame]
) -> tuple[int, Floats, Floats]:
    """K, and by source, target and concept the AP of the experts: for their concept, for all others."""
    langs, first = list(scores), next(iter(scores.values()))
    n_concepts = len(first.concepts)
    k = 0
    sets: dict[tuple[str, str], list[sparse.csr_array]] = {}  # per (layer, site) a matrix (C, units)
    for source, table in experts.items():
        for half in OTHER_HALF:
            chosen = of_model(table, half)
            k = int(chosen["k"].iloc[0])
            columns = expert_sets(chosen, first.units, first.concepts).tocsc()
            sets[source, half] = [columns[:, part].tocsr() for _, _, part in first.units.parts()]
    own_LLC = np.zeros((len(langs), len(langs), n_concepts))
    other_LLC = np.zeros_like(own_LLC)
    for b, target in enumerate(langs):
        for half, other in OTHER_HALF.items():
            total_LCC = np.zeros((len(langs), n_concepts, n_concepts))
            for number, (layer, site, _) in enumerate(first.units.sites):  # one at a time bounds the memory
                ap_UC = scores[target].read(layer, site, f"ap_{other}").T
                for a, source in enumerate(langs):
                    # Row: the concept whose experts are used. Column: the concept that is scored.
                    total_LCC[a] += sets[source, half][number] @ ap_UC
            for a, total_CC in enumerate(total_LCC):
                mean_CC = total_CC / k
                own_C = np.diag(mean_CC)
                own_LLC[a, b] += own_C / 2
                if n_concepts > 1:
                    other_LLC[a, b] += (mean_CC.sum(axis=1) - own_C) / (n_concepts - 1) / 2
    return k, own_LLC, other_LLC
