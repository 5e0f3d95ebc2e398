"""Entry point of rule ``score_units``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.store import unit_files
from babelscope.analysis.scores import score_units
from babelscope.io.files import by_name
from babelscope.io.tables import read_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    cells = unit_files(snakemake.input.units)
    concepts = by_name(snakemake.input.concepts, dict.fromkeys(lang for _, lang in cells))
    outputs = {(int(path.parent.name), path.stem): path for path in map(Path, snakemake.output)}
    for (step, lang), units in cells.items():
        score_units(
            units,
            read_table(concepts[lang]),
            outputs[step, lang],
            min_positive=snakemake.params.min_positive,
            block_units=snakemake.params.block_units,
            threads=snakemake.threads,
        )
