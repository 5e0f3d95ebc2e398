"""Entry point of rule ``collect_models``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.tables import concatenate, write_table
from babelscope.report.catalogue import describe_models, describe_steps
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    table = describe_models(snakemake.params.models, snakemake.params.sites)
    write_table(table, Path(snakemake.output.models))
    write_table(describe_steps(snakemake.params.tokens), Path(snakemake.output.steps))
    losses = concatenate(map(Path, snakemake.input.losses))
    write_table(losses, Path(snakemake.output.losses))
