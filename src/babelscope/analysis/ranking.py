"""What lasts of the scores: of every concept the best units, from which any smaller K follows.

Scores of all units are large (a step of BLOOM-7b1, 200 concepts, 16 languages: 57 GB) and whole only
until their step was ranked. Kept are, per language, concept and subset of the sentences, the best ``n`` units
of the model, and in every layer its share of ``n``: unit, average precision, that on the other half, median
over the positive sentences; and the average precision that the units which were found in one language have in
every other. So experts, their overlap and transfer, life lines and generation need no scores of all units,
for any K up to ``n``. Where a study has several sites, the best of each site are kept as well, chosen on the
halves; and where the words of sentences are known, the best on the two subsets of disjoint words: only the
numbers of the units, since nothing but the overlap needs them.

A unit whose AP is that of a constant is no expert and is not kept: where a matrix is zero all units are
alike, and in one order in all languages they would look shared. Where fewer are left, the last places are
empty (:data:`NOBODY`). Equal scores go by lot: by an order of the units that is drawn for each language and
subset of the sentences. Names of shapes: ``C`` concepts, ``n`` kept units, ``U`` units of a site, ``N`` units
of the model, ``L`` languages, ``P`` pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from babelscope.analysis.scores import OTHER_HALF, SUBSETS, WORD_SUBSETS, ScoreFile, check_alike
from babelscope.capture.store import read_provenance, write_provenance
from babelscope.errors import StoreError
from babelscope.io.cells import Cell, by_cell, cell_of
from babelscope.io.files import AGAIN
from babelscope.io.h5 import open_h5
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Place = tuple[int, str]
"""Layer and site in which experts are chosen; :data:`ALL_LAYERS` and :data:`ALL_SITES` are the model."""
ALL_LAYERS = -1
ALL_SITES = "*"
MODEL: Place = (ALL_LAYERS, ALL_SITES)
#: In place of the number of a unit, where no unit is left; its scores are NaN.
NOBODY = -1


class Best(NamedTuple):
    """The best units of every concept, best first; equal ones by lot. Each ``(C, n)``."""

    unit: Ints
    """Number of the unit, or :data:`NOBODY`."""
    ap: Floats
    """Average precision on the subset."""
    held_out_ap: Floats
    """The same on the other half; NaN for all sentences."""
    median: Floats
    """Median over the positive sentences."""

    def first(self, k: int) -> Best:
        """The best ``k`` of them."""
        return Best(self.unit[:, :k], self.ap[:, :k], self.held_out_ap[:, :k], self.median[:, :k])


class OnHalf(NamedTuple):
    """The best units of a half, best first, and what is known of units on the other half."""

    unit: Ints
    """Number of the unit, or :data:`NOBODY`; ``(C, n)``."""
    ap: Floats
    """Average precision on the half, ``(C, n)``."""
    abroad: Floats
    """In every language, on the other half; ``(L, C, n)``."""
    sum_over_concepts: Floats
    """Of the average precision of every unit on the other half, ``(N,)``."""


def rank_units(
    scores: Mapping[str, ScoreFile], groups: Mapping[str, h5py.Group], *, kept: int, seed: int
) -> None:
    """Keep of the scores of one (model, step) what is needed of them.

    Args:
        scores: Per language its scores; all over the same units and concepts.
        groups: Per language an empty group of an HDF5 file of kind ``best``, named as
            :func:`babelscope.io.cells.cell_name` says.
        kept: Units that are kept, or all if there are fewer.
        seed: Of the order of equal scores.

    Raises:
        ValueError: If languages do not have the same concepts or units.
    """
    check_alike(scores.values())
    units = next(iter(scores.values())).units
    kept = min(kept, len(units))
    best = {lang: _best_by_place(file, kept, seed) for lang, file in scores.items()}
    chosen = {lang: {half: found[half, MODEL].unit for half in OTHER_HALF} for lang, found in best.items()}
    abroad, sums = _abroad(scores, chosen)
    for lang, group in groups.items():
        file = scores[lang]
        write_provenance(group, file.provenance)
        group.attrs["concepts"] = file.concepts
        group.attrs["unit_order"] = [f"{layer} {site} {width}" for layer, site, width in units.sites]
        group.attrs["positive_rate"] = file.positive_rate
        group.attrs["chance_ap"] = file.chance_ap
        group.attrs["length_ap"] = file.length_ap
        group.attrs["langs"] = list(scores)
        group.attrs["split_by_words"] = file.split_by_words
        for subset in SUBSETS:
            for at in k_by_scope(units, kept):
                found = best[lang][subset, (at, ALL_SITES)]
                name = subset if at == ALL_LAYERS else f"layer-{at:02d}/{subset}"
                _write(group, f"{name}/ap", found.ap.astype(np.float32))
                _write(group, f"{name}/unit", found.unit.astype(np.int32))
                group[name].attrs["next_ap"] = found.next_ap.astype(np.float32)
                if at == ALL_LAYERS:
                    _write(group, f"{name}/median", found.median.astype(np.float32))
                    group[name].attrs["constant_ap"] = found.constant_ap.astype(np.float32)
        for subset in _packed_subsets(file.split_by_words):
            if places := _packed_places(units, subset, kept):
                parts = [best[lang][subset, place].unit for place in places]
                _write(group, f"places/{subset}", np.concatenate(parts, axis=1).astype(np.int32))
        for half in OTHER_HALF:
            _write(group, f"{half}/ap_abroad", abroad[lang, half])
            _write(group, f"{half}/sum_over_concepts", sums[lang, half])


def _write(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Packed: numbers of units and falling scores take 6 of 10 bytes, scores in other languages 8 of 10."""
    group.create_dataset(
        name, data=values, compression="gzip", compression_opts=1, shuffle=True, track_times=False
    )


