"""What no class can say alone: parts of a study that must fit each other, and the files that it names.

Everything here runs before any job is planned.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

from babelscope.complaints import NAME_PATTERN, PATH_SAFE, name_hint, nearest
from babelscope.errors import DataError, StudyError
from babelscope.models.architectures import ARCHITECTURES, SITES, Architecture, Key, why_unknown
from babelscope.models.dictionaries import FIELDS as DICTIONARY_FIELDS
from babelscope.models.dictionaries import check_dictionary
from babelscope.models.dimensions import Dimensions, dimensions, max_positions, n_layers, site_widths
from babelscope.models.files import is_complete, is_vocabulary
from babelscope.models.other_formats import other_format
from babelscope.study.models import HubSeries, LocalSeries, Model, PretrainedModel
from babelscope.study.settings import Style
from babelscope.text.labelled import ENDINGS
from babelscope.text.languages import check_distinct_languages, check_language, language_of
from babelscope.text.settings import (
    DatasetCorpus,
    FileConcepts,
    GrammarConcepts,
    GrammarCorpus,
    GrammarSentences,
    ParallelSentences,
    TextCorpus,
    WordConcepts,
)

#: Which concepts go with which sentences.
_PAIRS = {"grammar": "grammar", "parallel": "words", "concepts": "files"}

if TYPE_CHECKING:
    from babelscope.study.config import Study


def cross_check(study: Study) -> None:
    """Compare the parts of a study with each other, and with the folders that it names.

    Raises:
        StudyError: If two do not fit.
        DataError: If a folder is no whole checkpoint.
    """
    _check_clones(study)
    _check_languages(study)
    _check_case(study)
    _check_sentences(study)
    _check_corpora(study)
    _check_sites(study)
    for model in study.models.values():
        _check_model(study, model)
        _check_dictionaries(study, model)
        _check_lengths(study, model)
        _check_k(study, model)
    _check_generation(study)
    _check_ablation(study)
    _check_patching(study)
    _check_palette(study.report.style.palette)
    _check_traces(study)
    _check_views(study)
    _check_kept_checkpoints(study)
    _check_groups(study)
    _check_assumed(study)
    _check_retrain(study)
    at_most = [
        ("probes.tokens_per_language", study.probes.tokens_per_language,
         "extraction.tokens_per_language", study.extraction.tokens_per_language),
        ("experts.min_languages", study.experts.min_languages,
         "the number of languages", len(study.languages)),
        ("probes.anchor_min_languages", study.probes.anchor_min_languages,
         "the number of languages", len(study.languages)),
    ]  # fmt: skip
    for key, given, name, limit in at_most:
        if given is not None and given > limit:
            raise StudyError(key, given, f"at most {name}, {limit}")


def _check_retrain(study: Study) -> None:
    trained = list(dict.fromkeys(model.id for model in study.pretrained))
    if study.retrain not in ("", "all", *trained):
        allowed = (
            ", ".join(["all", *trained]) if trained else "nothing: no model of the study is pre-trained here"
        )
        raise StudyError("retrain", study.retrain, allowed, nearest(study.retrain, trained))


def _check_clones(study: Study) -> None:
    """A clone is of a language that has text of its own, beside which it is trained on."""
    for clone, original in study.clones.items():
        if original in study.clones:
            allowed = "a language that is no clone"
            raise StudyError(f"clones.{clone}", original, allowed, f"{original} is a clone too")
        if clone not in study.languages:
            hint = f"add {clone} to `languages`, or take it out of `clones`"
            raise StudyError("clones", clone, f"languages of the study: {', '.join(study.languages)}", hint)
    for name, corpus in study.corpora.items():
        for clone, (original, _) in study.clones_among(corpus.languages).items():
            if original not in corpus.languages:
                hint = f"{clone} is its clone, and gets the subwords that are learnt from it"
                raise StudyError(f"corpora.{name}.languages", list(corpus.languages), f"{original} too", hint)


def _check_languages(study: Study) -> None:
    """Every language has a code of a language, except clones."""
    named = {"languages": study.languages}
    named |= {f"corpora.{name}.languages": corpus.languages for name, corpus in study.corpora.items()}
    if study.concepts.label_language:
        named["concepts.label_language"] = (study.concepts.label_language,)
    for key, languages in named.items():
        for lang in languages:
            if lang not in study.clones:
                check_language(key, lang)
        check_distinct_languages(key, [lang for lang in languages if lang not in study.clones])


def _check_case(study: Study) -> None:
    """Names become files, and some disks take *Football* and *football* for one name."""
    named = {
        "languages": study.languages,
        "concepts": study.concept_ids,
        "models": study.models,
        "corpora": study.corpora,
        "tokenizers": study.tokenizers,
    }
    for key, names in named.items():
        first: dict[str, str] = {}
        for name in names:
            same = first.setdefault(name.casefold(), name)
            if same != name:
                hint = f"some disks take it and {same} for one file; rename one of them"
                raise StudyError(key, name, "names that differ in more than case", hint)


def _check_corpora(study: Study) -> None:
    for name, corpus in study.corpora.items():
        key = f"corpora.{name}"
        if not isinstance(corpus, GrammarCorpus):
            named = corpus.name if isinstance(corpus, DatasetCorpus) else ""
            _check_template(f"{key}.path", corpus.path, ["lang"], needed="{lang}" not in named)
            if named:
                _check_template(f"{key}.name", named, ["lang"], needed=False)
            if isinstance(corpus, DatasetCorpus) and not re.fullmatch(r"[\w.-]+", corpus.split):
                hint = "a stream has no parts, such as train[:10%]; write them to a file"
                raise StudyError(f"{key}.split", corpus.split, "the name of a split, such as train", hint)
            continue
        _check_grammar_languages(f"{key}.languages", map(study.original, corpus.languages))
        for lang in corpus.weights:
            _check_known(f"{key}.weights", lang, corpus.languages)
        total = sum(corpus.weights.values())
        all_named = len(corpus.weights) == len(corpus.languages)
        if total > 1 + 1e-9 or (all_named and abs(total - 1) > 1e-6):
            allowed = "shares that sum to 1, or to less if some languages are not named"
            raise StudyError(f"{key}.weights", round(total, 9), allowed)
        starved = [lang for lang, share in study.language_shares(name).items() if share <= 1e-9]
        if starved:
            hint = f"nothing is left for {', '.join(starved)}"
            allowed = "a share above 0 for every language"
            raise StudyError(f"{key}.weights", dict(corpus.weights), allowed, hint)
    for name, tokenizer in study.tokenizers.items():
        _check_known(f"tokenizers.{name}.corpus", tokenizer.corpus, study.corpora)


def _check_grammar_languages(key: str, languages: Iterable[str]) -> None:
    from babelscope.text.grammar.lexicon import LANGUAGES

    for lang in languages:
        if lang not in LANGUAGES:
            hint = "bring text for other languages, see config/README.md"
            if (short := language_of(lang)) in LANGUAGES:
                hint = f"did you mean `{short}`?"
            raise StudyError(key, lang, "languages of the grammar: " + ", ".join(LANGUAGES), hint)


def _check_sentences(study: Study) -> None:
    sentences, concepts = study.sentences, study.concepts
    if _PAIRS[sentences.source] != concepts.source:
        allowed = "; ".join(f"sentences {a} with concepts {b}" for a, b in _PAIRS.items())
        hint = f"sentences.source is {sentences.source}, which goes with {_PAIRS[sentences.source]}"
        raise StudyError("concepts.source", concepts.source, allowed, hint)
    if isinstance(sentences, GrammarSentences):
        _check_grammar_languages("languages", map(study.original, study.languages))
        for concept in concepts.ids:
            _check_known("concepts.ids", concept, study.concepts_of_family)
        if study.has_pairs:
            _check_shown(study)
        if concepts.min_positive > sentences.per_concept:
            allowed = f"at most sentences.per_concept, {sentences.per_concept}"
            raise StudyError("concepts.min_positive", concepts.min_positive, allowed)
    elif isinstance(sentences, ParallelSentences) and isinstance(concepts, WordConcepts):
        _check_template("sentences.path", sentences.path, ["lang"])
        if sentences.groups is not None:
            _check_template("sentences.groups", sentences.groups, [])
        _check_template("concepts.lists", concepts.lists, ["lang"], needed=False)
    elif isinstance(concepts, FileConcepts):
        _check_template("concepts.path", concepts.path, _fields_of_path(study))
        if concepts.lists:
            _check_template("concepts.lists", concepts.lists, ["lang"], needed=False)
            _ = study.word_forms  # read, so that its faults show
        if sentences.groups is not None:
            _check_template("sentences.groups", sentences.groups, ["concept", "label"])
        if not study.concept_ids:
            lang = study.original(study.languages[0])
            where = study.fill(concepts.path, concept="*", lang=lang, label="positive", group="*")
            hint = f"no file is at {where}"
            if "{data}" in concepts.path:
                hint += f". {{data}} stands for `{study.data}`, which `--config data=PATH` changes"
            allowed = "a path at which a language has concepts"
            raise StudyError("concepts.path", concepts.path, allowed, hint)
        for concept in study.concept_ids:
            if not re.fullmatch(NAME_PATTERN, concept):
                raise StudyError("concepts.ids", concept, PATH_SAFE, "rename its files")
            if concept.endswith("-neg"):
                hint = "ids of negative sentences end so"
                raise StudyError("concepts.ids", concept, "names that do not end in -neg", hint)
    if len(study.concept_ids) < 2:
        hint = "the sentences of one concept are compared with those of others"
        raise StudyError("concepts.ids", list(study.concept_ids), "two concepts or more", hint)


def _check_shown(study: Study) -> None:
    """The clauses of every language show every concept, and there are enough of them."""
    from babelscope.text.grammar.generate import PREFIXES
    from babelscope.text.grammar.syntax import SYNTAX, choose_pairs, concepts_of

    shown = {lang: concepts_of(study.original(lang)) for lang in study.languages}
    lacking = {
        concept: [lang for lang in study.languages if concept not in shown[lang]]
        for concept in study.concept_ids
    }
    if said := [f"{concept} in {', '.join(langs)}" for concept, langs in lacking.items() if langs]:
        everywhere = [concept for concept in SYNTAX if all(concept in of for of in shown.values())]
        allowed = "concepts that the clauses of every language show: " + (
            ", ".join(everywhere) or "none here"
        )
        hint = (
            f"the form does not tell {'; '.join(said)}. Leave out these languages in `languages`, or "
            "name in concepts.ids the concepts that every language has"
        )
        raise StudyError("concepts.ids", list(study.concept_ids), allowed, hint)
    wanted = study.sentences.per_concept
    for concept in study.concept_ids:
        try:
            choose_pairs(concept, wanted, prefixes=list(PREFIXES), seed=study.seed)
        except ValueError as error:
            raise StudyError(
                "sentences.per_concept", wanted, "as many pairs as there are", str(error)
            ) from error


def _fields_of_path(study: Study) -> list[str]:
    """What the path of concept files holds in braces; a labelled table has no use for the concept."""
    concepts = study.concepts
    assert isinstance(concepts, FileConcepts)
    if concepts.columns is None:
        fields = ["concept", "lang"] if concepts.path.endswith(".json") else ["concept", "lang", "label"]
        return [*fields, "group"] if "{group}" in concepts.path else fields
    if not concepts.path.endswith(ENDINGS):
        allowed = f"a table that ends in {', '.join(ENDINGS)}"
        raise StudyError("concepts.path", concepts.path, allowed, "concepts.columns are those of a table")
    if study.sentences.groups is not None:
        raise StudyError("sentences.groups", study.sentences.groups, "nothing, of a labelled table")
    return [] if concepts.columns.lang else ["lang"]


def _check_model(study: Study, model: Model) -> None:
    key = f"models.{model.id}"
    if isinstance(model, LocalSeries):
        _check_local_series(key, model)
        return
    assert isinstance(model, PretrainedModel | HubSeries)
    if model.architecture not in ARCHITECTURES:
        hint = why_unknown(model.architecture)
        raise StudyError(f"{key}.architecture", model.architecture, ", ".join(ARCHITECTURES), hint)
    if isinstance(model, HubSeries):
        _check_hub_series(key, model)
        return
    decoders = [
        name for name, entry in ARCHITECTURES.items() if entry.kind == "decoder" and entry.experts is None
    ]
    if model.architecture not in decoders:
        hint = "an encoder has no text to predict from left to right"
        if ARCHITECTURES[model.architecture].experts:
            hint = (
                "training here does not balance experts, so most would stay unused; bring checkpoints of it"
            )
        raise StudyError(f"{key}.architecture", model.architecture, ", ".join(decoders), hint)
    _check_known(f"{key}.corpus", model.corpus, study.corpora)
    _check_known(f"{key}.tokenizer", model.tokenizer, study.tokenizers)
    _check_architecture(model)


def _check_local_series(key: str, model: LocalSeries) -> None:
    _check_template(f"{key}.path", model.path, ["step"], needed=len(model.steps) > 1)
    if model.tokenizer_path:
        _check_template(f"{key}.tokenizer_path", model.tokenizer_path, ["step"], needed=False)
    for step in model.steps:
        if not model.is_random(step):
            check_local_folder(model, step)


def _check_hub_series(key: str, model: HubSeries) -> None:
    """Sizes that are there, and a place of its own for every step."""
    suite = model.checkpoints
    for part in ("repo", "revision", "subfolder"):
        _check_template(f"{key}.{part}", getattr(suite, part) or "-", ["step"], needed=False)
    steps = [step for step in model.steps if not model.is_random(step)]
    places: dict[Any, int] = {}
    for step in steps:
        other = places.setdefault(tuple(suite.place(step).values()), step)
        if other != step:
            hint = (
                f"steps {other} and {step} would both be {' '.join(filter(None, suite.place(step).values()))}"
            )
            raise StudyError(f"{key}.revision", suite.revision, "a place with {step} in it", hint)
    _dimensions(key, model)


def _check_sites(study: Study) -> None:
    """Sites are those of all models, or dictionaries that every model has."""
    declared = list(dict.fromkeys(name for model in study.models.values() for name in model.dictionaries))
    for at, site in enumerate(study.extraction.sites):
        if site in SITES:
            continue
        if site not in declared:
            known = [*SITES, *declared]
            raise StudyError(f"extraction.sites[{at}]", site, ", ".join(known), nearest(site, known))
        for model in study.models.values():
            if site not in model.dictionaries:
                hint = f"models are compared at all sites: take {site} out of these, or give {model.id} one"
                allowed = f"the dictionary {site} of extraction.sites in every model"
                raise StudyError(f"models.{model.id}.dictionaries", [*model.dictionaries], allowed, hint)


def _check_dictionaries(study: Study, model: Model) -> None:
    """Names and layers that a model can have, and files at the path that are its dictionaries.

    The files of further steps are looked at with the checkpoints, in :mod:`babelscope.study.series`.
    """
    for name, settings in model.dictionaries.items():
        key = f"models.{model.id}.dictionaries.{name}"
        _check_template(f"{key}.path", settings.path, DICTIONARY_FIELDS[:-1], needed=False)
        check_dictionary(name, settings, n_layers(model.own_config), key)
    _ = model.config  # the files of the first step are read, so that their faults show


def _dimensions(key: str, model: Model) -> Dimensions:
    try:
        return dimensions(model.own_config)
    except StudyError as error:
        where = f"{key}.architecture_config.{error.key.rpartition('.')[2]}"
        raise StudyError(where, error.given, error.allowed, error.hint) from error


def _check_architecture(model: PretrainedModel) -> None:
    """Sizes that fit each other, by the names of this architecture.

    transformers takes any key and ignores what it does not know, so that a size by the name of
    another architecture would give a model of the default size. Other settings, such as dropouts,
    are checked against its config class by the job that makes the model.
    """
    key = f"models.{model.id}.architecture_config"
    given = model.architecture_config
    for name in ("vocab_size", "model_type"):
        if name in given:
            allowed = "nothing: the tokenizer and `architecture` set it"
            raise StudyError(f"{key}.{name}", given[name], allowed)
    own = _size_names(ARCHITECTURES[model.architecture])
    foreign = {name for entry in ARCHITECTURES.values() for name in _size_names(entry)} - set(own)
    for name, value in given.items():
        near = nearest(name, own, cutoff=0.85)
        if name in foreign or (name not in own and near):
            allowed = f"sizes of {model.architecture} are {', '.join(own)}"
            hint = near or f"{name} is a setting of another architecture"
            raise StudyError(f"{key}.{name}", value, allowed, hint)
    sizes = _dimensions(f"models.{model.id}", model)
    if not ARCHITECTURES[model.architecture].head_size.names and sizes.query != sizes.hidden:
        heads = ARCHITECTURES[model.architecture].heads
        where = f"{key}.{heads.names[0]}"
        count = next((given[name] for name in heads.names if name in given), heads.default)
        raise StudyError(where, count, f"a divisor of the width, {sizes.hidden}")


def _size_names(entry: Architecture) -> list[str]:
    sizes = (getattr(entry, part.name) for part in dataclasses.fields(entry))
    return [name for size in sizes if isinstance(size, Key) for name in size.names]


def _check_lengths(study: Study, model: Model) -> None:
    """No input is longer than the model has positions."""
    try:
        longest = max_positions(model.config)
    except StudyError as error:  # a local model's own config; ours is checked before
        raise DataError(model.folder(model.steps[0]) / "config.json", str(error)) from error
    if longest is None:
        return
    lengths = {"extraction.max_length": study.extraction.max_length}
    if isinstance(model, PretrainedModel):
        where = f"models.{model.id}.training.sequence_length"
        lengths = {where: model.training.sequence_length, **lengths}
    for key, length in lengths.items():
        if length > longest:
            raise StudyError(key, length, f"at most the model's {longest} positions: {model.id}")
    written = study.generation.max_new_tokens
    if study.generation_batches(model.run_id) and written >= longest:
        allowed = f"less than the {longest} positions of model {model.id}"
        hint = "the start token takes one of them"
        raise StudyError("generation.max_new_tokens", written, allowed, hint)


def _check_k(study: Study, model: Model) -> None:
    k, n_units = study.n_experts(model.run_id), model.n_units(study.extraction.sites)
    if k > n_units:
        hint = "lower it, add sites to extraction.sites, or give experts.share"
        raise StudyError("experts.k", k, f"at most the {n_units} units of model {model.id}", hint)
    width = dimensions(model.config).hidden
    if study.probes.components > width:
        allowed = f"at most the width of model {model.id}, {width}"
        hint = "a probe of all dimensions is fitted beside it"
        raise StudyError("probes.components", study.probes.components, allowed, hint)
    if k > study.experts.kept:
        allowed = f"at least the {k} experts of a concept in model {model.id}"
        raise StudyError("experts.kept", study.experts.kept, allowed, "experts are chosen among what is kept")
    forced = study.generation.k
    most = min(study.experts.kept, n_units)
    if study.generation.enabled and forced is not None and forced > most:
        allowed = f"at most the {most} units of a concept that are kept in model {model.id}"
        raise StudyError("generation.k", forced, allowed, "they are those of experts.kept")


def check_local_folder(model: LocalSeries, step: int) -> None:
    """Refuse the folder of a step that is not there, not whole, or has no tokenizer.

    Raises:
        StudyError: If it is not there.
        DataError: If it is not whole, with what it is instead.
    """
    folder = model.folder(step)
    hint = "the path is relative to the working directory; {step} stands for the step"
    if not folder.is_dir():
        raise StudyError(f"models.{model.id}.path", str(folder), "a folder that exists", hint)
    if problem := is_complete(folder):
        if other := other_format(folder):
            problem = f"is no folder that transformers loads: {problem}. It holds {other.what}"
            raise DataError(folder, problem, other.how)
        hint = "it must be in Hugging Face format. Is it still written? `steps: all` leaves such steps out"
        raise DataError(folder, f"is not whole: {problem}", f"{hint} until they are whole")
    tokenizer = model.tokenizer_folder(step)
    if not any(is_vocabulary(file.name) for file in tokenizer.glob("*")):
        hint = f"name its folder in models.{model.id}.tokenizer_path"
        raise DataError(tokenizer, "has no tokenizer (tokenizer.json, *.model, vocab.*)", hint)


def _check_groups(study: Study) -> None:
    """Groups hold concepts of the study, each in one group at most."""
    seen: dict[str, str] = {}
    for name, members in study.concepts.groups.items():
        for concept in members:
            _check_known(f"concepts.groups.{name}", concept, study.concept_ids)
            if concept in seen:
                hint = f"it is in {seen[concept]} already; take it out of one of them"
                raise StudyError(f"concepts.groups.{name}", concept, "a concept of no other group", hint)
            seen[concept] = name


def _check_assumed(study: Study) -> None:
    """What is named as assumed is a key of the study."""
    for key in study.assumed:
        at: Any = study.config
        for part in key.split("."):
            if not isinstance(at, Mapping) or part not in at:
                known = ", ".join(map(str, at)) if isinstance(at, Mapping) else "none below a value"
                hint = f"there is no `{part}` in it; keys there are {known}"
                raise StudyError(f"assumed.{key}", key, "a key of this study, with dots", hint)
            at = at[part]


def _check_generation(study: Study) -> None:
    generation = study.generation
    if not generation.enabled:
        return
    for model in study.models.values():
        kind = ARCHITECTURES[model.config["model_type"]].kind
        if kind == "encoder" and study.generation_batches(model.run_id):
            hint = f"model {model.id} is an encoder, which does not write text; turn generation off"
            raise StudyError("generation.enabled", True, "false where a model is an encoder", hint)
    for site in generation.sites:
        _check_known("generation.sites", site, study.extraction.sites)
    for lang in generation.languages:
        _check_known("generation.languages", lang, study.languages)
    known = sorted({step for model in study.models.values() for step in model.steps})
    for step in generation.steps or ():
        if step not in known:
            raise StudyError("generation.steps", step, f"steps of a model: {known}")
    if isinstance(generation.concepts, int) and generation.concepts > len(study.concept_ids):
        allowed = f"at most the {len(study.concept_ids)} concepts of the study"
        raise StudyError("generation.concepts", generation.concepts, allowed, "all, if it is left out")
    if isinstance(generation.concepts, tuple):
        for concept in generation.concepts:
            _check_known("generation.concepts", concept, study.concept_ids)


def _check_ablation(study: Study) -> None:
    for model in study.models.values():
        if study.views.ablation and ARCHITECTURES[model.config["model_type"]].kind == "encoder":
            hint = f"model {model.id} is an encoder, which has no loss from left to right; turn the view off"
            raise StudyError("views.ablation", True, "false where a model is an encoder", hint)


def _check_patching(study: Study) -> None:
    if not study.views.patching:
        return
    for model in study.models.values():
        if ARCHITECTURES[model.config["model_type"]].kind == "encoder":
            hint = f"model {model.id} is an encoder, which foretells no next word; turn the view off"
            raise StudyError("views.patching", True, "false where a model is an encoder", hint)
    if study.has_pairs:
        hint = "concepts of family syntax are told by the form of words, and have none of their own"
        raise StudyError("views.patching", True, "false where concepts have no words", hint)
    if isinstance(study.concepts, GrammarConcepts):
        return
    for concept in study.patched_concepts:
        known = study.word_forms.get(concept, {})
        lacking = [lang for lang in study.languages if not known.get(study.original(lang))]
        if lacking:
            hint = f"of {concept} no words are known in {', '.join(lacking)}; "
            hint += "name lists of words (`concepts.lists`), or turn the view off"
            raise StudyError("views.patching", True, "false where words of concepts are not known", hint)


def _check_palette(name: str) -> None:
    """A palette that seaborn has; it is asked only where the name is not the default."""
    if name == Style().palette:
        return
    import seaborn as sns

    try:
        sns.color_palette(name)
    except ValueError as error:
        hint = nearest(name, sns.palettes.SEABORN_PALETTES) or "docs of seaborn: Choosing color palettes"
        allowed = ", ".join(sns.palettes.SEABORN_PALETTES) + ", or a colour map of matplotlib"
        raise StudyError("report.style.palette", name, allowed, hint) from error


def _check_traces(study: Study) -> None:
    """Steps and units that some model has, and no more units than are traced."""
    traces = study.traces
    if not traces.enabled:
        return
    known = sorted({step for model in study.models.values() for step in model.steps})
    for step in traces.steps if isinstance(traces.steps, tuple) else ():
        if step not in known:
            raise StudyError("traces.steps", step, f"steps of a model: {known}")
    if len(traces.units) > traces.max_units:
        allowed = f"at most {traces.max_units} units, traces.max_units"
        raise StudyError("traces.units", list(traces.units), allowed, "raise traces.max_units")
    for name in traces.units:
        _check_unit(study, name)


def _check_views(study: Study) -> None:
    """Languages are told apart on sentences that say the same."""
    if study.views.language_units and study.sentences.source == "concepts":
        allowed = "false where sentences are of concept files, since these say other things in every language"
        hint = "bring parallel sentences (sentences.source: parallel), or leave it out"
        raise StudyError("views.language_units", True, allowed, hint)


def _check_kept_checkpoints(study: Study) -> None:
    """Checkpoints that go are read by nothing that waits for all of them."""
    if study.keep_checkpoints:
        return
    for name, model in study.models.items():
        if isinstance(model, HubSeries) and study.traced_steps(name):
            allowed = "true, or with it `traces: {enabled: false}`"
            hint = f"traces choose sentences when all steps of {name} are known, and read them again then"
            raise StudyError("keep_checkpoints", False, allowed, hint)
        if isinstance(model, HubSeries) and study.views.confounds:
            allowed = "true, or with it `views: {confounds: false}`"
            hint = f"confounds read the tokenizer of {name} when all its steps are known"
            raise StudyError("keep_checkpoints", False, allowed, hint)


def _check_unit(study: Study, name: str) -> None:
    """Some model has a unit of this name at the study's sites."""
    from babelscope.units import place_of, unit_name  # with numpy, for which planning does not wait

    try:
        layer, site, unit = place_of(name)
    except ValueError as error:
        raise StudyError("traces.units", name, "names such as L03.mlp_act.117") from error
    having = []
    for model in study.models.values():
        widths = site_widths(model.config, study.extraction.sites)
        if unit < widths.get((layer, site), 0):
            return
        (first, first_site), (last, last_site) = next(iter(widths)), list(widths)[-1]
        ends = unit_name(first, first_site, 0), unit_name(last, last_site, widths[last, last_site] - 1)
        having.append(f"{model.run_id}: {ends[0]} to {ends[1]}")
    raise StudyError("traces.units", name, f"units at extraction.sites ({'; '.join(having)})")


