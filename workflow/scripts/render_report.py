"""Entry point of rule ``render_report``: unpack, call, nothing else."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.ranking import best_of_models
from babelscope.io.files import write_text
from babelscope.io.tables import write_table
from babelscope.report.catalogue import check_same_weights, extraction_warnings
from babelscope.report.explorer.build import build_explorer
from babelscope.report.findings.evaluate import claims_table, evaluate_findings
from babelscope.report.page import render_report
from babelscope.report.summaries import without_flagged
from babelscope.report.views import excludes_flagged
from babelscope.results import open_study
from babelscope.runtime import describe_environment, job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    results = open_study(Path(snakemake.output.page).parent)
    tables = {name: results.table(name) for name in snakemake.params.tables}
    extracted = [Path(file) for file in snakemake.params.extracted]
    check_same_weights(tables["extraction"], tables["audit"], snakemake.params.study["study"], extracted)
    findings, verdicts = evaluate_findings(tables, exclude_flagged=excludes_flagged(snakemake.params.study))
    write_table(verdicts, Path(snakemake.output.findings))
    write_table(claims_table(findings), Path(snakemake.output.claims))
    versions = {**describe_environment(), "stage versions": snakemake.params.versions}
    said = {"settings": snakemake.params.study, "versions": versions}
    write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", Path(snakemake.output.settings))
    render_report(
        study=snakemake.params.study,
        tables=tables,
        figures={Path(path).stem: Path(path) for path in snakemake.input.figures},
        findings=findings,
        provenance={
            **versions,
            "warnings": extraction_warnings(
                tables["extraction"],
                tables["concepts"],
                parallel=snakemake.params.study["sentences"]["source"] != "concepts",
            ),
        },
        out=Path(snakemake.output.page),
        explorer=build_explorer(
            snakemake.params.study,
            without_flagged(tables) if excludes_flagged(snakemake.params.study) else tables,
            best_of_models(map(Path, snakemake.input.best)),
            megabytes=snakemake.params.study["report"]["explorer_megabytes"],
        ),
    )
