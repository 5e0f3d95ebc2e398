"""Entry point of rule ``measure_left_out``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.left_out import left_out_table
from babelscope.analysis.ranking import best_of_models
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    settings = AlignmentSettings(bootstrap=snakemake.params.bootstrap, seed=snakemake.params.seed)
    steps, langs = snakemake.params.steps, snakemake.params.langs
    wanted = {model: list(product(of_model, langs)) for model, of_model in steps.items()}
    best = best_of_models(map(Path, snakemake.input), wanted)
    tables = [
        left_out_table({lang: best[model][step, lang] for lang in langs}, settings)
        for model, of_model in steps.items()
        for step in of_model
    ]
    write_table(pd.concat(tables, ignore_index=True), Path(snakemake.output[0]))
