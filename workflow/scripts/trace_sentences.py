"""Entry point of rule ``trace_sentences``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.traces import trace_step
from babelscope.capture.settings import ExtractionSettings
from babelscope.io.files import by_name
from babelscope.io.tables import read_table, write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    extraction = ExtractionSettings(**snakemake.params.extraction)
    chosen = read_table(snakemake.input.chosen)
    files = by_name(snakemake.input.sentences, snakemake.params.langs)
    sentences = {lang: read_sentences(file) for lang, file in files.items()}
    traces = [
        trace_step(
            load_checkpoint(
                folder,
                tokenizer=tokenizer,
                dtype=extraction.compute_dtype,
                device=extraction.device,
                dictionaries=snakemake.params.get("dictionaries", {}).get(step, ()),
            ),
            chosen,
            sentences,
            step=step,
            settings=extraction,
        )
        for step, (folder, tokenizer) in snakemake.params.folders.items()
    ]
    write_table(pd.concat(traces, ignore_index=True), Path(snakemake.output[0]))
