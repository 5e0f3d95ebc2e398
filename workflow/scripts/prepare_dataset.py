"""Entry point of rule ``prepare_dataset``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.runtime import job
from babelscope.text.corpora import prepare_dataset_corpus

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    settings = dict(snakemake.params.dataset)
    prepare_dataset_corpus(
        settings.pop("place"), Path(snakemake.output[0]), **settings, seed=snakemake.params.seed
    )
