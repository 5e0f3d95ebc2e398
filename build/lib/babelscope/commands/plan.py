"""What a study takes, per rule, before anything runs: jobs, hours, memory, disk, downloads; and the least
overlap of experts that it could tell from chance."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from babelscope.commands import study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and the machine that it is planned for."""
    study_of.add_arguments(parser)
    parser.add_argument(
        "--device",
        choices=["cpu", "gpu"],
        help="where models run; by default a GPU if the study or machine has one",
    )
    parser.add_argument("--jobs", type=int, help="jobs at a time, as in the profile; one per core by default")
    parser.add_argument("--scores-gb", type=float, help="as in `--resources scores_gb`; no limit by default")
    parser.add_argument(
        "--compare", action="store_true", help="beside it, what the jobs that have run took (benchmark files)"
    )
    parser.add_argument(
        "--within", type=float, metavar="FACTOR", help="with --compare: fail if a rule's time is further off"
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan; 1 if what was measured is too far from it."""
    from babelscope.ops.costs import MAX_THREADS, CostModel
    from babelscope.ops.measured import compare, comparison_text
    from babelscope.ops.plan import make_plan, plan_text
    from babelscope.ops.sensitivity import sensitivity_text

    study = study_of.load(args, files=True)
    device = args.device or study.extraction.device
    if device == "auto":
        device = "gpu" if shutil.which("nvidia-smi") else "cpu"
    gpu = device != "cpu"
    limit = args.scores_gb * 1e9 if args.scores_gb else None
    costs = CostModel(study, gpu=gpu, max_threads=MAX_THREADS if gpu else 1)
    plan = make_plan(costs, concurrent=args.jobs or os.cpu_count() or 1, limit=limit)
    print(f"study {study.name}, {Path(args.configfile)}\n")
    print(plan_text(plan, gpu=gpu))
    print(f"\n{sensitivity_text(study)}")
    if not args.compare:
        return 0
    rows = compare(costs, Path(study.results, "benchmarks"))
    print(f"\n{comparison_text(rows)}")
    ratio = rows.planned / rows.measured
    off = [] if args.within is None else list(rows.index[~ratio.between(1 / args.within, args.within)])
    if off:
        print(f"\nnot within a factor of {args.within:g}: {', '.join(off)}")
    return 1 if off else 0
