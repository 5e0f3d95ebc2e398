"""Write a study to begin with, with comments, from what is there; it plans at once."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What there is."""
    parser.add_argument("name", help="of the study; it becomes config/studies/NAME.yaml")
    parser.add_argument(
        "--text", default="", help="pre-train here on these files: data/web/{lang}.txt, or data/web"
    )
    parser.add_argument(
        "--folder", default="", help="checkpoints of yours: my-run/checkpoint-{step}, or my-run"
    )
    parser.add_argument("--suite", default="", help="public checkpoints, by their name in docs/suites.md")
    parser.add_argument(
        "--parallel",
        default="",
        help="text to analyse: data/dev/{lang}.txt, or data/dev; else the grammar's",
    )
    parser.add_argument("--words", default="", help="YAML file of words by concept; English ones come along")
    parser.add_argument("--label-language", default="", help="language of these words")
    parser.add_argument("--out", type=Path, help="the file, if it is to be another one")


def run(args: argparse.Namespace) -> int:
    """Write the file and say what comes next; 1 if it is there already."""
    from babelscope.errors import DataError
    from babelscope.io.files import write_text
    from babelscope.study.new import Wish, new_study

    out = args.out or Path("config/studies", f"{args.name}.yaml")
    if out.exists():
        raise DataError(out, "is there already", "choose another NAME, or --out")
    wish = {name: getattr(args, name) for name in Wish.__dataclass_fields__}
    write_text(new_study(Wish(**wish), str(out)), out)
    file = shlex.quote(str(out))
    print(f"wrote {out}")
    print(f"next: babelscope plan --configfile {file}")
    print(f"      snakemake --cores all -n --configfile {file}")
    return 0