def _check_known(key: str, given: Any, known: Iterable[str]) -> None:
    known = list(known)
    if given not in known:
        hint = nearest(given, known) if isinstance(given, str) else name_hint(given)
        raise StudyError(key, given, ", ".join(known) or "none is defined", hint)


def _check_template(key: str, template: str, fields: Sequence[str], *, needed: bool = True) -> None:
    """Refuse a path whose fields in braces cannot be filled in, or do not tell files apart."""
    if not template:
        raise StudyError(key, None, "a path: this source needs it")
    allowed = "a path with " + ", ".join(f"{{{name}}}" for name in [*fields, "data"])
    if needed and fields:
        allowed = f"a path with {', '.join(f'{{{name}}}' for name in fields)}, and maybe {{data}}"
    try:
        found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        unknown = sorted(found - {*fields, "data"})
        if not unknown:  # formats too, such as {step:07d}
            numbers = ("step", "layer", "block")
            template.format(data="", **{name: 0 if name in numbers else "" for name in fields})
    except ValueError as error:
        raise StudyError(key, template, allowed, f"its braces cannot be read: {error}") from error
    if unknown:
        raise StudyError(key, template, allowed, f"{unknown[0]!r} is not one of them")
    missing = [name for name in fields if name not in found]
    if needed and missing:
        raise StudyError(key, template, allowed, f"`{{{missing[0]}}}` is missing")


