"""Entry point of rule ``generate_text``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.generation import generate_step
from babelscope.analysis.scores import score_files
from babelscope.analysis.settings import GenerationSettings
from babelscope.io.cells import CellTables
from babelscope.io.tables import write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    langs, folders = snakemake.params.langs, snakemake.params.folders
    scores = score_files(snakemake.input.scores, product(folders, langs))
    experts = CellTables(map(Path, snakemake.input.experts), product(folders, langs))
    texts = [
        generate_step(
            load_checkpoint(
                folder,
                tokenizer=tokenizer,
                dtype=snakemake.params.compute_dtype,
                device=snakemake.params.device,
            ),
            {lang: experts[step, lang] for lang in langs},
            {lang: scores[step, lang] for lang in langs},
            model=snakemake.wildcards.model,
            step=step,
            concepts=snakemake.params.concepts,
            settings=GenerationSettings(**snakemake.params.settings),
            seed=snakemake.params.seed,
        )
        for step, (folder, tokenizer) in folders.items()
    ]
    write_table(pd.concat(texts, ignore_index=True), Path(snakemake.output[0]))
