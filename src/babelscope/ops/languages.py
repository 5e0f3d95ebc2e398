"""What it costs to take a language out of a study that has run, or to list its languages in another order.

Said while planning, before the model runs over text that it has seen. A unit is ranked beside its scores in
all languages, and the search for units that know a concept in every language reads the scores of all units,
so nothing less than these scores gives the ranking of fewer languages; and draws, such as the control labels
of a probe, go by the order of the languages.
"""

from __future__ import annotations

from pathlib import Path

from babelscope.study.config import Study


def changed_languages(study: Study, last: Study | None) -> list[str]:
    """A sentence where languages went or changed places since the last run, and results of it are there.

    Args:
        study: The study as it is now.
        last: As its last run had it; None if there was none.
    """
    ranked = any(Path(study.results, "best").glob("*/*.h5"))
    if last is None or not ranked or study.languages[: len(last.languages)] == last.languages:
        return []
    before, now = ", ".join(last.languages), ", ".join(study.languages)
    again = f"{_units(study)}, and probes, audits and all that compares languages are computed anew"
    hint = "put them back as they were to keep what is there"
    return [f"languages: the last run had {before}, now there are {now}: {again}; {hint}"]


def _units(study: Study) -> str:
    """How units come to be ranked again."""
    if study.keep_scores:
        return "units are ranked again, from the scores that were kept"
    if study.keep_activations:
        return "units are scored and ranked again, from the activations that were kept"
    return "the models run over all sentences again, since scores were not kept (`keep_scores`)"