def k_by_scope(units: UnitIndex, k: int) -> dict[int, int]:
    """How many units are chosen in the model (-1) and in each layer, which has its share."""
    return {-1: k, **{at: max(1, round(k * units.width(at) / len(units))) for at in units.layers}}


def k_by_site(units: UnitIndex, k: int) -> dict[Place, int]:
    """How many units are chosen in each site, over all layers and within each; none if there is one site."""
    widths: dict[Place, int] = {}
    for layer, site, width in units.sites:
        widths[ALL_LAYERS, site] = widths.get((ALL_LAYERS, site), 0) + width
        if width < units.width(layer):  # else the site is the layer
            widths[layer, site] = width
    if len({site for _, site in widths}) == 1:
        return {}
    return {place: max(1, round(k * width / len(units))) for place, width in sorted(widths.items())}


def _packed_subsets(split_by_words: NDArray[np.bool_]) -> tuple[str, ...]:
    """Subsets of which units are kept by place in one data set."""
    return (*OTHER_HALF, *WORD_SUBSETS) if split_by_words.any() else tuple(OTHER_HALF)


def _packed_places(units: UnitIndex, subset: str, k: int) -> dict[Place, int]:
    """Columns of that data set by place: sites; of disjoint words, the model and its layers too."""
    whole = {(at, ALL_SITES): n for at, n in k_by_scope(units, k).items()} if subset in WORD_SUBSETS else {}
    return whole | k_by_site(units, k)


class Ranked(NamedTuple):
    """The best units of a place. Each ``(C, K)``; NaN and :data:`NOBODY` where none is left."""

    ap: Floats
    median: Floats
    unit: Ints
    next_ap: Floats
    """Of the best unit that is not among them, ``(C,)``; NaN if there is none."""
    constant_ap: Floats
    """Of the units that were left out since a constant has it, ``(C,)``; NaN if none was."""


def _best_by_place(scores: ScoreFile, kept: int, seed: int) -> dict[tuple[str, Place], Ranked]:
    """What is kept, of all places and subsets."""
    units = scores.units
    k_of = {(at, ALL_SITES): n for at, n in k_by_scope(units, kept).items()} | k_by_site(units, kept)
    subsets = tuple(dict.fromkeys((*SUBSETS, *_packed_subsets(scores.split_by_words))))
    return best_by_place(scores, k_of, subsets, seed=seed)


