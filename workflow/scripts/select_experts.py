"""Entry point of rule ``select_experts``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.experts import select_experts
from babelscope.analysis.scores import score_files
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    scores = score_files(snakemake.input, product(snakemake.params.steps, snakemake.params.langs))
    experts = [select_experts(cell, k=snakemake.params.k) for cell in scores.values()]
    write_table(pd.concat(experts, ignore_index=True), Path(snakemake.output[0]))
