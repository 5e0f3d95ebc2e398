"""Entry point of rule ``pretrain_step``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.models.training.run import pretrain_steps
from babelscope.runtime import job
from babelscope.text.tokenization import language_shares

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    folders = [Path(path).parent for path in snakemake.output.weights]
    previous = snakemake.input.get("previous")
    tokens = Path(snakemake.input.tokens)
    pretrain_steps(
        tokens_h5=tokens,
        shares=language_shares(tokens, snakemake.params.mixture),
        tokenizer_dir=Path(snakemake.input.tokenizer).parent,
        **snakemake.params.settings,
        name=snakemake.wildcards.model,
        steps=snakemake.params.steps,
        previous=Path(previous[0]).parent if previous else None,
        out_dirs=dict(zip(snakemake.params.steps, folders, strict=True)),
        threads=snakemake.threads,
        device=snakemake.params.device,
        # What a killed job goes on from; beside the steps, removed when the job is done.
        scratch=folders[0].parent / f".unfinished-{folders[0].name}-{folders[-1].name}",
    )
