"""Entry point of rule ``prepare_sentences``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.runtime import job
from babelscope.text.sentences import prepare_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    prepare_sentences(
        snakemake.params.source,
        snakemake.params.lang,
        Path(snakemake.output[0]),
        text=Path(snakemake.input[0]) if snakemake.params.source == "parallel" else None,
        files=snakemake.params.files,
        concepts=snakemake.params.concepts,
        per_concept=snakemake.params.per_concept,
        duplicates=snakemake.params.duplicates,
        seed=snakemake.params.seed,
        letters=snakemake.params.letters,
        groups=snakemake.params.groups,
    )
