"""How time grows with sentences, units, concepts, languages, steps and models: docs/growth.svg.

    python benchmarks/bench_growth.py

Processor time of scoring, extraction (with scoring in its stream), ranking and alignment together, and
planning, against one size at a time. To each curve ``a + b * size ** p`` is fitted, in which a is what does
not grow, such as the start of a process. Where theory says that p is 1, p must be near it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bench_extraction import (
    Sentences,
    extract,
    make_checkpoint,
    make_sentences,
    own_sentences,
    shared_sentences,
)
from matplotlib.figure import Figure
from rows import Row, clocked, run_alone
from scipy.optimize import nnls

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.precision import Labels, score_values
from babelscope.analysis.ranking import BestFile, rank_units
from babelscope.analysis.reliability import search_units
from babelscope.analysis.scores import ScoreFile, ScoreSettings, score_blocks
from babelscope.analysis.settings import AlignmentSettings
from babelscope.capture.store import Provenance
from babelscope.io.h5 import atomic_h5
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "growth.svg"
#: How far above theory an exponent may be.
EXCESS = 0.15
#: Behind the scores that are ranked: enough for positive ones in both halves.
SENTENCES = 160
Work = Callable[[], Any]
#: Makes, in a folder, what is timed for each of the sizes.
Works = Callable[[Path, tuple[int, ...]], Iterator[Work]]


@dataclass(frozen=True)
class Curve:
    """Time against one size.

    Attributes:
        stage: What is timed.
        size: What grows.
        sizes: Its values, rising.
        theory: The exponent of the fastest growing part.
        why: Where that is not 1.
        works: Makes, in a folder, what is timed for each value.
        repeats: Of each; the median counts.
    """

    stage: str
    size: str
    sizes: tuple[int, ...]
    theory: float
    why: str
    works: Works
    repeats: int = 3


def scoring(*, sentences: int = 1_000, units: int = 1_024, concepts: int = 50) -> Work:
    rng = np.random.default_rng(0)
    values_NU = rng.standard_normal((sentences, units), dtype=np.float32)
    labels = Labels((rng.random((sentences, concepts)) < 0.1).astype(np.int8), np.arange(sentences) % 2)
    return lambda: score_values(values_NU, labels)


def extraction(folder: Path, *, sentences: int = 256, blocks: int = 4, d: int = 128) -> Work:
    model = folder / f"model-{blocks}-{d}"
    if not model.exists():
        make_checkpoint(model, blocks=blocks, d=d)
    loaded = load_checkpoint(model, device="cpu")
    texts: Sentences = make_sentences(sentences)
    concepts = own_sentences([name for name, _ in texts], max(1, sentences // 64))
    return lambda: extract(loaded, texts, folder, concepts)


def alignment(folder: Path, *, concepts: int = 24, languages: int = 4, units: int = 4_096) -> Work:
    """Ranking, the search of single units and all tables of one step."""
    folder = folder / f"{concepts}-{languages}-{units}"
    folder.mkdir()
    names = [f"s-{at:03d}" for at in range(SENTENCES)]
    labels = shared_sentences(names, concepts)
    rng = np.random.default_rng(0)
    widths = {(layer, "mlp_act"): units // 4 for layer in range(1, 5)}
    scores = {}
    for at in range(languages):
        lang = f"l{at:02d}"
        about = Provenance(
            model="m", step=0, lang=lang, weights_hash="", tokenizer_hash="", corpus_hash="",
            sites=("mlp_act",), pooling="max", dtype="float32",
        )  # fmt: skip
        values = {place: rng.standard_normal((SENTENCES, n), dtype=np.float32) for place, n in widths.items()}
        with atomic_h5(folder / f"{lang}.h5", kind="scores") as file:
            group = file.create_group(f"0/{lang}")
            score_blocks(group, labels, ScoreSettings(), [about], names, widths, [(0, {"max": values})])
        scores[lang] = ScoreFile(folder / f"{lang}.h5", f"0/{lang}")
    settings = AlignmentSettings(bootstrap=200, permutations=200)

    def work() -> None:
        with atomic_h5(folder / "best.h5", kind="best") as file:
            rank_units(scores, {lang: file.create_group(f"0/{lang}") for lang in scores}, kept=200, seed=0)
        best = {lang: BestFile(folder / "best.h5", f"0/{lang}") for lang in scores}
        align_experts(best, search_units(scores, seed=0), settings, k=100)

    return work


def planning(folder: Path, *, steps: int = 16, models: int = 2, languages: int = 8) -> Work:
    """``snakemake --dry-run`` of the demo with other sizes, each step and language a job of its own."""
    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    langs = demo["languages"][:languages]
    recipe = {**demo["models"]["bridged"], "steps": list(range(steps)), "seeds": list(range(models))}
    generation = {**demo["generation"], "steps": [steps - 1], "languages": langs[:1]}
    corpus = {**demo["corpora"]["bridged"], "languages": langs}
    study = demo | {"languages": langs, "corpora": {"bridged": corpus}, "models": {"bridged": recipe}}
    study |= {"generation": generation, "granularity": {"languages_per_job": 1, "layers_per_job": 8}}
    config = folder / f"{steps}-{models}-{languages}.yaml"
    study |= {"experts": {**demo["experts"], "min_languages": 2}}
    study |= {"probes": {**demo["probes"], "anchor_min_languages": 2}}
    config.write_text(yaml.safe_dump(study))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(config), "--dry-run", "--cores", "2", "--quiet", "all",
        "--workflow-profile", "none",
    ]  # fmt: skip
    return lambda: subprocess.run(command, check=True, capture_output=True)


def varied(make: Callable[..., Work], name: str, **given: int) -> Works:
    """Works in which one size varies; those that need a folder take it first."""

    def works(folder: Path, sizes: tuple[int, ...]) -> Iterator[Work]:
        where = () if make is scoring else (folder,)
        return (make(*where, **given, **{name: size}) for size in sizes)

    return works


CURVES = (
    Curve("scoring", "sentences", (500, 1_000, 2_000, 4_000, 8_000), 1.1, "n log n",
          varied(scoring, "sentences")),
    Curve("scoring", "units", (1_024, 2_048, 4_096, 8_192), 1, "", varied(scoring, "units")),
    Curve("scoring", "concepts", (50, 100, 200, 400, 800), 1, "", varied(scoring, "concepts")),
    Curve("extraction", "sentences", (128, 256, 512, 1_024), 1, "", varied(extraction, "sentences")),
    Curve("extraction", "blocks", (2, 4, 8, 16), 1, "units grow with them", varied(extraction, "blocks")),
    Curve("alignment", "units", (4_096, 8_192, 16_384, 32_768), 1, "", varied(alignment, "units")),
    Curve("alignment", "concepts", (16, 32, 64, 128), 2, "each with each other: the null",
          varied(alignment, "concepts")),
    Curve("alignment", "languages", (3, 6, 12, 24), 2, "pairs", varied(alignment, "languages")),
    Curve("planning", "steps", (16, 32, 64, 128), 1, "", varied(planning, "steps", models=1), 1),
    Curve("planning", "models", (2, 4, 8, 16), 1, "", varied(planning, "models", steps=8), 1),
    Curve("planning", "languages", (2, 4, 6, 8), 1, "", varied(planning, "languages", steps=48), 1),
)  # fmt: skip
#: Of each stage but planning, which starts Snakemake, one curve of small sizes.
SMALL = (
    Curve("scoring", "units", (64, 128, 256), 1, "", varied(scoring, "units", sentences=50), 1),
    Curve("extraction", "sentences", (24, 48, 96), 1, "", varied(extraction, "sentences", d=32), 1),
    Curve("alignment", "units", (400, 800, 1_600), 1, "", varied(alignment, "units", concepts=6), 1),
)
LABELS = {"alignment": "ranking and alignment"}


@dataclass(frozen=True)
class Fit:
    """``constant + factor * size ** exponent``."""

    constant: float
    factor: float
    exponent: float

    def __call__(self, size: Any) -> Any:
        return self.constant + self.factor * size**self.exponent


def fit(sizes: np.ndarray, seconds: np.ndarray) -> Fit:
    """Least squares of relative errors; the constant is no less than 0."""
    scaled = sizes / sizes[-1]
    tried = {}
    for exponent in np.arange(0.2, 3.5, 0.01):
        terms = np.stack([np.ones_like(scaled), scaled**exponent], axis=1) / seconds[:, None]
        (constant, factor), error = nnls(terms, np.ones_like(scaled))
        tried[error] = Fit(float(constant), float(factor / sizes[-1] ** exponent), float(exponent))
    return tried[min(tried)]


def timed(curve: Curve) -> np.ndarray:
    """Median CPU seconds for each size; the sizes take turns."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        if curve.stage != "planning":  # whose processes set their own
            stack.enter_context(job(Path(name, "log.txt"), threads=1))
        works = list(curve.works(Path(name), curve.sizes))
        works[0]()  # compiles; fills the page cache
        seconds = [[clocked(work).cpu for work in works] for _ in range(curve.repeats)]
    return np.median(seconds, axis=0)


