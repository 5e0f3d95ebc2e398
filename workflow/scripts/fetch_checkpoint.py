"""Entry point of rule ``fetch_checkpoint``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.models.hub.client import HubPlace
from babelscope.models.hub.fetch import fetch_checkpoint
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], network=True):
    folder = Path(snakemake.output[0])
    steps = folder.parent.iterdir() if folder.parent.is_dir() else []
    fetch_checkpoint(
        HubPlace(**snakemake.params.weights),
        HubPlace(**snakemake.params.tokenizer),
        folder,
        # What a cut-off download goes on from; beside the step, gone when it is whole.
        scratch=folder.parent / f".unfinished-{folder.name}",
        sizes=snakemake.params.sizes,
        siblings=sorted(other for other in steps if other != folder and other.name.isdigit()),
    )
