"""Entry point of rule ``select_experts``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.scores import ScoreFile, select_experts
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    for scores, output in zip(snakemake.input, snakemake.output, strict=True):
        write_table(select_experts(ScoreFile(Path(scores)), k=snakemake.params.k), Path(output))
