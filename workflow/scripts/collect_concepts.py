"""Entry point of rule ``collect_concepts``: unpack, call, nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.analysis.purity import purity_table, warn_of_foreign
from babelscope.io.files import by_name
from babelscope.io.tables import write_table
from babelscope.runtime import job
from babelscope.text.choosing import compare_concepts, count_words
from babelscope.text.concepts import count_concepts, positive_sentences
from babelscope.text.kinship import compare_languages
from babelscope.text.lines import iter_lines
from babelscope.text.sentences import read_sentences

if TYPE_CHECKING:  # injected at run time; importing it for real fails
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]):
    languages = snakemake.params.languages
    files, sentences = (by_name(snakemake.input[name], languages) for name in ("concepts", "sentences"))
    write_table(count_concepts(files), Path(snakemake.output.concepts))
    positive = {lang: positive_sentences(files[lang], sentences[lang]) for lang in languages}
    texts = {
        lang: {concept: [text for _, text in own] for concept, own in of.items()}
        for lang, of in positive.items()
    }
    write_table(compare_languages(texts), Path(snakemake.output.pairs))
    ids = {
        lang: {concept: [name for name, _ in own] for concept, own in of.items()}
        for lang, of in positive.items()
    }
    words, label_language = snakemake.params.words, snakemake.params.label_language
    lines = [line for file in snakemake.input.label_text for line in iter_lines(Path(file))]
    write_table(count_words(lines, words, label_language), Path(snakemake.output.words))
    write_table(compare_concepts(ids, words, label_language), Path(snakemake.output.shared))
    read = {lang: [text for _, text in read_sentences(sentences[lang])] for lang in languages}
    purity = purity_table(read, snakemake.params.clones)
    warn_of_foreign(purity)
    write_table(purity, Path(snakemake.output.purity))
