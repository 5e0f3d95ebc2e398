"""Entry point of rule ``plot_figures``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.report.figures.gallery import save_figure
from babelscope.report.figures.style import PlotStyle
from babelscope.results import open_study
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    style = PlotStyle(**snakemake.params.style)
    results = open_study(Path(snakemake.output[0]).parents[1])
    exclude_flagged = snakemake.params.get("exclude_flagged", False)
    for name, files in snakemake.output.items():
        figure = results.figure(name, style=style, exclude_flagged=exclude_flagged)
        for file in files:
            save_figure(figure, Path(file), style)
