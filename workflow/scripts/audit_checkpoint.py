"""Entry point of rule ``audit_checkpoint``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.audit.files import KIND, write_audit
from babelscope.analysis.audit.weights import audit_checkpoint
from babelscope.io.files import by_name
from babelscope.io.h5 import atomic_h5
from babelscope.runtime import job
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with (
    job(snakemake.log[0], threads=snakemake.threads),
    atomic_h5(Path(snakemake.output[0]), kind=KIND) as file,
):
    paths = by_name(snakemake.input.sentences, snakemake.params.langs)
    sentences = {lang: read_sentences(path) for lang, path in paths.items()}
    for step, (folder, tokenizer) in snakemake.params.folders.items():
        audit = audit_checkpoint(
            folder,
            sentences,
            tokenizer=tokenizer,
            model=snakemake.wildcards.model,
            step=step,
            n_sentences=snakemake.params.n_sentences,
            max_length=snakemake.params.max_length,
            prefix=snakemake.params.get("prefix", ""),
            compute_dtype=snakemake.params.compute_dtype,
            device=snakemake.params.device,
        )
        write_audit(file.create_group(str(step)), audit)
