"""All benchmarks in one run, and the table of what they found: ``make bench``.

    python benchmarks/run.py                      all parts; half an hour on two idle cores
    python benchmarks/run.py --only store,demo    these; the others stay as they were measured

Each part is a module of this folder and runs in a process of its own, so that imports, threads and memory do
not mix. What they return is kept in docs/benchmarks.json and written as docs/benchmarks.md. A bound that is
missed is said in the table; the status is 1 only if a part has no rows.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rows import Row

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORD = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.json"
#: By name the module and what it measures, in the order of the table.
PARTS = {
    "expertise": ("bench_expertise", "unit scores"),
    "extraction": ("bench_extraction", "extraction"),
    "ancestors": ("bench_ancestors", "the whole path"),
    "store": ("bench_store", "the HDF5 store"),
    "probes": ("bench_probes", "language probes"),
    "overlap": ("bench_overlap", "overlap"),
    "pretraining": ("bench_pretraining", "pre-training"),
    "generation": ("bench_generation", "generation"),
    "planning": ("planning", "planning"),
    "controller": ("controller", "Snakemake's own process"),
    "growth": ("bench_growth", "growth"),
    "explorer": ("bench_explorer", "the explorer"),
    "demo": ("bench_demo", "the demo"),
}
VERSIONS = ("h5py", "numba", "numpy", "scikit-learn", "scipy", "snakemake", "torch", "transformers")


@dataclass(frozen=True)
class Part:
    """What a part found, and when and where."""

    date: str
    machine: str
    load: float
    """Mean number of processes that ran or waited for a core in the minute before."""
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Part:
        return cls(**{**found, "rows": tuple(Row(**row) for row in found["rows"])})


def machine() -> str:
    """Cores, processor and versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in VERSIONS)
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {cpu_model()}; Python {platform.python_version()}, {versions}"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def rows_of(module: str, *, small: bool) -> list[Row]:
    """Run a part in this process."""
    return list(importlib.import_module(module).measure(small))


def run_part(name: str, *, small: bool = False) -> Part | None:
    """Run a part in a process of its own; None if there is no such module, or it failed."""
    module = PARTS[name][0]
    if not (Path(__file__).parent / f"{module}.py").exists():
        return None
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "rows.json")
        command = [sys.executable, __file__, "--part", name, str(out), *(["--small"] if small else [])]
        if subprocess.run(command, check=False).returncode:
            return None
        rows = tuple(Row(**row) for row in json.loads(out.read_text()))
    return Part(datetime.date.today().isoformat(), machine(), round(load, 1), rows) if rows else None


def page(parts: Mapping[str, Part]) -> str:
    """The table, the details, and the sections that parts have of their own."""
    machines = list(dict.fromkeys(part.machine for part in parts.values()))
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; `make bench ONLY=store,demo` renews some rows and keeps the others. Ratios",
        "are of medians of runs that take turns; where one has a bound, the worse of the two clocks counts.",
        "The numbers of a peer are compared with ours in the same run, and no row is written if they differ.",
        "[benchmarks/README.md](../benchmarks/README.md) says how each is measured.",
        "",
    ]
    for number, text in enumerate(machines, 1):
        lines += [f"Machine{f' {number}' if len(machines) > 1 else ''}: {text}.", ""]
    columns = ["stage", "against", "measured", "bound", "kept", "date"]
    columns += ["machine"] if len(machines) > 1 else []
    lines += [f"| {' | '.join(columns)} |", "| " + " | ".join("---" for _ in columns) + " |"]
    details, sections = [], []
    for name, (_, about) in PARTS.items():
        part = parts.get(name)
        if part is None:
            cells = [about, "-", "not measured here", "-", "-", "-"]
            lines.append(f"| {' | '.join(cells + ['-'] * (len(columns) - len(cells)))} |")
            continue
        for row in part.rows:
            verdict = {True: "yes", False: "**no**", None: "-"}[row.ok]
            cells = [row.stage, row.against, row.measured, row.bound, verdict, part.date]
            cells += [str(machines.index(part.machine) + 1)] if len(machines) > 1 else []
            lines.append(f"| {' | '.join(cells)} |")
            details += [f"- {row.details}"] if row.details else []
            sections += ["", row.section] if row.section else []
    busy = [f"{name} ({part.load})" for name, part in parts.items() if part.load > 0.5]
    if busy:
        lines += ["", f"The machine was not idle before these parts began (load): {', '.join(busy)}."]
    lines += ["", "## Details", "", *details, *sections]
    return "\n".join(lines) + "\n"


def update(
    wanted: Sequence[str], record: Path, target: Path, *, keep_others: bool, small: bool = False
) -> list[str]:
    """Run parts, write the record and the page after each; returns the names of those without rows."""
    known = json.loads(record.read_text()) if record.exists() else {}
    parts = {name: Part.read(found) for name, found in known.items() if keep_others and name in PARTS}
    missing = []
    for name in wanted:
        print(f"== {PARTS[name][1]} ({PARTS[name][0]})", flush=True)
        found = run_part(name, small=small)
        parts.pop(name, None)
        if found is None:
            missing.append(name)
        else:
            parts[name] = found
        parts = {each: parts[each] for each in PARTS if each in parts}
        record.write_text(json.dumps({each: asdict(part) for each, part in parts.items()}, indent=1) + "\n")
        target.write_text(page(parts), encoding="utf-8")
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}; the others stay as they are")
    parser.add_argument("--small", action="store_true", help="sizes of a second, to see that they run")
    parser.add_argument("--out", type=Path, default=PAGE.parent, help="folder of benchmarks.md and .json")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, out = arguments.part
        rows = rows_of(PARTS[name][0], small=arguments.small)
        Path(out).write_text(json.dumps([asdict(row) for row in rows]))
        return
    only = [name for name in arguments.only.split(",") if name]
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    record, target = arguments.out / RECORD.name, arguments.out / PAGE.name
    missing = update(only or list(PARTS), record, target, keep_others=bool(only), small=arguments.small)
    print(target.read_text(encoding="utf-8"))
    if missing:
        sys.exit(f"no rows of {', '.join(missing)}")


if __name__ == "__main__":
    main()
