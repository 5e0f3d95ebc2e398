"""Overlap of experts with nulls, p-values and bootstrap intervals, against sets and loops.

    python benchmarks/bench_overlap.py

Our side is the whole table of one step: each pair of languages over the model and within each layer, on the
same and on disjoint lines, and the means over pairs. Theirs is what one writes first: experts as Python's
sets, a loop over pairs of concepts, over permutations and over resamples. It takes a random sample of the
(layer, variant, pair of languages) and its time is scaled to all of them; the means over pairs it is spared.
The numbers of the sample are the same, and the draws behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from rows import Ratio, Row, alternate, run_alone
from threadpoolctl import threadpool_limits

from babelscope.analysis.overlap import Chosen, overlap_tables
from babelscope.analysis.ranking import ALL_LAYERS, ALL_SITES, k_by_scope
from babelscope.analysis.scores import OTHER_HALF, SUBSETS
from babelscope.analysis.settings import AlignmentSettings
from babelscope.stats import bootstrap_weights
from babelscope.units import UnitIndex

FASTER = 100.0
TOLERANCE = 1e-9
Numbers = tuple[float, ...]
Sets = list[set[int]]


@dataclass(frozen=True)
class Case:
    langs: int
    concepts: int
    layers: int
    units: int
    k: int
    sample: int
    """Pairs of languages that the loops take."""
    repeats: int
    settings: AlignmentSettings


CASE = Case(16, 200, 20, 50_000, 500, 6, 3, AlignmentSettings(seed=1))
SMALL = Case(3, 8, 2, 300, 20, 4, 1, AlignmentSettings(seed=1, bootstrap=50, permutations=50))


def make_experts(case: Case, units: UnitIndex) -> dict[str, Chosen]:
    """Experts of which a third are a concept's own in all languages, the others drawn."""
    rng = np.random.default_rng(0)
    found = {}
    starts = dict(zip(units.layers, units.starts.tolist(), strict=True))
    common: dict[tuple[int, int], np.ndarray] = {}
    for lang in range(case.langs):
        chosen = {}
        for subset in SUBSETS:
            for layer, k in k_by_scope(units, case.k).items():
                first, n = (0, len(units)) if layer == ALL_LAYERS else (starts[layer], units.width(layer))
                number_CK = np.empty((case.concepts, k), dtype=np.int64)
                for concept in range(case.concepts):
                    shared = common.setdefault((layer, concept), rng.choice(n, max(1, k // 3), replace=False))
                    rest = np.setdiff1d(rng.choice(n, min(n, 2 * k), replace=False), shared)
                    number_CK[concept] = first + np.concatenate([shared, rng.permutation(rest)])[:k]
                chosen[(layer, ALL_SITES), subset] = number_CK
        found[f"l{lang:02d}"] = chosen
    return found


def names(case: Case) -> list[str]:
    return [f"c{at:03d}" for at in range(case.concepts)]


def make_sets(chosen: Chosen, layer: int, subset: str) -> Sets:
    """The experts of each concept as a set of numbers."""
    return [set(units) for units in chosen[(layer, ALL_SITES), subset].tolist()]


def looped(
    pairs: list[tuple[Sets, Sets]], k: int, draws: list[list[float]], orders: list[list[int]]
) -> Numbers:
    """Overlap, low, high, null and p-value of one pair of languages; with two pairs of sets, their mean."""
    n = len(pairs[0][0])
    shared = [[sum(len(a[i] & b[j]) for a, b in pairs) / len(pairs) / k for j in range(n)] for i in range(n)]
    overlap = sum(shared[i][i] for i in range(n)) / n
    null = sum(shared[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    resampled = []
    for weights in draws:
        total = 0.0
        for i in range(n):
            total += weights[i] * shared[i][i]
        resampled.append(total)
    resampled.sort()
    as_large = 0
    for order in orders:
        total = 0.0
        for i, j in enumerate(order):
            total += shared[i][j]
        as_large += total / n >= overlap - 1e-12
    low, high = (_quantile(resampled, share) for share in (0.025, 0.975))
    return overlap, low, high, null, (1 + as_large) / (1 + len(orders))


def _quantile(rising: list[float], share: float) -> float:
    place = share * (len(rising) - 1)
    below = int(place)
    above = min(below + 1, len(rising) - 1)
    return rising[below] + (rising[above] - rising[below]) * (place - below)


def measure(small: bool = False) -> list[Row]:
    case = SMALL if small else CASE
    width = case.units // case.layers
    units = UnitIndex.of((layer, "mlp_act", width) for layer in range(1, case.layers + 1))
    experts = make_experts(case, units)
    langs = list(experts)
    k_of = k_by_scope(units, case.k)
    # Every (layer, variant, pair of languages) that the table has, and a sample of them.
    different = list(combinations(langs, 2))
    tasks = [(at, "same_lines", *pair) for at in k_of for pair in different]
    with_itself = [*different, *zip(langs, langs, strict=True)]
    tasks += [(at, "disjoint_lines", *pair) for at in k_of for pair in with_itself]
    rng = np.random.default_rng(2)
    # As many of the model as of layers, each scaled to its own: those of the model are a small part of all.
    groups = {
        "model": [task for task in tasks if task[0] == ALL_LAYERS],
        "layers": [task for task in tasks if task[0] != ALL_LAYERS],
    }
    samples = {
        name: [group[at] for at in rng.choice(len(group), min(case.sample, len(group)), replace=False)]
        for name, group in groups.items()
    }
    settings = case.settings
    last: dict[str, list[Numbers]] = {}

    def table() -> pd.DataFrame:
        with threadpool_limits(1):
            return overlap_tables(experts, units, names(case), settings).table

    def loops(name: str) -> None:
        # The same draws: a resample as shares, a permutation as an order.
        draws = bootstrap_weights(case.concepts, settings.bootstrap, settings.seed).tolist()
        generator = np.random.default_rng([settings.seed, 1])
        orders = [generator.permutation(case.concepts).tolist() for _ in range(settings.permutations)]
        last[name] = [looped(made[task], k_of[task[0]], draws, orders) for task in samples[name]]

    # Making the sets is not counted.
    made = {task: _sets_of(task, experts) for group in samples.values() for task in group}
    found = table().set_index(["layer", "variant", "lang_a", "lang_b"])
    sides = alternate(
        {"ours": table, "model": lambda: loops("model"), "layers": lambda: loops("layers")},
        repeats=case.repeats,
        scale={name: len(group) / len(samples[name]) for name, group in groups.items()},
        warm=False,
    )
    largest = 0.0
    for name, group in samples.items():
        for task, theirs in zip(group, last[name], strict=True):
            ours = found.loc[task, ["overlap", "low", "high", "null", "p_value"]].to_numpy(dtype=float)
            largest = max(largest, float(np.abs(ours - np.array(theirs)).max()))
    if not largest <= TOLERANCE:
        raise SystemExit(f"overlap differs from that of sets and loops by {largest:.3g}")
    both = (sides["model"], sides["layers"])
    theirs_wall, theirs_cpu = sum(side.wall for side in both), sum(side.cpu for side in both)
    ratio = Ratio(theirs_wall / sides["ours"].wall, theirs_cpu / sides["ours"].cpu)
    reached, ok = ratio.at_least(FASTER)
    size = f"{case.concepts} concepts x {case.langs} languages"
    return [
        Row(
            f"overlap with nulls and bootstrap, {size}, K {case.k} of {case.units:,} units in "
            f"{case.layers} layers",
            "sets and loops",
            f"faster by {ratio}",
            reached,
            f"at least {FASTER:.0f}",
            ok,
            f"Overlap of {size}: {len(tasks):,} comparisons in {sides['ours']} on one thread; the loops "
            f"{theirs_wall:,.0f} s, scaled from {sum(map(len, samples.values()))} of them. The largest "
            f"difference is {largest:.1g}.",
        )
    ]


def _sets_of(task: tuple[int, str, str, str], experts: dict[str, Chosen]) -> list[tuple[Sets, Sets]]:
    layer, variant, lang_a, lang_b = task
    subsets = [("all", "all")] if variant == "same_lines" else list(OTHER_HALF.items())
    return [
        (make_sets(experts[lang_a], layer, one), make_sets(experts[lang_b], layer, other))
        for one, other in subsets
    ]


if __name__ == "__main__":
    run_alone(measure, __doc__)
