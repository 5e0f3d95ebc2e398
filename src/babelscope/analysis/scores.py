"""How well single units predict concepts, and which are the experts.

Average precision after Suau, Zappella and Apostoloff (2020), "Finding Experts in Transformer Models", with
ties as in ``sklearn.metrics.average_precision_score``. Names of shapes: ``N`` sentences, ``U`` units,
``C`` concepts, ``K`` experts.

The sentences of a language are cut in two halves, ``a`` and ``b``, by their numbers, the same in all
languages. Scores exist for three subsets: ``all`` sentences and each half.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.activations.store import (
    UnitFile,
    align_rows,
    read_provenance,
    write_provenance,
)
from babelscope.errors import DataError, NumericsError, StudyError
from babelscope.io.h5 import atomic_h5, open_h5
from babelscope.text.ids import half_of

Floats = NDArray[np.float64]
SUBSETS = ("all", "a", "b")
OTHER_HALF = {"a": "b", "b": "a"}
POSITIVE, NEGATIVE, EXCLUDED = 1, 0, -1


def average_precision(
    values_NU: NDArray[Any],
    labels_NC: NDArray[np.integer[Any]],
    *,
    block_units: int = 512,
    threads: int = 1,
) -> Floats:
    """Average precision of every unit as a score for every concept.

    The sentences are sorted once per unit. One walk down the sorted sentences then serves all concepts:
    it counts each concept's positives, and at the end of a group of equal values adds
    (positives in the group) * (positives so far) / (sentences so far).

    Args:
        values_NU: Scores, higher means more of the concept. Shape ``(N, U)``, finite, float16/32/64.
        labels_NC: 1 positive, 0 negative, -1 not part of this concept's data. Shape ``(N, C)``.
        block_units: Units handled at a time; bounds the memory beside input and result to about
            ``threads * block_units * N * 20`` bytes (float64 input: 40).
        threads: Blocks handled side by side.

    Returns:
        Shape ``(C, U)``, equal to scikit-learn's value within rounding (1e-12).

    Raises:
        ValueError: If shapes or types do not fit, a label is another number, or a concept has no
            positive sentence.
        NumericsError: If a value is not finite.
    """
    if values_NU.ndim != 2 or labels_NC.ndim != 2 or len(values_NU) != len(labels_NC):
        shapes = values_NU.shape, labels_NC.shape
        raise ValueError(f"need values (N, U) and labels (N, C) of the same N; got {shapes}")
    if values_NU.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"values must be float16, float32 or float64; got {values_NU.dtype}")
    unknown = labels_NC[(labels_NC < EXCLUDED) | (labels_NC > POSITIVE)]
    if len(unknown):
        raise ValueError(f"a label is 1, 0 or -1; got {unknown[0]}")
    if not np.isfinite(values_NU).all():
        row, unit = np.argwhere(~np.isfinite(values_NU))[0]
        raise NumericsError(f"value of sentence {row}, unit {unit} is {values_NU[row, unit]}")
    n_positive_C = (labels_NC == POSITIVE).sum(axis=0)
    if (n_positive_C == 0).any():
        without = np.flatnonzero(n_positive_C == 0).tolist()
        raise ValueError(f"average precision needs a positive sentence; none in columns {without}")
    n_units = values_NU.shape[1]
    ap_CU = np.empty((labels_NC.shape[1], n_units))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for rows, columns in _same_sentences(labels_NC):
            positive_NC = labels_NC[np.ix_(rows, columns)] == POSITIVE
            starts, concepts = _positives_by_row(positive_NC)
            counts = n_positive_C[columns].astype(np.int64)
            everything = len(rows) == len(values_NU)

            def score(
                first: int,
                rows: NDArray[np.intp] = rows,
                columns: NDArray[np.intp] = columns,
                starts: NDArray[np.int64] = starts,
                concepts: NDArray[np.int64] = concepts,
                counts: NDArray[np.int64] = counts,
                everything: bool = everything,
            ) -> None:
                units = slice(first, first + block_units)
                block = values_NU[:, units] if everything else values_NU[rows, units]
                keys_UN = _sort_descending(block)
                out = np.empty((len(keys_UN), len(columns)))
                _walk(keys_UN, starts, concepts, counts, out)
                ap_CU[columns, units] = out.T

            list(pool.map(score, range(0, n_units, block_units)))
    return ap_CU


def _same_sentences(
    labels_NC: NDArray[Any],
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Concepts that use the same sentences, together: one sort serves them all."""
    included_NC = labels_NC != EXCLUDED
    patterns, group_C = np.unique(included_NC, axis=1, return_inverse=True)
    group_C = group_C.reshape(-1)
    return [
        (np.flatnonzero(patterns[:, group]), np.flatnonzero(group_C == group))
        for group in range(patterns.shape[1])
    ]


