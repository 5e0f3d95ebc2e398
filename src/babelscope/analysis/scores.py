"""How well single units predict concepts.

Average precision after Suau, Zappella and Apostoloff (2020), "Finding Experts in Transformer Models", with
ties as in ``sklearn.metrics.average_precision_score``. Names of shapes: ``N`` sentences, ``U`` units,
``C`` concepts, ``K`` experts.

The sentences of a language are cut in two halves, ``a`` and ``b``, by their numbers, the same in all
languages. Scores exist for three subsets: ``all`` sentences and each half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.activations.store import UnitFile, align_rows, read_provenance, write_provenance
from babelscope.errors import DataError, NumericsError
from babelscope.io.cells import Cell, by_cell, cell_of
from babelscope.io.h5 import open_h5
from babelscope.text.lines import half_of
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
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
        values_NU: Scores, higher means more of the concept. Shape ``(N, U)``, finite, float16 or float32.
        labels_NC: 1 positive, 0 negative, -1 not part of this concept's data. Shape ``(N, C)``.
        block_units: Units handled at a time; bounds the memory beside input and result to about
            ``threads * block_units * N * 20`` bytes.
        threads: Blocks handled side by side.

    Returns:
        Shape ``(C, U)``, equal to scikit-learn's value within rounding (1e-12).

    Raises:
        ValueError: If shapes or types do not fit, a label is another number, or a concept has no
            positive sentence.
        NumericsError: If a value is not finite.
    """
    n_positive_C = _check_scorable(values_NU, labels_NC)
    n_units = values_NU.shape[1]
    ap_CU = np.empty((labels_NC.shape[1], n_units))

    def score(first: int, rows: Ints, columns: Ints, starts: Ints, concepts: Ints) -> None:
        units = slice(first, first + block_units)
        block = values_NU[:, units] if len(rows) == len(values_NU) else values_NU[rows, units]
        out_UC = np.empty((block.shape[1], len(columns)))
        _walk(_sort_descending(block), starts, concepts, n_positive_C[columns], out_UC)
        ap_CU[columns, units] = out_UC.T

    patterns, group_C = np.unique(labels_NC != EXCLUDED, axis=1, return_inverse=True)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for number, pattern_N in enumerate(patterns.T):
            # Concepts that use the same sentences: one sort serves them all.
            rows, columns = np.flatnonzero(pattern_N), np.flatnonzero(group_C.reshape(-1) == number)
            positive_NC = labels_NC[np.ix_(rows, columns)] == POSITIVE
            # The concepts that the sentences express, sentence by sentence; where each sentence's start.
            starts, concepts = np.cumsum([0, *positive_NC.sum(axis=1)]), np.nonzero(positive_NC)[1]
            part = partial(score, rows=rows, columns=columns, starts=starts, concepts=concepts)
            list(pool.map(part, range(0, n_units, block_units)))
    return ap_CU