def best_by_place(
    scores: ScoreFile, k_of: Mapping[Place, int], subsets: Sequence[str], *, seed: int
) -> dict[tuple[str, Place], Ranked]:
    """Per subset and place the best units, best first; one site at a time bounds the memory.

    Args:
        scores: Of one (model, step, language).
        k_of: How many units are wanted of each place; the model is one, and none has more than it.
        subsets: Of the sentences.
        seed: Of the lots by which equal units are taken.
    """
    units = scores.units
    lots = {subset: lots_of(len(units), scores.provenance.lang, subset, seed) for subset in subsets}
    # Planes (C, K): AP (minus infinity of no expert), lot, median, number of the unit.
    best: dict[tuple[str, Place], Floats] = {}
    constant_ap = {subset: np.full(len(scores.concepts), np.nan) for subset in subsets}
    for layer, site, numbers in units.parts():
        median_CU = scores.read(layer, site, "median")
        for subset in subsets:
            ap_CU = scores.read(layer, site, f"ap_{subset}")
            if subset in WORD_SUBSETS:  # of a concept that is not split any units do: nobody reads them
                ap_CU[~scores.split_by_words] = 0
            is_constant_CU = ap_CU == scores.constant_ap[subset][:, None]
            ap_CU[is_constant_CU] = -np.inf
            any_C = is_constant_CU.any(axis=1)
            constant_ap[subset][any_C] = scores.constant_ap[subset][any_C]
            lot_U = lots[subset][numbers]
            unit_CK = np.stack([top(ap_U, lot_U, k_of[MODEL] + 1) for ap_U in ap_CU])
            ap_CK, median_CK = (np.take_along_axis(v, unit_CK, axis=1) for v in (ap_CU, median_CU))
            found = np.stack([ap_CK, lot_U[unit_CK], median_CK, numbers.start + unit_CK])
            for place in (MODEL, (layer, ALL_SITES), (ALL_LAYERS, site), (layer, site)):
                if place in k_of:
                    both = np.concatenate([best.get((subset, place), found[:, :, :0]), found], axis=2)
                    order_CK = np.lexsort((both[1], -both[0]), axis=1)[:, : k_of[place] + 1]
                    best[subset, place] = np.take_along_axis(both, order_CK[None], axis=2)
    return {
        (subset, place): _ranked(planes, k_of[place], constant_ap[subset])
        for (subset, place), planes in best.items()
    }


def _ranked(planes: Floats, k: int, constant_ap: Floats) -> Ranked:
    """The first K of a place, and what comes next."""
    ap_CK, _, median_CK, unit_CK = planes
    nobody_CK = np.isneginf(ap_CK)
    ap_CK, median_CK = (np.where(nobody_CK, np.nan, values_CK) for values_CK in (ap_CK, median_CK))
    next_ap = ap_CK[:, k] if ap_CK.shape[1] > k else np.full(len(ap_CK), np.nan)
    unit_CK = np.where(nobody_CK, NOBODY, unit_CK).astype(np.int64)
    return Ranked(ap_CK[:, :k], median_CK[:, :k], unit_CK[:, :k], next_ap, constant_ap)


def lots_of(n_units: int, lang: str, subset: str, seed: int) -> Ints:
    """The order in which a language takes equal units on a subset of its sentences, ``(N,)``.

    It differs by language and subset, so that units which are alike are shared as by chance, and does not
    depend on what else is ranked.
    """
    name = int.from_bytes(hashlib.sha256(f"{lang} {subset}".encode()).digest()[:8], "little")
    return np.random.default_rng([seed, name]).permutation(n_units)


