"""Entry point of rule ``collect_patching``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.movement import movement_table
from babelscope.io.tables import concatenate, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    table = movement_table(
        concatenate(snakemake.input, by=["step"]),
        langs=snakemake.params.langs,
        bootstrap=snakemake.params.bootstrap,
        seed=snakemake.params.seed,
    )
    write_table(table, Path(snakemake.output[0]))
