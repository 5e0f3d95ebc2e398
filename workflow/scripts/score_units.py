"""Entry point of rule ``score_units``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.store import UnitFile
from babelscope.analysis.scores import score_units
from babelscope.io.cells import cell_name
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import read_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    concepts = [Path(path) for path in snakemake.input.concepts] * len(snakemake.params.steps)
    for path, labels, output in zip(snakemake.input.units, concepts, snakemake.output, strict=True):
        units = UnitFile(Path(path))
        with atomic_h5(Path(output), kind="scores") as file:
            score_units(
                units,
                read_table(labels),
                file.create_group(cell_name(units.provenance.step, units.provenance.lang)),
                min_positive=snakemake.params.min_positive,
                block_units=snakemake.params.block_units,
                threads=snakemake.threads,
            )
