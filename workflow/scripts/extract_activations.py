"""Entry point of rule ``extract_activations``: unpack, call, nothing else."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.capture.extraction import extract_language
from babelscope.capture.settings import ExtractionSettings
from babelscope.capture.store import write_units
from babelscope.io.cells import cell_name
from babelscope.io.files import by_name
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import read_table
from babelscope.models.checkpoints import load_checkpoint, resolve_device
from babelscope.runtime import job
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

kind = "units" if "units" in snakemake.output.keys() else "scores"  # noqa: SIM118 - of the names
with (
    job(snakemake.log[0], threads=snakemake.threads),
    atomic_h5(Path(snakemake.output[kind]), kind=kind) as units,
    atomic_h5(Path(snakemake.output.tokens), kind="tokens") as tokens,
):
    settings = ExtractionSettings(**snakemake.params.settings)
    sentences = by_name(snakemake.input.sentences, snakemake.params.langs)
    if kind == "scores":  # nothing else of scoring is imported where it is not used
        from babelscope.analysis.scores import ScoreSettings, score_blocks

        on_gpu = resolve_device(settings.device) != "cpu"
        scoring = ScoreSettings(
            block_units=snakemake.resources.block_units, threads=snakemake.threads, background=on_gpu
        )
        concepts = by_name(snakemake.input.concepts, snakemake.params.langs)
    for step, (folder, tokenizer) in snakemake.params.folders.items():
        loaded = load_checkpoint(
            folder,
            tokenizer=tokenizer,
            dtype=settings.compute_dtype,
            device=settings.device,
            dictionaries=snakemake.params.get("dictionaries", {}).get(step, ()),
        )
        for lang, file in sentences.items():
            group = units.create_group(cell_name(step, lang))
            extract_language(
                loaded,
                read_sentences(file),
                units=partial(score_blocks, group, read_table(concepts[lang]), scoring)
                if kind == "scores"
                else partial(write_units, group),
                tokens=tokens.create_group(cell_name(step, lang)),
                model=snakemake.wildcards.model,
                step=step,
                lang=lang,
                settings=settings,
                seed=snakemake.params.seed,
            )
