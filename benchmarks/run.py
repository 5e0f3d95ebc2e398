"""Measure the speed and write docs/benchmarks.md: ``make bench``.

Every figure is a ratio against a peer or a bound that is measured in the same run, since absolute
times say more about the machine than about the code.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent


def run_part(name: str) -> dict[str, Any]:
    """Run one benchmark in a process of its own and return what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        command = [sys.executable, str(HERE / name), "--json", str(out)]
        subprocess.run(command, check=True)
        return dict(json.loads(out.read_text()))


def demo_stages(results: Path) -> pd.DataFrame:
    """Jobs, seconds and memory of every stage of the demo, from Snakemake's benchmark files.

    Returns:
        Columns ``stage``, ``jobs``, ``seconds`` (sum over jobs), ``largest_mb`` (resident memory).
    """
    rows = []
    for folder in sorted(path for path in (results / "benchmarks").iterdir() if path.is_dir()):
        tables = [pd.read_csv(file, sep="\t") for file in sorted(folder.rglob("*.tsv"))]
        jobs = pd.concat(tables)
        rows.append(
            {
                "stage": folder.name,
                "jobs": len(jobs),
                "seconds": jobs["s"].sum(),
                "largest_mb": pd.to_numeric(jobs["max_rss"], errors="coerce").max(),
            }
        )
    return pd.DataFrame(rows).sort_values("seconds", ascending=False, ignore_index=True)


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def markdown_table(table: pd.DataFrame) -> str:
    cells = [list(table.columns), ["---"] * table.shape[1]]
    cells += [[str(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def main() -> None:
    results = ROOT / "results" / "demo"
    if not (results / "report.html").exists():
        command = [sys.executable, "-m", "snakemake", "--cores", "all"]
        subprocess.run(command, cwd=ROOT, check=True)
    expertise = run_part("bench_expertise.py")
    extraction = run_part("bench_extraction.py")
    stages = demo_stages(results)
    total = stages["seconds"].sum()
    stages["share"] = [f"{seconds / total:.0%}" for seconds in stages["seconds"]]
    stages["seconds"] = stages["seconds"].map("{:.1f}".format)
    stages["largest_mb"] = stages["largest_mb"].map("{:.0f}".format)
    ratios = pd.DataFrame(
        [
            {
                "what": expertise["what"],
                "against": expertise["against"],
                "ratio": f"{expertise['ratio']:,.0f} times faster",
                "bound": "at least 150",
            },
            {
                "what": extraction["what"],
                "against": extraction["against"],
                "ratio": f"{extraction['ratio']:.2f} times its time",
                "bound": "at most 1.25",
            },
        ]
    )
    text = f"""# Benchmarks

Written by `make bench`. Machine: {os.cpu_count()} cores, {cpu_model()}; Python
{platform.python_version()}. Ratios are of medians over repeats that alternate within one run.

{markdown_table(ratios)}

Details: {expertise["details"]} {extraction["details"]}

## The demo study, stage by stage

From the `benchmark:` files of one run of `make demo` on this machine; seconds are summed over jobs, of
which as many run at once as there are cores. Rules that take less than a second have no benchmark file.

{markdown_table(stages)}
"""
    (ROOT / "docs" / "benchmarks.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
