"""The whole path from sentences to scores, against the way that the first studies of expert units went.

    python benchmarks/bench_ancestors.py

Theirs is the algorithm of apple/ml-selfcond (Suau et al. 2022), written anew: every sentence padded to 128
tokens, responses of each layer pooled over the sentence and pickled batch by batch, read back as lists, and
scikit-learn's average precision for each unit and concept in a pool of processes. It runs its model over
all sentences; of its (unit, concept) pairs a random sample is scored and the time scaled. It gives one
average precision; ours also those on two halves, the medians, and the token states that probes read.

Where concepts share sentences, scoring is most of its time. Where each concept brings its own, the forward
pass is, of which only the padding can be saved.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_extraction import (
    CELL,
    SETTINGS,
    SITES,
    Sentences,
    extract,
    make_checkpoint,
    make_sentences,
    own_sentences,
    shared_sentences,
)
from numpy.typing import NDArray
from rows import Ratio, Row, Side, Took, alternate, clocked, run_alone, shown
from sklearn.metrics import average_precision_score

from babelscope.analysis.scores import ScoreFile
from babelscope.models.checkpoints import LoadedModel, load_checkpoint
from babelscope.models.dimensions import n_layers
from babelscope.models.hooks import site_modules, watching
from babelscope.runtime import job

FASTER = 100.0
PADDED = 128
BATCH = 32
#: Other padding rounds other sums: values differ in the last digits, and sentences that are equal but for
#: these change places. This much of the pairs may have another score, by this much.
CHANGED, CHANGE = 0.02, 0.01
Responses = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Case:
    blocks: int
    d: int
    sentences: int
    concepts: int
    shares: bool
    """Whether the concepts share the sentences."""
    pairs: int
    repeats: int

    def __str__(self) -> str:
        whose = "that share" if self.shares else "with their own of"
        return f"{self.concepts} concepts {whose} {self.sentences:,} sentences"


CASES = (Case(4, 256, 2_000, 200, True, 2_000, 3), Case(4, 256, 2_000, 5, False, 4_000, 3))
SMALL = (Case(2, 16, 96, 3, True, 60, 1), Case(2, 16, 96, 2, False, 60, 1))


@torch.inference_mode()
def pickle_responses(loaded: LoadedModel, sentences: Sentences, folder: Path) -> None:
    """Run the model over sentences of 128 tokens and pickle the largest response of every unit."""
    seen: dict[str, torch.Tensor] = {}
    places = [
        (f"{layer} {site}", place)
        for layer in range(1, n_layers(loaded.config) + 1)
        for site in SITES
        for place in site_modules(loaded.model, site, layer)
    ]

    def keep(name: str, x_BSD: torch.Tensor) -> None:
        # A site may have several parts, such as queries, keys and values.
        pooled = x_BSD.masked_fill(mask_BS1 == 0, -torch.inf).amax(dim=1)
        seen[name] = pooled if name not in seen else torch.cat([seen[name], pooled], dim=1)

    with watching((place, partial(keep, name)) for name, place in places):
        for start in range(0, len(sentences), BATCH):
            seen.clear()
            texts = [text for _, text in sentences[start : start + BATCH]]
            encoded = loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]
            rows = [[loaded.start_id, *ids] for ids in encoded]
            ids_BS = torch.tensor([row + [loaded.pad_id] * (PADDED - len(row)) for row in rows])
            mask_BS = torch.tensor([[1] * len(row) + [0] * (PADDED - len(row)) for row in rows])
            mask_BS1 = mask_BS[:, :, None].clone()
            mask_BS1[:, 0] = 0  # the start token is no token of the sentence
            loaded.model.base_model(input_ids=ids_BS, attention_mask=mask_BS, use_cache=False)
            with (folder / f"{start:05d}.pkl").open("wb") as file:
                pickle.dump({name: values.numpy() for name, values in seen.items()}, file)


def read_responses(folder: Path) -> Responses:
    """By layer and site ``(units, sentences)``."""
    lists: dict[str, list[list[list[float]]]] = {}
    for path in sorted(folder.glob("*.pkl")):
        with path.open("rb") as file:
            for name, values in pickle.load(file).items():
                lists.setdefault(name, []).append(values.tolist())
    return {name: np.concatenate(parts).T for name, parts in lists.items()}


def _score(pairs: list[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> list[float]:
    return [float(average_precision_score(labels, values)) for labels, values in pairs]


def label_rows(concepts: pd.DataFrame, names: list[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Of each concept the rows of its sentences and their labels."""
    row = {name: at for at, name in enumerate(names)}
    return [
        (part["sentence_id"].map(row).to_numpy(), part["label"].to_numpy())
        for _, part in concepts.groupby("concept", sort=False)
    ]


