"""Entry point of rule ``initialise_checkpoint``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.models.checkpoints import initialise_checkpoint
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    ((folder, tokenizer),) = snakemake.params.folders.values()
    initialise_checkpoint(
        Path(folder),
        tokenizer=Path(tokenizer),
        out=Path(snakemake.output[0]),
        seed=snakemake.params.seed,
    )
