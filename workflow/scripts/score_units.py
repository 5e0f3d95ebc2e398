"""Entry point of rule ``score_units``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.scores import ScoreSettings, score_units
from babelscope.capture.store import unit_files
from babelscope.io.cells import cell_name
from babelscope.io.files import by_name
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import read_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    steps, langs = snakemake.params.steps, snakemake.params.langs
    settings = ScoreSettings(block_units=snakemake.resources.block_units, threads=snakemake.threads)
    concepts = by_name(snakemake.input.concepts, langs)
    first, *further = snakemake.params.poolings
    with atomic_h5(Path(snakemake.output[0]), kind="scores") as file:
        for cell in product(steps, langs):
            group = file.create_group(cell_name(*cell))
            for pooling in ("", *further):
                units = unit_files([snakemake.input.units], [cell], pooling=pooling)[cell]
                score_units(units, read_table(concepts[cell[1]]), group, settings)
