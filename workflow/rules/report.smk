"""The report: figures, and one self-contained page.

Reads   <results>/tables/
Writes  <results>/figures/{figure}.{svg,png}
        <results>/report.html
"""

TABLES = {
    "concepts": "tsv",
    "models": "tsv",
    "losses": "parquet",
    "probes": "parquet",
    "overlap": "parquet",
    "transfer": "parquet",
    "reliability": "parquet",
    "lifelines": "parquet",
}
if GENERATION_BATCHES:
    TABLES |= {"generation": "parquet", "texts": "parquet"}

# Each figure with the tables that it is drawn from.
FIGURES = {
    "overlap_over_steps": ["overlap", "models"],
}


def tables(names):
    return {name: f"<results>/tables/{name}.{TABLES[name]}" for name in names if name in TABLES}


rule plot_figure:
    input:
        unpack(lambda wildcards: tables(FIGURES[wildcards.figure])),
    output:
        expand("<results>/figures/{{figure}}.{format}", format=STUDY.report.figure_formats),
    log:
        "<logs>/plot_figure/{figure}.log",
    wildcard_constraints:
        figure=one_of(FIGURES),
    params:
        style=STUDY.report.style,
        version=STAGE_VERSION["report"],
    message:
        "draw figure {wildcards.figure}"
    script:
        "../scripts/plot_figure.py"


rule render_report:
    input:
        **tables(TABLES),
        figures=expand("<results>/figures/{figure}.svg", figure=FIGURES),
    output:
        report("<results>/report.html", category="report"),
    log:
        "<logs>/render_report.log",
    params:
        study=config,
        tables=list(TABLES),
        version=STAGE_VERSION["report"],
    message:
        "write the report"
    script:
        "../scripts/render_report.py"
