"""Entry point of rule ``fit_language_probe``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.store import token_files
from babelscope.analysis.probing import ProbeSettings, fit_language_probe
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    settings = ProbeSettings(**snakemake.params.settings, seed=snakemake.params.seed)
    steps, langs = snakemake.params.steps, snakemake.params.langs
    tokens = token_files(snakemake.input)
    outputs = {(path.parent.name, path.stem): path for path in map(Path, snakemake.output)}
    for step in steps:
        files = {lang: tokens[int(step), lang] for lang in langs}
        for layer in map(int, snakemake.params.layers):
            table = fit_language_probe(
                files, layer=layer, settings=settings, model=snakemake.wildcards.model, step=step
            )
            write_table(table, outputs[str(step), f"layer-{layer}"])
