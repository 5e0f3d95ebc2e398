"""Entry point of rule ``train_tokenizer``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.files import by_name
from babelscope.runtime import job
from babelscope.text.tokenization import train_tokenizer

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    train_tokenizer(
        by_name(snakemake.input, snakemake.params.languages),
        Path(snakemake.output.tokenizer).parent,
        vocabulary_size=snakemake.params.vocabulary_size,
        seed=snakemake.params.seed,
        clones=snakemake.params.clones,
    )
