"""Entry point of rule ``trace_units``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.lifelines import trace_units
from babelscope.analysis.scores import ScoreFile
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    cells = list(product(snakemake.params.steps, snakemake.params.langs))
    scores = dict(zip(cells, map(ScoreFile, map(Path, snakemake.input.scores)), strict=True))
    experts = dict(zip(cells, map(Path, snakemake.input.experts), strict=True))
    table = trace_units(
        experts,
        scores,
        min_languages=snakemake.params.min_languages,
        max_units=snakemake.params.max_traced_units,
    )
    write_table(table, Path(snakemake.output[0]))
