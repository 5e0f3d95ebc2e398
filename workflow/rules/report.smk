"""The report: figures, and one self-contained page.

Reads   <results>/tables/, <results>/best/{model}/
Writes  <results>/figures/{figure}.{svg,png,pdf}
        <results>/report.html, <results>/tables/{claims,findings}.tsv, <results>/study.json
"""


rule plot_figures:
    input:
        **{name: path for name, path in TABLES.items() if name in DRAWN},
    output:
        # Of all formats, `snakemake --report` shows the one that scales.
        **{
            figure: [
                report(
                    f"<results>/figures/{figure}.svg",
                    caption=f"../report/figures/{figure}.rst",
                    category="figures",
                    labels={"figure": figure},
                ),
                *[
                    f"<results>/figures/{figure}.{format}"
                    for format in STUDY.report.figure_formats
                    if format != "svg"
                ],
            ]
            for figure in FIGURES
        },
    log:
        "<logs>/plot_figures.log",
    conda:
        "../../envs/report.yaml"
    resources:
        **needs("plot_figures"),
    params:
        style=STUDY.report.style.model_dump(),
        exclude_flagged=STUDY.report.exclude_flagged,
        version=version("plot_figures"),
    message:
        "draw the figures"
    script:
        "../scripts/plot_figures.py"


rule render_report:
    input:
        **TABLES,
        figures=expand("<results>/figures/{figure}.svg", figure=FIGURES),
        best=each("<results>/best/{model}/{steps}.h5"),
    output:
        page=report("<results>/report.html", category="report"),
        claims=report("<results>/tables/claims.tsv", category="tables", labels={"table": "claims"}),
        findings=report("<results>/tables/findings.tsv", category="tables", labels={"table": "findings"}),
        settings="<results>/study.json",
    log:
        "<logs>/render_report.log",
    conda:
        "../../envs/report.yaml"
    resources:
        **needs("render_report"),
    params:
        study=STUDY.config,
        tables=list(TABLES),
        extracted=token_files(),
        versions=stage_versions(),
        version=version("render_report"),
    message:
        "write the report"
    script:
        "../scripts/render_report.py"


# No target needs it: `snakemake results/STUDY/export/MODEL/STEP` gathers a checkpoint for a bug report,
# also, and above all, one whose jobs fail. So it has no input.
rule export_cell:
    output:
        directory("<results>/export/{model}/{step}"),
    log:
        "<logs>/export_cell/{model}/{step}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("export_cell"),
    params:
        study=STUDY.config,
        folders=folders(lambda wildcards: [int(wildcards.step)]),
    message:
        "gather step {wildcards.step} of {wildcards.model} for a bug report"
    script:
        "../scripts/export_cell.py"
