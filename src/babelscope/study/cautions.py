"""What the files of a study give cause to say before any job, where they can be used and may not be meant so.

For a study whose text and checkpoints have been checked: nothing is refused here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from babelscope.models.files import read_config
from babelscope.models.wrappers import INSIDE
from babelscope.study.models import PretrainedModel
from babelscope.text.settings import FileConcepts, WordConcepts

if TYPE_CHECKING:
    from babelscope.study.config import Study

#: Keys of config.json that change nothing about what a model computes here.
_OF_USE = frozenset(
    {
        *(
            "_name_or_path",
            "name_or_path",
            "transformers_version",
            "architectures",
            "auto_map",
            "_commit_hash",
        ),
        *("torch_dtype", "dtype", "use_cache", "output_attentions", "output_hidden_states", "return_dict"),
        *("attn_implementation", "_attn_implementation", "gradient_checkpointing", "pretraining_tp"),
    }
)
#: Words that are named; of more the number is said.
_SHOWN = 10


def cautions(study: Study) -> list[str]:
    """What a user would want to know of the files that a study names, in sentences."""
    return [*_code(study), *_configs(study), *_inside(study), *_words(study), *_names(study)]


def _inside(study: Study) -> list[str]:
    """Multimodal models, of which the text model alone is read."""
    return [
        f"{model.id}: {model.config[INSIDE]} is read as the text model inside it "
        f"({model.config['model_type']}); what sees is not loaded"
        for model in study.models.values()
        if INSIDE in model.config
    ]


def _code(study: Study) -> list[str]:
    """Models whose config names code of their own, which is not run."""
    found = []
    for model in study.models.values():
        folders = [] if isinstance(model, PretrainedModel) else map(model.folder, model.real_steps)
        if any(folder.is_dir() and "auto_map" in read_config(folder) for folder in folders):
            found.append(
                f"{model.id}: its config.json names code of its own (auto_map), which is not run: "
                f"what is computed is {model.config['model_type']} as transformers has it"
            )
    return found


def _configs(study: Study) -> list[str]:
    """Steps whose config.json says that other things are computed with the weights than at the first step."""
    found: dict[tuple[str, str], list[int]] = {}
    for model in study.models.values():
        steps = [] if isinstance(model, PretrainedModel) else list(model.real_steps)
        configs = {step: read_config(model.folder(step)) for step in steps if model.folder(step).is_dir()}
        first = next(iter(configs.values()), {})
        for step, config in configs.items():
            keys = {*first, *config} - _OF_USE
            if differing := sorted(key for key in keys if config.get(key) != first.get(key)):
                what = f"{model.id}: config.json differs from that of step {next(iter(configs))}"
                found.setdefault((what, ", ".join(differing)), []).append(step)
    return [
        f"{what} in {keys}, at step{'s' * (len(steps) > 1)} {', '.join(map(str, steps))}: is it one training?"
        for (what, keys), steps in found.items()
    ]


def _words(study: Study) -> list[str]:
    """Words by which sentences are labelled, and that none of them holds in any form that the list has."""
    if not isinstance(study.concepts, WordConcepts):
        return []
    from babelscope.text.concepts import match_words
    from babelscope.text.lines import iter_lines
    from babelscope.text.word_groups import word_families
    from babelscope.text.words import fold

    lang, lists = study.concepts.label_language, study.word_lists
    lines = list(iter_lines(Path(study.label_files(lang)[0])))
    never = []
    for concept, of_lines in match_words(lines, lists, lang).items():
        there = frozenset().union(*of_lines.values())
        families = word_families([fold(word, lang) for word in lists[concept]])
        unseen = [
            word for word in lists[concept] if families.get(fold(word, lang), fold(word, lang)) not in there
        ]
        never += [f"{word} ({concept})" for word in unseen]
    if not never:
        return []
    more = f" and {len(never) - _SHOWN} more" if len(never) > _SHOWN else ""
    verb = "stands" if len(never) == 1 else "stand"
    return [f"concepts.lists: {', '.join(never[:_SHOWN])}{more} {verb} in no sentence of {lang}"]


def _names(study: Study) -> list[str]:
    """Files of concepts that say that they are of another one."""
    if not isinstance(study.concepts, FileConcepts) or not study.concepts.path.endswith(".json"):
        return []
    from babelscope.text.concepts import named_in_json

    files = {path: concept for lang in study.languages for concept, _, path in study.concept_files(lang)}
    told = {path: named_in_json(Path(path)) for path in files}
    return [
        f"{path}: says that its concept is {told[path]}; it is read as {concept}, by its name"
        for path, concept in files.items()
        if told[path] and told[path].casefold() != concept.casefold()
    ]
