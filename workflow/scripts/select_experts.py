"""Entry point of rule ``select_experts``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.experts import select_experts
from babelscope.analysis.scores import score_files
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    for path, output in zip(map(Path, snakemake.input), map(Path, snakemake.output), strict=True):
        (scores,) = score_files([path]).values()
        write_table(select_experts(scores, k=snakemake.params.k), output)
