"""Entry point of rule ``extract_activations``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.extraction import ExtractionSettings, extract_language
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.corpora import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    settings = ExtractionSettings(**snakemake.params.settings)
    langs = snakemake.params.langs
    sentences = dict(zip(langs, map(Path, snakemake.input.sentences), strict=True))
    cells = product(snakemake.params.folders, langs)
    units = dict(zip(cells, map(Path, snakemake.output.units), strict=True))
    tokens = dict(zip(units, map(Path, snakemake.output.tokens), strict=True))
    for step, (folder, tokenizer) in snakemake.params.folders.items():
        loaded = load_checkpoint(
            folder,
            tokenizer=tokenizer,
            dtype=settings.compute_dtype,
            device=settings.device,
        )
        for lang in langs:
            extract_language(
                loaded,
                read_sentences(sentences[lang]),
                units_path=units[step, lang],
                tokens_path=tokens[step, lang],
                model=snakemake.wildcards.model,
                step=step,
                lang=lang,
                settings=settings,
                seed=snakemake.params.seed,
            )
