"""Entry point of rule ``make_demo_corpus``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.runtime import job
from babelscope.text.corpora import make_documents_file

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    make_documents_file(
        snakemake.wildcards.lang,
        Path(snakemake.output[0]),
        **snakemake.params.grammar,
        heldout=snakemake.params.heldout,
        seed=snakemake.params.seed,
    )
