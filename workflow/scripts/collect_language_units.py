"""Entry point of rule ``collect_language_units``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.language_units import EXPERTS, language_overlap
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.tables import read_table, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    settings = AlignmentSettings(bootstrap=snakemake.params.bootstrap, seed=snakemake.params.seed)
    counts = pd.concat([read_table(path) for path in snakemake.input.counts], ignore_index=True)
    best = pd.concat([read_table(path) for path in snakemake.input.best], ignore_index=True)
    experts = (read_table(path, EXPERTS) for path in snakemake.input.experts)
    write_table(counts, Path(snakemake.output.units))
    write_table(language_overlap(best, experts, counts, settings), Path(snakemake.output.overlap))
