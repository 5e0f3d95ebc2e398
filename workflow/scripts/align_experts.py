"""Entry point of rule ``align_experts``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.scores import score_files
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.cells import CellTables
from babelscope.io.tables import write_table
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
    scores = score_files(snakemake.input.scores, product(steps, langs))
    experts = CellTables(map(Path, snakemake.input.experts), product(steps, langs))
    of_steps = [
        align_experts(
            {lang: scores[step, lang] for lang in langs},
            {lang: experts[step, lang] for lang in langs},
            settings,
        )
        for step in steps
    ]
    for name, tables in zip(("overlap", "transfer", "reliability"), zip(*of_steps, strict=True), strict=True):
        write_table(pd.concat(tables, ignore_index=True), Path(snakemake.output[name]))
