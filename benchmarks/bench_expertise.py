"""Unit scores against scikit-learn's average precision, one call per unit and concept."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from babelscope.expertise import average_precision

N_SENTENCES, N_UNITS, N_CONCEPTS = 4000, 4096, 200
SAMPLE_UNITS = 16
REPEATS = 3


def by_sklearn(task: tuple[NDArray[Any], NDArray[Any]]) -> list[float]:
    """One unit, all concepts."""
    values_N, labels_NC = task
    return [average_precision_score(labels_NC[:, c], values_N) for c in range(labels_NC.shape[1])]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    out = parser.parse_args().json
    rng = np.random.default_rng(0)
    # Rectified and rounded, so that a part of the values ties, as after a ReLU in half precision.
    values_NU = np.maximum(rng.normal(size=(N_SENTENCES, N_UNITS)), 0).astype(np.float16)
    labels_NC = np.zeros((N_SENTENCES, N_CONCEPTS), dtype=np.int8)
    labels_NC[np.arange(N_SENTENCES), np.arange(N_SENTENCES) % N_CONCEPTS] = 1
    cores = os.cpu_count() or 1
    tasks = [(values_NU[:, u].astype(np.float32), labels_NC) for u in range(SAMPLE_UNITS)]
    average_precision(values_NU[:50, :4], labels_NC[:50, :50], threads=cores)  # compiled once, then cached
    theirs, ours, equal = [], [], 0.0
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(by_sklearn, [(task[0], labels_NC[:, :2]) for task in tasks[:cores]]))  # start-up
        for _ in range(REPEATS):
            start = time.perf_counter()
            expected_UC = np.array(list(pool.map(by_sklearn, tasks)))
            theirs.append((time.perf_counter() - start) * N_UNITS / SAMPLE_UNITS)
            start = time.perf_counter()
            ap_CU = average_precision(values_NU, labels_NC, threads=cores)
            ours.append(time.perf_counter() - start)
            equal = max(equal, float(np.abs(ap_CU[:, :SAMPLE_UNITS] - expected_UC.T).max()))
    assert equal < 1e-12, equal
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {
        "what": f"AP of {N_UNITS:,} units x {N_CONCEPTS} concepts x {N_SENTENCES:,} sentences",
        "against": f"`sklearn.metrics.average_precision_score` in a pool of {cores} processes",
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "details": (
            f"Scores: {statistics.median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f}) against "
            f"{statistics.median(theirs):.0f} s (timed on {SAMPLE_UNITS} units and scaled); largest "
            f"difference {equal:.1g}; {peak:.0f} MB at most with blocks of 512 units."
        ),
    }
    print(found)
    if out:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
