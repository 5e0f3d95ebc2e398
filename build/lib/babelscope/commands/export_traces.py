"""Write the traces of a study for other viewers: as JSON lines, or as Neuronpedia takes them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The results, the format, and where to."""
    parser.add_argument("results", metavar="RESULTS", type=Path, help="folder of a study, results/STUDY")
    parser.add_argument(
        "--format", choices=("jsonl", "neuronpedia"), default="jsonl",
        help="jsonl: a trace a line; neuronpedia: batches for its upload, a source per layer, site and step",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; it may exist")
    parser.add_argument("--model", action="append", help="only this run; may be given several times")


def run(args: argparse.Namespace) -> int:
    """Write the files, and print what was written."""
    import pandas as pd

    from babelscope.analysis.trace_export import write_jsonl, write_neuronpedia
    from babelscope.results import open_study

    study = open_study(args.results)
    parts = [study.traces(model) for model in dict.fromkeys(args.model or [None])]
    write = {"jsonl": write_jsonl, "neuronpedia": write_neuronpedia}[args.format]
    files = write(pd.concat(parts, ignore_index=True), args.out)
    print(f"babelscope: {len(files)} file{'s' if len(files) > 1 else ''} below {args.out}")
    return 0
