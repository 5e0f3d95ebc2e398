"""What comparisons of languages share: sets of experts as matrices, and intervals of means over pairs.

Names of shapes: ``C`` concepts, ``U`` units, ``P`` pairs of languages, ``L`` languages, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri, stdtrit

from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import bootstrap_weights, interval
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]

#: In columns of languages: the mean over all pairs of different languages.
ALL = "*"
#: In columns of languages: the mean over languages, each with itself.
SAME = "="
HALVES = ("a", "b")


def expert_sets(experts: pd.DataFrame, units: UnitIndex, concepts: Sequence[str]) -> sparse.csr_array:
    """Sets of experts as a sparse matrix of ones, shape ``(C, U)``, rows and columns in the orders given.

    ``experts`` has each pair of concept and unit once.
    """
    rows = pd.Index(concepts).get_indexer(pd.Index(experts["concept"]))
    columns = units.numbers(experts["layer"], experts["site"], experts["unit"])
    ones = np.ones(len(experts), dtype=np.int32)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(concepts), len(units)))


def two_way_interval(
    values_PC: Floats, pairs: list[tuple[int, int]], n_langs: int, settings: AlignmentSettings
) -> tuple[float, float]:
    """95% interval of a mean over pairs and concepts; both languages and concepts are drawn anew.

    A pair counts as often as the product of how often its languages were drawn (a language with itself:
    as often as it was drawn); a language drawn twice does not make a pair with itself.

    Languages are few, and the plain bootstrap is then too narrow: over 8 languages and 16 concepts it
    covers the truth in 86 to 92% of simulated studies, over 4 in 78 to 90%. So of n items n - 1 are drawn,
    which makes the variance of the resamples unbiased (Rao and Wu 1988), and deviations from the mean are
    widened from the normal to Student's quantile for as many languages. This covers 94 to 99%. Two
    languages cannot be resampled; the interval is then one over concepts.

    Args:
        values_PC: Shares or average precisions, between 0 and 1.
        pairs: Numbers of the two languages of each row.
        n_langs: Number of languages.
        settings: Resamples and their seed.
    """
    n_concepts, bootstrap, seed = values_PC.shape[1], settings.bootstrap, settings.seed
    concepts_BC = bootstrap_weights(n_concepts, bootstrap, seed, draws=max(1, n_concepts - 1))
    if n_langs > 2:
        langs_BL = bootstrap_weights(n_langs, bootstrap, seed + 1, draws=n_langs - 1)
    else:
        langs_BL = np.full((bootstrap, n_langs), 1 / n_langs)
    first, second = np.array(pairs).T
    same = first == second
    pairs_BP = langs_BL[:, first] * np.where(same, 1.0, langs_BL[:, second])
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold one language only
        means_B = ((pairs_BP @ values_PC) * concepts_BC).sum(axis=1) / pairs_BP.sum(axis=1)
    mean = float(values_PC.mean())
    low, high = interval(means_B)
    freedom = (n_langs if n_langs > 2 else n_concepts) - 1
    widened = stdtrit(max(1, freedom), 0.975) / ndtri(0.975)
    return max(0.0, mean - (mean - low) * widened), min(1.0, mean + (high - mean) * widened)
