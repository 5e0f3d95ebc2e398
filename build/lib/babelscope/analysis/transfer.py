"""Do the experts that were found in one language predict the concept in another?

Names of shapes: ``C`` concepts, ``L`` languages, ``K`` experts, ``P`` pairs of languages.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import ALL, summarised_pairs
from babelscope.analysis.ranking import BestFile
from babelscope.analysis.scores import OTHER_HALF
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import two_way_interval

Floats = NDArray[np.float64]
_COLUMNS = (
    "source", "target", "concept", "ap", "low", "high", "ap_other_concepts", "positive_rate", "chance_ap",
    "length_ap",
    "k", "n",
)  # fmt: skip


def transfer_table(best: Mapping[str, BestFile], settings: AlignmentSettings, *, k: int) -> pd.DataFrame:
    """Average precision, in a target language, of the experts found in a source language.

    Experts are chosen on one half of the sentences and scored on the other, both ways, averaged; so a
    row whose source is its target is the held-out expertise. A concept without any expert counts as predicted
    by a constant.

    Args:
        best: Per language its best units; all over the same units and concepts.
        settings: Resamples of the intervals, and their seed.
        k: Number of experts.

    Returns:
        Columns ``source, target, concept, ap`` (mean over the experts), ``low``, ``high``,
        ``ap_other_concepts`` (the same experts for all other concepts), and of the target
        ``positive_rate`` (the AP of a constant), ``chance_ap`` (the mean AP of scores in random order, on
        halves as ``ap``) and ``length_ap`` (the AP of the length of a sentence); ``k``, ``n``. Rows with
        concept ``*`` are means: source and target ``*`` over different languages, ``=`` over languages with
        themselves; their intervals resample concepts and languages.
    """
    langs, concepts = list(best), next(iter(best.values())).concepts
    own_LLC, other_LLC = _mean_ap(best, k)
    rate_LC = np.array([file.positive_rate for file in best.values()])
    chance_LC = np.array([file.chance_ap for file in best.values()])
    length_LC = np.array([file.length_ap for file in best.values()])
    everyone = [(a, b) for a in range(len(langs)) for b in range(len(langs))]
    rows = []
    for a, b in everyone:
        for c, concept in enumerate(concepts):
            own, other = own_LLC[a, b, c], other_LLC[a, b, c]
            levels = rate_LC[b, c], chance_LC[b, c], length_LC[b, c]
            rows.append((langs[a], langs[b], concept, own, np.nan, np.nan, other, *levels, k, 1))
    for name, pairs in summarised_pairs(everyone).items():
        values_PC = np.array([own_LLC[pair] for pair in pairs])
        low, high = two_way_interval(values_PC, pairs, len(langs), settings.bootstrap, settings.seed)
        other = np.mean([other_LLC[pair] for pair in pairs])
        levels = rate_LC.mean(), chance_LC.mean(), length_LC.mean()
        rows.append((name, name, ALL, values_PC.mean(), low, high, other, *levels, k, values_PC.size))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _mean_ap(best: Mapping[str, BestFile], k: int) -> tuple[Floats, Floats]:
    """By source, target and concept the AP of the experts: for their concept, for all others."""
    langs, n_concepts = list(best), len(next(iter(best.values())).concepts)
    own_LLC = np.zeros((len(langs), len(langs), n_concepts))
    other_LLC = np.zeros_like(own_LLC)
    sums = {(lang, half): file.sum_over_concepts(half) for lang, file in best.items() for half in OTHER_HALF}
    for a, file in enumerate(best.values()):
        for half, other in OTHER_HALF.items():
            unit_CK = file.best(half).unit[:, :k]
            abroad_LCK = file.abroad(half)[:, :, :k]
            for b, target in enumerate(langs):
                own_CK = abroad_LCK[file.langs.index(target)]
                own_LLC[a, b] += _mean_of_experts(own_CK, best[target].positive_rate) / 2
                if n_concepts > 1:
                    others_CK = (sums[target, other][unit_CK] - own_CK) / (n_concepts - 1)
                    other_LLC[a, b] += _mean_of_experts(others_CK, best[target].positive_rate) / 2
    return own_LLC, other_LLC


def _mean_of_experts(ap_CK: Floats, constant_C: Floats) -> Floats:
    """Mean over the experts that there are, NaN where there is none; of none that of a constant."""
    there_CK = np.isfinite(ap_CK)
    if there_CK.all():
        return np.asarray(ap_CK.mean(axis=1), dtype=np.float64)
    sum_C, n_C = np.where(there_CK, ap_CK, 0).sum(axis=1), there_CK.sum(axis=1)
    return np.where(n_C > 0, sum_C / np.maximum(n_C, 1), constant_C)
