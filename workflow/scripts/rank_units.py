"""Entry point of rule ``rank_units``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

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
    scores = score_files(map(Path, snakemake.input), product(steps, langs))
    searched = []
    with atomic_h5(Path(snakemake.output.best), kind="best") as file:
        for step in steps:
            of_step = {lang: scores[step, lang] for lang in langs}
            groups = {lang: file.create_group(cell_name(step, lang)) for lang in langs}
            rank_units(of_step, groups, kept=snakemake.params.kept, seed=snakemake.params.seed)
            searched.append(search_units(of_step, seed=snakemake.params.seed))
    write_table(pd.concat(searched, ignore_index=True), Path(snakemake.output.search))