def top(scores_U: NDArray[Any], lot_U: Ints, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` highest scores, best first; equal scores by lot; all if there are fewer."""
    candidates = np.arange(len(scores_U))
    if k < len(scores_U):
        # All units that reach the k-th score, so that a tie at the border goes by lot too.
        candidates = np.flatnonzero(scores_U >= np.partition(scores_U, len(scores_U) - k)[len(scores_U) - k])
    order = np.lexsort((lot_U[candidates], -scores_U[candidates]))
    return np.asarray(candidates[order][:k], dtype=np.intp)


def _abroad(
    scores: Mapping[str, ScoreFile], chosen: Mapping[str, Mapping[str, Ints]]
) -> tuple[dict[tuple[str, str], NDArray[np.float32]], dict[tuple[str, str], Floats]]:
    """By language and half: AP in all languages, on the other half, of units chosen on it, ``(L, C, n)``; NaN
    of nobody.

    And the sum over concepts of the AP of every unit on the half, ``(N,)``, for the mean over other concepts.
    """
    first = next(iter(scores.values()))
    # By site of the units: where in (C, n) they stand, and which they are.
    places = {}
    for lang, halves in chosen.items():
        for half, unit_CK in halves.items():
            site, index = first.units.split(np.maximum(unit_CK, 0).ravel())
            order = np.argsort(site, kind="stable")
            ends = np.searchsorted(site[order], np.arange(len(first.units.sites) + 1))
            concept = np.repeat(np.arange(len(unit_CK)), unit_CK.shape[1])
            places[lang, half] = order, ends, concept, index
    shape = len(scores), *next(iter(next(iter(chosen.values())).values())).shape
    abroad = {key: np.empty(shape, np.float32) for key in places}
    sums = {key: np.empty(len(first.units)) for key in places}
    for b, (target, file) in enumerate(scores.items()):
        for number, (layer, site_name, part) in enumerate(first.units.parts()):
            for half, other in OTHER_HALF.items():
                ap_CU = file.read(layer, site_name, f"ap_{other}")
                sums[target, other][part] = ap_CU.sum(axis=0, dtype=np.float64)
                for lang in scores:
                    order, ends, concept, index = places[lang, half]
                    at = order[ends[number] : ends[number + 1]]
                    abroad[lang, half][b].reshape(-1)[at] = ap_CU[concept[at], index[at]]
    for (lang, half), ap_LCK in abroad.items():
        ap_LCK[:, chosen[lang][half] == NOBODY] = np.nan
    return abroad, sums


class BestFile:
    """The best units of one (model, step, language), for reading.

    Args:
        path: The file, which may hold other cells too.
        cell: Name of the group, such as ``4/en``.

    Attributes:
        provenance: Where the numbers come from.
        concepts: Names of the concepts, in the order of the rows.
        units: All units of the model.
        positive_rate: Share of positive sentences per concept: the AP of a constant.
        chance_ap: Mean AP per concept of scores in random order on half of the sentences, over the halves.
        length_ap: AP of the length of a sentence, held out, per concept; NaN if it is not known.
        langs: The languages whose scores were there, in the order of ``ap_abroad``.
        kept: Units that are kept of every concept.
        split_by_words: Whether a concept's sentences could be split by their words.

    Raises:
        StoreError: If the file is truncated, foreign, incomplete, of another version or lacks the cell.
    """

    def __init__(self, path: Path, cell: str) -> None:
        self.path, self.cell = Path(path), cell
        with open_h5(self.path, kind="best") as file:
            group = cell_of(file, cell)
            self.provenance = read_provenance(group)
            self.concepts: list[str] = [str(name) for name in group.attrs["concepts"]]
            places = [place.split() for place in group.attrs["unit_order"]]
            self.units = UnitIndex.of((int(layer), site, int(width)) for layer, site, width in places)
            self.positive_rate: Floats = group.attrs["positive_rate"]
            self.chance_ap: Floats = group.attrs["chance_ap"]
            self.length_ap: Floats = group.attrs["length_ap"]
            self.langs: list[str] = [str(lang) for lang in group.attrs["langs"]]
            self.kept: int = group["all/unit"].shape[1]
            self._constant_ap: Floats = group["all"].attrs["constant_ap"]
            self.split_by_words: NDArray[np.bool_] = group.attrs["split_by_words"]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.cell} of {self.path.name}>"

    def best(self, subset: str, layer: int = -1) -> Best:
        """The best units on a subset of the sentences, of the model or of a layer.

        Of a layer only ``unit`` and ``ap`` are kept; the others are NaN.
        """
        name = subset if layer == ALL_LAYERS else f"layer-{layer:02d}/{subset}"
        own = self.langs.index(self.provenance.lang)
        with open_h5(self.path, kind="best") as file:
            group = cell_of(file, self.cell)
            ap_CK, unit_CK = group[f"{name}/ap"][:].astype(np.float64), group[f"{name}/unit"][:]
            held_out_CK = median_CK = np.full(ap_CK.shape, np.nan)
            if layer == ALL_LAYERS:
                median_CK = group[f"{name}/median"][:].astype(np.float64)
                if subset in OTHER_HALF:
                    held_out_CK = group[f"{subset}/ap_abroad"][own].astype(np.float64)
        return Best(unit_CK.astype(np.int64), ap_CK, held_out_CK, median_CK)

    def chosen(self, k: int) -> dict[tuple[Place, str], Ints]:
        """Numbers of the K best units by place and subset, each ``(C, K)`` where K is the place's share.

        Places are the model and its layers, and with several sites those: of these on halves alone. Subsets
        of disjoint words are there if any concept could be split.
        """
        found: dict[tuple[Place, str], Ints] = {}
        with open_h5(self.path, kind="best") as file:
            group = cell_of(file, self.cell)
            for subset in SUBSETS:
                for at, n in k_by_scope(self.units, k).items():
                    name = subset if at == ALL_LAYERS else f"layer-{at:02d}/{subset}"
                    found[(at, ALL_SITES), subset] = group[f"{name}/unit"][:, :n]
            for subset in _packed_subsets(self.split_by_words):
                places = _packed_places(self.units, subset, self.kept)
                if not places:
                    continue
                unit_CP, start = group[f"places/{subset}"][:], 0
                for (place, width), n in zip(
                    places.items(), _packed_places(self.units, subset, k).values(), strict=True
                ):
                    found[place, subset] = unit_CP[:, start : start + n]
                    start += width
        return {key: np.asarray(unit_CK, dtype=np.int64) for key, unit_CK in found.items()}

    def tied(self, k: int) -> dict[tuple[Place, str], Floats]:
        """Of the K best units of a concept the share that was chosen by lot, by place and subset; ``(C,)``.

        Those are the units whose AP is that of the last one chosen and of one that was not. Known of the
        model and its layers.
        """
        found: dict[tuple[Place, str], Floats] = {}
        with open_h5(self.path, kind="best") as file:
            group = cell_of(file, self.cell)
            for subset in SUBSETS:
                for at, n in k_by_scope(self.units, k).items():
                    of_place = group[subset if at == ALL_LAYERS else f"layer-{at:02d}/{subset}"]
                    ap_CK = of_place["ap"][:, : n + 1]
                    next_C = ap_CK[:, n] if ap_CK.shape[1] > n else of_place.attrs["next_ap"]
                    equal_CK = ap_CK[:, :n] == np.asarray(next_C)[:, None]
                    found[(at, ALL_SITES), subset] = equal_CK.mean(axis=1)
        return found

    def below(self) -> Floats:
        """The most that a unit has on all sentences which is not kept, per concept, ``(C,)``: what the last
        one that is kept has, or, if it is more, what the constants have that were left out."""
        return np.asarray(np.fmax(self.best("all").ap[:, -1], self._constant_ap), dtype=np.float64)

    def on_half(self, half: str) -> OnHalf:
        """The best units of a half with what is known of them on the other half, opened once."""
        with open_h5(self.path, kind="best") as file:
            group = cell_of(file, self.cell)
            return OnHalf(
                group[f"{half}/unit"][:].astype(np.int64),
                group[f"{half}/ap"][:].astype(np.float64),
                group[f"{half}/ap_abroad"][:].astype(np.float64),
                group[f"{OTHER_HALF[half]}/sum_over_concepts"][:].astype(np.float64),
            )

    def abroad(self, half: str) -> Floats:
        """AP in every language, on the other half, of the best units of a half; shape ``(L, C, n)``."""
        return self._read(f"{half}/ap_abroad")

    def sum_over_concepts(self, half: str) -> Floats:
        """Sum over all concepts of the AP of every unit on a half, shape ``(N,)``."""
        return self._read(f"{half}/sum_over_concepts")

    def _read(self, name: str) -> Floats:
        with open_h5(self.path, kind="best") as file:
            return np.asarray(cell_of(file, self.cell)[name][:], dtype=np.float64)

    def ap(self, concept_P: NDArray[Any], unit_P: NDArray[Any]) -> tuple[Floats, Floats]:
        """AP on all sentences of pairs of a concept and a unit; or, where it was not kept, what it is below.

        Args:
            concept_P: Row of the concept.
            unit_P: Number of the unit.

        Returns:
            The AP, NaN where it was not kept; and the most that the pair can have (:meth:`below`), NaN where
            the AP is known.
        """
        best = self.best("all")
        keys_CK = np.arange(len(self.concepts))[:, None] * len(self.units) + best.unit
        keys_CK[best.unit == NOBODY] = NOBODY
        order = np.argsort(keys_CK, axis=None)
        sorted_keys, ap = keys_CK.ravel()[order], best.ap.ravel()[order]
        wanted = np.asarray(concept_P, np.int64) * len(self.units) + np.asarray(unit_P, np.int64)
        at = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
        is_kept = sorted_keys[at] == wanted
        last = self.below()[np.asarray(concept_P, np.int64)]
        return np.where(is_kept, ap[at], np.nan), np.where(is_kept, np.nan, last)


def best_files(paths: Iterable[Path], wanted: Iterable[Cell] | None = None) -> dict[Cell, BestFile]:
    """The best units of one model by (step, language); see :func:`babelscope.io.cells.by_cell`.

    Raises:
        StoreError: Also if languages were ranked beside different others.
    """
    found = {
        cell: BestFile(path, name)
        for cell, (path, name) in by_cell(paths, kind="best", wanted=wanted).items()
    }
    for step in dict.fromkeys(step for step, _ in found):
        first, *others = [file for (at, _), file in found.items() if at == step]
        for file in others:
            if file.langs != first.langs:
                problem = f"{file.cell} was ranked beside {file.langs}, {first.cell} beside {first.langs}"
                raise StoreError(file.path, problem, AGAIN)
    return found


def best_of_models(
    paths: Iterable[Path], wanted: Mapping[str, Iterable[Cell]] | None = None
) -> dict[str, dict[Cell, BestFile]]:
    """The best units of several models, whose files lie in a folder each, by model and then as
    :func:`best_files`; of each model those that are wanted.

    Raises:
        StoreError: As it.
    """
    folders: dict[str, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent.name, []).append(path)
    return {
        model: best_files(of_model, None if wanted is None else wanted[model])
        for model, of_model in folders.items()
    }
