"""How well single units predict concepts: scored from a stream of blocks, or from the store; read by cell.

The sentences of a language are cut in two halves, ``a`` and ``b``, by their numbers or by the groups that
they are of, the same in all languages. Scores exist for three subsets: ``all`` sentences and each half; and,
where the words of the positive sentences are known, for two subsets that share no word: ``words_a`` and
``words_b``.

What is scored at once is a *part*: the concepts that share sentences, and all their sentences. Where every
concept brings sentences of its own a part is one concept, and can be scored while the model reads the next;
where all concepts share the sentences there is one part. A part's scores do not depend on where its values
come from, a forward pass (:func:`score_blocks`) or the store (:func:`score_units`). Names of shapes: ``N``
sentences, ``P`` sentences of a part, ``U`` units, ``C`` concepts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from babelscope.analysis.precision import (
    BLOCK_UNITS,
    EXCLUDED,
    NEGATIVE,
    POSITIVE,
    Labels,
    Run,
    random_ap,
    score_values,
    workers,
)
from babelscope.capture.settings import PART_BYTES
from babelscope.capture.store import (
    Block,
    LayerSite,
    Provenance,
    UnitFile,
    align_rows,
    check_values,
    pooled_group,
    pooled_name,
    read_provenance,
    write_provenance,
    write_units,
)
from babelscope.errors import DataError, StoreError
from babelscope.io.cells import Cell, by_cell, cell_name, cell_of
from babelscope.io.h5 import atomic_h5, open_h5
from babelscope.text.lines import half_of
from babelscope.units import UnitIndex

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
SUBSETS = ("all", "a", "b")
OTHER_HALF = {"a": "b", "b": "a"}
#: Positive sentences of disjoint words, with the negative ones of half a and of half b.
WORD_SUBSETS = ("words_a", "words_b")
#: The half whose negative sentences they hold.
_NEGATIVES_OF = dict(zip(WORD_SUBSETS, OTHER_HALF, strict=True))
#: Positive sentences that a concept needs in each of them.
_PER_WORDS = 2
_Pooled = dict[str, dict[LayerSite, NDArray[np.float32]]]
"""By pooling the values of some sentences at each (layer, site)."""


@dataclass(frozen=True)
class ScoreSettings:
    """How units are scored.

    Attributes:
        min_positive: Positive sentences that every concept needs.
        block_units: Units handled at a time; more need more memory.
        threads: Blocks handled side by side.
        background: Score a part while the next blocks come: where the model runs on a GPU, cores idle.
        part_bytes: A part that takes more is kept on the node's own disk until it is whole.
    """

    min_positive: int = 2
    block_units: int = BLOCK_UNITS
    threads: int = 1
    background: bool = False
    part_bytes: int = PART_BYTES


@dataclass(frozen=True)
class _Part:
    """Concepts that share sentences."""

    columns: Ints
    """Their numbers."""
    rows: Ints
    """The sentences, rising."""
    labels: Labels
    """Of these concepts and sentences."""


class _Scorer:
    """Scores the parts of one cell and writes each as it comes, in any order."""

    def __init__(
        self,
        group: h5py.Group,
        provenance: Provenance,
        sentence_ids: Sequence[str],
        widths: Mapping[LayerSite, int],
        concepts: pd.DataFrame,
        settings: ScoreSettings,
        where: str,
        n_tokens: Sequence[int] | None,
    ) -> None:
        self._group, self._settings = group, settings
        names, labels_NC, words_NC = _label_matrix(concepts, sentence_ids, where)
        half_N = _halves(concepts, sentence_ids)
        write_provenance(group, provenance)
        group.attrs["concepts"] = names
        group.attrs["unit_order"] = [f"{layer} {site}" for layer, site in widths]
        labels = {"all": labels_NC, "a": labels_NC[half_N == 0], "b": labels_NC[half_N == 1]}
        _write_counts(group, names, labels, settings.min_positive, f"{provenance.cell}: concepts")
        self._subsets = SUBSETS if words_NC is None else (*SUBSETS, *WORD_SUBSETS)
        if words_NC is not None:
            for number, subset in enumerate(WORD_SUBSETS, 1):
                group.attrs[f"n_positive_{subset}"] = (words_NC == number).sum(axis=0)
        self.parts = _parts(labels_NC, half_N, words_NC)
        group.attrs["length_ap"] = _length_ap(self.parts, n_tokens, len(names))
        # Space is taken now, so that the file's bytes do not depend on the order of the parts.
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        for place, n_units in widths.items():
            for name in (*(f"ap_{subset}" for subset in self._subsets), "median"):
                shape = (len(names), n_units)
                group.create_dataset(
                    f"{_site_name(*place)}/{name}", shape, np.float32, dcpl=early.copy(), track_times=False
                )

    def score(self, part: _Part, place: LayerSite, values_PU: NDArray[Any], run: Run) -> None:
        """Score the concepts of a part over its sentences at one (layer, site)."""
        found = score_values(values_PU, part.labels, block_units=self._settings.block_units, run=run)
        group = self._group[_site_name(*place)]
        arrays = {f"ap_{subset}": ap_CU for subset, ap_CU in zip(self._subsets, found.ap_SCU, strict=True)}
        for name, values_CU in {**arrays, "median": found.median_CU}.items():
            for row, first, stop in _runs(part.columns):
                group[name][row : row + stop - first] = values_CU[first:stop].astype(np.float32)


def _runs(columns: Ints) -> Iterator[tuple[int, int, int]]:
    """Runs of neighbouring numbers: the first of each, and where the run starts and stops."""
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] - 2) != 1).tolist()
    for start, stop in zip(starts, [*starts[1:], len(columns)], strict=True):
        yield int(columns[start]), start, stop


def score_units(
    units: UnitFile, concepts: pd.DataFrame, group: h5py.Group, settings: ScoreSettings | None = None
) -> None:
    """Score every unit of the store for every concept and write the scores.

    Args:
        units: Pooled activations of one (model, step, language).
        concepts: Columns ``concept``, ``sentence_id``, ``label``, and maybe ``half`` and ``word_group``, see
            :func:`babelscope.text.concepts.label_sentences`.
        group: Group of an HDF5 file of kind ``scores``, named as :func:`babelscope.io.cells.cell_name` says,
            empty or with the scores of other poolings. Gets per (layer, site) ``ap_all``, ``ap_a``, ``ap_b``
            and ``median``, the value that generation forces: float32, each ``(C, U)``; where words are known
            ``ap_words_a`` and ``ap_words_b``, NaN for a concept whose sentences cannot be split by words. And
            the attribute ``length_ap``, what the length of a sentence reaches for each concept; NaN if it is
            not known.
        settings: How.

    Raises:
        DataError: If a concept has too few sentences.
        StoreError: If rows and labels do not join.
    """
    settings = settings or ScoreSettings()
    widths = {(layer, site): width for layer, site, width in units.sites}
    about = (
        units.provenance,
        units.sentence_ids,
        widths,
        concepts,
        settings,
        str(units.path),
        units.n_tokens,
    )
    scorer = _Scorer(pooled_group(group, units.provenance), *about)
    with workers(settings.threads) as run:
        for place in widths:
            values_NU = units.read(*place)
            for part in scorer.parts:
                whole = len(part.rows) == len(values_NU)
                scorer.score(part, place, values_NU if whole else values_NU[part.rows], run)


def score_blocks(
    group: h5py.Group,
    concepts: pd.DataFrame,
    settings: ScoreSettings,
    origins: Sequence[Provenance],
    sentence_ids: Sequence[str],
    widths: Mapping[LayerSite, int],
    blocks: Iterable[Block],
    n_tokens: Sequence[int] | None = None,
) -> None:
    """The same, of activations as they come: nothing pooled is kept, and the bytes are the same.

    At most two parts are in memory, or one and what is being scored. A part that is larger than
    ``settings.part_bytes`` takes its way over a file in the folder for temporary files (``TMPDIR``).

    Args:
        group: As for :func:`score_units`.
        concepts: As there.
        settings: As there.
        origins: Where the numbers come from, of each pooling.
        sentence_ids: The rows of all blocks together.
        widths: Units of each (layer, site), in unit order.
        blocks: As for :func:`babelscope.capture.store.write_units`.
        n_tokens: Tokens of each sentence, ``(N,)``, for the score that is nothing but the length.

    Raises:
        DataError: As there.
        NumericsError: If a value is not finite, or does not fit the type that would be stored.
        StoreError: If a part must wait on disk, and the disk has no room for it.
    """
    where = f"sentences of {origins[0].lang}"
    scorers = {
        origin.pooling: _Scorer(
            pooled_group(group, origin), origin, sentence_ids, widths, concepts, settings, where, n_tokens
        )
        for origin in origins
    }
    row_bytes = sum(widths.values()) * sum(np.dtype(origin.dtype).itemsize for origin in origins)
    all_parts = next(iter(scorers.values())).parts
    if max(len(part.rows) for part in all_parts) * row_bytes > settings.part_bytes:
        with _on_disk(len(sentence_ids) * row_bytes) as path:
            cell = cell_name(origins[0].step, origins[0].lang)
            with atomic_h5(path, kind="units") as file:
                write_units(file.create_group(cell), origins, sentence_ids, widths, blocks)
            with workers(settings.threads) as run:
                for origin in origins:
                    further = "" if origin is origins[0] else origin.pooling
                    units, scorer = UnitFile(path, pooled_name(cell, further)), scorers[origin.pooling]
                    for place in widths:
                        values_NU = units.read(*place)
                        for part in scorer.parts:
                            scorer.score(part, place, values_NU[part.rows], run)
        return
    parts = _whole_parts(all_parts, len(sentence_ids), widths, blocks)
    with workers(settings.threads) as run, ThreadPoolExecutor(1) as pool:
        waiting: Future[None] | None = None
        for part, values in parts:

            def score(part: _Part = part, values: _Pooled = values) -> None:
                names = [sentence_ids[row] for row in part.rows]
                for origin, place in product(origins, widths):
                    at = f"{origin.cell}, layer {place[0]}, site {place[1]}"
                    found_PU = check_values(values[origin.pooling].pop(place), origin.dtype, names, at)
                    scorers[origin.pooling].score(part, place, found_PU, run)

            if waiting is not None:
                waiting.result()
            waiting = pool.submit(score) if settings.background else None
            if not settings.background:
                score()
        if waiting is not None:
            waiting.result()


def _whole_parts(
    parts: Sequence[_Part], n_rows: int, widths: Mapping[LayerSite, int], blocks: Iterable[Block]
) -> Iterator[tuple[_Part, _Pooled]]:
    """Collect the rows of blocks into parts, and give each part when its last row has come."""
    part_N, place_N = np.full(n_rows, -1), np.zeros(n_rows, dtype=np.intp)
    for number, part in enumerate(parts):
        part_N[part.rows], place_N[part.rows] = number, np.arange(len(part.rows))
    missing = [len(part.rows) for part in parts]
    held: dict[int, _Pooled] = {}
    n_seen = 0
    for start, pooled in blocks:
        assert start == n_seen, "blocks of rows come in order"
        n_seen = start + len(next(iter(next(iter(pooled.values())).values())))
        here_B = part_N[start:n_seen]
        rows = {number: np.flatnonzero(here_B == number) for number in np.unique(here_B[here_B >= 0])}
        for number, row_R in rows.items():
            if number not in held:
                n_held = len(parts[number].rows)
                held[number] = {
                    pooling: {place: np.empty((n_held, n), np.float32) for place, n in widths.items()}
                    for pooling in pooled
                }
            to, of = _as_slice(place_N[start + row_R]), _as_slice(row_R)
            for pooling, values in pooled.items():
                for place, block_BU in values.items():
                    held[number][pooling][place][to] = block_BU[of]
            missing[number] -= len(row_R)
            if not missing[number]:
                yield parts[number], held.pop(number)
    assert n_seen == n_rows, "every row has come"


def _as_slice(rows: Ints) -> Ints | slice:
    """Rising numbers as a slice if there is no gap: whole rows are copied as they lie."""
    whole = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows


@contextmanager
def _on_disk(size: int) -> Iterator[Path]:
    """A place for a file in the folder for temporary files, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="babelscope-") as folder:
        free = shutil.disk_usage(folder).free
        if free < size:
            problem = (
                f"{size:,} bytes of pooled units must wait here until they are scored, {free:,} are free"
            )
            hint = "set TMPDIR to a folder on a larger disk of the node, or take fewer sites"
            raise StoreError(folder, problem, hint)
        yield Path(folder, "units.h5")


