"""Entry point of rule ``collect_traces``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.tables import concatenate, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    write_table(concatenate(snakemake.input, by=["step"]), Path(snakemake.output[0]))
