"""Entry point of rule ``generate_text``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.generation import GenerationSettings, generate_step
from babelscope.analysis.scores import ScoreFile
from babelscope.io.tables import read_table, write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    langs = snakemake.params.langs
    steps = list(snakemake.params.folders)
    scores = dict(zip(product(steps, langs), map(Path, snakemake.input.scores), strict=True))
    experts = dict(zip(product(steps, langs), map(Path, snakemake.input.experts), strict=True))
    for position, (step, (folder, tokenizer)) in enumerate(snakemake.params.folders.items()):
        texts = generate_step(
            load_checkpoint(
                folder,
                tokenizer=tokenizer,
                dtype=snakemake.params.compute_dtype,
                device=snakemake.params.device,
            ),
            {lang: read_table(experts[step, lang]) for lang in langs},
            {lang: ScoreFile(scores[step, lang]) for lang in langs},
            model=snakemake.wildcards.model,
            step=step,
            concepts=snakemake.params.concepts,
            settings=GenerationSettings(**snakemake.params.settings),
            seed=snakemake.params.seed,
        )
        write_table(texts, Path(snakemake.output[position]))