def _parts(
    labels_NC: NDArray[np.int8], half_N: NDArray[np.int64], words_NC: NDArray[np.int8] | None
) -> list[_Part]:
    """Concepts that share sentences, directly or by way of others, and all their sentences."""
    used = labels_NC != EXCLUDED
    patterns, group_C = np.unique(used, axis=1, return_inverse=True)  # few, where many concepts share all
    n_rows, n_patterns = patterns.shape
    row, pattern = np.nonzero(patterns)
    edges = coo_array((np.ones(len(row), bool), (row, n_rows + pattern)), shape=2 * (n_rows + n_patterns,))
    _, label = connected_components(edges, directed=False)
    label_C = label[n_rows:][group_C.reshape(-1)]
    found = []
    for number in dict.fromkeys(label_C.tolist()):
        columns, rows = np.flatnonzero(label_C == number), np.flatnonzero(label[:n_rows] == number)
        here = np.ix_(rows, columns)
        labels = Labels(labels_NC[here], half_N[rows], None if words_NC is None else words_NC[here])
        found.append(_Part(columns, rows, labels))
    return found


def _length_ap(parts: Sequence[_Part], n_tokens: Sequence[int] | None, n_concepts: int) -> Floats:
    """Average precision of the length of a sentence as a score for each concept, ``(C,)``.

    As experts are: whether long or short sentences count as positive is chosen on one half and scored on the
    other, both ways, averaged.
    """
    ap_C = np.full(n_concepts, np.nan)
    if n_tokens is None:
        return ap_C
    length_N = np.asarray(n_tokens, np.float32)
    for part in parts:
        length_P = length_N[part.rows]
        _, ap_a, ap_b, *_ = score_values(np.stack([length_P, -length_P], axis=1), part.labels).ap_SCU
        rows = np.arange(len(part.columns))
        ap_C[part.columns] = (ap_b[rows, ap_a.argmax(axis=1)] + ap_a[rows, ap_b.argmax(axis=1)]) / 2
    return ap_C