def draw(curves: list[tuple[Curve, np.ndarray, Fit]], path: Path) -> None:
    """A panel a stage: seconds against the size, both as multiples of the first."""
    stages = list(dict.fromkeys(curve.stage for curve, _, _ in curves))
    figure = Figure(figsize=(3.1 * len(stages), 3.4), layout="constrained")
    for ax, stage in zip(np.atleast_1d(figure.subplots(1, len(stages))), stages, strict=True):
        of_stage = [entry for entry in curves if entry[0].stage == stage]
        for number, (curve, seconds, found) in enumerate(of_stage):
            sizes = np.array(curve.sizes, dtype=float)
            smooth = np.geomspace(sizes[0], sizes[-1], 60)
            theory = f" (theory {curve.theory:g})" if curve.theory != 1 else ""
            label = f"{curve.size}: {found.exponent:.2f}{theory}"
            ax.plot(sizes / sizes[0], seconds, "o", color=f"C{number}", markersize=4, label=label)
            ax.plot(smooth / sizes[0], found(smooth), color=f"C{number}", linewidth=1)
        ax.set(xscale="log", yscale="log", title=LABELS.get(stage, stage), xlabel="size, first = 1")
        ax.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small", title="exponent fitted", title_fontsize="small")
    figure.axes[0].set_ylabel("CPU seconds")
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def measure(small: bool = False, figure: Path | None = None) -> list[Row]:
    curves = []
    for curve in SMALL if small else CURVES:
        seconds = timed(curve)
        curves.append((curve, seconds, fit(np.array(curve.sizes, dtype=float), seconds)))
        print(f"{curve.stage}, {curve.size}: {curves[-1][2].exponent:.2f}", file=sys.stderr, flush=True)
    if not small:
        draw(curves, figure or FIGURE)
    elif figure:
        draw(curves, figure)
    excess = {f"{c.stage}, {c.size}": found.exponent - c.theory for c, _, found in curves}
    worst = max(excess, key=lambda name: excess[name])
    lines = [
        "## Growth",
        "",
        "![CPU time against size](growth.svg)",
        "",
        "Processor time against one size at a time; `a + b * size ** p` is fitted, in which a is what does "
        "not grow, such as the start of a process. Other sizes as in `benchmarks/bench_growth.py`.",
        "",
        "| stage | grows with | sizes | CPU seconds | exponent | theory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for curve, seconds, found in curves:
        sizes = ", ".join(f"{size:,}" for size in curve.sizes)
        times = ", ".join(f"{value:.2f}" for value in seconds)
        theory = f"{curve.theory:g}" + (f" ({curve.why})" if curve.why else "")
        stage, exponent = LABELS.get(curve.stage, curve.stage), f"{found.exponent:.2f}"
        lines.append("| " + " | ".join((stage, curve.size, sizes, times, exponent, theory)) + " |")
    return [
        Row(
            f"growth of CPU time, {len(curves)} curves",
            "theory",
            f"farthest above it: {worst}, by {excess[worst]:+.2f}",
            excess[worst],
            f"exponents at most {EXCESS} above",
            excess[worst] <= EXCESS,
            section="\n".join(lines),
        )
    ]


if __name__ == "__main__":
    run_alone(measure, __doc__)
