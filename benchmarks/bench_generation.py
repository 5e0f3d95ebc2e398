"""Text of the demo's model with forced experts: many seeds at once against one seed at a time.

    python benchmarks/bench_generation.py --json out.json

A text's random numbers come from its own seed, so both ways must write the same texts, but for the odd one
that rounding changes. One thread; processor time of writing and scoring, medians of runs in turn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from demo_model import SEED, make_text, recipe, train

from babelscope.analysis.forcing import UnitSet
from babelscope.analysis.generation import FORCED, TextRequest, generate_texts
from babelscope.analysis.settings import GenerationSettings
from babelscope.models.checkpoints import load_checkpoint
from babelscope.models.dimensions import site_widths

SEEDS, REPEATS, STEPS, UNITS = 100, 3, 60, 23
TARGET = 20
SITES = ("attn_qkv", "attn_out", "mlp_in", "mlp_out")


def some_units(config: dict[str, Any]) -> UnitSet:
    """As many units as the demo forces, drawn from all sites and layers."""
    rng = np.random.default_rng(0)
    places = [(*cell, unit) for cell, width in site_widths(config, SITES).items() for unit in range(width)]
    layers, sites, units = zip(*(places[at] for at in rng.choice(len(places), UNITS, False)), strict=True)
    return UnitSet(layers, sites, units, rng.normal(size=UNITS))


def measure() -> list[dict[str, Any]]:
    """Write the texts both ways.

    Returns:
        A row: ``name``, ``against``, ``measured``, ``bound`` and ``details``, see ``run.py``.

    Raises:
        SystemExit: If more than one text in twenty differs.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(make_text(folder), folder / "model", [STEPS], recipe()["training"])
        loaded = load_checkpoint(folder / f"model/{STEPS}", device="cpu")
    units = some_units(loaded.config)
    settings = GenerationSettings(k=UNITS, seeds=SEEDS)
    requests = [TextRequest(FORCED, "en", "water", 0, seed, units) for seed in range(SEEDS)]

    def write(parts: list[list[TextRequest]]) -> tuple[float, list[str]]:
        start = time.process_time()
        tables = [generate_texts(loaded, part, settings, seed=SEED, where="benchmark") for part in parts]
        return time.process_time() - start, [text for table in tables for text in table["text"]]

    ways = {"at once": [requests], "alone": [[request] for request in requests]}
    write([requests[:2]])
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    texts: dict[str, list[str]] = {}
    for _ in range(REPEATS):
        for way, parts in ways.items():
            found, texts[way] = write(parts)
            seconds[way].append(found)
    same = sum(a == b for a, b in zip(texts["at once"], texts["alone"], strict=True))
    if same < 0.95 * SEEDS:
        raise SystemExit(f"only {same} of {SEEDS} texts are the same both ways")
    once, alone = median(seconds["at once"]), median(seconds["alone"])
    return [
        {
            "name": f"generation, {SEEDS} seeds at once, CPU time",
            "against": "one seed at a time",
            "measured": alone / once,
            "bound": TARGET,
            "details": (
                f"{SEEDS} texts of {settings.max_new_tokens} tokens with {UNITS} units forced, written and "
                f"scored: {once:.2f} CPU s at once ({min(seconds['at once']):.2f} to "
                f"{max(seconds['at once']):.2f}), {alone:.2f} one at a time ({min(seconds['alone']):.2f} to "
                f"{max(seconds['alone']):.2f}). {same} of {SEEDS} texts are the same to the letter."
            ),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    rows = measure()
    for row in rows:
        print(f"{row['name']}: {row['measured']:.1f} times faster than {row['against']}\n{row['details']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
