"""Language probes of all layers and seeds of a step against scikit-learn, layer by layer and seed by seed.

    python benchmarks/bench_probes.py

Both sides fit the same four probes (all dimensions, leading components, control task, shuffled labels) on the
same tokens of the demo's model and score them on the same test tokens; scikit-learn as one would write it: a
pipeline of its scaler, its PCA and its logistic regression as it comes. Ours finds the intervals of all
scores beside. One thread, processor time, medians of runs in turn.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from demo_model import SEED, make_text, recipe, train
from numpy.typing import NDArray
from rows import Row, run_alone, shown
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from babelscope.analysis.probing import fit_language_probe, split_groups
from babelscope.analysis.settings import ProbeSettings
from babelscope.models.checkpoints import load_model
from babelscope.text.tokenization import open_windows

STEPS, WINDOWS = 60, 40
BOUND, POINTS = 3.0, 0.5
#: Layers (the first ones), repeats.
SIZE, SMALL = (99, 3), (1, 1)


@dataclass
class Tokens:
    """Token states of a language, as the probes read them from a file."""

    token_sentence_ids: list[str]
    token_ids: NDArray[np.int64]
    states_LTD: NDArray[np.float32]

    def states(self, layer: int) -> NDArray[np.float32]:
        """Of a layer, shape ``(T, D)``."""
        return self.states_LTD[layer]


def make_tokens() -> dict[str, Tokens]:
    """States of the demo's model after some steps, at every token of some windows of each language."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = make_text(folder)
        train(text, folder / "model", [STEPS], recipe()["training"])
        model = load_model(folder / f"model/{STEPS}")
        for lang, windows in open_windows(text["tokens_h5"]).train.items():
            ids_NL = windows[:WINDOWS].astype(np.int64)
            with torch.inference_mode():
                out = model(torch.from_numpy(ids_NL), output_hidden_states=True)
            names = [f"window-{row:03d}" for row in range(WINDOWS) for _ in range(ids_NL.shape[1])]
            states = np.stack([state.flatten(0, 1).numpy() for state in out.hidden_states])
            found[lang] = Tokens(names, ids_NL.ravel(), states)
    return found


def by_scikit_learn(tokens: dict[str, Tokens], layer: int, settings: ProbeSettings, seed: int) -> float:
    """Fit and score the four probes of a layer and a seed; the accuracy of that on all dimensions."""
    rng = np.random.default_rng(seed)
    states, labels, sentences, types = [], [], [], []
    names = sorted({name for of_lang in tokens.values() for name in of_lang.token_sentence_ids})
    numbers = {name: number for number, name in enumerate(names)}
    for label, lang in enumerate(sorted(tokens)):
        of_lang = tokens[lang]
        chosen = rng.choice(len(of_lang.token_ids), settings.tokens_per_language, replace=False)
        states.append(of_lang.states(layer)[chosen])
        labels.append(np.full(len(chosen), label))
        sentences.append([numbers[of_lang.token_sentence_ids[row]] for row in chosen])
        types.append(of_lang.token_ids[chosen])
    x, y = np.concatenate(states), np.concatenate(labels)
    test = np.isin(np.concatenate(sentences), split_groups(len(names), settings.test_share, seed))
    _, type_of = np.unique(np.concatenate(types), return_inverse=True)
    control = rng.integers(len(tokens), size=type_of.max() + 1)[type_of]
    shuffled = y.copy()
    shuffled[~test] = rng.permutation(y[~test])

    def probe() -> LogisticRegression:
        return LogisticRegression(C=settings.c, max_iter=settings.max_iter)

    x = x.astype(np.float64)
    full = make_pipeline(StandardScaler(), probe()).fit(x[~test], y[~test])
    components = PCA(settings.components)
    leading = make_pipeline(StandardScaler(), components, StandardScaler(), probe())
    leading.fit(x[~test], y[~test]).score(x[test], y[test])
    for given, wanted in ((control, control), (shuffled, y)):
        make_pipeline(StandardScaler(), probe()).fit(x[~test], given[~test]).score(x[test], wanted[test])
    return float(full.score(x[test], y[test]))


def measure(small: bool = False) -> list[Row]:
    """Fit the probes both ways.

    Raises:
        SystemExit: If the accuracy of a layer, the mean over its seeds, differs by more than half a point.
    """
    most, repeats = SMALL if small else SIZE
    torch.set_num_threads(1)
    tokens = make_tokens()
    # Both sides fit the same four probes, with one penalty; ours fits one more, on a part of the types.
    settings = ProbeSettings(**_demo_settings() | {"tokens_per_language": 600, "c": 1}, seed=SEED)
    layers = range(min(most, len(next(iter(tokens.values())).states_LTD)))
    seeds = range(SEED, SEED + settings.seeds)
    ours: list[float] = []
    theirs: list[float] = []
    with threadpool_limits(limits=1):
        for _ in range(repeats):
            start = time.process_time()
            tables = [
                fit_language_probe(tokens, layer=layer, settings=settings, model="m", step=STEPS)  # type: ignore[arg-type]
                for layer in layers
            ]
            ours.append(time.process_time() - start)
            start = time.process_time()
            found = {
                (at, seed): by_scikit_learn(tokens, at, settings, seed) for at in layers for seed in seeds
            }
            theirs.append(time.process_time() - start)
    apart = []  # per layer and seed, in points
    for layer, table in zip(layers, tables, strict=True):
        rows = table.query("probe == 'full' and metric == 'accuracy' and seed >= 0")
        apart.append([100 * (row.value - found[layer, row.seed]) for row in rows.itertuples()])
    of_layers, most_apart = np.abs(np.mean(apart, axis=1)).max(), np.abs(apart).max()
    if of_layers > POINTS:
        raise SystemExit(f"the accuracy of a layer is {of_layers:.2f} points from scikit-learn's")
    size = f"{len(tokens)} languages x {settings.tokens_per_language} tokens, {len(layers)} layers"
    times = median(theirs) / median(ours)
    return [
        Row(
            f"language probes of a step, {size}, {settings.seeds} seeds, CPU time",
            "scikit-learn per layer and seed",
            f"{shown(times)} times",
            times,
            f"at least {BOUND:g}",
            times >= BOUND,
            f"{median(ours):.2f} CPU s ({min(ours):.2f} to {max(ours):.2f}), intervals included, against "
            f"{median(theirs):.2f} ({min(theirs):.2f} to {max(theirs):.2f}) of scikit-learn in double "
            f"precision with its own tolerance, without intervals. Accuracies of a layer differ by "
            f"{of_layers:.2f} points at most, those of a single seed by {most_apart:.2f}.",
        )
    ]


def _demo_settings() -> dict[str, Any]:
    import yaml
    from demo_model import ROOT

    return dict(yaml.safe_load((ROOT / "config/config.yaml").read_text())["probes"])


if __name__ == "__main__":
    run_alone(measure, __doc__)
