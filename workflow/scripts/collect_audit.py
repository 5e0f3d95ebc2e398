"""Entry point of rule ``collect_audit``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.audit.files import audit_files
from babelscope.analysis.audit.judge import collect_audit
from babelscope.io.tables import write_table
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    audit, losses = collect_audit(
        audit_files(Path(path) for path in snakemake.input),
        known_faults=snakemake.params.known_faults,
    )
    write_table(audit, Path(snakemake.output.audit))
    write_table(losses, Path(snakemake.output.losses))
