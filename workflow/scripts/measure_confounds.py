"""Entry point of rule ``measure_confounds``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.confounds import measure_confounds
from babelscope.analysis.onset import EXPERTS
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.text_traits import TextOfModel, read_cuts, read_training
from babelscope.io.files import by_name
from babelscope.io.tables import read_table, write_table
from babelscope.report.summaries import without_flagged
from babelscope.runtime import job
from babelscope.text.concepts import words_of_concepts
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    params, languages = snakemake.params, snakemake.params.languages
    settings = AlignmentSettings(
        bootstrap=params.bootstrap, permutations=params.permutations, seed=params.seed
    )
    texts = {name: TextOfModel(**of) for name, of in params.models.items()}
    words = words_of_concepts(
        params.source,
        words=params.words,
        concepts=params.concepts,
        languages=languages,
        clones=params.clones,
    )
    sentences = by_name(snakemake.input.sentences, languages)
    labels = by_name(snakemake.input.concepts, languages)
    tables = {name: read_table(snakemake.input[name]) for name in ("transfer", "audit")}
    found = measure_confounds(
        read_cuts(texts, {lang: read_sentences(file) for lang, file in sentences.items()}),
        {lang: read_table(file) for lang, file in labels.items()},
        read_training(texts, words, languages, params.clones),
        (read_table(path, EXPERTS) for path in snakemake.input.experts),
        without_flagged(tables)["transfer"],
        settings,
        parallel=params.parallel,
    )
    for name, table in found._asdict().items():
        write_table(table, Path(snakemake.output[name]))
