"""Entry point of rule ``extract_activations``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.activations.extraction import extract_language
from babelscope.activations.settings import ExtractionSettings
from babelscope.io.cells import cell_name
from babelscope.io.files import by_name
from babelscope.io.h5 import atomic_h5
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with (
    job(snakemake.log[0], threads=snakemake.threads),
    atomic_h5(Path(snakemake.output.units), kind="units") as units,
    atomic_h5(Path(snakemake.output.tokens), kind="tokens") as tokens,
):
    settings = ExtractionSettings(**snakemake.params.settings)
    sentences = by_name(snakemake.input.sentences, snakemake.params.langs)
    for step, (folder, tokenizer) in snakemake.params.folders.items():
        loaded = load_checkpoint(
            folder, tokenizer=tokenizer, dtype=settings.compute_dtype, device=settings.device
        )
        for lang, file in sentences.items():
            extract_language(
                loaded,
                read_sentences(file),
                units=units.create_group(cell_name(step, lang)),
                tokens=tokens.create_group(cell_name(step, lang)),
                model=snakemake.wildcards.model,
                step=step,
                lang=lang,
                settings=settings,
                seed=snakemake.params.seed,
            )
