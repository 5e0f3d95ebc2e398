"""Entry point of rule ``fit_language_probe``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.store import TokenFile
from babelscope.analysis.probing import ProbeSettings, fit_language_probe
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    settings = ProbeSettings(**snakemake.params.settings, seed=snakemake.params.seed)
    steps, langs = snakemake.params.steps, snakemake.params.langs
    layers = [int(layer) for layer in snakemake.params.layers]
    tokens = dict(zip(product(steps, langs), map(Path, snakemake.input), strict=True))
    outputs = dict(zip(product(steps, layers), map(Path, snakemake.output), strict=True))
    for (step, layer), output in outputs.items():
        files = {lang: TokenFile(tokens[step, lang]) for lang in langs}
        table = fit_language_probe(
            files, layer=layer, settings=settings, model=snakemake.wildcards.model, step=step
        )
        write_table(table, output)
