"""Entry point of rule ``tokenize_corpus``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.files import by_name
from babelscope.runtime import job
from babelscope.text.tokenization import tokenize_corpus

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    tokenize_corpus(
        by_name(snakemake.input.documents, snakemake.params.languages),
        Path(snakemake.input.tokenizer).parent,
        Path(snakemake.output[0]),
        sequence_length=int(snakemake.wildcards.length),
    )
