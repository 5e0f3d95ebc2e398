"""What a study could tell of shared experts, before it runs: see :mod:`babelscope.analysis.power`."""

from __future__ import annotations

import math
from pathlib import Path

from babelscope.analysis.power import POWER, Design, ap_by_chance, detectable_overlap
from babelscope.study.config import Study
from babelscope.text.concepts import fewest_in_a_half, match_words, read_concept_files
from babelscope.text.lines import iter_lines, line_id
from babelscope.text.sentence_groups import Grouping


def sensitivity_text(study: Study) -> str:
    """The least overlap that the study would tell from its null, per model, in words.

    Raises:
        DataError: If the text of the study cannot be read.
    """
    positive, negative = _fewest_sentences(study)
    models: dict[Design, list[str]] = {}
    for run_id, model in study.models.items():
        design = Design(
            len(study.concept_ids), len(study.languages), study.n_experts(run_id), study.n_units(run_id)
        )
        names = models.setdefault(design, [])
        names += [] if model.id in names else [model.id]
    lines = [
        f"what it could tell of shared experts (finding 2; {POWER:.0%} power; whole model, disjoint lines; "
        "docs/methods.md):"
    ]
    for design, names in models.items():
        lines += [
            f"  {', '.join(names)}: {_told(design)}",
            f"    {design.n_concepts} concepts, {design.n_langs} languages, {design.k:,} of "
            f"{design.n_units:,} units; {positive} positive and {negative} negative",
            "    sentences, the fewest in a half: there a unit of an average precision of "
            f"{ap_by_chance(positive, negative, design.chance):.3f} is an expert by chance alone",
        ]
    return "\n".join(lines)


def _told(design: Design) -> str:
    excess = detectable_overlap(design)
    if math.isinf(excess):
        return "no overlap, however large: too few concepts or languages"
    return f"an overlap of {design.chance + excess:.3f} or more, {excess:.3f} above chance"


def _fewest_sentences(study: Study) -> tuple[int, int]:
    """Positive and negative sentences of the concept that has the fewest in a half; of the first language."""
    if study.sentences.source == "grammar":
        per_concept = study.sentences.per_concept
        others = 1 if study.has_pairs else len(study.concept_ids) - 1
        return per_concept // 2, others * per_concept // 2
    lang = study.languages[0]
    if study.concepts.source == "files":
        duplicates = study.sentences.duplicates
        read = read_concept_files(
            study.concept_files(lang), duplicates=duplicates, groups=study.sentence_groups
        )
        return fewest_in_a_half(read.labels, read.grouping.half_of)
    path = Path(study.label_files(lang)[0])
    lines = list(iter_lines(path))
    groups = Path(study.sentence_groups) if study.sentence_groups else None
    grouping = Grouping.of_lines(groups, len(lines), path)
    labels = {
        concept: {line_id(number + 1): int(number in found) for number in range(len(lines))}
        for concept, found in match_words(lines, study.word_lists, study.concepts.label_language).items()
    }
    return fewest_in_a_half(labels, grouping.half_of)
