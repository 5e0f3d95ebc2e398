"""Entry point of rule ``collect_concepts``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.files import by_name
from babelscope.io.tables import write_table
from babelscope.runtime import job
from babelscope.text.concepts import count_concepts

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    files = by_name(snakemake.input.concepts, snakemake.params.languages)
    write_table(count_concepts(files), Path(snakemake.output[0]))
