"""Entry point of rule ``audit_checkpoint``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.audit.files import KIND, write_audit
from babelscope.analysis.audit.weights import audit_checkpoint
from babelscope.io.h5 import atomic_h5
from babelscope.runtime import job
from babelscope.text.corpora import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    paths = map(Path, snakemake.input.sentences)
    sentences = {lang: read_sentences(path) for lang, path in zip(snakemake.params.langs, paths, strict=True)}
    with atomic_h5(Path(snakemake.output[0]), kind=KIND) as file:
        for step, (folder, tokenizer) in snakemake.params.folders.items():
            audit = audit_checkpoint(
                folder,
                sentences,
                tokenizer=tokenizer,
                model=snakemake.wildcards.model,
                step=int(step),
                **snakemake.params.settings,
            )
            write_audit(file.create_group(str(audit.step)), audit)
