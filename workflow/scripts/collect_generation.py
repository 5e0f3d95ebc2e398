"""Entry point of rule ``collect_generation``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.texts import collect_generation
from babelscope.io.cells import tables_by_step
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    summary, contrasts, sample = collect_generation(
        tables_by_step(map(Path, snakemake.input.texts)),
        tables_by_step(map(Path, snakemake.input.languages)),
        words=Path(snakemake.input.words),
        languages=snakemake.params.languages,
        against=snakemake.params.against,
        n_resamples=snakemake.params.bootstrap,
        seed=snakemake.params.seed,
        clones=snakemake.params.clones,
    )
    write_table(summary, Path(snakemake.output.generation))
    write_table(contrasts, Path(snakemake.output.generation_contrasts))
    write_table(sample, Path(snakemake.output.texts))
