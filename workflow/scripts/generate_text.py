"""Entry point of rule ``generate_text``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.experts import kept_units
from babelscope.analysis.generation import generate_step
from babelscope.analysis.ranking import best_files
from babelscope.analysis.settings import GenerationSettings
from babelscope.capture.settings import ExtractionSettings
from babelscope.io.cells import CellTables
from babelscope.io.files import by_name
from babelscope.io.tables import write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.concepts import positive_sentences
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    langs, folders = snakemake.params.langs, snakemake.params.folders
    extraction = ExtractionSettings(**snakemake.params.extraction)
    cells = list(product(folders, langs))
    experts = CellTables(map(Path, snakemake.input.experts), wanted=cells)
    best = best_files(map(Path, snakemake.input.best), cells)
    labels, texts_of = (by_name(snakemake.input[name], langs) for name in ("concepts", "sentences"))
    positive = {lang: positive_sentences(labels[lang], texts_of[lang]) for lang in langs}
    sentences = {lang: read_sentences(texts_of[lang]) for lang in langs}
    texts = [
        generate_step(
            load_checkpoint(
                folder,
                tokenizer=tokenizer,
                dtype=extraction.compute_dtype,
                device=extraction.device,
                dictionaries=snakemake.params.get("dictionaries", {}).get(step, ()),
            ),
            {lang: kept_units(best[step, lang]) for lang in langs},
            {lang: experts[step, lang] for lang in langs},
            sentences,
            positive,
            model=snakemake.wildcards.model,
            step=step,
            concepts=snakemake.params.concepts,
            settings=GenerationSettings(**snakemake.params.settings),
            extraction=extraction,
            seed=snakemake.params.seed,
        )
        for step, (folder, tokenizer) in folders.items()
    ]
    write_table(pd.concat(texts, ignore_index=True), Path(snakemake.output[0]))
