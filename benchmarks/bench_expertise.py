"""Scores of units against scikit-learn in a process pool, and against a bare sort of the same values.

    python benchmarks/bench_expertise.py

Two shapes: all concepts on the same sentences, where one sort serves all of them; and a concept on sentences
of its own. Both sides give the same four numbers: average precision on all sentences and on each half, and
the median over the positive ones. scikit-learn would take many minutes, so its pool scores a random sample
of (unit, concept) pairs and its time is scaled; starting the pool is not counted. The sort is NumPy's
``argsort`` of the same values, laid out as it likes them best (float32, a unit's sentences side by side), on
one thread: what any ranking needs.
"""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import Ratio, Row, alternate, run_alone
from sklearn.metrics import average_precision_score

from babelscope.analysis.precision import Labels, Scored, score_values, workers

FASTER, OF_THE_SORT = 1_500, 0.7
TOLERANCE = 1e-12
CHUNK = 50


@dataclass(frozen=True)
class Case:
    """Sizes, and pairs that scikit-learn scores in one repeat."""

    concepts: int
    sentences: int
    units: int
    pairs: int
    repeats: int
    bound: float | None

    def __str__(self) -> str:
        concepts = "1 concept" if self.concepts == 1 else f"{self.concepts} concepts"
        return f"{concepts} x {self.sentences:,} sentences x {self.units:,} units"


#: Of a concept's own sentences half are positive; 1,500 was reached where one sort serves 200 concepts.
CASES = (
    Case(200, 4_000, 4_096, pairs=1_600, repeats=5, bound=FASTER),
    Case(1, 400, 65_536, pairs=3_200, repeats=5, bound=None),
)
SMALL = (Case(10, 200, 64, pairs=60, repeats=1, bound=FASTER), Case(1, 100, 300, 60, 1, None))

_data: tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int64]]


