"""Entry point of rule ``measure_onset``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.onset import EXPERTS, measure_onsets
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.tables import read_table, write_table
from babelscope.report.summaries import without_flagged
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    settings = AlignmentSettings(
        bootstrap=snakemake.params.bootstrap,
        permutations=snakemake.params.permutations,
        seed=snakemake.params.seed,
    )
    tables = {name: read_table(snakemake.input[name]) for name in ("transfer", "audit")}
    experts = (read_table(path, EXPERTS) for path in snakemake.input.experts)
    found = measure_onsets(experts, without_flagged(tables)["transfer"], settings)
    for name, table in zip(("onset", "gaps", "curves"), found, strict=True):
        write_table(table, Path(snakemake.output[name]))
