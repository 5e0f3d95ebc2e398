"""Entry point of rule ``write_concept_words``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.runtime import job
from babelscope.text.concepts import write_concept_words

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    write_concept_words(
        snakemake.params.source,
        Path(snakemake.output[0]),
        words=snakemake.params.words,
        concepts=snakemake.params.concepts,
        languages=snakemake.params.languages,
        clones=snakemake.params.clones,
    )
