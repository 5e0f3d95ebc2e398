"""The study: a config, validated before any job is planned, as typed values.

Light on purpose: every Snakemake process reads it. It knows the science of a study (what to compute), not the
machine.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from babelscope.architectures import max_positions, n_layers, site_widths
from babelscope.errors import DataError, StudyError

_PAIRS = {"grammar": "grammar", "parallel": "words", "concepts": "files"}
_PRETRAIN_KEYS = ("corpus", "tokenizer", "architecture", "training")
LABELS = ("positive", "negative")


@dataclass(frozen=True)
class Corpus:
    """Text to pre-train on."""

    source: str
    languages: tuple[str, ...]
    heldout: float
    documents: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    code_switching: float = 0.0
    anchor_affinity: float = 0.0
    path: str = ""
    name: str = ""
    split: str = "train"
    column: str = "text"
    temperature: float = 1.0


@dataclass(frozen=True)
class Tokenizer:
    corpus: str
    vocabulary_size: int


@dataclass(frozen=True)
class Training:
    """How a model is trained."""

    sequence_length: int
    batch_size: int
    learning_rate: float
    accumulation: int
    betas: tuple[float, float]
    weight_decay: float
    warmup_steps: int
    schedule: str
    final_lr_share: float
    clip_norm: float
    precision: str
    decay_steps: int | None = None


@dataclass(frozen=True)
class Model:
    """One pre-training run, or one series of local checkpoints.

    Attributes:
        run_id: Names it in paths: ``<id>-seed<seed>`` if pre-trained, else ``<id>``.
        batches: Its steps; those of an inner tuple are done by one job.
    """

    run_id: str
    id: str
    source: str
    role: str
    batches: tuple[tuple[int, ...], ...]
    seed: int | None = None
    corpus: str = ""
    tokenizer: str = ""
    architecture: str = ""
    architecture_config: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None
    path: str = ""
    tokenizer_path: str = ""
    tokens_per_step: int | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """All steps, increasing."""
        return tuple(sorted(step for batch in self.batches for step in batch))


@dataclass(frozen=True)
class Sentences:
    source: str
    per_concept: int
    duplicates: str
    path: str = ""


@dataclass(frozen=True)
class Concepts:
    source: str
    min_positive: int
    ids: tuple[str, ...] = ()
    label_language: str = ""
    lists: str = ""
    path: str = ""


@dataclass(frozen=True)
class Extraction:
    sites: tuple[str, ...]
    pooling: str
    dtype: str
    compute_dtype: str
    device: str
    batch_size: int
    max_length: int
    tokens_per_language: int
    mean_sentences: int
    parity_sentences: int


@dataclass(frozen=True)
class Probes:
    l2_c: float
    components: int
    tokens_per_language: int
    test_share: float
    seeds: int
    anchor_min_languages: int
    bootstrap: int
    max_iter: int


@dataclass(frozen=True)
class Experts:
    min_languages: int
    max_traced_units: int
    bootstrap: int
    permutations: int
    block_units: int
    k: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class Generation:
    enabled: bool
    samples: int = 16
    seeds: int = 1
    max_new_tokens: int = 24
    temperature: float = 0.8
    top_p: float = 0.95
    batch_size: int = 256
    languages: tuple[str, ...] = ()
    steps: tuple[int, ...] | None = None
    k: int | None = None
    concepts: int | tuple[str, ...] | None = None


@dataclass(frozen=True)
class Report:
    title: str
    style: Mapping[str, Any]
    figure_formats: tuple[str, ...]


@dataclass(frozen=True)
class Granularity:
    languages_per_job: int
    layers_per_job: int


@dataclass(frozen=True)
class Study:
    """A validated study; see ``config/README.md`` for what its parts mean."""

    name: str
    seed: int
    data: str
    languages: tuple[str, ...]
    corpora: Mapping[str, Corpus]
    tokenizers: Mapping[str, Tokenizer]
    models: Mapping[str, Model]
    sentences: Sentences
    concepts: Concepts
    extraction: Extraction
    probes: Probes
    experts: Experts
    generation: Generation
    report: Report
    granularity: Granularity
    keep_activations: bool
    config: Mapping[str, Any]
    """The config with its defaults filled in."""

    @property
    def results(self) -> str:
        """Folder of the results."""
        return f"results/{self.name}"

    @cached_property
    def all_languages(self) -> tuple[str, ...]:
        """Languages that are analysed or trained on."""
        trained = [lang for corpus in self.corpora.values() for lang in corpus.languages]
        return tuple(dict.fromkeys([*self.languages, *trained]))

    def fill(self, template: str, **values: Any) -> str:
        """A path of the study, with {data} and other fields filled in."""
        return template.format(data=self.data, **values)

    # ------------------------------------------------------------------------------ text

    def corpus_path(self, corpus: str, lang: str) -> str:
        """File of a text corpus, or place of a data set."""
        return self.fill(self.corpora[corpus].path, lang=lang)

    def n_documents(self, corpus: str) -> dict[str, int]:
        """Documents of each language of a grammar corpus."""
        shares = self.language_shares(corpus)
        return {lang: max(1, round(share * self.corpora[corpus].documents)) for lang, share in shares.items()}

    def language_shares(self, corpus: str) -> dict[str, float]:
        """Share of documents of each language of a grammar corpus."""
        entry = self.corpora[corpus]
        unnamed = [lang for lang in entry.languages if lang not in entry.weights]
        rest = (1 - sum(entry.weights.values())) / max(1, len(unnamed))
        return {lang: entry.weights.get(lang, rest) for lang in entry.languages}

    def mixture(self, corpus: str) -> dict[str, float] | float:
        """How languages are drawn in training: shares if the study names them, else a temperature."""
        if self.corpora[corpus].source == "grammar":
            return self.language_shares(corpus)
        return self.corpora[corpus].temperature

    def sentence_files(self, lang: str) -> list[str]:
        """Files that the analysed sentences of a language come from."""
        if self.sentences.source == "parallel":
            return [self.fill(self.sentences.path, lang=lang)]
        return [path for _, _, path in self.concept_files(lang)]

    def concept_files(self, lang: str) -> list[tuple[str, str, str]]:
        """(concept, label, path) of the concept files of a language that are there."""
        if self.concepts.source != "files":
            return []
        files = []
        for concept in self.concepts.ids:
            for label in LABELS:
                path = self.fill(self.concepts.path, concept=concept, lang=lang, label=label)
                if label == "positive" or Path(path).exists():
                    files.append((concept, label, path))
        return files

    def label_files(self) -> list[str]:
        """Files that labels come from, beside the sentences themselves."""
        if self.concepts.source != "words":
            return []
        return [self.fill(self.sentences.path, lang=self.concepts.label_language)]

    @cached_property
    def word_lists(self) -> dict[str, list[str]]:
        """Words of each concept in the label language; empty unless concepts come from words."""
        if self.concepts.source != "words":
            return {}
        lists = _read_word_lists(self.fill(self.concepts.lists))
        chosen = self.concepts.ids or tuple(lists)
        unknown = [concept for concept in chosen if concept not in lists]
        if unknown:
            hint = _nearest(unknown[0], lists)
            raise StudyError("concepts.ids", unknown[0], ", ".join(lists), hint)
        return {concept: lists[concept] for concept in chosen}

    @cached_property
    def concept_ids(self) -> tuple[str, ...]:
        """The concepts, in order."""
        if self.concepts.source == "words":
            return tuple(self.word_lists)
        if self.concepts.source == "files" or self.concepts.ids:
            return self.concepts.ids
        from babelscope.grammar import CONCEPTS

        return tuple(CONCEPTS)

    # ---------------------------------------------------------------------------- models

    def model_config(self, run_id: str) -> dict[str, Any]:
        """A model's config as far as it is known before any job: sizes and model type."""
        model = self.models[run_id]
        if model.source == "pretrain":
            return {"model_type": model.architecture, **model.architecture_config}
        file = self.model_folder(run_id, model.steps[0]) / "config.json"
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            hint = "every step needs a folder in Hugging Face format"
            raise DataError(file, f"is no model config: {error}", hint) from error

    def n_layers(self, run_id: str) -> int:
        """Blocks of a model."""
        return n_layers(self.model_config(run_id))

    def n_units(self, run_id: str) -> int:
        """Units of a model at the sites of the study."""
        return sum(site_widths(self.model_config(run_id), self.extraction.sites).values())

    def n_experts(self, run_id: str) -> int:
        """K of a model."""
        if self.experts.k is not None:
            return self.experts.k
        assert self.experts.share is not None
        return max(1, round(self.experts.share * self.n_units(run_id)))

    def model_folder(self, run_id: str, step: int) -> Path:
        """Folder of a checkpoint."""
        model = self.models[run_id]
        if model.source == "pretrain":
            return Path(self.results, "models", run_id, str(step))
        return Path(self.fill(model.path, step=step))

    def tokenizer_folder(self, run_id: str, step: int) -> Path:
        """Folder of a checkpoint's tokenizer."""
        model = self.models[run_id]
        if model.tokenizer_path:
            return Path(self.fill(model.tokenizer_path, step=step))
        return self.model_folder(run_id, step)

    def previous_step(self, run_id: str, step: int) -> int | None:
        """The step before ``step`` that another job saves; None if it is the first."""
        model = self.models[run_id]
        own = next(batch for batch in model.batches if step in batch)
        before = [other for other in model.steps if other < own[0] and other not in own]
        return before[-1] if before else None

    # ------------------------------------------------------------------------ generation

    def generation_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """Steps of a model that write, batched as its steps are."""
        if not self.generation.enabled:
            return ()
        wanted = self.generation.steps
        batches = [
            tuple(step for step in batch if wanted is None or step in wanted)
            for batch in self.models[run_id].batches
        ]
        return tuple(batch for batch in batches if batch)

    def generation_steps(self, run_id: str) -> tuple[int, ...]:
        """Steps of a model that write."""
        return tuple(sorted(step for batch in self.generation_batches(run_id) for step in batch))

    @property
    def generation_concepts(self) -> tuple[str, ...]:
        """Concepts whose experts are forced."""
        wanted = self.generation.concepts
        if wanted is None:
            return self.concept_ids
        if isinstance(wanted, int):
            return self.concept_ids[:wanted]
        return wanted

    def generation_k(self, run_id: str) -> int:
        """Experts that are forced."""
        return self.generation.k or self.n_experts(run_id)


