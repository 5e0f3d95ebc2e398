"""Do conclusions depend on choices that nobody can derive: pooling, sites, number of experts, kind of probe?

A study makes one choice of each. Here every other one that its scores allow stands beside it: each pooling
that was scored, each site alone and all together, half and twice the number of experts (of one site its share
of them, so that chance is the same); and each kind of language probe. What depends on no number of experts is
told once. Names of shapes: ``C`` concepts, ``B`` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import mean_overlap
from babelscope.analysis.ranking import ALL_LAYERS, ALL_SITES, Place, best_by_place, k_by_site
from babelscope.analysis.reliability import search_sites
from babelscope.analysis.scores import OTHER_HALF, ScoreFile, check_alike
from babelscope.analysis.settings import CHOICE_DRAWS, AlignmentSettings
from babelscope.stats import bootstrap_weights, interval
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]

#: What tells one choice from another; the size is that of the sets of experts.
CHOICE = ["measure", "pooling", "site", "size", "probe"]
#: Times the study's number of experts.
SIZES = {"half": 0.5, "study": 1.0, "double": 2.0}
#: Pairings of concepts behind the null of the best unit; each one is a whole search.
_NULLS = 5
#: Fewest pairs of a model and a step that a rank correlation is made of.
_LEAST_POINTS = 4
#: Level of the test against permuted concepts.
_ALPHA = 0.05
_COLUMNS = [
    "model", "step", *CHOICE, "value", "low", "high", "null", "null_high", "chance", "ceiling", "way",
    "way_low", "way_high", "p_value", "k", "n_units", "n_concepts", "n_pairs", "n_null",
]  # fmt: skip
_DRAWN = ["model", "step", *CHOICE, "draw", "value", "null", "chance", "ceiling"]
_CONCLUSIONS = ["model", "control", "asks", *CHOICE, "first", "last", "value", "low", "high", "holds"]


def compare_choices(
    scores: Mapping[str, Mapping[str, ScoreFile]], settings: AlignmentSettings, *, k: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every choice of pooling, site and size for one (model, step).

    Args:
        scores: By pooling and language the scores; all over the same units and concepts.
        settings: Resamples, permutations (200 at most), seed.
        k: The study's number of experts.

    Returns:
        Two tables. A row per choice: ``model, step, measure, pooling, site`` (``*``: all), ``size`` (a key of
        :data:`SIZES`), ``probe`` (empty), ``value, low, high, null, null_high`` (what 5% of permutations
        reach), ``chance, ceiling, way, way_low, way_high, p_value, k, n_units, n_concepts, n_pairs, n_null``.
        ``measure`` is ``overlap``, the mean over pairs of languages on disjoint lines, or ``worst_ap``, that
        of the best unit of each concept, of size ``study`` alone. And their resamples: ``draw, value, null,
        chance, ceiling``; draw i is the same choice of concepts and languages in all.

    Raises:
        ValueError: If languages or poolings do not have the same concepts or units.
    """
    check_alike(file for files in scores.values() for file in files.values())
    fewer = settings.model_copy(
        update={name: min(CHOICE_DRAWS, getattr(settings, name)) for name in ("bootstrap", "permutations")}
    )
    first = next(iter(next(iter(scores.values())).values())).provenance
    rows, drawn = [], []
    for pooling, files in scores.items():
        for found in (_overlaps(files, fewer, k), _best_units(files, fewer)):
            for row, draws in found:
                about = {"model": first.model, "step": first.step, "pooling": pooling, "probe": "", **row}
                rows.append(about)
                key = {name: about[name] for name in ("model", "step", *CHOICE)}
                drawn.append(pd.DataFrame({**key, "draw": np.arange(fewer.bootstrap), **draws}))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    types = dict.fromkeys(("value", "null", "chance", "ceiling"), np.float32)
    return table, pd.concat(drawn, ignore_index=True).reindex(columns=_DRAWN).astype(types)


def _overlaps(
    files: Mapping[str, ScoreFile], settings: AlignmentSettings, k: int
) -> Iterator[tuple[dict[str, Any], dict[str, Floats]]]:
    """Overlap of each site and size, and its resamples."""
    first = next(iter(files.values()))
    sizes = {size: min(len(first.units), max(1, round(k * times))) for size, times in SIZES.items()}
    sizes = {size: n for size, n in sizes.items() if size == "study" or n != sizes["study"]}
    places = {size: _places(first.units, n) for size, n in sizes.items()}
    most = {place: max(of[place] for of in places.values()) for place in places["study"]}
    best = {lang: best_by_place(file, most, tuple(OTHER_HALF)) for lang, file in files.items()}
    for size, k_of in places.items():
        chosen = {
            lang: {
                (place, half): of[half, place][2][:, :n].astype(np.int64)
                for place, n in k_of.items()
                for half in OTHER_HALF
            }
            for lang, of in best.items()
        }
        for place, (row, draws) in mean_overlap(chosen, settings).items():
            n_units = _width(first.units, place[1])
            about = {"measure": "overlap", "site": place[1], "size": size, "k": k_of[place]}
            about |= {"n_units": n_units, "chance": k_of[place] / n_units, "value": row["overlap"]}
            about |= {"n_concepts": len(first.concepts), "n_null": settings.permutations}
            yield (
                {**row, **about},
                {"value": draws["overlap"], "null": draws["null"], "ceiling": draws["ceiling"]},
            )


