"""Entry point of rule ``compare_choices``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.choices import compare_choices, kept_units
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.tables import read_table, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    settings = AlignmentSettings(
        bootstrap=snakemake.params.bootstrap,
        permutations=snakemake.params.permutations,
        seed=snakemake.params.seed,
    )
    steps, langs = snakemake.params.steps, snakemake.params.langs
    files, cells = [Path(snakemake.input.kept)], list(product(steps, langs))
    first, *further = snakemake.params.poolings
    kept = {first: kept_units(files, cells)}
    kept |= {pooling: kept_units(files, cells, pooling=pooling) for pooling in further}
    searched = read_table(Path(snakemake.input.search))
    of_steps = [
        compare_choices(
            {pooling: {lang: of[step, lang] for lang in langs} for pooling, of in kept.items()},
            searched[searched["step"] == step],
            settings,
            k=snakemake.params.k,
        )
        for step in steps
    ]
    for name, tables in zip(("choices", "draws"), zip(*of_steps, strict=True), strict=True):
        write_table(pd.concat(tables, ignore_index=True), Path(snakemake.output[name]))
