"""Entry point of rule ``fit_language_probe``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.probing import fit_language_probe
from babelscope.analysis.settings import ProbeSettings
from babelscope.capture.store import token_files
from babelscope.io.tables import write_table
from babelscope.runtime import job
from babelscope.text.sentence_groups import groups_by_sentence

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    settings = ProbeSettings(**snakemake.params.settings, seed=snakemake.params.seed)
    steps, langs = snakemake.params.steps, snakemake.params.langs
    tokens = token_files(snakemake.input.tokens, product(steps, langs))
    groups = groups_by_sentence(map(Path, snakemake.input.sentences))
    scores = [
        fit_language_probe(
            {lang: tokens[step, lang] for lang in langs},
            layer=layer,
            settings=settings,
            model=snakemake.wildcards.model,
            step=step,
            groups=groups,
            threads=snakemake.threads,
        )
        for step in steps
        for layer in snakemake.params.layers
    ]
    write_table(pd.concat(scores, ignore_index=True), Path(snakemake.output[0]))
