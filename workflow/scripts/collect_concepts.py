"""Entry point of rule ``collect_concepts``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.tables import write_table
from babelscope.runtime import job
from babelscope.text.corpora import count_concepts

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    files = dict(zip(snakemake.params.languages, map(Path, snakemake.input.concepts), strict=True))
    write_table(count_concepts(files), Path(snakemake.output[0]))
