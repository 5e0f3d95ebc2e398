"""Entry point of rule ``export_cell``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.ops.export import export_cell
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    out = Path(snakemake.output[0])  # <results>/export/{model}/{step}
    export_cell(
        out.parents[2],
        snakemake.wildcards.model,
        int(snakemake.wildcards.step),
        config=snakemake.params.study,
        checkpoint={
            kind: Path(folder)
            for pair in snakemake.params.folders.values()
            for kind, folder in zip(("weights", "tokenizer"), pair, strict=True)
        },
        out=out,
    )