# ------------------------------------------------------------------------------------ loading


def load_study(config: Mapping[str, Any], *, schema: Path) -> Study:
    """Validate a config and give it as typed values.

    Args:
        config: The config, as read from YAML.
        schema: The JSON schema; its defaults are filled in.

    Raises:
        StudyError: Naming the key, the value given, what is allowed and a hint.
    """
    rules = yaml.safe_load(schema.read_text(encoding="utf-8"))
    full = copy.deepcopy(_extended(config))
    _check_schema(full, rules)
    full = _with_defaults(full, rules, rules)
    languages = tuple(full["languages"])
    corpora = {
        name: _record(Corpus, {"languages": languages, **entry}) for name, entry in full["corpora"].items()
    }
    tokenizers = {name: _record(Tokenizer, entry) for name, entry in full["tokenizers"].items()}
    study = Study(
        name=full["study"],
        seed=full["seed"],
        data=full["data"].rstrip("/") or "/",
        languages=languages,
        corpora=corpora,
        tokenizers=tokenizers,
        models=_models(full["models"]),
        sentences=_record(Sentences, full["sentences"]),
        concepts=_record(Concepts, full["concepts"]),
        extraction=_record(Extraction, full["extraction"]),
        probes=_record(Probes, full["probes"]),
        experts=_record(Experts, full["experts"]),
        generation=_record(Generation, {"languages": languages, **full["generation"]}),
        report=_record(Report, full["report"]),
        granularity=_record(Granularity, full["granularity"]),
        keep_activations=full["keep_activations"],
        config=full,
    )
    _cross_check(study)
    return study