def _positives_by_row(
    positive_NC: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each sentence the concepts that it expresses, as (row starts, concepts)."""
    _, concepts = np.nonzero(positive_NC)
    starts = np.concatenate([[0], np.cumsum(positive_NC.sum(axis=1))])
    return starts.astype(np.int64), concepts.astype(np.int64)


def _sort_descending(values_NU: NDArray[Any]) -> NDArray[np.uint64]:
    """Rows by falling value: integers whose upper 32 bits are equal for equal values, the lower the row.

    Shape ``(U, N)``.
    """
    n_rows, n_units = values_NU.shape
    if values_NU.dtype == np.float64:
        falling_UN = -(values_NU.T + 0.0)  # -0.0 becomes 0.0: they are equal
        order_UN = np.argsort(falling_UN, axis=1, kind="stable")
        sorted_UN = np.take_along_axis(falling_UN, order_UN, axis=1)
        group_UN = np.zeros((n_units, n_rows), dtype=np.uint64)
        np.cumsum(sorted_UN[:, 1:] != sorted_UN[:, :-1], axis=1, out=group_UN[:, 1:])
        group_UN <<= np.uint64(32)
        group_UN |= order_UN.astype(np.uint64)
        return group_UN
    # Value and row in one integer: sorting integers is several times faster than argsort. The bits of
    # a float of positive sign rise with its value, those of negative sign fall; turning the first
    # round makes all of them fall. Adding 0 turns -0.0 into 0.0.
    bits_UN = np.add(values_NU.T, np.float32(0), dtype=np.float32, order="C").view(np.uint32)
    turned_UN = bits_UN.view(np.int32) >> np.int32(31)
    np.invert(turned_UN, out=turned_UN)
    turned_UN &= np.int32(0x7FFFFFFF)
    bits_UN ^= turned_UN.view(np.uint32)
    del turned_UN
    keys_UN: NDArray[np.uint64] = bits_UN.astype(np.uint64)
    keys_UN <<= np.uint64(32)
    keys_UN |= np.arange(n_rows, dtype=np.uint64)
    keys_UN.sort(axis=1)
    return keys_UN


@numba.njit(nogil=True, cache=True)
def _walk(
    keys_UN: NDArray[np.uint64],
    starts: NDArray[np.int64],
    concepts: NDArray[np.int64],
    n_positive_C: NDArray[np.int64],
    out_UC: Floats,
) -> None:
    n_units, n_rows = keys_UN.shape
    n_concepts = len(n_positive_C)
    so_far = np.zeros(n_concepts, dtype=np.int64)
    in_group = np.zeros(n_concepts, dtype=np.int64)
    touched = np.empty(n_concepts, dtype=np.int64)
    for unit in range(n_units):
        out_UC[unit] = 0.0
        so_far[:] = 0
        n_touched = 0
        for rank in range(n_rows):
            row = np.int64(keys_UN[unit, rank] & np.uint64(0xFFFFFFFF))
            for at in range(starts[row], starts[row + 1]):
                concept = concepts[at]
                if in_group[concept] == 0:
                    touched[n_touched] = concept
                    n_touched += 1
                in_group[concept] += 1
            here = keys_UN[unit, rank] >> np.uint64(32)
            if rank + 1 == n_rows or keys_UN[unit, rank + 1] >> np.uint64(32) != here:
                for at in range(n_touched):
                    concept = touched[at]
                    so_far[concept] += in_group[concept]
                    out_UC[unit, concept] += in_group[concept] * (so_far[concept] / (rank + 1))
                    in_group[concept] = 0
                n_touched = 0
        for concept in range(n_concepts):
            out_UC[unit, concept] /= n_positive_C[concept]


@dataclass(frozen=True)
class Labels:
    """Which sentences express which concepts, as an array whose rows are the sentences of a file.

    Attributes:
        concepts: Names of the columns.
        values_NC: 1 positive, 0 negative, -1 not part of the concept's data.
        half_N: Half of each sentence, ``a`` or ``b``.
    """

    concepts: tuple[str, ...]
    values_NC: NDArray[np.int8]
    half_N: NDArray[np.str_]

    @classmethod
    def from_table(cls, table: pd.DataFrame, sentence_ids: Sequence[str], where: str) -> Labels:
        """Join a table ``concept, sentence_id, label`` to the rows of a unit file, by id.

        Raises:
            DataError: If a label is not 1 or 0, or a sentence is labelled twice for a concept.
            StoreError: If a labelled sentence has no row.
        """
        wrong = table[~table["label"].isin([POSITIVE, NEGATIVE])]
        if len(wrong):
            at = wrong.iloc[0]
            problem = f"label of {at['sentence_id']} for {at['concept']} is {at['label']}, not 1 or 0"
            raise DataError(where, problem)
        twice = table[table.duplicated(["concept", "sentence_id"])]
        if len(twice):
            at = twice.iloc[0]
            problem = f"{len(twice)} labels stand twice; the first is {at['sentence_id']} for {at['concept']}"
            raise DataError(where, problem, "label each sentence once per concept")
        concepts = tuple(dict.fromkeys(table["concept"].astype(str)))
        column = {concept: at for at, concept in enumerate(concepts)}
        values_NC = np.full((len(sentence_ids), len(concepts)), EXCLUDED, dtype=np.int8)
        rows = align_rows(table["sentence_id"].astype(str).tolist(), sentence_ids, where)
        values_NC[rows, table["concept"].astype(str).map(column).to_numpy()] = table["label"]
        return cls(concepts, values_NC, np.array([half_of(name) for name in sentence_ids]))

    def subset(self, name: str) -> NDArray[np.intp]:
        """Rows of a subset."""
        if name == "all":
            return np.arange(len(self.half_N))
        return np.flatnonzero(self.half_N == name)

    def check(self, min_positive: int, where: str) -> None:
        """Refuse concepts with too few sentences.

        Raises:
            DataError: Naming every concept with too few, how many, how many are needed.
        """
        problems = []
        for subset in SUBSETS:
            values = self.values_NC[self.subset(subset)]
            needed = min_positive if subset == "all" else 2
            positive = (values == POSITIVE).sum(axis=0)
            negative = (values == NEGATIVE).sum(axis=0)
            part = "" if subset == "all" else f" in half {subset}"
            for concept, n, m in zip(self.concepts, positive, negative, strict=True):
                if n < needed:
                    problems.append(f"{concept} has {n} positive sentences{part}, needs {needed}")
                if m < 2:
                    problems.append(f"{concept} has {m} negative sentences{part}, needs 2")
        if problems:
            hint = "add sentences, lower concepts.min_positive, or drop the concept"
            raise DataError(where, "; ".join(problems[:10]), hint)


def score_units(
    units: UnitFile,
    concepts: pd.DataFrame,
    out: Path,
    *,
    min_positive: int = 2,
    block_units: int = 512,
    threads: int = 1,
) -> None:
    """Score every unit of a file for every concept and write the scores.

    The file also keeps each unit's median over the positive sentences of each concept: the value that
    generation forces. So a changed K does not need the activations again.

    Args:
        units: Pooled activations of one (model, step, language).
        concepts: Columns ``concept``, ``sentence_id``, ``label``.
        out: HDF5 file; per (layer, site) ``ap_all``, ``ap_a``, ``ap_b`` (float64) and ``median``
            (float32), each ``(C, U)``.
        min_positive: Positive sentences that every concept needs.
        block_units: Units handled at a time.
        threads: Blocks handled side by side.

    Raises:
        DataError: If a concept has too few sentences.
        StoreError: If rows and labels do not join.
    """
    labels = Labels.from_table(concepts, units.sentence_ids, str(units.path))
    labels.check(min_positive, f"{units.provenance.cell}: concepts")
    rows = {subset: labels.subset(subset) for subset in SUBSETS}
    with atomic_h5(out, kind="scores") as file:
        write_provenance(file, units.provenance)
        file.attrs["concepts"] = list(labels.concepts)
        file.attrs["unit_order"] = [f"{layer} {site}" for layer, site, _ in units.sites]
        for subset in SUBSETS:
            counted = labels.values_NC[rows[subset]]
            file.attrs[f"n_positive_{subset}"] = (counted == POSITIVE).sum(axis=0)
            file.attrs[f"n_negative_{subset}"] = (counted == NEGATIVE).sum(axis=0)
        for layer, site, _ in units.sites:
            values_NU = units.read(layer, site)
            widened_NU = values_NU.astype(np.float32, copy=False)  # a median may lie between two values
            group = file.create_group(f"layer-{layer:02d}/{site}")
            for subset in SUBSETS:
                ap_CU = average_precision(
                    values_NU[rows[subset]],
                    labels.values_NC[rows[subset]],
                    block_units=block_units,
                    threads=threads,
                )
                group.create_dataset(f"ap_{subset}", data=ap_CU, track_times=False)
            median_CU = np.stack(
                [
                    np.median(widened_NU[labels.values_NC[:, concept] == POSITIVE], axis=0)
                    for concept in range(len(labels.concepts))
                ]
            )
            group.create_dataset("median", data=median_CU.astype(np.float32), track_times=False)


class ScoreFile:
    """Scores of one (model, step, language), for reading.

    Attributes:
        concepts: Names of the concepts, in the order of the rows.
        sites: (layer, site, number of units) in unit order.

    Raises:
        StoreError: If the file is truncated, foreign, incomplete or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with open_h5(self.path, kind="scores") as file:
            self.provenance = read_provenance(file)
            self.concepts: list[str] = [str(name) for name in file.attrs["concepts"]]
            self.sites: list[tuple[int, str, int]] = []
            for name in file.attrs["unit_order"]:
                layer, site = name.split()
                width = file[f"layer-{int(layer):02d}/{site}/ap_all"].shape[1]
                self.sites.append((int(layer), site, int(width)))
            self._n = {
                name: np.asarray(file.attrs[name])
                for subset in SUBSETS
                for name in (f"n_positive_{subset}", f"n_negative_{subset}")
            }

    @property
    def n_units(self) -> int:
        return sum(width for _, _, width in self.sites)

    def n_positive(self, subset: str = "all") -> NDArray[np.int64]:
        """Positive sentences per concept."""
        return self._n[f"n_positive_{subset}"]

    def positive_rate(self, subset: str = "all") -> Floats:
        """Share of positive sentences per concept: the AP of a score that knows nothing."""
        positive, negative = self._n[f"n_positive_{subset}"], self._n[f"n_negative_{subset}"]
        return np.asarray(positive / (positive + negative))

    def read(self, layer: int, site: str, what: str, columns: Any = slice(None)) -> NDArray[Any]:
        """``ap_all``, ``ap_a``, ``ap_b`` or ``median`` of one (layer, site), shape ``(C, units)``."""
        with open_h5(self.path, kind="scores") as file:
            return np.asarray(file[f"layer-{layer:02d}/{site}/{what}"][:, columns])

    def gather(self, units: pd.DataFrame, what: str) -> Floats:
        """Values of chosen units, shape ``(C, len(units))``.

        Args:
            units: Columns ``layer``, ``site``, ``unit``.
            what: As in :meth:`read`.
        """
        values = np.empty((len(self.concepts), len(units)))
        for layer, site, _ in self.sites:
            rows = np.flatnonzero((units["layer"] == layer) & (units["site"] == site))
            if len(rows):
                wanted, back = np.unique(units["unit"].to_numpy()[rows], return_inverse=True)
                values[:, rows] = self.read(layer, site, what, wanted)[:, back]
        return values


def select_experts(scores: ScoreFile, *, k: int) -> pd.DataFrame:
    """The K units of highest average precision, per concept, subset and scope.

    Scope ``model`` takes the top K of all units; scope ``layer`` takes in every layer the top
    ``max(1, round(K * N_layer / N))``. Equal scores go by unit order.

    Args:
        scores: Scores of one (model, step, language).
        k: Number of experts, at most the number of units.

    Returns:
        Columns ``model, step, lang, scope, subset, concept, rank, layer, site, unit, ap`` (on the
        subset), ``held_out_ap`` (on the other half; NaN for ``all``), ``forced_value`` (median over
        the positive sentences), ``k``.

    Raises:
        StudyError: If K exceeds the number of units.
    """
    n_units = scores.n_units
    if not 1 <= k <= n_units:
        hint = "lower experts.k or add sites to extraction.sites"
        raise StudyError("experts.k", k, f"at most the number of units, {n_units}", hint)
    width_of_layer: dict[int, int] = {}
    for layer, _, width in scores.sites:
        width_of_layer[layer] = width_of_layer.get(layer, 0) + width
    scopes = [("model", -1, k)]
    scopes += [("layer", layer, max(1, round(k * n / n_units))) for layer, n in width_of_layer.items()]
    best: dict[tuple[str, int], _Best] = {}
    for number, (layer, site, _) in enumerate(scores.sites):  # one site at a time bounds the memory
        ap = {subset: scores.read(layer, site, f"ap_{subset}") for subset in SUBSETS}
        median_CU = scores.read(layer, site, "median")
        for subset in SUBSETS:
            found = _Best.of_site(number, ap[subset], ap.get(OTHER_HALF.get(subset, "")), median_CU, k)
            for _, at, k_scope in scopes:
                if at in (-1, layer):
                    best[subset, at] = found.after(best.get((subset, at)), k_scope)
    layer_of = np.array([layer for layer, _, _ in scores.sites])
    site_of = np.array([site for _, site, _ in scores.sites], dtype=object)
    parts = []
    for subset in SUBSETS:
        for scope, at, k_scope in scopes:
            chosen = best[subset, at]
            parts.append(
                pd.DataFrame(
                    {
                        "scope": scope,
                        "subset": subset,
                        "concept": np.repeat(np.array(scores.concepts, dtype=object), k_scope),
                        "rank": np.tile(np.arange(k_scope), len(scores.concepts)),
                        "layer": layer_of[chosen.site_CK].ravel(),
                        "site": site_of[chosen.site_CK].ravel(),
                        "unit": chosen.unit_CK.ravel(),
                        "ap": chosen.ap_CK.ravel(),
                        "held_out_ap": chosen.held_out_CK.ravel(),
                        "forced_value": chosen.median_CK.ravel(),
                        "k": k_scope,
                    }
                )
            )
    table = pd.concat(parts, ignore_index=True)
    cell = scores.provenance
    table.insert(0, "model", cell.model)
    table.insert(1, "step", cell.step)
    table.insert(2, "lang", cell.lang)
    return table


@dataclass(frozen=True)
class _Best:
    """The best units so far, best first; all arrays ``(C, K)``."""

    ap_CK: Floats
    held_out_CK: Floats
    median_CK: NDArray[np.float32]
    site_CK: NDArray[np.intp]
    unit_CK: NDArray[np.intp]

    @classmethod
    def of_site(
        cls,
        number: int,
        ap_CU: Floats,
        held_out_CU: Floats | None,
        median_CU: NDArray[np.float32],
        k: int,
    ) -> _Best:
        """The best of one site; ``number`` is its place in the unit order."""
        unit_CK = np.stack([top(ap_U, k) for ap_U in ap_CU])[:, :k]
        ap_CK = np.take_along_axis(ap_CU, unit_CK, axis=1)
        return cls(
            ap_CK,
            np.full_like(ap_CK, np.nan)
            if held_out_CU is None
            else np.take_along_axis(held_out_CU, unit_CK, axis=1),
            np.take_along_axis(median_CU, unit_CK, axis=1),
            np.full_like(unit_CK, number),
            unit_CK,
        )

    def after(self, earlier: _Best | None, k: int) -> _Best:
        """The ``k`` best of these and of earlier sites; of equal scores the earlier site's first."""
        both = [self] if earlier is None else [earlier, self]
        ap_CK = np.concatenate([part.ap_CK for part in both], axis=1)
        order_CK = np.argsort(-ap_CK, axis=1, kind="stable")[:, :k]

        def ordered(name: str) -> NDArray[Any]:
            joined = np.concatenate([getattr(part, name) for part in both], axis=1)
            return np.take_along_axis(joined, order_CK, axis=1)

        return _Best(*(ordered(field.name) for field in fields(_Best)))


def top(scores_U: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the ``k`` highest scores, best first; equal scores by index."""
    if k >= len(scores_U):
        return np.argsort(-scores_U, kind="stable")
    # All units that reach the k-th score, so that a tie at the border goes by index too.
    border = np.partition(scores_U, len(scores_U) - k)[len(scores_U) - k]
    candidates = np.flatnonzero(scores_U >= border)
    return candidates[np.argsort(-scores_U[candidates], kind="stable")][:k]