def _places(units: UnitIndex, k: int) -> dict[Place, int]:
    """How many experts are chosen at all sites, and at each its share of them, where there are several."""
    of_sites = {place: n for place, n in k_by_site(units, k).items() if place[0] == ALL_LAYERS}
    return {(ALL_LAYERS, ALL_SITES): k, **of_sites}


def _width(units: UnitIndex, site: str) -> int:
    return sum(width for _, name, width in units.sites if site in (ALL_SITES, name))


def _best_units(
    files: Mapping[str, ScoreFile], settings: AlignmentSettings
) -> Iterator[tuple[dict[str, Any], dict[str, Floats]]]:
    """The worst average precision of the best unit of each concept at each site, and its resamples."""
    first = next(iter(files.values()))
    chance_C = np.min([file.chance_ap for file in files.values()], axis=0)
    weights_BC = bootstrap_weights(len(chance_C), settings.bootstrap, settings.seed)
    sites = [site for _, site in _places(first.units, 1)]
    for site, search in search_sites(files, sites, seed=settings.seed, n_nulls=_NULLS).items():
        values = search.loc[search["metric"] == "worst_ap", "value"].to_numpy(np.float64)
        value_C, *null_PC = values.reshape(-1, len(chance_C))
        null_C = np.mean(null_PC, axis=0) if null_PC else np.full_like(value_C, np.nan)
        columns = {"value": value_C, "null": null_C, "chance": chance_C}
        draws = {name: weights_BC @ values_C for name, values_C in columns.items()}
        means = {name: float(values_C.mean()) for name, values_C in columns.items()}
        low, high = interval(draws["value"])
        about = {"measure": "worst_ap", "site": site, "size": "study", "n_units": _width(first.units, site)}
        about |= {"low": low, "high": high, "n_concepts": len(chance_C), "n_null": len(null_PC)}
        yield {**about, **means}, draws


# ------------------------------------------------------------------------- the study as a whole


