"""Average precision against scikit-learn in a process pool over all cores.

    python benchmarks/bench_expertise.py --json out.json

Both sides score 4,096 units for 200 concepts over 4,000 sentences. scikit-learn would take many minutes,
so its pool scores a random sample of (unit, concept) pairs and its time is scaled; starting the pool is
not counted. The repeats of the two sides alternate, so that other load on the machine meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from babelscope.analysis.scores import average_precision

N_SENTENCES, N_UNITS, N_CONCEPTS = 4_000, 4_096, 200
BLOCK_UNITS = 512
REPEATS = 5
SAMPLE = 1_600
"""Pairs that scikit-learn scores in one repeat."""
TOLERANCE = 1e-12

_data: tuple[NDArray[np.float32], NDArray[np.int8]]


def make_data(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Rectified values, half of them tied at 0, as units after a ReLU; 20 positives per concept."""
    rng = np.random.default_rng(seed)
    values_NU = rng.standard_normal((N_SENTENCES, N_UNITS), dtype=np.float32)
    np.maximum(values_NU, 0, out=values_NU)
    labels_NC = np.zeros((N_SENTENCES, N_CONCEPTS), dtype=np.int8)
    rows = rng.permutation(N_SENTENCES)
    labels_NC[rows, np.arange(N_SENTENCES) % N_CONCEPTS] = 1
    return values_NU, labels_NC


def _start_worker() -> None:
    global _data
    _data = make_data()


def _score_pairs(pairs: list[tuple[int, int]]) -> tuple[list[float], float]:
    """Values, and the seconds that the processor worked for them."""
    values_NU, labels_NC = _data
    start = time.process_time()
    values = [float(average_precision_score(labels_NC[:, c], values_NU[:, u])) for u, c in pairs]
    return values, time.process_time() - start


def measure() -> dict[str, Any]:
    """Run both sides.

    Returns:
        ``what``, ``against``, ``ratio`` (scikit-learn's time over ours, medians), ``cpu_ratio`` (the
        same of processor time, which other load on the machine hardly moves), ``details`` (text), and
        the figures behind them: ``seconds`` and ``sklearn_seconds`` (per repeat, the latter scaled),
        ``largest_difference``, ``peak_mb`` (memory beside input and result).

    Raises:
        SystemExit: If a value differs from scikit-learn's by more than 1e-12.
    """
    cores = len(os.sched_getaffinity(0))
    values_NU, labels_NC = make_data()
    sampled = np.random.default_rng(1).choice(N_UNITS * N_CONCEPTS, SAMPLE, replace=False).tolist()
    pairs = [divmod(number, N_CONCEPTS) for number in sampled]
    chunks = [pairs[start : start + 50] for start in range(0, SAMPLE, 50)]
    average_precision(values_NU[:, :1], labels_NC)  # compiles, or loads what was compiled

    ours: list[float] = []
    theirs: list[float] = []
    our_cpu: list[float] = []
    their_cpu: list[float] = []
    scale = N_UNITS * N_CONCEPTS / SAMPLE
    with ProcessPoolExecutor(max_workers=cores, initializer=_start_worker) as pool:
        list(pool.map(_score_pairs, [chunk[:1] for chunk in chunks]))  # every worker is up
        for _ in range(REPEATS):
            start = time.perf_counter()
            parts = list(pool.map(_score_pairs, chunks))
            theirs.append((time.perf_counter() - start) * scale)
            their_cpu.append(sum(seconds for _, seconds in parts) * scale)
            scored = [value for values, _ in parts for value in values]
            start, start_cpu = time.perf_counter(), time.process_time()
            ap_CU = average_precision(values_NU, labels_NC, block_units=BLOCK_UNITS, threads=cores)
            ours.append(time.perf_counter() - start)
            our_cpu.append(time.process_time() - start_cpu)
    largest = max(abs(ap_CU[c, u] - value) for (u, c), value in zip(pairs, scored, strict=True))
    if largest > TOLERANCE:
        raise SystemExit(f"average precision differs from scikit-learn's by {largest:.3g}")

    tracemalloc.start()
    average_precision(values_NU, labels_NC, block_units=BLOCK_UNITS, threads=1)
    peak_mb = (tracemalloc.get_traced_memory()[1] - ap_CU.nbytes) / 1e6
    tracemalloc.stop()

    ratio = median(theirs) / median(ours)
    cpu_ratio = median(their_cpu) / median(our_cpu)
    size = f"{N_CONCEPTS} concepts x {N_SENTENCES:,} sentences x {N_UNITS:,} units"
    return {
        "what": f"average precision, {size}",
        "against": f"scikit-learn in a pool of {cores} processes",
        "ratio": ratio,
        "cpu_ratio": cpu_ratio,
        "details": (
            f"Average precision of {size} took {median(ours):.2f} s on {cores} threads (median of {REPEATS}, "
            f"{min(ours):.2f} to {max(ours):.2f}); scikit-learn {median(theirs):,.0f} s "
            f"({min(theirs):,.0f} to {max(theirs):,.0f}), scaled from {SAMPLE:,} of {N_UNITS * N_CONCEPTS:,} "
            f"pairs. By processor time the ratio is {cpu_ratio:,.0f}. The largest difference among these "
            f"is {largest:.1g}. Beside input and result, one thread with block_units {BLOCK_UNITS} needs "
            f"{peak_mb:.0f} MB."
        ),
        "seconds": ours,
        "sklearn_seconds": theirs,
        "largest_difference": float(largest),
        "peak_mb": peak_mb,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    found = measure()
    print(f"{found['ratio']:,.0f} times faster than {found['against']}\n{found['details']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
