"""Do conclusions depend on choices that nobody can derive: pooling, sites, number of experts, kind of probe?

A study makes one choice of each. Here every other one that its scores allow stands beside it: each pooling
that was scored, each site alone and all together, half and twice the number of experts (of one site its share
of them, so that chance is the same); and each kind of language probe. What depends on no number of experts is
told once. Scores go when they are ranked, so what is needed of them, for any number of experts, is kept then.
Names of shapes: ``C`` concepts, ``B`` resamples, ``P`` kept units of all places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.overlap import mean_overlap
from babelscope.analysis.ranking import ALL_LAYERS, ALL_SITES, Place, best_by_place, k_by_site
from babelscope.analysis.reliability import search_sites
from babelscope.analysis.scores import OTHER_HALF, ScoreFile, check_alike
from babelscope.analysis.settings import CHOICE_DRAWS, AlignmentSettings
from babelscope.capture.store import pooled_group, pooled_name, read_provenance, write_provenance
from babelscope.io.cells import Cell, by_cell, cell_of
from babelscope.io.h5 import open_h5
from babelscope.stats import bootstrap_weights, interval
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
_NUMBERS = [
    "value", "low", "high", "null", "null_high", "chance", "ceiling", "way", "way_low", "way_high", "p_value",
    "k", "n_units", "n_concepts", "n_pairs", "n_null",
]  # fmt: skip
_COLUMNS = ["model", "step", *CHOICE, *_NUMBERS]
_SEARCHED = ["model", "step", "pooling", "searched", "pairing", "concept", "value"]
_DRAWN = ["model", "step", *CHOICE, "draw", "value", "null", "chance", "ceiling"]
_CONCLUSIONS = ["model", "control", "asks", *CHOICE, "first", "last", "value", "low", "high", "holds"]


def keep_choices(
    scores: Mapping[str, Mapping[str, ScoreFile]], groups: Mapping[str, h5py.Group], *, kept: int, seed: int
) -> pd.DataFrame:
    """Keep of the scores of one (model, step) what other choices need, whatever the number of experts is.

    Args:
        scores: By pooling and language the scores; all over the same units and concepts.
        groups: Per language an empty group of an HDF5 file of kind ``choices``, named as
            :func:`babelscope.io.cells.cell_name` says.
        kept: Best units that are kept at all sites, on each half; of one site its share of them.
        seed: Of the pairings of concepts.

    Returns:
        What the best unit of each concept reaches in its worst language, at each site and at all (``*``), see
        :func:`babelscope.analysis.reliability.search_units`: ``model, step, pooling, searched, pairing,
        concept, value``.

    Raises:
        ValueError: If languages or poolings do not have the same concepts or units.
    """
    check_alike(file for files in scores.values() for file in files.values())
    searched = []
    for pooling, files in scores.items():
        units = next(iter(files.values())).units
        places = _places(units, min(kept, len(units)))
        for lang, file in files.items():
            group = pooled_group(groups[lang], file.provenance)
            write_provenance(group, file.provenance)
            group.attrs["concepts"] = file.concepts
            group.attrs["unit_order"] = [f"{layer} {site} {width}" for layer, site, width in units.sites]
            group.attrs["chance_ap"] = file.chance_ap
            group.attrs["kept"] = places[ALL_LAYERS, ALL_SITES]
            best = best_by_place(file, places, tuple(OTHER_HALF), seed=seed)
            for half in OTHER_HALF:
                unit_CP = np.concatenate([best[half, place].unit for place in places], axis=1)
                group.create_dataset(
                    half, data=unit_CP.astype(np.int32), compression="gzip", shuffle=True, track_times=False
                )
        found = search_sites(files, [site for _, site in places], seed=seed, n_nulls=_NULLS)
        for site, table in found.items():
            worst = table[table["metric"] == "worst_ap"].assign(pooling=pooling, searched=site)
            searched.append(worst[_SEARCHED])
    return pd.concat(searched, ignore_index=True)


class KeptUnits:
    """The best units of one (model, step, language) and pooling that :func:`keep_choices` kept, for reading.

    Args:
        path: The file.
        cell: Name of the group, such as ``4/en``; or ``4/en/mean`` of a further pooling.

    Attributes:
        provenance, concepts, units, chance_ap: As of :class:`babelscope.analysis.ranking.BestFile`.
        kept: Units that are kept of every concept at all sites.

    Raises:
        StoreError: If the file is truncated, foreign, incomplete, of another version or lacks the cell.
    """

    def __init__(self, path: Path, cell: str) -> None:
        with open_h5(path, kind="choices") as file:
            group = cell_of(file, cell)
            self.provenance = read_provenance(group)
            self.concepts: list[str] = [str(name) for name in group.attrs["concepts"]]
            places = [place.split() for place in group.attrs["unit_order"]]
            self.units = UnitIndex.of((int(layer), site, int(width)) for layer, site, width in places)
            self.chance_ap: Floats = group.attrs["chance_ap"]
            self.kept = int(group.attrs["kept"])
            self._unit_CP = {half: group[half][:].astype(np.int64) for half in OTHER_HALF}

    def chosen(self, k: int) -> dict[tuple[Place, str], Ints]:
        """Numbers of the K best units by place and half, each ``(C, K)`` where K is the place's share."""
        found, start = {}, 0
        most, wanted = _places(self.units, self.kept), _places(self.units, k)
        for place, width in most.items():
            for half, unit_CP in self._unit_CP.items():
                found[place, half] = unit_CP[:, start : start + wanted[place]]
            start += width
        return found


