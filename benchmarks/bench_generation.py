"""Text of the demo's model with forced experts: many seeds at once against one seed at a time.

    python benchmarks/bench_generation.py

The peer is what one would write: a text at a time by ``generate`` of transformers with the same units forced,
then the loss of the text without forcing. Both sides must write from the same distribution: their tokens are
counted by place in the text and compared, and beside that our own writer, one seed at a time, must write the
same texts to the letter, since a text's random numbers come from its own seed. One thread, CPU time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_model import SEED, make_text, recipe, train
from numpy.typing import NDArray
from rows import Ratio, Row, alternate, run_alone

from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.generation import FORCED, TextRequest, generate_texts
from babelscope.analysis.settings import GenerationSettings
from babelscope.models.checkpoints import LoadedModel, load_checkpoint
from babelscope.models.dimensions import site_widths

STEPS, UNITS = 60, 23
BOUND = 20
#: Seeds, repeats.
SIZE, SMALL = (100, 5), (4, 1)
#: Texts of each side whose tokens are compared, and the least p-value of that comparison.
COMPARED, LEAST_P = 400, 0.001
SITES = ("attn_qkv", "attn_out", "mlp_in", "mlp_out")


def some_units(config: dict[str, Any]) -> UnitSet:
    """As many units as the demo forces, drawn from all sites and layers."""
    rng = np.random.default_rng(0)
    places = [(*cell, unit) for cell, width in site_widths(config, SITES).items() for unit in range(width)]
    layers, sites, units = zip(*(places[at] for at in rng.choice(len(places), UNITS, False)), strict=True)
    return UnitSet(layers, sites, units, rng.normal(size=UNITS))


def by_transformers(
    loaded: LoadedModel, units: UnitSet, seeds: range, settings: GenerationSettings
) -> list[list[int]]:
    """Write and score a text of each seed, one after the other."""
    tokenizer, start = loaded.tokenizer, torch.full((1, 1), loaded.start_id)
    stops = sorted({loaded.start_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id})
    found = []
    for seed in seeds:
        torch.manual_seed(seed)
        with torch.inference_mode():
            with force_units(loaded.model, [units]):
                ids = loaded.model.generate(
                    input_ids=start,
                    attention_mask=torch.ones_like(start),
                    do_sample=True,
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    top_k=0,
                    max_new_tokens=settings.max_new_tokens,
                    eos_token_id=stops,
                    pad_token_id=tokenizer.pad_token_id,
                )
            loaded.model(input_ids=ids, labels=ids)
        tokenizer.decode(ids[0, 1:], skip_special_tokens=True)
        found.append([token for token in ids[0, 1:].tolist() if token not in stops])
    return found


def p_value(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Of the hypothesis that the first tokens of both sides are of one distribution, by permuting the texts.

    The statistic is the distance of the shares of tokens at the first four places.
    """
    both = np.array([[*ids[:4], *[-1] * (4 - len(ids[:4]))] for ids in ours + theirs])
    counted = np.concatenate(
        [both[:, place, None] == np.unique(both[:, place]) for place in range(both.shape[1])], axis=1
    ).astype(np.float64)
    side = np.repeat([1.0, -1.0], [len(ours), len(theirs)]) / np.repeat(
        [len(ours), len(theirs)], [len(ours), len(theirs)]
    )
    rng = np.random.default_rng(0)

    def apart(side_N: NDArray[np.float64]) -> float:
        return float(np.abs(side_N @ counted).sum())

    null = np.array([apart(rng.permutation(side)) for _ in range(2000)])
    return float((1 + (null >= apart(side) - 1e-12).sum()) / (1 + len(null)))


def measure(small: bool = False) -> list[Row]:
    """Write the texts both ways.

    Raises:
        SystemExit: If our own texts depend on how many are written at once, or the two sides differ.
    """
    n_seeds, repeats = SMALL if small else SIZE
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(make_text(folder), folder / "model", [STEPS], recipe()["training"])
        loaded = load_checkpoint(folder / f"model/{STEPS}", device="cpu")
    units = some_units(loaded.config)
    settings = GenerationSettings(k=UNITS, seeds=n_seeds)

    def write(parts: list[range]) -> list[list[int]]:
        ids = []
        for part in parts:
            requests = [TextRequest(FORCED, "en", "water", 0, seed, units) for seed in part]
            texts = generate_texts(loaded, requests, settings, seed=SEED, where="benchmark")
            ids += texts["token_ids"].tolist()
        return ids

    alone = [range(seed, seed + 1) for seed in range(n_seeds)]
    same = sum(one == other for one, other in zip(write([range(n_seeds)]), write(alone), strict=True))
    if same < 0.95 * n_seeds:
        raise SystemExit(f"only {same} of {n_seeds} texts are the same at once and one at a time")
    n = n_seeds if small else COMPARED
    p = p_value(write([range(n)]), by_transformers(loaded, units, range(n), settings))
    if p < LEAST_P:
        raise SystemExit(f"the two sides write different texts: p = {p:.4f}")
    sides = alternate(
        {
            "at once": lambda: write([range(n_seeds)]),
            "alone": lambda: by_transformers(loaded, units, range(n_seeds), settings),
            "ours alone": lambda: write(alone),
        },
        repeats=repeats,
    )
    faster = Ratio.of(sides["alone"], sides["at once"])
    reached, ok = faster.at_least(BOUND)
    return [
        Row(
            f"generation, {n_seeds} seeds at once",
            "one seed at a time (`generate` of transformers)",
            f"faster by {faster}",
            reached,
            f"at least {BOUND}",
            ok,
            f"{n_seeds} texts of {settings.max_new_tokens} tokens with {UNITS} units forced, written and "
            f"scored: {sides['at once']} at once; {sides['alone']} one at a time by transformers, "
            f"{sides['ours alone']} one at a time by us (faster by "
            f"{Ratio.of(sides['ours alone'], sides['at once'])}). Our texts are the same to the letter in "
            f"{same} of {n_seeds}; the first four tokens of {n} texts of each side are of one distribution "
            f"as far as they tell (permutation test, p = {p:.2f}).",
        )
    ]


if __name__ == "__main__":
    run_alone(measure, __doc__)
