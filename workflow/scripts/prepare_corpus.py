"""Entry point of rule ``prepare_corpus``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.runtime import job
from babelscope.text.corpora import prepare_text_corpus

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    prepare_text_corpus(
        Path(snakemake.input[0]),
        Path(snakemake.output[0]),
        heldout=snakemake.params.heldout,
        seed=snakemake.params.seed,
        letters=snakemake.params.letters,
    )
