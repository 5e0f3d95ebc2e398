"""Entry point of rule ``choose_sentences``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.audit.files import audit_files
from babelscope.analysis.audit.judge import collect_audit
from babelscope.analysis.ranking import best_files
from babelscope.analysis.settings import TraceSettings
from babelscope.analysis.shown_units import last_sound_step, units_on_show
from babelscope.analysis.traces import choose_sentences
from babelscope.capture.settings import ExtractionSettings
from babelscope.io.files import by_name
from babelscope.io.tables import concatenate, read_table, write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.concepts import positive_sentences
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    langs, folders = snakemake.params.langs, snakemake.params.folders
    settings = TraceSettings(**snakemake.params.settings)
    extraction = ExtractionSettings(**snakemake.params.extraction)
    audit, _ = collect_audit(audit_files(map(Path, snakemake.input.audit)))
    step = last_sound_step(audit, folders)
    best = best_files(map(Path, snakemake.input.best), [(step, lang) for lang in langs])
    units = units_on_show(
        read_table(snakemake.input.lifelines),
        concatenate(snakemake.input.reliability),
        {lang: best[step, lang] for lang in langs},
        step=step,
        named=settings.units,
        max_units=settings.max_units,
    )
    folder, tokenizer = folders[step]
    loaded = load_checkpoint(
        folder,
        tokenizer=tokenizer,
        dtype=extraction.compute_dtype,
        device=extraction.device,
        dictionaries=snakemake.params.get("dictionaries", {}).get(step, ()),
    )
    labels, texts = (by_name(snakemake.input[name], langs) for name in ("concepts", "sentences"))
    chosen = [
        choose_sentences(
            loaded,
            units,
            read_sentences(texts[lang]),
            positive_sentences(labels[lang], texts[lang]),
            model=snakemake.wildcards.model,
            step=step,
            lang=lang,
            settings=settings,
            extraction=extraction,
            seed=snakemake.params.seed,
        )
        for lang in langs
    ]
    write_table(pd.concat(chosen, ignore_index=True), Path(snakemake.output[0]))