def _record(kind: Any, values: Mapping[str, Any]) -> Any:
    known = {entry.name for entry in dataclasses.fields(kind)}
    assert set(values) <= known, f"the schema allows {set(values) - known}, {kind.__name__} does not"
    frozen = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return kind(**frozen)


def _extended(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config on top of the study that it extends, if it does."""
    own = {key: value for key, value in config.items() if key != "extends"}
    if "extends" not in config:
        return own
    path = Path(str(config["extends"]))
    try:
        base = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "the path is relative to the working directory"
        raise StudyError("extends", str(path), "path of a study file", hint) from error
    return _merge(_extended(base), own)


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _resolve(rule: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its reference merged in; what stands beside the reference wins."""
    if "$ref" not in rule:
        return dict(rule)
    target: Any = rules
    for part in rule["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**_resolve(target, rules), **{k: v for k, v in rule.items() if k != "$ref"}}


def _with_defaults(value: Any, rule: Mapping[str, Any], rules: Mapping[str, Any]) -> Any:
    rule = _resolve(rule, rules)
    if not isinstance(value, dict):
        return value
    full = dict(value)
    for key, part in rule.get("properties", {}).items():
        part = _resolve(part, rules)
        if key not in full and "default" in part:
            full[key] = copy.deepcopy(part["default"])
        if key in full:
            full[key] = _with_defaults(full[key], part, rules)
    rest = rule.get("additionalProperties")
    if isinstance(rest, Mapping):
        for key in full:
            if key not in rule.get("properties", {}):
                full[key] = _with_defaults(full[key], rest, rules)
    return full


# --------------------------------------------------------------------------------- the schema


def _check_schema(config: Any, rules: Mapping[str, Any]) -> None:
    """Translate the schema's first complaint into words for the person who wrote the config."""
    validator = jsonschema.Draft202012Validator(rules)
    errors = sorted(validator.iter_errors(config), key=lambda error: list(map(str, error.path)))
    if not errors:
        return
    first = _translate(errors[0])
    if len(errors) > 1:
        first = StudyError(
            first.key,
            first.given,
            first.allowed,
            f"{first.hint}{' ' if first.hint else ''}({len(errors) - 1} more to follow)",
        )
    raise first


def _translate(error: jsonschema.ValidationError) -> StudyError:
    validator, expected = str(error.validator), cast(Any, error.validator_value)
    while error.context and validator in ("oneOf", "anyOf"):
        # The branch that got furthest is the one that was meant.
        deepest = max(error.context, key=lambda e: (len(e.path), e.validator != "type"))
        if not deepest.path and len(deepest.schema_path) <= 2:
            break
        error = deepest
        validator, expected = str(error.validator), cast(Any, error.validator_value)
    instance: Any = error.instance
    key = _dotted(error.absolute_path)
    rule: Any = error.schema
    about = str(rule.get("description", ""))
    if validator == "additionalProperties":
        known = list(rule.get("properties", {}))
        unknown = next(name for name in instance if name not in known)
        where = f"{key}.{unknown}" if key else str(unknown)
        return StudyError(
            where,
            instance[unknown],
            "keys here are " + ", ".join(known),
            _nearest(unknown, known),
        )
    if validator == "required":
        missing = next(name for name in expected if name not in instance)
        described = rule.get("properties", {}).get(missing, {}).get("description", "")
        return StudyError(f"{key}.{missing}" if key else missing, None, "a value: it is required", described)
    if validator == "propertyNames" or (
        error.parent is not None and str(error.parent.validator) == "propertyNames"
    ):
        return StudyError(key or "names", instance, _PATH_SAFE, _PATH_SAFE_HINT)
    allowed: dict[str, Callable[[], str]] = {
        "type": lambda: _type_name(expected),
        "enum": lambda: ", ".join(map(str, expected)),
        "minimum": lambda: f"{expected} or more",
        "maximum": lambda: f"{expected} or less",
        "exclusiveMinimum": lambda: f"more than {expected}",
        "exclusiveMaximum": lambda: f"less than {expected}",
        "pattern": lambda: _PATH_SAFE,
        "minItems": lambda: f"{expected} items or more",
        "maxItems": lambda: f"{expected} items or fewer",
        "uniqueItems": lambda: "each item once",
        "contains": lambda: f"a list with {expected.get('const')}",
        "minProperties": lambda: "at least one entry",
    }
    described_by = allowed.get(validator)
    may_stand = described_by() if described_by else about or str(error.message)
    if validator == "oneOf" and any("required" in part for part in expected):
        names = [part["required"][0] for part in expected]
        given = {name: instance[name] for name in names if name in instance}
        return StudyError(key, given, "exactly one of " + ", ".join(names), about)
    hint = _PATH_SAFE_HINT if validator == "pattern" else about
    if validator == "enum":
        hint = _nearest(str(instance), map(str, expected)) or about
    return StudyError(key, instance, may_stand, hint)


_PATH_SAFE = "letters, digits, - and _, beginning with a letter or digit"
_PATH_SAFE_HINT = "the name is part of file names"


def _type_name(kind: Any) -> str:
    names = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number",
             "number": "a number", "boolean": "true or false"}  # fmt: skip
    kinds = [kind] if isinstance(kind, str) else kind
    return " or ".join(names.get(each, str(each)) for each in kinds)


def _dotted(path: Iterable[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _nearest(given: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(given), list(known), n=1, cutoff=0.6)
    return f"did you mean `{found[0]}`?" if found else ""


# ------------------------------------------------------------------------------------- models


def _models(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Model]:
    models = {}
    for name, entry in entries.items():
        key = f"models.{name}"
        needed = _PRETRAIN_KEYS if entry["source"] == "pretrain" else ("path",)
        for missing in (each for each in needed if not entry.get(each)):
            raise StudyError(f"{key}.{missing}", None, f"a value: source {entry['source']} needs it")
        batches = _batches(entry["steps"], f"{key}.steps")
        common = {"id": name, "source": entry["source"], "role": entry["role"], "batches": batches}
        if entry["source"] == "local":
            models[name] = Model(
                run_id=name,
                **common,
                **{k: entry[k] for k in ("path", "tokenizer_path", "tokens_per_step") if k in entry},
            )
            continue
        training: Training = _record(Training, entry["training"])
        for seed in entry["seeds"]:
            run_id = f"{name}-seed{seed}"
            models[run_id] = Model(
                run_id=run_id,
                **common,
                seed=seed,
                training=training,
                tokens_per_step=training.sequence_length * training.batch_size,
                **{k: entry[k] for k in ("corpus", "tokenizer", "architecture", "architecture_config")},
            )
    return models


def _batches(steps: Any, key: str) -> tuple[tuple[int, ...], ...]:
    if isinstance(steps, Mapping):
        found = set(steps.get("also", []))
        if "powers_of_two" in steps:
            first, last = steps["powers_of_two"]
            found |= {2**i for i in range(64) if first <= 2**i <= last}
        if "every" in steps:
            if "until" not in steps:
                raise StudyError(f"{key}.until", None, "a value: `every` needs it")
            found |= set(range(steps["every"], steps["until"] + 1, steps["every"]))
        if not found:
            raise StudyError(key, dict(steps), "a rule that gives at least one step")
        return tuple((step,) for step in sorted(found))
    batches = tuple(tuple(item) if isinstance(item, list | tuple) else (item,) for item in steps)
    for batch in batches:
        _check_increasing(batch, key)
    _check_increasing([batch[0] for batch in batches], key)
    flat = [step for batch in batches for step in batch]
    twice = next((step for step in flat if flat.count(step) > 1), None)
    if twice is not None:
        raise StudyError(key, twice, "each step once", "it stands in two places of the list")
    return batches


def _check_increasing(steps: Sequence[int], key: str) -> None:
    for before, after in pairwise(steps):
        if after <= before:
            raise StudyError(key, [before, after], "steps that increase", f"{after} follows {before}")


# ------------------------------------------------------------------------------- cross checks


def _cross_check(study: Study) -> None:
    _check_corpora(study)
    _check_sentences(study)
    for run_id, model in study.models.items():
        _check_model(study, model)
        k = study.n_experts(run_id)
        n_units = study.n_units(run_id)
        if k > n_units:
            key = "experts.k"
            hint = "lower it, add sites to extraction.sites, or give experts.share"
            raise StudyError(key, k, f"at most the {n_units} units of model {model.id}", hint)
        if study.generation.enabled and study.generation_k(run_id) > k:
            raise StudyError("generation.k", study.generation.k, f"at most experts.k, {k}")
    _check_generation(study)
    if study.probes.tokens_per_language > study.extraction.tokens_per_language:
        raise StudyError(
            "probes.tokens_per_language",
            study.probes.tokens_per_language,
            f"at most extraction.tokens_per_language, {study.extraction.tokens_per_language}",
        )
    if study.experts.min_languages > len(study.languages):
        allowed = f"at most the number of languages, {len(study.languages)}"
        raise StudyError("experts.min_languages", study.experts.min_languages, allowed)


def _check_corpora(study: Study) -> None:
    for name, corpus in study.corpora.items():
        key = f"corpora.{name}"
        if corpus.source != "grammar":
            _check_template(f"{key}.path", corpus.path, ["lang"] if "{lang}" not in corpus.name else [])
            continue
        if not corpus.documents:
            raise StudyError(f"{key}.documents", None, "a value: source grammar needs it")
        _check_grammar_languages(f"{key}.languages", corpus.languages)
        for lang in corpus.weights:
            _check_known(f"{key}.weights", lang, corpus.languages)
        total = sum(corpus.weights.values())
        if total > 1 + 1e-9 or (len(corpus.weights) == len(corpus.languages) and abs(total - 1) > 1e-6):
            raise StudyError(
                f"{key}.weights", total, "shares that sum to 1, or to less if some are not named"
            )
        starved = [lang for lang, share in study.language_shares(name).items() if share <= 0]
        if starved:
            raise StudyError(f"{key}.weights", starved, "a share above 0 for every language")
    for name, tokenizer in study.tokenizers.items():
        _check_known(f"tokenizers.{name}.corpus", tokenizer.corpus, study.corpora)


def _check_grammar_languages(key: str, languages: Iterable[str]) -> None:
    from babelscope.grammar import LANGUAGES

    for lang in languages:
        if lang not in LANGUAGES:
            hint = "bring text for other languages, see config/README.md"
            raise StudyError(key, lang, "languages of the grammar: " + ", ".join(LANGUAGES), hint)


def _check_sentences(study: Study) -> None:
    sentences, concepts = study.sentences, study.concepts
    if _PAIRS[sentences.source] != concepts.source:
        pairs = "; ".join(f"sentences {a} with concepts {b}" for a, b in _PAIRS.items())
        raise StudyError("concepts.source", concepts.source, pairs)
    if sentences.source == "grammar":
        from babelscope.grammar import CONCEPTS

        _check_grammar_languages("languages", study.languages)
        for concept in concepts.ids:
            _check_known("concepts.ids", concept, CONCEPTS)
        if concepts.min_positive > sentences.per_concept:
            allowed = f"at most sentences.per_concept, {sentences.per_concept}"
            raise StudyError("concepts.min_positive", concepts.min_positive, allowed)
    elif sentences.source == "parallel":
        _check_template("sentences.path", sentences.path, ["lang"])
        for key in ("label_language", "lists"):
            if not getattr(concepts, key):
                raise StudyError(f"concepts.{key}", None, "a value: source words needs it")
        if len(study.concept_ids) < 2:
            raise StudyError("concepts.ids", list(study.concept_ids), "two concepts or more")
    else:
        _check_template("concepts.path", concepts.path, ["concept", "lang", "label"])
        if not concepts.ids:
            raise StudyError("concepts.ids", None, "a value: source files needs it")


def _check_model(study: Study, model: Model) -> None:
    key = f"models.{model.id}"
    if model.source == "local":
        _check_template(f"{key}.path", model.path, ["step"] if len(model.steps) > 1 else [])
        for step in model.steps:
            _check_local_folder(study, model, step)
        return
    _check_known(f"{key}.corpus", model.corpus, study.corpora)
    _check_known(f"{key}.tokenizer", model.tokenizer, study.tokenizers)
    for setting in model.architecture_config:
        if setting in ("vocab_size", "model_type"):
            raise StudyError(f"{key}.architecture_config.{setting}", model.architecture_config[setting],
                             "not here: the tokenizer and `architecture` set it")  # fmt: skip
    assert model.training is not None
    config = study.model_config(model.run_id)
    longest = max_positions(config)
    if longest is not None:
        for name, length in (
            (f"{key}.training.sequence_length", model.training.sequence_length),
            ("extraction.max_length", study.extraction.max_length),
        ):
            if length > longest:
                raise StudyError(name, length, f"at most the model's {longest} positions")
    if model.training.schedule == "linear" and model.training.decay_steps is None:
        raise StudyError(f"{key}.training.decay_steps", None, "a value: schedule linear needs it")
    if model.training.batch_size % model.training.accumulation:
        raise StudyError(f"{key}.training.accumulation", model.training.accumulation,
                         f"a divisor of batch_size, {model.training.batch_size}")  # fmt: skip


def _check_local_folder(study: Study, model: Model, step: int) -> None:
    folder = study.model_folder(model.run_id, step)
    hint = "the path is relative to the working directory; {step} stands for the step"
    if not folder.is_dir():
        raise StudyError(f"models.{model.id}.path", str(folder), "a folder that exists", hint)
    if not (folder / "config.json").is_file():
        raise DataError(folder, "has no config.json", "name a folder in Hugging Face format")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise DataError(folder, "has no weights (*.safetensors, *.bin)")
    tokenizer = study.tokenizer_folder(model.run_id, step)
    if not (tokenizer / "tokenizer.json").is_file():
        raise DataError(
            tokenizer,
            "has no tokenizer.json",
            f"name its folder in models.{model.id}.tokenizer_path",
        )


def _check_generation(study: Study) -> None:
    generation = study.generation
    if not generation.enabled:
        return
    for lang in generation.languages:
        _check_known("generation.languages", lang, study.languages)
    known = {step for model in study.models.values() for step in model.steps}
    for step in generation.steps or ():
        if step not in known:
            raise StudyError("generation.steps", step, f"steps of a model: {sorted(known)}")
    if isinstance(generation.concepts, tuple):
        for concept in generation.concepts:
            _check_known("generation.concepts", concept, study.concept_ids)


def _check_known(key: str, given: str, known: Iterable[str]) -> None:
    known = list(known)
    if given not in known:
        raise StudyError(key, given, ", ".join(known) or "none is defined", _nearest(given, known))


def _check_template(key: str, template: str, fields: Sequence[str]) -> None:
    if not template:
        raise StudyError(key, None, "a path: this source needs it")
    missing = [name for name in fields if "{" + name + "}" not in template]
    if missing:
        raise StudyError(key, template, "a path with " + ", ".join("{" + f + "}" for f in fields))
    try:
        template.format(data="", **dict.fromkeys(["lang", "concept", "label", "step"], ""))
    except (KeyError, IndexError, ValueError) as error:
        raise StudyError(key, template, "fields {data}, " + ", ".join("{" + f + "}" for f in fields),
                         f"{error} is not one of them") from error  # fmt: skip


def _read_word_lists(path: str) -> dict[str, list[str]]:
    try:
        lists = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        hint = "the path is relative to the working directory"
        raise StudyError("concepts.lists", path, "a YAML file that exists", hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}") from error
    fits = isinstance(lists, dict) and all(
        isinstance(words, list) and words and all(isinstance(word, str) for word in words)
        for words in lists.values()
    )
    if not fits:
        raise DataError(path, "is no mapping of concepts to lists of words", "quote words like `no`")
    return {str(concept): list(words) for concept, words in lists.items()}


# --------------------------------------------------------------------------------------- text

#: Training text longer than this is read to its end by a job, not while planning.
_READ_WHOLE = 50_000_000


def check_text(study: Study) -> None:
    """Read the text that the study names, so that its faults show before any job is planned.

    Raises:
        StudyError: If a file is missing (all of them are listed).
        DataError: If text is empty, not UTF-8, doubled, not parallel, or too little for a concept.
    """
    from babelscope.corpora import check_concepts, check_lines, check_parallel, check_utf8

    _check_files_exist(study)
    for name, corpus in study.corpora.items():
        for lang in corpus.languages if corpus.source == "text" else ():
            path = Path(study.corpus_path(name, lang))
            check_utf8(path, limit=_READ_WHOLE)
            if path.stat().st_size <= _READ_WHOLE and not path.read_bytes().strip():
                raise DataError(path, f"language {lang} has no text", "it is empty")
    if study.sentences.source == "parallel":
        files = {lang: Path(study.sentence_files(lang)[0]) for lang in study.languages}
        label = Path(study.label_files()[0])
        check_parallel({**files, study.concepts.label_language: label})
        for path in files.values():
            check_lines(path, duplicates=study.sentences.duplicates)
        check_concepts(files, label, study.word_lists, study.concepts.min_positive)
    elif study.sentences.source == "concepts":
        from babelscope.corpora import check_concept_files

        for lang in study.languages:
            check_concept_files(lang, study.concept_files(lang), study.concepts.min_positive)


def _check_files_exist(study: Study) -> None:
    named: list[tuple[str, str]] = []
    for name, corpus in study.corpora.items():
        if corpus.source == "text":
            named += [(f"corpora.{name}.path", study.corpus_path(name, lang)) for lang in corpus.languages]
    for lang in study.languages:
        key = "sentences.path" if study.sentences.source == "parallel" else "concepts.path"
        named += [(key, path) for path in study.sentence_files(lang)]
    named += [("concepts.label_language", path) for path in study.label_files()]
    missing = [(key, path) for key, path in named if not Path(path).is_file()]
    if missing:
        key, path = missing[0]
        others = sorted({path for _, path in missing[1:]} - {path})
        more = f"; {len(others)} more are missing: {', '.join(others[:20])}" if others else ""
        hint = f"{{data}} stands for {study.data}, which `--config data=PATH` changes{more}"
        raise StudyError(key, path, "a file that exists", hint)