def with_probes(
    choices: pd.DataFrame, draws: pd.DataFrame, probes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add the kinds of language probe: their accuracy, mean over the blocks.

    Args:
        choices: The tables of :func:`compare_choices`, of all models and steps.
        draws: Their resamples.
        probes: The table of probes.

    Returns:
        The same with rows whose ``measure`` is ``probe`` and whose ``probe`` is its kind. Left out are
        controls, and kinds that could not be scored in every block.
    """
    wanted = (probes["metric"] == "accuracy") & (probes["seed"] == -1) & (probes["layer"] > 0)
    rows, drawn = [], []
    for (model, step, probe), cells in probes[wanted].groupby(["model", "step", "probe"], sort=False):
        if probe in ("control", "shuffled") or cells["value"].isna().any():
            continue
        draws_B = np.mean([np.array(str(text).split(), float) for text in cells["draws"]], axis=0)
        low, high = interval(draws_B)
        key = {"model": model, "step": step, "measure": "probe", "pooling": "", "site": "", "size": ""}
        key |= {"probe": probe, "null": float(cells["null"].mean())}
        rows.append({**key, "value": float(cells["value"].mean()), "low": low, "high": high})
        drawn.append(pd.DataFrame({**key, "draw": np.arange(len(draws_B)), "value": draws_B}))
    if not rows:
        return choices, draws
    table = pd.concat([choices, pd.DataFrame(rows, columns=_COLUMNS)], ignore_index=True)
    return table, pd.concat([draws, *drawn], ignore_index=True)[_DRAWN]


def rank_correlations(choices: pd.DataFrame) -> pd.DataFrame:
    """How alike two choices order models and steps: Spearman's correlation of what is above their null.

    A point is a (model, step), where a choice has one number; layers of a step would not be independent.

    Args:
        choices: The table of :func:`with_probes`.

    Returns:
        Columns ``measure``, a column for each part of the one choice and of the other (``pooling_a``, ...,
        ``pooling_b``, ...), ``rho, n`` (points); pairs with fewer than four points are left out.
    """
    parts = [name for name in CHOICE if name != "measure"]
    rows = []
    for measure, of in choices.groupby("measure", sort=False):
        excess = of.assign(excess=of["value"] - of["null"])
        grid = excess.pivot_table(index=["model", "step"], columns=parts, values="excess", sort=False)
        rho = grid.corr(method="spearman", min_periods=_LEAST_POINTS).to_numpy()
        there = grid.notna().to_numpy(dtype=np.int64)
        n_points = there.T @ there
        for a, b in combinations(range(len(grid.columns)), 2):
            if n_points[a, b] >= _LEAST_POINTS:
                rows.append((measure, *grid.columns[a], *grid.columns[b], rho[a, b], n_points[a, b]))
    names = [f"{name}_{end}" for end in "ab" for name in parts]
    return pd.DataFrame(rows, columns=["measure", *names, "rho", "n"])


def conclusions(
    choices: pd.DataFrame, draws: pd.DataFrame, against: Iterable[tuple[str, str]]
) -> pd.DataFrame:
    """What each choice says of each question, so that it can be counted how many agree.

    Args:
        choices: As for :func:`rank_correlations`.
        draws: Their resamples, of all models by the same seed.
        against: Pairs of a model and a control.

    Returns:
        Columns ``model, control`` (empty but for one question), ``asks``, what tells the choice, ``first,
        last`` (steps), ``value, low, high`` (of the difference that is asked for) and ``holds`` (whether its
        interval lies above 0; NaN where it is not known). ``asks`` is

        - ``above null`` at the last step; of overlap also by the permutations, of the best unit also above
          scores in random order;
        - ``rises``: more above its null at the last step than at the first;
        - ``falls``, of probes in its place: less accurate at the last step than at the first that is trained;
        - ``above control`` at the last step: of overlap and the best unit what is above the null.
    """
    cells = _cells(choices, draws)
    pairs = list(against)
    rows: list[tuple[Any, ...]] = []
    for (model, *choice), steps in cells.items():
        is_probe, last = choice[0] == "probe", max(steps)
        end = steps[last]
        key = model, "", *choice
        above, low, high = _difference(end)
        holds = low > 0 if np.isfinite(low) else np.nan
        if holds is True and choice[0] == "overlap":
            holds = end.p_value <= _ALPHA
        elif holds is True and choice[0] == "worst_ap":
            holds = _difference(end, over="chance")[1] > 0
        rows.append(_answer(key, "above null", last, last, (above, low, high), holds))
        trained = [step for step in steps if step > 0 or not is_probe]
        first = min(trained) if trained else last
        if first != last:
            change = _difference(steps[first], end) if is_probe else _difference(end, steps[first])
            rows.append(_answer(key, "falls" if is_probe else "rises", first, last, change))
        for own, control in pairs if not is_probe else ():
            other = cells.get((control, *choice), {}).get(last)
            if own == model and other is not None:
                key = model, control, *choice
                rows.append(_answer(key, "above control", last, last, _difference(end, other)))
    return pd.DataFrame(rows, columns=_CONCLUSIONS)


class _Cell(NamedTuple):
    """One choice of a model at a step: by column (``value``, ``null``, ...) the value and its resamples."""

    value: dict[str, float]
    draws: dict[str, Floats]
    p_value: float


def _cells(choices: pd.DataFrame, draws: pd.DataFrame) -> dict[tuple[str, ...], dict[int, _Cell]]:
    """By model and choice, and then by step."""
    columns, keys = ["value", "null", "chance"], ["model", *CHOICE, "step"]
    resamples: Any = dict(iter(draws.groupby(keys, sort=False)))
    found: dict[tuple[str, ...], dict[int, _Cell]] = {}
    for row in choices.to_dict("records"):
        key = tuple(row[name] for name in keys)
        of = resamples[key]
        cell = _Cell(
            {name: float(row[name]) for name in columns},
            {name: of[name].to_numpy(np.float64) for name in columns},
            float(row["p_value"]),
        )
        found.setdefault(key[:-1], {})[int(row["step"])] = cell
    return found


def _difference(one: _Cell, other: _Cell | None = None, *, over: str = "null") -> tuple[float, float, float]:
    """What a choice finds above its null, less that of another cell, with the interval of paired draws."""

    def above(cell: _Cell) -> tuple[float, Floats]:
        return cell.value["value"] - cell.value[over], cell.draws["value"] - cell.draws[over]

    value, draws_B = above(one)
    if other is not None:
        value_other, draws_other_B = above(other)
        value, draws_B = value - value_other, draws_B - draws_other_B
    return value, *interval(draws_B)


def _answer(
    key: tuple[str, ...],
    asks: str,
    first: int,
    last: int,
    difference: tuple[float, float, float],
    holds: Any = None,
) -> tuple[Any, ...]:
    """A row; by default what is asked holds if the interval lies above 0."""
    low = difference[1]
    known = bool(low > 0) if np.isfinite(low) else np.nan
    model, control, *choice = key
    return model, control, asks, *choice, first, last, *difference, known if holds is None else holds