# --------------------------------------------------------------------------------------- text


def check_text(study: Study) -> None:
    """Read the text that the study names, so that its faults show before any job is planned.

    Raises:
        StudyError: If a file is missing (all of them are listed).
        DataError: If text is empty, not UTF-8, doubled, not parallel, or too little for a concept.
    """
    from babelscope.text import concepts, corpora, lines

    check_files_exist(study)
    _check_datasets(study)
    for name, corpus in study.corpora.items():
        windows = [run.training.sequence_length for run in study.pretrained if run.corpus == name]
        for lang in corpus.languages if isinstance(corpus, TextCorpus) else ():
            path = Path(study.corpus_path(name, lang))
            lines.check_training_text(path, lang)
            corpora.check_enough(
                path, lang, heldout=corpus.heldout, seed=study.seed, window=max(windows, default=1)
            )
    needed, duplicates = study.concepts.min_positive, study.sentences.duplicates
    if study.sentences.source == "parallel":
        files = {lang: Path(study.sentence_files(lang)[0]) for lang in study.languages}
        label = Path(study.label_files(study.languages[0])[0])
        lines.check_parallel({**files, study.concepts.label_language: label})
        groups = Path(study.sentence_groups) if study.sentence_groups else None
        concepts.check_concepts(
            files, label, study.word_lists, needed,
            label_language=study.concepts.label_language, duplicates=duplicates, groups=groups,
        )  # fmt: skip
    elif study.sentences.source == "concepts":
        by_language = {lang: study.concept_files(lang) for lang in study.languages}
        concepts.check_concept_files(by_language, needed, duplicates=duplicates, groups=study.sentence_groups)


