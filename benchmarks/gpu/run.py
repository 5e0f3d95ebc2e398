"""Check and measure the library on a GPU: ``make gpu``, or ``python3 benchmarks/gpu/run.py``.

Needs Python 3.11 or later, torch, transformers 5, h5py, NumPy, scikit-learn and pandas; what else the library
imports comes from the wheels that ``make gpu-wheels`` fetched, where the machine lacks it. No network, no
Snakemake. ``--device cpu --small`` runs all of it without a GPU in under a minute.

Writes ``figures.json``, ``gpu.md`` and ``log.txt`` to ``$OUT`` if that is set, else to results/gpu; on a GPU
docs/gpu.md too. Ends with status 1 if a check failed or a part broke.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "src"), str(ROOT / "tests" / "helpers")]

import carried  # noqa: E402  (needs the path above, and comes before all that is carried)
from harness import Options, Outcome, Part, child, run_part  # noqa: E402

SECONDS, SMALL_SECONDS, SMALL_PART_SECONDS = 470.0, 900.0, 200.0
"""Of all parts together; of small ones and of one of them, which may meet a busy machine."""


#: All parts, the most wanted first: name, module, function, seconds that it may take. The first is for all.
PARTS = (
    ("card", "cards", "measure_card", 60),
    ("extraction", "checks", "check_extraction", 60),
    ("architectures", "checks", "check_architectures", 60),
    ("scoring", "checks", "check_scoring", 60),
    ("forcing", "checks", "check_forcing", 30),
    ("generation", "checks", "check_generation", 40),
    ("training", "checks", "check_training", 60),
    ("spread", "checks", "check_spread", 40),
    ("560m-written", "figures", "write_560m", 40),
    ("bloom-560m", "figures", "measure_560m", 100),
    ("xglm-257m", "figures", "measure_training", 110),
    ("bloom-7b1", "figures", "measure_7b1", 110),
)


def part_of(name: str, module: str, function: str, seconds: float) -> Part:
    """A row of :data:`PARTS` as a part."""
    if module != "cards":  # what each part would import else: seconds, before this process is copied
        import transformers.models.bloom.modeling_bloom
        import transformers.models.xglm.modeling_xglm  # noqa: F401
    return Part(name, getattr(importlib.import_module(module), function), seconds)


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        return _as_child(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts, after the first")
    parser.add_argument("--out", type=Path, help="folder for what is written; $OUT or results/gpu")
    parser.add_argument("--page", type=Path, help="also write the page here; on a GPU docs/gpu.md")
    parser.add_argument("--wheels", type=Path, default=carried.FOLDER, help="what make gpu-wheels fetched")
    parser.add_argument("--scratch", type=Path, help="folder with room for 10 GB")
    parser.add_argument("--threads", type=int, help="cores to use; all of them, or one if small")
    parser.add_argument("--fresh", action="store_true", help="start an interpreter for every part")
    given = parser.parse_args()
    if given.device == "cpu" and not given.small:
        parser.error("the true sizes are for a GPU; add --small")
    started = time.monotonic()
    # Asked by NVML, a count of cards does not start CUDA; started here it could not be used in copies.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # Small models gain nothing from threads, which wait for each other where other work runs.
    threads = given.threads or (1 if given.small else len(os.sched_getaffinity(0)))
    os.environ.update({name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
    taken, unpacked = carried.use(given.wheels)
    without_numba = carried.stand_in_for_numba()
    out = given.out or Path(os.environ.get("OUT") or ROOT / "results" / "gpu")
    out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="babelscope-gpu-", dir=given.scratch))
    options = Options(
        device=given.device, small=given.small, scratch=scratch, compiled=not without_numba,
        threads=threads,
    )  # fmt: skip
    notes = [f"packages that this machine lacks, and that were carried to it: {', '.join(taken) or 'none'}"]
    if without_numba:
        notes.append(f"numba is missing ({without_numba}): the scorer ran without it, on few units")
    print("; ".join(notes), flush=True)
    try:
        outcomes = _run_all(given, options, out, started, notes)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if unpacked is not None:
            shutil.rmtree(unpacked, ignore_errors=True)
    return 0 if all(outcome.is_fine for outcome in outcomes) else 1


def _run_all(
    given: argparse.Namespace, options: Options, out: Path, started: float, notes: list[str]
) -> list[Outcome]:
    import page

    chosen = [row for row in PARTS if not given.only or row[0] in ("card", *given.only)]
    outcomes: list[Outcome] = []
    fresh = given.fresh
    limit = SMALL_SECONDS if options.small else SECONDS
    for name, *row, seconds in chosen:
        left = limit - (time.monotonic() - started)
        box = min(SMALL_PART_SECONDS if options.small else seconds, left)
        if box < 5 or (outcomes and outcomes[0].status != "done"):
            why = "no time was left" if box < 5 else "the device cannot be used"
            outcome = Outcome(name, "not run", 0.0, why)
        else:
            part = part_of(name, *row, seconds)
            outcome = run_part(part, options, seconds=box, folder=options.scratch, fresh=fresh)
            if name == "card" and outcome.status != "done" and not fresh and options.device == "cuda":
                # Something that was imported has started CUDA, perhaps: try without copies of this process.
                fresh = True
                outcome = run_part(part, options, seconds=box, folder=options.scratch, fresh=fresh)
        outcomes.append(outcome)
        if name == "card":
            options.card = {line["name"]: line["value"] for line in outcome.found if line["kind"] == "detail"}
        print(f"{name}: {outcome.status} {outcome.reason} ({outcome.seconds:.0f} s)", flush=True)
        head = _head(options, notes, time.monotonic() - started, outcomes)
        _write(out, options, head, notes, outcomes)  # after each part: this process may be stopped, too
    pages = [given.page] if given.page else [ROOT / "docs" / "gpu.md"] if options.device == "cuda" else []
    for place in pages:
        shutil.copyfile(out / "gpu.md", place)
    name = options.card.get("name", options.device)
    print(page.short_table(f"\n{name}, {time.monotonic() - started:.0f} s", outcomes), flush=True)
    return outcomes


def _head(options: Options, notes: list[str], seconds: float, outcomes: list[Outcome]) -> list[str]:
    """What stands above the tables of the page."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    name = options.card.get("name", "unknown")
    small = " SMALL=1" if options.small else ""
    command = "make gpu" if options.device == "cuda" else f"make gpu DEVICE=cpu{small}"
    memory = options.card.get("memory", 0) / 1e9
    load = f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores, of which {options.threads} were used"
    machine = f"{memory:.0f} GB; {versions}; load at the end {load}"
    text = []
    if options.device == "cpu":
        text.append(
            "**No GPU has been used yet.** None was at hand while this version was written, so nothing here "
            "says how the library does on one. The tables are those of the same command without a GPU, with "
            "tiny models: they show that the run itself works, and that on one device all checks hold. "
            "`make gpu` on a machine with a GPU writes this page anew, with the card's name."
        )
    text.append(f"Written by `{command}` on {date.today()}, in {seconds:.0f} s. {name}: {machine}.")
    text.append(f"{'; '.join(notes)}.".replace("packages", "Packages", 1))
    text.append(
        "Models have random weights: of the shapes that the suites publish, drawn on the device in 16 bits, "
        "or small ones for the checks. GB are 10^9 bytes. Shares of the peak count the operations that the "
        "tokens need, not those spent on padding; the matrix product's rate was measured in the same run."
    )
    return text