def make_data(case: Case) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.int64]]:
    """Rectified values, half of them tied at 0, as units after a ReLU; labels; halves."""
    rng = np.random.default_rng(0)
    values_NU = rng.standard_normal((case.sentences, case.units), dtype=np.float32)
    np.maximum(values_NU, 0, out=values_NU)
    labels_NC = np.zeros((case.sentences, case.concepts), dtype=np.int8)
    rows = rng.permutation(case.sentences)
    if case.concepts == 1:
        labels_NC[rows[: case.sentences // 2]] = 1
    else:
        labels_NC[rows, np.arange(case.sentences) % case.concepts] = 1
    half_N = np.zeros(case.sentences, dtype=np.int64)
    for column_N in labels_NC.T:  # every concept is cut in halves
        half_N[np.flatnonzero(column_N)[::2]] = 1
    rest = np.flatnonzero(~labels_NC.any(axis=1))
    half_N[rest[::2]] = 1
    return values_NU, labels_NC, half_N


def _start_worker(case: Case) -> None:
    global _data
    _data = make_data(case)


def _four_numbers(pairs: list[tuple[int, int]]) -> list[tuple[float, ...]]:
    values_NU, labels_NC, half_N = _data
    found = []
    for unit, concept in pairs:
        label_N, value_N = labels_NC[:, concept], values_NU[:, unit]
        parts = (slice(None), half_N == 0, half_N == 1)
        ap = [float(average_precision_score(label_N[part], value_N[part])) for part in parts]
        found.append((*ap, float(np.median(value_N[label_N == 1]))))
    return found


def _one_number(pairs: list[tuple[int, int]]) -> list[float]:
    values_NU, labels_NC, _ = _data
    return [float(average_precision_score(labels_NC[:, c], values_NU[:, u])) for u, c in pairs]


def largest_difference(found: Scored, pairs: list[tuple[int, int]], theirs: list[tuple[float, ...]]) -> float:
    """Between our numbers and scikit-learn's.

    Raises:
        SystemExit: If it is more than 1e-12.
    """
    ours = [(*found.ap_SCU[:, c, u].tolist(), float(found.median_CU[c, u])) for u, c in pairs]
    largest = float(np.abs(np.array(ours) - np.array(theirs)).max())
    if not largest <= TOLERANCE:
        raise SystemExit(f"scores differ from scikit-learn's by {largest:.3g}")
    return largest


def measure_case(case: Case) -> list[Row]:
    cores = len(os.sched_getaffinity(0))
    values_NU, labels_NC, half_N = make_data(case)
    labels = Labels(labels_NC, half_N)
    total = case.units * case.concepts
    sampled = np.random.default_rng(1).choice(total, case.pairs, replace=False).tolist()
    pairs = [divmod(number, case.concepts) for number in sampled]
    chunks = [pairs[start : start + CHUNK] for start in range(0, case.pairs, CHUNK)]
    last: dict[str, Any] = {}

    with (
        workers(cores) as run,
        ProcessPoolExecutor(max_workers=cores, initializer=_start_worker, initargs=(case,)) as pool,
    ):

        def ours() -> None:
            last["ours"] = score_values(values_NU, labels, run=run)

        def theirs() -> None:
            last["theirs"] = [values for part in pool.map(_four_numbers, chunks) for values in part]

        def theirs_alone() -> None:
            list(pool.map(_one_number, chunks))

        scale = dict.fromkeys(("theirs", "one of theirs"), total / case.pairs)
        peers = {"ours": ours, "theirs": theirs, "one of theirs": theirs_alone}
        sides = alternate(peers, repeats=case.repeats, scale=scale)
    largest = largest_difference(last["ours"], pairs, last["theirs"])

    tracemalloc.start()
    found = score_values(values_NU, labels)
    peak_mb = (tracemalloc.get_traced_memory()[1] - found.ap_SCU.nbytes - found.median_CU.nbytes) / 1e6
    tracemalloc.stop()

    faster = Ratio.of(sides["theirs"], sides["ours"])
    alone = Ratio.of(sides["one of theirs"], sides["ours"])
    least, ok = faster.at_least(case.bound or 0)
    row = Row(
        f"unit scores, {case}",
        f"scikit-learn in a pool of {cores} processes",
        f"faster by {faster}",
        least,
        "-" if case.bound is None else f"at least {case.bound:,.0f}",
        None if case.bound is None else ok,
        f"Four numbers for {case}: {sides['ours']} on {cores} threads; scikit-learn {sides['theirs']}, "
        f"scaled from {case.pairs:,} of {total:,} pairs, and {sides['one of theirs']} for the average "
        f"precision on all sentences alone (faster by {alone}). The largest difference is {largest:.1g}. "
        f"Beside input and result one thread needs {peak_mb:.0f} MB.",
    )
    return [row, *against_the_sort(case, labels)]


def against_the_sort(case: Case, labels: Labels) -> list[Row]:
    """One thread against a sort, of values without ties and of rectified ones, half of which are equal."""
    tied_NU = make_data(case)[0]
    untied_NU = np.random.default_rng(4).standard_normal(tied_NU.shape, dtype=np.float32)
    found = []
    for values_NU, kind in ((untied_NU, "all different"), (tied_NU, "half of them 0")):
        values_UN = np.ascontiguousarray(values_NU.T)
        # What we sort instead: the value's bits above the number of the sentence.
        keys_UN = values_UN.view(np.uint32).astype(np.uint64) << np.uint64(32)
        keys_UN |= np.arange(case.sentences, dtype=np.uint64)
        sides = alternate(
            {
                "scores": lambda values_NU=values_NU: score_values(values_NU, labels),
                "sort": lambda values_UN=values_UN: np.argsort(values_UN, axis=1),
                "keys": lambda keys_UN=keys_UN: np.sort(keys_UN, axis=1),
            },
            repeats=case.repeats,
        )
        ratio = Ratio.of(sides["sort"], sides["scores"])
        share, ok = ratio.at_least(OF_THE_SORT)
        found.append(
            Row(
                f"unit scores, {case}, values {kind}",
                "the sort alone (`numpy.argsort`), one thread",
                f"share of its speed: {ratio}",
                share,
                f"at least {OF_THE_SORT}",
                ok,
                f"Scoring of {case}, values {kind}: {sides['scores']}, the sort {sides['sort']}; what we "
                f"sort instead, 64-bit keys of value and sentence, {sides['keys']}.",
            )
        )
    return found


def measure(small: bool = False) -> list[Row]:
    return [row for case in (SMALL if small else CASES) for row in measure_case(case)]


if __name__ == "__main__":
    run_alone(measure, __doc__)
