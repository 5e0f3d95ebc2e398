"""Entry point of rule ``collect_choices``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.choices import conclusions, rank_correlations, with_probes
from babelscope.io.tables import concatenate, read_table, write_table
from babelscope.report.summaries import without_flagged
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    choices, draws = with_probes(
        concatenate(snakemake.input.choices, by=["step"]),
        concatenate(snakemake.input.draws, by=["step"]),
        read_table(snakemake.input.probes),
    )
    write_table(choices, Path(snakemake.output.choices))
    tables = {"choices": choices, "draws": draws, "audit": read_table(snakemake.input.audit)}
    kept = without_flagged(tables) if snakemake.params.exclude_flagged else tables
    write_table(rank_correlations(kept["choices"]), Path(snakemake.output.ranks))
    found = conclusions(kept["choices"], kept["draws"], snakemake.params.against)
    write_table(found, Path(snakemake.output.conclusions))