def _check_scorable(values_NU: NDArray[Any], labels_NC: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Refuse what has no average precision; the number of positive sentences of each concept."""
    if values_NU.ndim != 2 or labels_NC.ndim != 2 or len(values_NU) != len(labels_NC):
        shapes = values_NU.shape, labels_NC.shape
        raise ValueError(f"need values (N, U) and labels (N, C) of the same N; got {shapes}")
    if values_NU.dtype not in (np.float16, np.float32):
        raise ValueError(f"values must be float16 or float32; got {values_NU.dtype}")
    unknown = labels_NC[(labels_NC < EXCLUDED) | (labels_NC > POSITIVE)]
    if len(unknown):
        raise ValueError(f"a label is 1, 0 or -1; got {unknown[0]}")
    if not np.isfinite(values_NU).all():
        row, unit = np.argwhere(~np.isfinite(values_NU))[0]
        raise NumericsError(f"value of sentence {row}, unit {unit} is {values_NU[row, unit]}")
    n_positive_C: NDArray[np.int64] = (labels_NC == POSITIVE).sum(axis=0, dtype=np.int64)
    if (n_positive_C == 0).any():
        without = np.flatnonzero(n_positive_C == 0).tolist()
        raise ValueError(f"average precision needs a positive sentence; none in columns {without}")
    return n_positive_C


def _sort_descending(values_NU: NDArray[Any]) -> NDArray[np.uint64]:
    """Rows by falling value: integers whose upper 32 bits are equal for equal values, the lower the row.

    Shape ``(U, N)``.
    """
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
    keys_UN |= np.arange(len(values_NU), dtype=np.uint64)
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


def score_units(
    units: UnitFile,
    concepts: pd.DataFrame,
    group: h5py.Group,
    *,
    min_positive: int = 2,
    block_units: int = 512,
    threads: int = 1,
) -> None:
    """Score every unit of a file for every concept and write the scores.

    Each unit's median over the positive sentences of each concept is kept too: the value that generation
    forces. So a changed K does not need the activations again.

    Args:
        units: Pooled activations of one (model, step, language).
        concepts: Columns ``concept``, ``sentence_id``, ``label``.
        group: Empty group of an HDF5 file of kind ``scores``, named as :func:`babelscope.io.cells.cell_name`
            says. Gets per (layer, site) ``ap_all``, ``ap_a``, ``ap_b`` (float64) and ``median`` (float32),
            each ``(C, U)``.
        min_positive: Positive sentences that every concept needs.
        block_units: Units handled at a time.
        threads: Blocks handled side by side.

    Raises:
        DataError: If a concept has too few sentences.
        StoreError: If rows and labels do not join.
    """
    names, labels_NC = _label_matrix(concepts, units.sentence_ids, str(units.path))
    half_N = np.array([half_of(name) for name in units.sentence_ids])
    labels = {subset: labels_NC if subset == "all" else labels_NC[half_N == subset] for subset in SUBSETS}
    write_provenance(group, units.provenance)
    group.attrs["concepts"] = names
    group.attrs["unit_order"] = [f"{layer} {site}" for layer, site, _ in units.sites]
    _write_counts(group, names, labels, min_positive, f"{units.provenance.cell}: concepts")
    for layer, site, _ in units.sites:
        values_NU = units.read(layer, site)
        found = {
            f"ap_{subset}": average_precision(
                values_NU if subset == "all" else values_NU[half_N == subset],
                labels[subset],
                block_units=block_units,
                threads=threads,
            )
            for subset in SUBSETS
        }
        widened_NU = values_NU.astype(np.float32, copy=False)  # a median may lie between two values
        medians = [np.median(widened_NU[label_N == POSITIVE], axis=0) for label_N in labels_NC.T]
        found["median"] = np.stack(medians).astype(np.float32)
        for name, values in found.items():
            group.create_dataset(f"{_site_name(layer, site)}/{name}", data=values, track_times=False)


def _label_matrix(
    table: pd.DataFrame, sentence_ids: Sequence[str], where: str
) -> tuple[list[str], NDArray[np.int8]]:
    """Concepts, and labels ``(N, C)`` of sentences, from a table ``concept, sentence_id, label``."""
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
    columns, names = pd.factorize(table["concept"].astype(str))
    labels_NC = np.full((len(sentence_ids), len(names)), EXCLUDED, dtype=np.int8)
    rows = align_rows(table["sentence_id"].astype(str).tolist(), sentence_ids, where)
    labels_NC[rows, columns] = table["label"]
    return names.tolist(), labels_NC


def _write_counts(
    group: h5py.Group,
    concepts: Sequence[str],
    labels: Mapping[str, NDArray[np.int8]],
    min_positive: int,
    where: str,
) -> None:
    """Keep how many sentences each concept has in each subset; refuse concepts with too few."""
    problems = []
    for subset, labels_NC in labels.items():
        part = "" if subset == "all" else f" in half {subset}"
        enough = min_positive if subset == "all" else 2
        for kind, label, needed in (("positive", POSITIVE, enough), ("negative", NEGATIVE, 2)):
            n_C = (labels_NC == label).sum(axis=0)
            group.attrs[f"n_{kind}_{subset}"] = n_C
            problems += [
                f"{concept} has {n} {kind} sentences{part}, needs {needed}"
                for concept, n in zip(concepts, n_C, strict=True)
                if n < needed
            ]
    if problems:
        hint = "add sentences, lower concepts.min_positive, or drop the concept"
        raise DataError(where, "; ".join(problems[:10]), hint)


def _site_name(layer: int, site: str) -> str:
    return f"layer-{layer:02d}/{site}"


class ScoreFile:
    """Scores of one (model, step, language), for reading.

    Args:
        path: The file, which may hold other cells too.
        cell: Name of the group, such as ``4/en``.

    Attributes:
        provenance: Where the numbers come from.
        concepts: Names of the concepts, in the order of the rows.
        units: The units, in the order of the columns.
        positive_rate: Share of positive sentences per concept: the AP of a score that knows nothing.

    Raises:
        StoreError: If the file is truncated, foreign, incomplete, of another version or lacks the cell.
    """

    def __init__(self, path: Path, cell: str) -> None:
        self.path, self.cell = Path(path), cell
        with open_h5(self.path, kind="scores") as file:
            group = cell_of(file, cell)
            self.provenance = read_provenance(group)
            self.concepts: list[str] = [str(name) for name in group.attrs["concepts"]]
            places = [name.split() for name in group.attrs["unit_order"]]
            self.units = UnitIndex.of(
                (int(layer), site, group[f"{_site_name(int(layer), site)}/ap_all"].shape[1])
                for layer, site in places
            )
            positive, negative = (group.attrs[f"n_{kind}_all"] for kind in ("positive", "negative"))
            self.positive_rate: Floats = positive / (positive + negative)

    def read(self, layer: int, site: str, what: str, columns: Any = slice(None)) -> NDArray[Any]:
        """``ap_all``, ``ap_a``, ``ap_b`` or ``median`` of one (layer, site), shape ``(C, units)``."""
        with open_h5(self.path, kind="scores") as file:
            return np.asarray(file[f"{self.cell}/{_site_name(layer, site)}/{what}"][:, columns])

    def gather(self, what: str, concept_P: NDArray[Any], unit_P: NDArray[Any]) -> Floats:
        """A value of each pair of a concept and a unit, read site by site.

        Args:
            what: As in :meth:`read`.
            concept_P: Row of the concept, length ``P``.
            unit_P: Number of the unit in :attr:`units`; any order, repetitions allowed.

        Returns:
            Length ``P``.
        """
        site_P, index_P = self.units.split(unit_P)
        value_P = np.empty(len(site_P))
        for number in np.unique(site_P):
            rows = np.flatnonzero(site_P == number)
            layer, site, _ = self.units.sites[number]
            wanted, back = np.unique(index_P[rows], return_inverse=True)
            value_P[rows] = self.read(layer, site, what, wanted)[concept_P[rows], back]
        return value_P


def score_files(paths: Iterable[Path], wanted: Iterable[Cell] | None = None) -> dict[Cell, ScoreFile]:
    """The scores of one model by (step, language); see :func:`babelscope.io.cells.by_cell`."""
    found = by_cell(paths, kind="scores", wanted=wanted)
    return {cell: ScoreFile(path, name) for cell, (path, name) in found.items()}


def check_alike(files: Iterable[ScoreFile]) -> None:
    """Refuse scores of other concepts or units than the first one's.

    Raises:
        ValueError: Naming both cells.
    """
    first, *others = files
    for file in others:
        if file.concepts != first.concepts or file.units != first.units:
            raise ValueError(
                f"{file.provenance.cell} and {first.provenance.cell} were scored for other concepts or "
                f"units: {len(file.concepts)} concepts x {len(file.units)} units against "
                f"{len(first.concepts)} x {len(first.units)}"
            )
