"""Entry point of rule ``trace_units``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.lifelines import lifespans, trace_units
from babelscope.analysis.ranking import best_files
from babelscope.io.cells import CellTables
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    cells = list(product(snakemake.params.steps, snakemake.params.langs))
    experts = CellTables(map(Path, snakemake.input.experts), cells)
    best = best_files(map(Path, snakemake.input.best), cells)
    lines = trace_units(
        experts,
        best,
        min_languages=snakemake.params.min_languages,
        max_units=snakemake.params.max_traced_units,
    )
    write_table(lines, Path(snakemake.output.lifelines))
    write_table(lifespans(experts, best, seed=snakemake.params.seed), Path(snakemake.output.lifespans))
