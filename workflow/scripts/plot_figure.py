"""Entry point of rule ``plot_figure``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.io.tables import read_table
from babelscope.report.figures.gallery import draw, save_figure
from babelscope.report.figures.style import PlotStyle
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    style = PlotStyle(**snakemake.params.style)
    tables = {name: read_table(Path(path)) for name, path in snakemake.input.items()}
    exclude_flagged = snakemake.params.get("exclude_flagged", False)
    figure = draw(snakemake.wildcards.figure, tables, style, exclude_flagged=exclude_flagged)
    for output in snakemake.output:
        save_figure(figure, Path(output), style)