def measure_case(case: Case) -> Row:
    sentences = make_sentences(case.sentences)
    names = [name for name, _ in sentences]
    concepts = (shared_sentences if case.shares else own_sentences)(names, case.concepts)
    labels = label_rows(concepts, names)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, job(Path(name, "log.txt"), threads=1):
        folder = Path(name)
        make_checkpoint(folder / "model", blocks=case.blocks, d=case.d)
        loaded = load_checkpoint(folder / "model", device="cpu")
        pickles = folder / "responses"
        pickles.mkdir()
        responses: Responses = {}

        def respond() -> None:
            pickle_responses(loaded, sentences, pickles)
            responses.update(read_responses(pickles))

        path = extract(loaded, sentences, folder, concepts)  # compiles
        sides = alternate(
            {"ours": lambda: extract(loaded, sentences, folder, concepts), "responses": respond},
            repeats=case.repeats,
            warm=False,
        )
        found = ScoreFile(path, CELL)
        widths = [(f"{layer} {site}", width) for layer, site, width in found.units.sites]
        total = len(found.units) * case.concepts
        drawn = np.random.default_rng(3).choice(total, case.pairs, replace=False)
        layer_P, site_P, unit_P = found.units.places(drawn // case.concepts)
        pairs = [
            (f"{at} {site}", int(unit), int(concept))
            for at, site, unit, concept in zip(layer_P, site_P, unit_P, drawn % case.concepts, strict=True)
        ]
        scored: list[float] = []
        with ProcessPoolExecutor(max_workers=cores) as pool:
            list(pool.map(_score, [[]] * cores))  # every worker is up

            def score() -> None:
                tasks = []
                for where, unit, concept in pairs:
                    rows, label_N = labels[concept]
                    tasks.append((label_N, responses[where][unit][rows]))
                parts = pool.map(_score, [tasks[at : at + 50] for at in range(0, len(tasks), 50)])
                scored[:] = [value for part in parts for value in part]

            scoring = Side(tuple(clocked(score) for _ in range(case.repeats)), total / case.pairs)
        ours = {name: found.read(int(name.split()[0]), name.split()[1], "ap_all") for name, _ in widths}
    our_P = np.array([ours[where][concept, unit] for where, unit, concept in pairs])
    difference_P = np.abs(our_P - np.array(scored))
    changed, largest = (difference_P > 1e-6).mean(), difference_P.max()
    if not (changed <= CHANGED and largest <= CHANGE):
        raise SystemExit(f"{changed:.2%} of the scores differ from theirs, the most by {largest:.3g}")
    theirs = Side((Took(sides["responses"].wall + scoring.wall, sides["responses"].cpu + scoring.cpu),))
    ratio = Ratio.of(theirs, sides["ours"])
    reached, ok = ratio.at_least(FASTER)
    tokens = np.mean([len(text.split()) + 1 for _, text in sentences])
    return Row(
        f"the whole path, {case} of {tokens:.0f} tokens, {case.blocks} blocks of d {case.d} "
        f"({len(found.units):,} units), one language",
        "the ancestors' way: padding to 128, pickles, scikit-learn per unit",
        f"faster by {ratio}",
        reached,
        f"at least {FASTER:.0f}",
        ok,
        f"The whole path for {case}: {sides['ours']}, one thread, against {shown(theirs.wall)} s and "
        f"{shown(theirs.cpu)} CPU s, of which {shown(sides['responses'].cpu)} for responses and the rest, "
        f"scaled from {case.pairs:,} of {total:,} pairs, for scikit-learn in {cores} processes. Of these "
        f"scores {changed:.1%} differ by more than 1e-6, the most by {largest:.1g}: padding rounds sums "
        "otherwise.",
    )


def measure(small: bool = False) -> list[Row]:
    assert SETTINGS.poolings == ("max",)
    return [measure_case(case) for case in (SMALL if small else CASES)]


if __name__ == "__main__":
    run_alone(measure, __doc__)
