"""Entry point of rule ``prepare_concepts``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.runtime import job
from babelscope.text.concepts import label_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    label_sentences(
        snakemake.params.source,
        Path(snakemake.input.sentences),
        Path(snakemake.output[0]),
        label_text=Path(snakemake.input.labels[0]) if snakemake.params.source == "words" else None,
        words=snakemake.params.words,
        files=snakemake.params.files,
        label_language=snakemake.params.label_language,
        duplicates=snakemake.params.duplicates,
    )
