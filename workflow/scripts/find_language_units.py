"""Entry point of rule ``find_language_units``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.language_units import language_units, parallel_sentences, stacked
from babelscope.capture.firing import units_on
from babelscope.capture.settings import ExtractionSettings
from babelscope.io.files import by_name
from babelscope.io.tables import write_table
from babelscope.models.checkpoints import load_checkpoint
from babelscope.runtime import job
from babelscope.text.sentences import read_halves, read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], threads=snakemake.threads):
    settings = ExtractionSettings(**snakemake.params.extraction)
    files = by_name(snakemake.input.sentences, snakemake.params.langs)
    sentences = parallel_sentences({lang: read_sentences(file) for lang, file in files.items()})
    halves = read_halves(files[snakemake.params.langs[0]])
    found = []
    for step, (folder, tokenizer) in snakemake.params.folders.items() if sentences else ():
        loaded = load_checkpoint(
            folder,
            tokenizer=tokenizer,
            dtype=settings.compute_dtype,
            device=settings.device,
            dictionaries=snakemake.params.get("dictionaries", {}).get(step, ()),
        )
        found.append(
            language_units(
                {lang: units_on(loaded, of, settings, where=lang) for lang, of in sentences.items()},
                [halves[name] for name, _ in next(iter(sentences.values()))],
                model=snakemake.wildcards.model,
                step=step,
                k=snakemake.params.k,
                seed=snakemake.params.seed,
            )
        )
    for name, table in stacked(found)._asdict().items():
        write_table(table, Path(snakemake.output[name]))