def _halves(table: pd.DataFrame, sentence_ids: Sequence[str]) -> NDArray[np.int64]:
    """0 or 1, the half of each sentence, as the table says or else by its number; ``(N,)``."""
    known: dict[str, str] = {}
    if "half" in table:
        known = dict(zip(table["sentence_id"].astype(str), table["half"], strict=True))
    return np.array([(known.get(name) or half_of(name)) == "b" for name in sentence_ids], dtype=np.int64)


def _label_matrix(
    table: pd.DataFrame, sentence_ids: Sequence[str], where: str
) -> tuple[list[str], NDArray[np.int8], NDArray[np.int8] | None]:
    """Concepts, and labels and groups of words ``(N, C)`` of sentences, from a table ``concept, sentence_id,
    label, word_group``; no groups if no words are known."""
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
    columns, names = pd.factorize(table["concept"].astype(str), sort=True)
    labels_NC = np.full((len(sentence_ids), len(names)), EXCLUDED, dtype=np.int8)
    rows = align_rows(table["sentence_id"].astype(str).tolist(), sentence_ids, where)
    labels_NC[rows, columns] = table["label"]
    if "word_group" not in table or not table["word_group"].any():
        return names.tolist(), labels_NC, None
    words_NC = np.zeros(labels_NC.shape, dtype=np.int8)
    words_NC[rows, columns] = table["word_group"]
    # A concept with hardly a sentence in a group is not split: a best unit for one sentence says nothing.
    few_C = np.min([(words_NC == group).sum(axis=0) for group in (1, 2)], axis=0) < _PER_WORDS
    words_NC[:, few_C] = 0
    return names.tolist(), labels_NC, words_NC


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
        if all("in half" in problem for problem in problems):
            hint = "add sentences to that half (a: ids with an even number at their end), or drop the concept"
        raise DataError(where, "; ".join(problems[:10]), hint)


