"""Entry point of rule ``collect_models``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.tables import concatenate, write_table
from babelscope.models.training.steps import read_list
from babelscope.report.catalogue import describe_models, describe_steps
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    table = describe_models(
        snakemake.params.models, snakemake.params.sites, snakemake.params.get("dictionaries")
    )
    write_table(table, Path(snakemake.output.models))
    write_table(describe_steps(snakemake.params.tokens), Path(snakemake.output.steps))
    files = [
        file.parent / str(step) / "training" / "losses.tsv"
        for file in map(Path, snakemake.input.trained)
        for step in read_list(file).hashes
    ]
    write_table(concatenate(files), Path(snakemake.output.losses))
