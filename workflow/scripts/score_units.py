"""Entry point of rule ``score_units``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.store import UnitFile
from babelscope.analysis.scores import score_units
from babelscope.io.tables import read_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    concepts = [Path(path) for path in snakemake.input.concepts] * len(snakemake.params.steps)
    for units, labels, output in zip(snakemake.input.units, concepts, snakemake.output, strict=True):
        score_units(
            UnitFile(Path(units)),
            read_table(labels),
            Path(output),
            min_positive=snakemake.params.min_positive,
            block_units=snakemake.params.block_units,
            threads=snakemake.threads,
        )
