"""Entry point of rule ``collect_alignment``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.overlap import add_false_discovery
from babelscope.io.tables import concatenate, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    for name in ("transfer", "reliability", "lifelines"):
        write_table(concatenate(map(Path, snakemake.input[name])), Path(snakemake.output[name]))
    overlap = concatenate(map(Path, snakemake.input.overlap))
    write_table(add_false_discovery(overlap), Path(snakemake.output.overlap))
