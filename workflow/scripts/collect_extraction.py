"""Entry point of rule ``collect_extraction``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.tables import write_table
from babelscope.report.catalogue import describe_extraction
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    table = describe_extraction([Path(path) for path in snakemake.input], snakemake.params.languages)
    write_table(table, Path(snakemake.output[0]))
