"""The explorer with made-up data of the size of BLOOM-560m on 16 languages, in Chromium.

221,184 units, 16 languages, 33 concepts, 7 steps, 500 units kept of each. How large its data are in the page,
and how long the browser takes to the first view, and from one step to the next.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from rows import Row, run_alone, shown

from babelscope.analysis.ranking import Best
from babelscope.report.explorer.build import Explorer, build_explorer
from babelscope.report.page import render_report
from babelscope.units import UnitIndex

SITES = {"attn_out": 1024, "attn_qkv": 3072, "mlp_act": 4096, "mlp_out": 1024}
#: Layers, languages, concepts, steps, kept units.
WHOLE, SMALL = (24, 16, 33, 7, 500), (2, 3, 4, 3, 20)
MEGABYTES, FIRST, STEP = 7.0, 1.0, 0.05
#: Views that are timed: names of the first are those of the data below.
VIEWS = {
    "two languages": "#/raster?c=concept-1",
    "a unit": "#/unit/L00.mlp_act.5?c=concept-1",
    "languages": "#/matrix",
    "layers": "#/layers",
}
_MOVE = """async (at) => {
  const slider = document.querySelector('.x-time input');
  const start = performance.now();
  slider.value = at;
  slider.dispatchEvent(new Event('input'));
  const shown = () => performance.getEntriesByName('explorer shown').at(-1).startTime;
  while (shown() < start) await new Promise((done) => setTimeout(done));
  document.getElementById('explorer').getBoundingClientRect(); // laid out
  return performance.now() - start;
}"""


class MadeUp:
    """In place of a file of best units: most are of one language, some of all."""

    def __init__(self, units: UnitIndex, concepts: int, kept: int, shared: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        own = rng.integers(0, len(units), (concepts, kept))
        own[:, : shared.shape[1]] = shared
        unit = np.stack([rng.permutation(np.unique(row)) for row in _distinct(own, len(units), rng)])
        self.units, self.concepts = units, [f"concept-{at}" for at in range(concepts)]
        self.chance_ap = np.full(concepts, 0.05)
        ap = -np.sort(-rng.beta(2, 5, unit.shape), axis=1)
        self._best = Best(unit, ap, np.full_like(ap, np.nan), ap)

    def best(self, subset: str) -> Best:
        return self._best

    def below(self) -> np.ndarray:
        return self._best.ap[:, -1]


def _distinct(rows: np.ndarray, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for row in rows:
        found = np.unique(row)
        while len(found) < len(row):
            found = np.unique([*found, *rng.integers(0, n, len(row) - len(found))])
        yield found


def made_up(small: bool) -> Explorer:
    """The explorer of a study of this size."""
    layers, n_langs, n_concepts, n_steps, kept = SMALL if small else WHOLE
    units = UnitIndex.of((at, site, width) for at in range(layers) for site, width in sorted(SITES.items()))
    langs, steps = [f"l{at:02d}" for at in range(n_langs)], [1000 * 2**at for at in range(n_steps)]
    rng, best = np.random.default_rng(0), {}
    for s, step in enumerate(steps):
        shared = rng.integers(0, len(units), (n_concepts, max(1, kept * s // (2 * n_steps))))
        for at, lang in enumerate(langs):
            best[step, lang] = MadeUp(units, n_concepts, kept, shared, seed=1000 * s + at)
    pairs = [("*", "*"), *combinations(langs, 2), *((lang, lang) for lang in langs)]
    rows = [
        ("made-up", step, "model" if layer < 0 else "layer", layer, variant, *pair, 0.3, 0.05, kept)
        for step in steps
        for layer in range(-1, layers)
        for variant in ("disjoint_lines", "same_lines")
        for pair in pairs
    ]
    names = ["model", "step", "scope", "layer", "variant", "lang_a", "lang_b", "overlap", "null", "k"]
    overlap = pd.DataFrame(rows, columns=names)
    overlap["overlap"] = rng.uniform(0, 1, len(overlap))
    return build_explorer({"languages": langs}, {"overlap": overlap}, {"made-up": best}, megabytes=MEGABYTES)


def measure(small: bool) -> Iterator[Row]:
    explorer = made_up(small)
    size = explorer.size / 1e6
    what = "a small study" if small else "BLOOM-560m, 16 languages, 33 concepts, 7 steps"
    what = "a small study" if small else "BLOOM-560m, 16 languages, 33 concepts, 7 steps"
    yield Row(
        f"the explorer's data: {what}", "what the page may take", f"{shown(size)} MB", size,
        f"at most {MEGABYTES:g} MB", size <= MEGABYTES,
    )  # fmt: skip
    times = timed(explorer, 1 if small else 5)
    if times is None:
        return
    first, steps = times
    yield Row(
        "the explorer's first view", "a second", f"{shown(median(first))} s in Chromium, {len(first)} loads",
        median(first), f"at most {FIRST:g} s", median(first) <= FIRST,
    )  # fmt: skip
    slowest = max(median(each) for each in steps.values())
    said = ", ".join(f"{view} {1000 * median(each):.0f} ms" for view, each in steps.items())
    yield Row(
        "the explorer from one step to the next", "50 ms", said, slowest, f"at most {1000 * STEP:g} ms",
        slowest <= STEP,
        "The explorer's steps: drawn and laid out, not yet on the screen; each step for the second time.",
    )  # fmt: skip


def timed(explorer: Explorer, repeats: int) -> tuple[list[float], dict[str, list[float]]] | None:
    """Seconds to the first view, and by view from step to step; None without a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        return None
    first, steps = [], {view: [] for view in VIEWS}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        out = Path(folder, "report.html")
        render_report(study={}, tables={}, figures={}, findings=[], provenance={}, out=out, explorer=explorer)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            for view, fragment in VIEWS.items():
                page = browser.new_page()
                page.goto(out.as_uri() + fragment)
                page.wait_for_selector("#explorer-root[data-ready]")
                if view == next(iter(VIEWS)):
                    shown_at = "performance.getEntriesByName('explorer shown')[0].startTime"
                    first.append(page.evaluate(shown_at) / 1000)
                last = page.evaluate("Number(document.querySelector('.x-time input').max)")
                for turn in (0, 1):
                    for at in range(last + 1):
                        took = page.evaluate(_MOVE, at) / 1000
                        if turn:
                            steps[view].append(took)
                page.close()
        browser.close()
    return first, steps


if __name__ == "__main__":
    run_alone(measure, __doc__)