def _versions() -> dict[str, str]:
    from importlib import metadata

    found = {"Python": platform.python_version()}
    for name in ("torch", "transformers", "numpy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _write(out: Path, options: Options, head: list[str], notes: list[str], outcomes: list[Outcome]) -> None:
    import page

    (out / "gpu.md").write_text(page.page(head, outcomes), encoding="utf-8")
    everything: dict[str, Any] = {
        "device": options.device, "small": options.small, "card": options.card, "notes": notes,
        "threads": options.threads, "date": str(date.today()), "versions": _versions(),
        "parts": [{**asdict(outcome), "is_fine": outcome.is_fine} for outcome in outcomes],
    }  # fmt: skip
    (out / "figures.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        for outcome in outcomes:
            path = options.scratch / f"{outcome.part}.log"
            content = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            log.write(f"== {outcome.part}: {outcome.status} {outcome.reason}\n{content[-200_000:]}\n")


def _as_child(name: str, folder: str) -> int:
    """One part in this interpreter, for ``fresh`` ones; the options come on the standard input."""
    given = json.load(sys.stdin)
    options = Options(**{**given, "scratch": Path(given["scratch"])})
    carried.stand_in_for_numba()
    (row,) = [row for row in PARTS if row[0] == name]
    child(part_of(*row), options, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