def kept_units(
    paths: Iterable[Path], wanted: Iterable[Cell] | None = None, *, pooling: str = ""
) -> dict[Cell, KeptUnits]:
    """What is kept of one model by (step, language); see :func:`babelscope.io.cells.by_cell`.

    ``pooling`` names a further one; by default it is the first of each cell.
    """
    found = by_cell(paths, kind="choices", wanted=wanted)
    return {cell: KeptUnits(path, pooled_name(name, pooling)) for cell, (path, name) in found.items()}


def compare_choices(
    kept: Mapping[str, Mapping[str, KeptUnits]],
    searched: pd.DataFrame,
    settings: AlignmentSettings,
    *,
    k: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every choice of pooling, site and size for one (model, step).

    Args:
        kept: By pooling and language the best units; all over the same units and concepts.
        searched: The table of :func:`keep_choices`.
        settings: Resamples, permutations (200 at most), seed.
        k: The study's number of experts.

    Returns:
        Two tables. A row per choice: ``model, step, measure, pooling, site`` (``*``: all), ``size`` (a key of
        :data:`SIZES`; ``double`` if so many are kept), ``probe`` (empty), ``value, low, high, null,
        null_high`` (what 5% of permutations reach), ``chance, ceiling, way, way_low, way_high, p_value, k,
        n_units, n_concepts, n_pairs, n_null``. ``measure`` is ``overlap``, the mean over pairs of languages
        on disjoint lines, or ``worst_ap``, that of the best unit of each concept, of size ``study`` alone.
        And their resamples: ``draw, value, null, chance, ceiling``; draw i is the same choice of concepts and
        languages in all.

    Raises:
        ValueError: If languages or poolings do not have the same concepts or units.
    """
    check_alike(file for files in kept.values() for file in files.values())
    # What is drawn does not depend on the order of the study.
    kept = {pooling: dict(sorted(files.items())) for pooling, files in kept.items()}
    fewer = settings.model_copy(
        update={name: min(CHOICE_DRAWS, getattr(settings, name)) for name in ("bootstrap", "permutations")}
    )
    first = next(iter(next(iter(kept.values())).values())).provenance
    rows, drawn = [], []
    for pooling, files in kept.items():
        of_pooling = searched[searched["pooling"] == pooling]
        for found in (_overlaps(files, fewer, k), _best_units(files, of_pooling, fewer)):
            for row, draws in found:
                about = {"model": first.model, "step": first.step, "pooling": pooling, "probe": "", **row}
                rows.append(about)
                key = {name: about[name] for name in ("model", "step", *CHOICE)}
                drawn.append(pd.DataFrame({**key, "draw": np.arange(fewer.bootstrap), **draws}))
    table = pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_NUMBERS, np.float64))
    types = dict.fromkeys(("value", "null", "chance", "ceiling"), np.float32)
    return table, pd.concat(drawn, ignore_index=True).reindex(columns=_DRAWN).astype(types)


def _overlaps(
    files: Mapping[str, KeptUnits], settings: AlignmentSettings, k: int
) -> Iterator[tuple[dict[str, Any], dict[str, Floats]]]:
    """Overlap of each site and size, and its resamples."""
    first = next(iter(files.values()))
    sizes = {size: max(1, round(k * times)) for size, times in SIZES.items()}
    for size, n in sizes.items():
        if n > first.kept or (size != "study" and n == k):
            continue
        k_of = _places(first.units, n)
        chosen = {lang: file.chosen(n) for lang, file in files.items()}
        for place, (row, draws) in mean_overlap(chosen, settings).items():
            n_units = _width(first.units, place[1])
            about = {"measure": "overlap", "site": place[1], "size": size, "k": k_of[place]}
            about |= {"n_units": n_units, "chance": k_of[place] / n_units, "value": row["overlap"]}
            about |= {"n_concepts": len(first.concepts), "n_null": settings.permutations}
            resamples = {"value": draws["overlap"], "null": draws["null"], "ceiling": draws["ceiling"]}
            yield {**row, **about}, resamples


def _places(units: UnitIndex, k: int) -> dict[Place, int]:
    """How many experts are chosen at all sites, and at each its share of them, where there are several."""
    of_sites = {place: n for place, n in k_by_site(units, k).items() if place[0] == ALL_LAYERS}
    return {(ALL_LAYERS, ALL_SITES): k, **of_sites}


def _width(units: UnitIndex, site: str) -> int:
    return sum(width for _, name, width in units.sites if site in (ALL_SITES, name))


def _best_units(
    files: Mapping[str, KeptUnits], searched: pd.DataFrame, settings: AlignmentSettings
) -> Iterator[tuple[dict[str, Any], dict[str, Floats]]]:
    """The worst average precision of the best unit of each concept at each site, and its resamples."""
    first = next(iter(files.values()))
    chance_C = np.min([file.chance_ap for file in files.values()], axis=0)
    weights_BC = bootstrap_weights(len(chance_C), settings.bootstrap, settings.seed)
    for site, table in searched.groupby("searched", sort=False):
        values = table["value"].to_numpy(np.float64)
        value_C, *null_PC = values.reshape(-1, len(chance_C))
        null_C = np.mean(null_PC, axis=0) if null_PC else np.full_like(value_C, np.nan)
        columns = {"value": value_C, "null": null_C, "chance": chance_C}
        draws = {name: weights_BC @ values_C for name, values_C in columns.items()}
        means = {name: float(values_C.mean()) for name, values_C in columns.items()}
        low, high = interval(draws["value"])
        name = str(site)
        about = {"measure": "worst_ap", "site": name, "size": "study", "n_units": _width(first.units, name)}
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
