"""Life lines: in which languages a unit is an expert of a concept, from which step, for how long.

When a pair of a concept and a unit is *shared by m languages* at a step is said in
:mod:`babelscope.analysis.sharing`: languages take turns with the halves of the sentences. Names of shapes:
``P`` pairs, ``L`` languages.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from babelscope.analysis.ranking import BestFile
from babelscope.analysis.scores import check_alike
from babelscope.analysis.sharing import Members, Shared, members, pairings_of, shared
from babelscope.io.cells import Cell

Ints = NDArray[np.int64]

_UNIT = ["concept", "layer", "site", "unit"]

#: Pairings of concepts behind the null of the number of spells.
_NULLS = 5


def trace_units(
    experts: Mapping[Cell, pd.DataFrame],
    best: Mapping[Cell, BestFile],
    *,
    min_languages: int,
    max_units: int,
) -> pd.DataFrame:
    """Follow the units that several languages share at any step.

    Args:
        experts: Per (step, language) the table of :func:`babelscope.analysis.experts.select_experts`, all of
            one model. Each is asked for once; 8 bytes per expert remain.
        best: Per (step, language) the best units.
        min_languages: Languages that must share a unit, at one step at least.
        max_units: Most units that are followed; those of the highest worst AP over languages at the
            last step come first, equal ones by concept and unit order.

    Returns:
        Columns ``model, step, lang, concept, layer, site, unit, is_expert, ap, ap_below, rank_worst_ap,
        rank_mean_ap, n_total``; one row per followed unit, step and language. ``is_expert`` is by the half
        of the sentences on which the language chooses, ``ap`` is on all. It is NaN where the unit
        was not among the best that are kept; its AP is then at most ``ap_below``, that of the last one kept.
        The ranks (from 0) are those of the unit's worst and mean AP over languages at the last step, among
        the ``n_total`` units that qualify; an AP that was not kept counts as ``ap_below``.

    Raises:
        ValueError: If steps or languages were scored for different concepts or units.
    """
    of_steps, first = _members(experts, best), next(iter(best.values()))
    langs = list(next(iter(of_steps.values())))
    pair_P = np.unique(np.concatenate([_shared(of, first).by(min_languages) for of in of_steps.values()]))
    n_total = len(pair_P)
    ranks = ["rank_worst_ap", "rank_mean_ap", "n_total"]
    columns = ["model", "step", "lang", *_UNIT, "is_expert", "ap", "ap_below", *ranks]
    if not n_total:
        return pd.DataFrame(columns=columns)
    concept_P, unit_P = np.divmod(pair_P, len(first.units))
    # The one that is not NaN of the AP and of what it is below.
    last_LP = np.array([np.fmax(*best[max(of_steps), lang].ap(concept_P, unit_P)) for lang in langs])
    by_worst_P = np.argsort(-last_LP.min(axis=0), kind="stable")
    by_mean_P = np.argsort(-last_LP.mean(axis=0), kind="stable")
    followed = by_worst_P[:max_units]
    concept_P, unit_P, pair_P = concept_P[followed], unit_P[followed], pair_P[followed]
    places = first.units.places(unit_P)
    units = pd.DataFrame(dict(zip(_UNIT[1:], places, strict=True))).assign(
        concept=np.array(first.concepts, dtype=object)[concept_P],
        rank_worst_ap=np.arange(len(followed)),
        rank_mean_ap=np.argsort(by_mean_P)[followed],
    )
    parts = []
    for step, of_langs in of_steps.items():
        for lang, (concept_E, unit_E) in of_langs.items():
            ap_P, below_P = best[step, lang].ap(concept_P, unit_P)
            is_expert_P = np.isin(pair_P, concept_E.astype(np.int64) * len(first.units) + unit_E)
            parts.append(units.assign(step=step, lang=lang, is_expert=is_expert_P, ap=ap_P, ap_below=below_P))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(model=first.provenance.model, n_total=n_total)[columns]


def lifespans(
    experts: Mapping[Cell, pd.DataFrame], best: Mapping[Cell, BestFile], *, seed: int
) -> pd.DataFrame:
    """How long units stay shared, over all pairs of concept and unit, not only those that are followed.

    A spell begins at the step at which a pair is shared and was not at the step before, or at the first step,
    and ends at the step at which it is first seen no longer shared; a pair may have several. Those that go on
    at the last step are censored, and quartiles are those of the Kaplan-Meier curve. Spells that begin at the
    last step say nothing and are left out. Steps between checkpoints are not seen: a length is one between
    checkpoints, and spells from the first step may be older.

    Args:
        experts: As for :func:`trace_units`. A random baseline is no ancestor of the model: leave it out.
        best: Per (step, language) the best units; only their concepts and sites are read.
        seed: Of the pairings of concepts behind the null.

    Returns:
        One row per ``m`` from 2 to the number of languages. Columns ``model, m``; ``n``: spells in which a
        pair is shared by at least ``m`` languages; ``null``: their number with a different concept in every
        language, the mean of ``n_null`` pairings; ``censored``: their share that goes on at the last step;
        ``quartile_1, median, quartile_3``: their length in training steps, NaN where too few have ended.
    """
    of_steps, first = _members(experts, best), next(iter(best.values()))
    n_langs = len(next(iter(of_steps.values())))
    rng = np.random.default_rng([seed, 3])
    own, *nulls = (
        {step: _shared(of_langs, first, pairing_LC) for step, of_langs in of_steps.items()}
        for pairing_LC in pairings_of(len(first.concepts), n_langs, _NULLS, rng)
    )
    rows = []
    for m in range(2, n_langs + 1):
        length, censored = _spells({step: found.by(m) for step, found in own.items()})
        lengths_of_null = [_spells({step: found.by(m) for step, found in null.items()})[0] for null in nulls]
        null = float(np.mean([len(each) for each in lengths_of_null])) if nulls else np.nan
        share = float(censored.mean()) if len(length) else np.nan
        rows.append((m, len(length), null, share, *_quartiles(length, censored), len(nulls)))
    columns = ["m", "n", "null", "censored", "quartile_1", "median", "quartile_3", "n_null"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "model", first.provenance.model)
    return table


def _spells(shared_at: Mapping[int, Ints]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Length of each spell in training steps, until it ends or the last step; whether it is censored."""
    lengths, censored, steps = [np.empty(0)], [np.empty(0, dtype=bool)], list(shared_at)
    before = np.empty(0, dtype=np.int64)
    for at, step in enumerate(steps[:-1]):
        born = np.setdiff1d(shared_at[step], before, assume_unique=True)
        end = np.full(len(born), np.inf)
        for later in steps[at + 1 :]:
            end[np.isinf(end) & ~np.isin(born, shared_at[later], assume_unique=True)] = later
        censored.append(np.isinf(end))
        lengths.append(np.minimum(end, steps[-1]) - step)
        before = shared_at[step]
    return np.concatenate(lengths), np.concatenate(censored)


def _quartiles(length: NDArray[np.float64], censored: NDArray[np.bool_]) -> list[float]:
    """Lengths after which a quarter, half and three quarters of the spells are over; NaN if not known."""
    if not len(length):
        return [float("nan")] * 3
    left = stats.ecdf(stats.CensoredData.right_censored(length, censored)).sf
    reached = [left.quantiles[left.probabilities <= share + 1e-12] for share in (0.75, 0.5, 0.25)]
    return [float(lengths[0]) if len(lengths) else float("nan") for lengths in reached]


def _members(
    experts: Mapping[Cell, pd.DataFrame], best: Mapping[Cell, BestFile]
) -> dict[int, dict[str, Members]]:
    """The experts of each language on its half, by step, rising."""
    check_alike(best.values())
    first, langs = next(iter(best.values())), sorted({lang for _, lang in experts})
    return {
        step: members({lang: experts[step, lang] for lang in langs}, first.units, first.concepts)
        for step in sorted({step for step, _ in experts})
    }


def _shared(
    of_langs: Mapping[str, Members], first: BestFile, pairing_LC: NDArray[np.intp] | None = None
) -> Shared:
    return shared(list(of_langs.values()), len(first.units), pairing_LC)
