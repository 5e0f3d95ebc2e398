"""Entry point of rule ``identify_language``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.identification import identify_languages
from babelscope.io.tables import read_table, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    texts = read_table(snakemake.input[0])
    found = identify_languages(texts, snakemake.params.languages, snakemake.params.clones)
    write_table(found, Path(snakemake.output[0]))
