"""``python -m babelscope.planted data/planted`` writes the planted checkpoints and their text."""

import logging
import sys
from pathlib import Path

from babelscope.planted.build import build

if len(sys.argv) != 2:
    sys.exit("python -m babelscope.planted FOLDER: write the planted checkpoints and their text there")
logging.basicConfig(level=logging.INFO, format="%(message)s")
build(Path(sys.argv[1]))
