"""Entry point of rule ``pretrain_step``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.models.training.run import pretrain_steps
from babelscope.models.training.steps import CheckpointList, has_state, read_list, write_list
from babelscope.runtime import job
from babelscope.text.tokenization import language_shares

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    out = Path(snakemake.output[0])
    steps = snakemake.params.steps
    lists = snakemake.input.get("previous", [])
    earlier = [step for file in lists for step in read_list(file).hashes if step < steps[0]]
    before = [step for step in earlier if has_state(out.parent / str(step))]
    tokens = Path(snakemake.input.tokens)
    hashes = pretrain_steps(
        tokens_h5=tokens,
        shares=language_shares(tokens, snakemake.params.mixture),
        tokenizer_dir=Path(snakemake.input.tokenizer).parent,
        architecture=snakemake.params.architecture,
        architecture_config=snakemake.params.architecture_config,
        training=snakemake.params.training,
        seed=snakemake.params.seed,
        name=snakemake.wildcards.model,
        steps=steps,
        previous=out.parent / str(max(before)) if before else None,
        out_dirs={step: out.parent / str(step) for step in steps},
        threads=snakemake.threads,
        device=snakemake.params.device,
        # What a killed job goes on from; beside the steps, removed when the job is done.
        scratch=out.parent / f".unfinished-{steps[0]}-{steps[-1]}",
        version=snakemake.params.version,
    )
    write_list(out, CheckpointList(hashes, snakemake.params.changed))
