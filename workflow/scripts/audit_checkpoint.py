"""Entry point of rule ``audit_checkpoint``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.audit.weights import audit_checkpoint
from babelscope.runtime import job
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    paths = map(Path, snakemake.input.sentences)
    sentences = {lang: read_sentences(path) for lang, path in zip(snakemake.params.langs, paths, strict=True)}
    folders = snakemake.params.folders.items()
    for (step, (folder, tokenizer)), output in zip(folders, snakemake.output, strict=True):
        audit_checkpoint(
            folder,
            sentences,
            Path(output),
            tokenizer=tokenizer,
            model=snakemake.wildcards.model,
            step=int(step),
            **snakemake.params.settings,
        )