def _site_name(layer: int, site: str) -> str:
    return f"layer-{layer:02d}/{site}"


class ScoreFile:
    """Scores of one (model, step, language), for reading.

    Args:
        path: The file, which may hold other cells too.
        cell: Name of the group, such as ``4/en``; or ``4/en/mean`` of a further pooling.

    Attributes:
        provenance: Where the numbers come from.
        concepts: Names of the concepts, in the order of the rows.
        units: The units, in the order of the columns.
        positive_rate: Share of positive sentences per concept: the AP of a constant.
        chance_ap: Mean AP per concept of scores in random order on half of the sentences, over the halves.
        length_ap: AP of the length of a sentence, held out, per concept; NaN if it is not known.
        split_by_words: Whether a concept's sentences could be split by their words.
        constant_ap: Per subset the AP of a constant for each concept, as it is kept of a unit; NaN for a
            concept that is not split.

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
            self.length_ap: Floats = group.attrs["length_ap"]
            positive, negative = (group.attrs[f"n_{kind}_all"] for kind in ("positive", "negative"))
            self.positive_rate: Floats = positive / (positive + negative)
            self.chance_ap: Floats = np.mean([_chance_ap(group, half) for half in OTHER_HALF], axis=0)
            self.split_by_words = np.zeros(len(self.concepts), dtype=bool)
            if f"n_positive_{WORD_SUBSETS[0]}" in group.attrs:
                self.split_by_words = group.attrs[f"n_positive_{WORD_SUBSETS[0]}"] > 0
            self.constant_ap = _constant_ap(group)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.cell} of {self.path.name}>"

    def read(self, layer: int, site: str, what: str, columns: Any = slice(None)) -> NDArray[Any]:
        """``ap_all``, ``ap_words_a``, ``median``, ... of one (layer, site): float32, ``(C, units)``."""
        return np.asarray(self._group[f"{_site_name(layer, site)}/{what}"][:, columns])

    @cached_property
    def _group(self) -> h5py.Group:
        """Stays open: a step is read in thousands of pieces."""
        self._file = open_h5(self.path, kind="scores")
        return cell_of(self._file, self.cell)


def _chance_ap(group: h5py.Group, half: str) -> Floats:
    """AP of scores in random order on a half, per concept."""
    positive_C, negative_C = (group.attrs[f"n_{kind}_{half}"] for kind in ("positive", "negative"))
    each = zip(positive_C.tolist(), (positive_C + negative_C).tolist(), strict=True)
    return np.array([random_ap(*counted) for counted in each])


def _constant_ap(group: h5py.Group) -> dict[str, NDArray[np.float32]]:
    """Per subset the AP of a unit that is the same on all sentences, rounded as that of a unit is."""
    found = {}
    for subset, negatives in {**{subset: subset for subset in SUBSETS}, **_NEGATIVES_OF}.items():
        if f"n_positive_{subset}" in group.attrs:
            positive_C = group.attrs[f"n_positive_{subset}"]
            inverse_C = 1 / (positive_C + group.attrs[f"n_negative_{negatives}"])
            with np.errstate(invalid="ignore"):
                found[subset] = (positive_C * positive_C * inverse_C / positive_C).astype(np.float32)
    return found


def score_files(
    paths: Iterable[Path], wanted: Iterable[Cell] | None = None, *, pooling: str = ""
) -> dict[Cell, ScoreFile]:
    """The scores of one model by (step, language); see :func:`babelscope.io.cells.by_cell`.

    ``pooling`` names a further one; by default it is the first of each cell.
    """
    found = by_cell(paths, kind="scores", wanted=wanted)
    return {cell: ScoreFile(path, pooled_name(name, pooling)) for cell, (path, name) in found.items()}


class Scores(Protocol):
    """What all files of scores say of themselves."""

    provenance: Provenance
    concepts: list[str]
    units: UnitIndex


def check_alike(files: Iterable[Scores]) -> None:
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
