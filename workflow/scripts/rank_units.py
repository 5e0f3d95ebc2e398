"""Entry point of rule ``rank_units``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.choices import keep_choices
from babelscope.analysis.ranking import rank_units
from babelscope.analysis.reliability import search_units
from babelscope.analysis.scores import score_files
from babelscope.io.cells import cell_name
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    steps, langs = snakemake.params.steps, snakemake.params.langs
    files, cells = list(map(Path, snakemake.input)), list(product(steps, langs))
    first, *further = snakemake.params.poolings
    scores = {first: score_files(files, cells)}
    scores |= {pooling: score_files(files, cells, pooling=pooling) for pooling in further}
    kept, seed = snakemake.params.kept, snakemake.params.seed
    searched, of_choices = [], []
    with (
        atomic_h5(Path(snakemake.output.best), kind="best") as best,
        atomic_h5(Path(snakemake.output.choices), kind="choices") as choices,
    ):
        for step in steps:
            of_step = {pooling: {lang: of[step, lang] for lang in langs} for pooling, of in scores.items()}
            names = {lang: cell_name(step, lang) for lang in langs}
            groups = {lang: best.create_group(name) for lang, name in names.items()}
            rank_units(of_step[first], groups, kept=kept, seed=seed)
            searched.append(search_units(of_step[first], seed=seed))
            groups = {lang: choices.create_group(name) for lang, name in names.items()}
            of_choices.append(keep_choices(of_step, groups, kept=kept, seed=seed))
    write_table(pd.concat(searched, ignore_index=True), Path(snakemake.output.search))
    write_table(pd.concat(of_choices, ignore_index=True), Path(snakemake.output.choices_search))
