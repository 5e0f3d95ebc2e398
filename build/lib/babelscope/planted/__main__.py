"""``python -m babelscope.planted data/planted`` writes the planted checkpoints and their text;
``python -m babelscope.planted compare results/planted`` prints what a run found of what was planted."""

import logging
import sys
from pathlib import Path

USAGE = "python -m babelscope.planted FOLDER, or: python -m babelscope.planted compare results/planted"

logging.basicConfig(level=logging.INFO, format="%(message)s")
match sys.argv[1:]:
    case ["compare", results]:
        from babelscope.planted.compare import as_text, compare, read_tables

        compared = compare(read_tables(Path(results)))
        sys.stdout.write(as_text(compared))
        sys.exit(0 if compared["recovered"].all() else "not all that was planted was recovered")
    case [folder] if not folder.startswith("-"):
        from babelscope.planted.build import build

        build(Path(folder))
    case _:
        sys.exit(USAGE)
