"""Entry point of rule ``patch_experts``: unpack, call, nothing else."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from babelscope.analysis.ablation import READ_ON
from babelscope.analysis.continuations import concept_texts
from babelscope.analysis.patching import patch_step
from babelscope.capture.settings import ExtractionSettings
from babelscope.io.cells import CellTables
from babelscope.io.files import by_name
from babelscope.io.json import read_json
from babelscope.io.tables import write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.concepts import positive_sentences
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    langs, folders, concepts = snakemake.params.langs, snakemake.params.folders, snakemake.params.concepts
    extraction = ExtractionSettings(**snakemake.params.extraction)
    experts = CellTables(map(Path, snakemake.input.experts), wanted=list(product(folders, langs)))
    labels, texts_of = (by_name(snakemake.input[name], langs) for name in ("concepts", "sentences"))
    words = read_json(Path(snakemake.input.words))
    texts = {}
    for lang in langs:
        original, letters = snakemake.params.clones.get(lang, (lang, 0))
        texts[lang] = concept_texts(
            read_sentences(texts_of[lang]),
            positive_sentences(labels[lang], texts_of[lang]),
            positive_sentences(labels[lang], texts_of[lang], half=READ_ON),
            {concept: words[concept][lang] for concept in concepts},
            lang=original,
            letters=letters,
        )
    found = [
        patch_step(
            load_checkpoint(
                folder, tokenizer=tokenizer, dtype=extraction.compute_dtype, device=extraction.device
            ),
            {lang: experts[step, lang] for lang in langs},
            texts,
            model=snakemake.wildcards.model,
            step=step,
            concepts=concepts,
            n_sentences=snakemake.params.n_sentences,
            extraction=extraction,
            seed=snakemake.params.seed,
        )
        for step, (folder, tokenizer) in folders.items()
    ]
    write_table(pd.concat(found, ignore_index=True), Path(snakemake.output[0]))
