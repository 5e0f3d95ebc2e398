"""Entry point of rule ``collect_alignment``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.changes import overlap_changes, overlap_contrasts
from babelscope.analysis.overlap import add_false_discovery
from babelscope.io.tables import concatenate, write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    for name in ("transfer", "reliability"):
        write_table(concatenate(snakemake.input[name], by=["step"]), Path(snakemake.output[name]))
    overlap = concatenate(snakemake.input.overlap, by=["step"])
    write_table(add_false_discovery(overlap), Path(snakemake.output.overlap))
    draws = concatenate(snakemake.input.draws, by=["step"])
    write_table(overlap_changes(overlap, draws), Path(snakemake.output.overlap_changes))
    contrasts = overlap_contrasts(overlap, draws, snakemake.params.against)
    write_table(contrasts, Path(snakemake.output.overlap_contrasts))
    write_table(concatenate(snakemake.input.lifelines), Path(snakemake.output.lifelines))
    write_table(concatenate(snakemake.input.lifespans), Path(snakemake.output.lifespans))