def _check_datasets(study: Study) -> None:
    """A data set that is no name on the hub is there."""
    from babelscope.text.corpora import is_local

    datasets = {name: corpus for name, corpus in study.corpora.items() if isinstance(corpus, DatasetCorpus)}
    for name, corpus in datasets.items():
        for lang in corpus.languages:
            place = study.corpus_path(name, lang)
            if (is_local(place) or "{data}" in corpus.path) and not Path(place).exists():
                hint = f"not there: {place} ({lang}); the path is relative to the working directory"
                allowed = "a file or folder that exists, or the name of a data set of the hub, ORG/NAME"
                raise StudyError(f"corpora.{name}.path", corpus.path, allowed, hint)


def check_files_exist(study: Study) -> None:
    """Every file that the study names is there; else all that are missing are listed."""
    sentences, concepts = study.sentences, study.concepts
    named = [  # key, template, of what, path
        (f"corpora.{name}.path", corpus.path, lang, study.corpus_path(name, lang))
        for name, corpus in study.corpora.items()
        if isinstance(corpus, TextCorpus)
        for lang in corpus.languages
    ]
    for lang in study.languages:
        if sentences.source == "parallel":
            named += [("sentences.path", sentences.path, lang, path) for path in study.sentence_files(lang)]
        if concepts.source == "files":
            named += [
                ("concepts.path", concepts.path, f"{concept}, {lang}, {label}", path)
                for concept, label, path, *_ in study.concept_files(lang)
            ]
    named += [
        ("sentences.groups", str(sentences.groups), "groups", path)
        for path in dict.fromkeys(path for lang in study.languages for path in study.group_files(lang))
    ]
    if concepts.source == "words":
        lang = concepts.label_language
        named += [("concepts.label_language", lang, lang, path) for path in study.label_files(lang)]
    missing: dict[str, tuple[str, list[str]]] = {}
    for key, template, what, path in named:
        if not Path(path).is_file():
            missing.setdefault(key, (template, []))[1].append(f"{path} ({what})")
    if missing:
        (key, (template, paths)), *others = missing.items()
        hint = f"not there: {', '.join(paths)}"
        if key == "concepts.path":
            hint += "; bring them, or name in concepts.ids the concepts that every language has"
        for other, (_, more) in others:
            hint += f"; of `{other}`: {', '.join(more)}"
        if "{data}" in template or (sentences.source == "parallel" and "{data}" in sentences.path):
            hint += f". {{data}} stands for `{study.data}`, which `--config data=PATH` changes"
        raise StudyError(key, template, "files that exist", hint)
