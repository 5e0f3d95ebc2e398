"""Entry point of rule ``align_experts``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.ranking import best_files
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.tables import read_table, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    settings = AlignmentSettings(
        bootstrap=snakemake.params.bootstrap,
        permutations=snakemake.params.permutations,
        seed=snakemake.params.seed,
    )
    steps, langs = snakemake.params.steps, snakemake.params.langs
    best = best_files([Path(snakemake.input.best)], product(steps, langs))
    search = read_table(Path(snakemake.input.search))
    pairs = read_table(Path(snakemake.input.pairs))
    of_steps = [
        align_experts(
            {lang: best[step, lang] for lang in langs},
            search[search["step"] == step],
            settings,
            k=snakemake.params.k,
            groups=snakemake.params.groups,
            kinship=pairs,
        )
        for step in steps
    ]
    names = ("experts", "overlap", "transfer", "reliability", "draws")
    for name, tables in zip(names, zip(*of_steps, strict=True), strict=True):
        write_table(pd.concat(tables, ignore_index=True), Path(snakemake.output[name]))
