"""Entry point of rule ``pretrain_step``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.pretraining import pretrain_steps
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    folders = [Path(path).parent for path in snakemake.output.weights]
    previous = snakemake.input.get("previous")
    pretrain_steps(
        tokens_h5=Path(snakemake.input.tokens),
        tokenizer_dir=Path(snakemake.input.tokenizer).parent,
        **snakemake.params.settings,
        name=snakemake.wildcards.model,
        steps=snakemake.params.steps,
        previous=Path(previous[0]).parent if previous else None,
        out_dirs=dict(zip(snakemake.params.steps, folders, strict=True)),
        threads=snakemake.threads,
    )
