"""The study: a config, validated before any job is planned, as typed values.

Light on purpose: every Snakemake process reads it. It knows the science of a study (what to
compute), not the machine.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

import jsonschema
import jsonschema.validators
import yaml

from babelscope.architectures import (
    ARCHITECTURES,
    Architecture,
    Key,
    dimensions,
    max_positions,
    n_layers,
    site_widths,
)
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

SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.yaml"
"""The schema of the repository that the package is installed from (editable, so it is there)."""


def load_study(config: Mapping[str, Any], *, schema: Path = SCHEMA) -> Study:
    """Validate a config and give it as typed values.

    Args:
        config: The config, as read from YAML.
        schema: The JSON schema; its defaults are filled in.

    Raises:
        StudyError: Naming the key, the value given, what is allowed and a hint.
        DataError: If a file that the config names, such as a model's config.json, is unusable.
    """
    rules = _read_yaml(schema)
    given = copy.deepcopy(_extended(config))
    _check_schema(given, rules)
    _check_pair(given["sentences"]["source"], given["concepts"]["source"])
    full = _with_defaults(given, rules, rules)
    languages = tuple(full["languages"])
    if "min_languages" not in given["experts"]:  # a default must suit the smallest study
        full["experts"]["min_languages"] = min(full["experts"]["min_languages"], len(languages))
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
    _check_belonging(given, rules)
    return study


def _read_yaml(path: Path) -> Any:
    # Every job reads the study; libyaml, where it is there, does so six times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def _record(kind: Any, values: Mapping[str, Any]) -> Any:
    known = {entry.name for entry in dataclasses.fields(kind)}
    assert set(values) <= known, f"in the schema only: {set(values) - known} of {kind.__name__}"
    frozen = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return kind(**frozen)


def _extended(config: Mapping[str, Any], above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The config on top of the study that it extends, if it does."""
    own = {key: value for key, value in config.items() if key != "extends"}
    if "extends" not in config:
        return own
    path = Path(str(config["extends"]))
    allowed = "path of a study file"
    if path.resolve() in above:
        raise StudyError("extends", str(path), allowed, "these studies extend each other in a circle")
    try:
        base = _read_yaml(path)
    except OSError as error:
        hint = "the path is relative to the working directory"
        raise StudyError("extends", str(path), allowed, hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}") from error
    if not isinstance(base, dict):
        raise DataError(path, "is no mapping of keys to values")
    return _merge(_extended(base, (*above, path.resolve())), own)


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


def _is_integer(_: Any, value: Any) -> bool:
    # JSON schema counts 5.0 as an integer; Python's range() and slices do not.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    # NaN passes every range check, since no comparison with it is true.
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


_extend: Any = jsonschema.validators.extend  # type: ignore[no-untyped-call, unused-ignore]
_Validator: Any = _extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)

_PATH_SAFE = "letters, digits, - and _, beginning with a letter or digit"
_PATH_SAFE_HINT = "the name is part of file names"
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def _check_schema(config: Any, rules: Mapping[str, Any]) -> None:
    """Translate the schema's complaints into words for the person who wrote the config.

    Unknown keys come first: a misspelt key is the cause where another one is missing.
    """
    found: dict[str, tuple[bool, StudyError]] = {}
    for error in _Validator(rules).iter_errors(config):
        for complaint in _translate(error):
            unknown = error.validator == "additionalProperties"
            found.setdefault(complaint.key, (not unknown, complaint))
    if not found:
        return
    first, *others = [error for _, error in sorted(found.values(), key=lambda pair: pair[0])]
    if others:
        keys = ", ".join(f"`{error.key}`" for error in others[:5])
        more = f"{len(others)} more to repair: {keys}" + (", ..." if len(others) > 5 else "")
        hint = f"{first.hint}; {more}" if first.hint else more
        first = StudyError(first.key, first.given, first.allowed, hint)
    raise first


def _translate(error: Any) -> list[StudyError]:
    key, given, rule, kind = (
        _dotted(error.absolute_path),
        error.instance,
        error.schema,
        str(error.validator),
    )
    value: Any = error.validator_value
    about = str(rule.get("description", ""))
    inside = f"{key}." if key else ""
    if "propertyNames" in error.absolute_schema_path:
        # Here the instance is the key itself, and the path leads to its mapping.
        return [StudyError(f"{inside}{given}", given, _PATH_SAFE, _name_hint(given))]
    if kind == "additionalProperties":
        known = list(rule.get("properties", {}))
        return [
            StudyError(
                f"{inside}{name}", given[name], "keys here are " + ", ".join(known),
                _nearest(name, known),
            )
            for name in given
            if name not in known
        ]  # fmt: skip
    if kind == "required":
        parts = rule.get("properties", {})
        return [
            StudyError(
                f"{inside}{name}", None, "a value: it is required",
                parts.get(name, {}).get("description", ""),
            )
            for name in value
            if name not in given
        ]  # fmt: skip
    if kind == "oneOf":
        return _translate_choice(error, key, about)
    if kind == "uniqueItems":
        given = next(item for i, item in enumerate(given) if item in given[:i])
        return [StudyError(key, given, "each item once", "it stands in the list twice")]
    if kind == "type":
        return [StudyError(key, given, _type_name(value), _type_hint(given, value) or about)]
    if kind == "pattern":
        return [StudyError(key, given, _PATH_SAFE, _PATH_SAFE_HINT)]
    if kind == "enum":
        return [StudyError(key, given, ", ".join(value), _nearest(given, value) or about)]
    limits = {
        "minimum": f"{value} or more",
        "maximum": f"{value} or less",
        "exclusiveMinimum": f"more than {value}",
        "exclusiveMaximum": f"less than {value}",
        "minItems": "at least one item" if value == 1 else f"{value} items or more",
        "maxItems": f"{value} items or fewer",
        "minProperties": "at least one entry",
    }
    allowed = f"a list with {value['const']}" if kind == "contains" else limits[kind]
    return [StudyError(key, given, allowed, about)]


def _translate_choice(error: Any, key: str, about: str) -> list[StudyError]:
    """Complaints about the branch of a ``oneOf`` that was meant, judged by the value's type."""
    if all("required" in branch for branch in error.validator_value):
        names = [branch["required"][0] for branch in error.validator_value]
        given = {name: error.instance[name] for name in names if name in error.instance}
        return [StudyError(key, given, "exactly one of " + ", ".join(names), about)]
    branches: dict[Any, list[Any]] = {}
    for part in error.context:
        branches.setdefault(part.schema_path[0], []).append(part)
    types = [
        part.validator_value
        for parts in branches.values()
        for part in parts
        if part.validator == "type" and not part.path
    ]
    meant = [
        parts
        for parts in branches.values()
        if not any(part.validator == "type" and not part.path for part in parts)
    ]
    if len(meant) == 1:
        return [complaint for part in meant[0] for complaint in _translate(part)]
    return [StudyError(key, error.instance, _type_name(types), about)]


def _type_name(kinds: str | list[str]) -> str:
    return " or ".join(_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _type_hint(given: Any, kind: str | list[str]) -> str:
    """The traps of YAML: empty values, `no` for Norwegian, 1e-3 without a point."""
    if given is None:
        return "nothing stands there; give a value, or remove the key for its default"
    if kind == "string":
        return _name_hint(given)
    if kind in ("number", "integer") and isinstance(given, str):
        with contextlib.suppress(ValueError):
            float(given)
            return "YAML reads it as text: write it without quotes, and 1e-3 as 1.0e-3"
    if isinstance(given, float) and not math.isfinite(given):
        return "it must be finite"
    return ""


def _name_hint(given: Any) -> str:
    if isinstance(given, bool):
        return "YAML reads no, yes, on and off as true or false: put it in quotes"
    if isinstance(given, int | float):
        return "YAML reads it as a number: put it in quotes"
    return _PATH_SAFE_HINT if isinstance(given, str) else ""


def _dotted(path: Iterable[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _nearest(given: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    found = difflib.get_close_matches(str(given), list(known), n=1, cutoff=cutoff)
    return f"did you mean `{found[0]}`?" if found else ""


def _check_pair(sentences: str, concepts: str) -> None:
    """Refuse labels that do not go with the sentences."""
    if _PAIRS[sentences] != concepts:
        allowed = "; ".join(f"sentences {a} with concepts {b}" for a, b in _PAIRS.items())
        hint = f"sentences.source is {sentences}, which goes with {_PAIRS[sentences]}"
        raise StudyError("concepts.source", concepts, allowed, hint)


#: Keys that only some sources use: section -> key -> sources. Elsewhere they would do nothing.
_BELONGING: dict[str, dict[str, tuple[str, ...]]] = {
    "corpora": {
        **dict.fromkeys(("documents", "weights", "code_switching", "anchor_affinity"), ("grammar",)),
        **dict.fromkeys(("path", "temperature"), ("text", "dataset")),
        **dict.fromkeys(("name", "split", "column"), ("dataset",)),
    },
    "models": {
        **dict.fromkeys((*_PRETRAIN_KEYS, "architecture_config", "seeds"), ("pretrain",)),
        **dict.fromkeys(("path", "tokenizer_path", "tokens_per_step"), ("local",)),
    },
    "sentences": {
        "per_concept": ("grammar",),
        "path": ("parallel",),
        "duplicates": ("parallel", "concepts"),
    },
    "concepts": {
        "label_language": ("words",),
        "lists": ("words",),
        "path": ("files",),
    },
}


def _check_belonging(config: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Refuse keys that the source at hand would silently ignore.

    A default may stand there, so that a config whose defaults are filled in can be used again.
    """
    for section, owners in _BELONGING.items():
        rule, entries = rules["properties"][section], {section: config.get(section, {})}
        if section in ("corpora", "models"):  # by name
            rule = rule["additionalProperties"]
            entries = {f"{section}.{name}": entry for name, entry in entries[section].items()}
        for where, entry in entries.items():
            for key, value in entry.items():
                sources = owners.get(key, (entry["source"],))
                default = _resolve(rule["properties"][key], rules).get("default")
                if entry["source"] not in sources and value != default:
                    allowed = f"nothing: it is for source {' or '.join(sources)}"
                    hint = f"{where}.source is {entry['source']}; remove `{key}`, or change that"
                    raise StudyError(f"{where}.{key}", value, allowed, hint)


# ------------------------------------------------------------------------------------- models


def _models(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Model]:
    models: dict[str, Model] = {}
    for name, entry in entries.items():
        key = f"models.{name}"
        source = entry["source"]
        needed = _PRETRAIN_KEYS if source == "pretrain" else ("path",)
        for missing in (each for each in needed if not entry.get(each)):
            raise StudyError(f"{key}.{missing}", None, f"a value: source {source} needs it")
        common: dict[str, Any] = {
            "id": name,
            "source": source,
            "role": entry["role"],
            "batches": _batches(entry["steps"], f"{key}.steps"),
        }
        if source == "local":
            own = ("path", "tokenizer_path", "tokens_per_step")
            runs = [Model(run_id=name, **common, **{k: entry[k] for k in own if k in entry})]
        else:
            training: Training = _record(Training, entry["training"])
            common |= {
                "corpus": entry["corpus"],
                "tokenizer": entry["tokenizer"],
                "architecture": entry["architecture"],
                "architecture_config": entry["architecture_config"],
                "training": training,
                "tokens_per_step": training.sequence_length * training.batch_size,
            }
            runs = [Model(run_id=f"{name}-seed{n}", seed=n, **common) for n in entry["seeds"]]
        for run in runs:
            if run.run_id in models:
                hint = f"a run of model {models[run.run_id].id} has this name too; rename one"
                raise StudyError(key, run.run_id, "a name of its own for every run", hint)
            models[run.run_id] = run
    return models


def _batches(steps: Any, key: str) -> tuple[tuple[int, ...], ...]:
    if isinstance(steps, Mapping):
        return tuple((step,) for step in _steps_by_rule(steps, key))
    batches = tuple(tuple(item) if isinstance(item, list | tuple) else (item,) for item in steps)
    for batch in batches:
        _check_increasing(batch, key)
    _check_increasing([batch[0] for batch in batches], key)
    flat = [step for batch in batches for step in batch]
    twice = next((step for step in flat if flat.count(step) > 1), None)
    if twice is not None:
        raise StudyError(key, twice, "each step once", "it stands in two places of the list")
    return batches


def _steps_by_rule(rule: Mapping[str, Any], key: str) -> list[int]:
    found = set(rule.get("also", []))
    if "powers_of_two" in rule:
        first, last = rule["powers_of_two"]
        powers = {2**i for i in range(64) if first <= 2**i <= last}
        if not powers:
            allowed = "[first, last] with a power of two between them"
            raise StudyError(f"{key}.powers_of_two", [first, last], allowed)
        found |= powers
    for one, other in (("every", "until"), ("until", "every")):
        if one in rule and other not in rule:
            raise StudyError(f"{key}.{other}", None, f"a value: `{one}` needs it")
    if "every" in rule:
        if rule["until"] < rule["every"]:
            raise StudyError(f"{key}.until", rule["until"], f"`every`, {rule['every']}, or more")
        found |= set(range(rule["every"], rule["until"] + 1, rule["every"]))
    if not found:
        raise StudyError(key, dict(rule), "a rule that gives at least one step")
    return sorted(found)


def _check_increasing(steps: Sequence[int], key: str) -> None:
    for before, after in itertools.pairwise(steps):
        if after <= before:
            hint = f"{after} follows {before}; a list is ordered by the first step of its items"
            raise StudyError(key, [before, after], "steps that increase", hint)


# ------------------------------------------------------------------------------- cross checks


def _cross_check(study: Study) -> None:
    _check_corpora(study)
    _check_sentences(study)
    for model in study.models.values():
        _check_model(study, model)
        _check_lengths(study, model)
        _check_k(study, model)
    _check_generation(study)
    at_most = [
        ("probes.tokens_per_language", study.probes.tokens_per_language,
         "extraction.tokens_per_language", study.extraction.tokens_per_language),
        ("experts.min_languages", study.experts.min_languages,
         "the number of languages", len(study.languages)),
        ("probes.anchor_min_languages", study.probes.anchor_min_languages,
         "the number of languages", len(study.languages)),
    ]  # fmt: skip
    for key, given, name, limit in at_most:
        if given > limit:
            raise StudyError(key, given, f"at most {name}, {limit}")


def _check_corpora(study: Study) -> None:
    for name, corpus in study.corpora.items():
        key = f"corpora.{name}"
        if corpus.source != "grammar":
            _check_template(f"{key}.path", corpus.path, ["lang"], needed="{lang}" not in corpus.name)
            if corpus.name:
                _check_template(f"{key}.name", corpus.name, ["lang"], needed=False)
            continue
        if not corpus.documents:
            raise StudyError(f"{key}.documents", None, "a value: source grammar needs it")
        _check_grammar_languages(f"{key}.languages", corpus.languages)
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
    from babelscope.grammar import LANGUAGES

    for lang in languages:
        if lang not in LANGUAGES:
            hint = "bring text for other languages, see config/README.md"
            raise StudyError(key, lang, "languages of the grammar: " + ", ".join(LANGUAGES), hint)


def _check_sentences(study: Study) -> None:
    sentences, concepts = study.sentences, study.concepts
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
        _check_template("concepts.lists", concepts.lists, [])
    else:
        _check_template("concepts.path", concepts.path, ["concept", "lang", "label"])
        if not concepts.ids:
            raise StudyError("concepts.ids", None, "a value: source files needs it")
        for concept in concepts.ids:
            if concept.endswith("-neg"):
                hint = "ids of negative sentences end so"
                raise StudyError("concepts.ids", concept, "names that do not end in -neg", hint)
    if len(study.concept_ids) < 2:
        hint = "the sentences of one concept are compared with those of others"
        raise StudyError("concepts.ids", list(study.concept_ids), "two concepts or more", hint)


def _check_model(study: Study, model: Model) -> None:
    key = f"models.{model.id}"
    if model.source == "local":
        _check_template(f"{key}.path", model.path, ["step"], needed=len(model.steps) > 1)
        if model.tokenizer_path:
            where = f"{key}.tokenizer_path"
            _check_template(where, model.tokenizer_path, ["step"], needed=False)
        for step in model.steps:
            _check_local_folder(study, model, step)
        return
    _check_known(f"{key}.corpus", model.corpus, study.corpora)
    _check_known(f"{key}.tokenizer", model.tokenizer, study.tokenizers)
    _check_architecture(study, model)
    training = model.training
    assert training is not None
    if training.schedule == "linear":
        if training.decay_steps is None:
            where = f"{key}.training.decay_steps"
            raise StudyError(where, None, "a value: schedule linear needs it")
        if training.decay_steps <= training.warmup_steps:
            allowed = f"more than warmup_steps, {training.warmup_steps}"
            raise StudyError(f"{key}.training.decay_steps", training.decay_steps, allowed)
    if training.batch_size % training.accumulation:
        allowed = f"a divisor of batch_size, {training.batch_size}"
        raise StudyError(f"{key}.training.accumulation", training.accumulation, allowed)


def _check_architecture(study: Study, model: Model) -> None:
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
        near = _nearest(name, own, cutoff=0.85)
        if name in foreign or (name not in own and near):
            allowed = f"sizes of {model.architecture} are {', '.join(own)}"
            hint = near or f"{name} is a setting of another architecture"
            raise StudyError(f"{key}.{name}", value, allowed, hint)
    try:
        sizes = dimensions(study.model_config(model.run_id))
    except StudyError as error:
        where = f"{key}.{error.key.rpartition('.')[2]}"
        raise StudyError(where, error.given, error.allowed, error.hint) from error
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
        longest = max_positions(study.model_config(model.run_id))
    except StudyError as error:  # a local model's own config; ours is checked before
        raise DataError(
            study.model_folder(model.run_id, model.steps[0]) / "config.json", str(error)
        ) from error
    if longest is None:
        return
    lengths = {"extraction.max_length": study.extraction.max_length}
    if model.training is not None:
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
    k, n_units = study.n_experts(model.run_id), study.n_units(model.run_id)
    if k > n_units:
        hint = "lower it, add sites to extraction.sites, or give experts.share"
        raise StudyError("experts.k", k, f"at most the {n_units} units of model {model.id}", hint)
    forced = study.generation.k
    if study.generation.enabled and forced is not None and forced > k:
        allowed = f"at most experts.k, {k}"
        if study.experts.share is not None:
            allowed = f"at most the experts of model {model.id}, {k}, by experts.share"
        raise StudyError("generation.k", forced, allowed)


def _check_local_folder(study: Study, model: Model, step: int) -> None:
    folder = study.model_folder(model.run_id, step)
    hint = "the path is relative to the working directory; {step} stands for the step"
    if not folder.is_dir():
        raise StudyError(f"models.{model.id}.path", str(folder), "a folder that exists", hint)
    if not (folder / "config.json").is_file():
        raise DataError(folder, "has no config.json", "name a folder in Hugging Face format")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise DataError(folder, "has no weights (*.safetensors, *.bin)", "is it still written?")
    tokenizer = study.tokenizer_folder(model.run_id, step)
    if not (tokenizer / "tokenizer.json").is_file():
        hint = f"name its folder in models.{model.id}.tokenizer_path"
        raise DataError(tokenizer, "has no tokenizer.json", hint)


def _check_generation(study: Study) -> None:
    generation = study.generation
    if not generation.enabled:
        return
    for lang in generation.languages:
        _check_known("generation.languages", lang, study.languages)
    known = sorted({step for model in study.models.values() for step in model.steps})
    for step in generation.steps or ():
        if step not in known:
            raise StudyError("generation.steps", step, f"steps of a model: {known}")
    if isinstance(generation.concepts, tuple):
        for concept in generation.concepts:
            _check_known("generation.concepts", concept, study.concept_ids)


def _check_known(key: str, given: Any, known: Iterable[str]) -> None:
    known = list(known)
    if given not in known:
        hint = _nearest(given, known) if isinstance(given, str) else _name_hint(given)
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
            template.format(data="", **{name: 0 if name == "step" else "" for name in fields})
    except ValueError as error:
        raise StudyError(key, template, allowed, f"its braces cannot be read: {error}") from error
    if unknown:
        raise StudyError(key, template, allowed, f"{unknown[0]!r} is not one of them")
    missing = [name for name in fields if name not in found]
    if needed and missing:
        raise StudyError(key, template, allowed, f"`{{{missing[0]}}}` is missing")


def _read_word_lists(path: str) -> dict[str, list[str]]:
    try:
        lists = _read_yaml(Path(path))
    except OSError as error:
        hint = "the path is relative to the working directory"
        raise StudyError("concepts.lists", path, "a YAML file that exists", hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}") from error
    if not isinstance(lists, dict) or not lists:
        raise DataError(path, "is no mapping of concepts to lists of words")
    for concept, words in lists.items():
        if not isinstance(concept, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", concept):
            problem = f"{concept!r} is no name of a concept; allowed: {_PATH_SAFE}"
            raise DataError(path, problem, _name_hint(concept))
        if not isinstance(words, list) or not words:
            raise DataError(path, f"is no mapping of concepts to lists of words: see {concept}")
        for word in words:
            if not isinstance(word, str) or not word.strip():
                problem = f"{concept} lists {word!r}; allowed: words"
                raise DataError(path, problem, "put words like `no` and numbers in quotes")
    return {concept: [word.strip() for word in words] for concept, words in lists.items()}


# --------------------------------------------------------------------------------------- text


def check_text(study: Study) -> None:
    """Read the text that the study names, so that its faults show before any job is planned.

    Raises:
        StudyError: If a file is missing (all of them are listed).
        DataError: If text is empty, not UTF-8, doubled, not parallel, or too little for a concept.
    """
    from babelscope import corpora

    _check_files_exist(study)
    for name, corpus in study.corpora.items():
        for lang in corpus.languages if corpus.source == "text" else ():
            corpora.check_training_text(Path(study.corpus_path(name, lang)), lang)
    needed, duplicates = study.concepts.min_positive, study.sentences.duplicates
    if study.sentences.source == "parallel":
        files = {lang: Path(study.sentence_files(lang)[0]) for lang in study.languages}
        label = Path(study.label_files()[0])
        corpora.check_parallel({**files, study.concepts.label_language: label})
        for path in files.values():
            corpora.check_lines(path, duplicates=duplicates)
        corpora.check_concepts(files, label, study.word_lists, needed)
    elif study.sentences.source == "concepts":
        by_language = {lang: study.concept_files(lang) for lang in study.languages}
        corpora.check_concept_files(by_language, needed, duplicates=duplicates)


def _check_files_exist(study: Study) -> None:
    """Every file that the study names is there; else all that are missing are listed."""
    named: list[tuple[str, str, str, str]] = []  # key, template, of what, path
    for name, corpus in study.corpora.items():
        for lang in corpus.languages if corpus.source == "text" else ():
            key = f"corpora.{name}.path"
            named.append((key, corpus.path, lang, study.corpus_path(name, lang)))
    for lang in study.languages:
        if study.sentences.source == "parallel":
            (path,) = study.sentence_files(lang)
            named.append(("sentences.path", study.sentences.path, lang, path))
        for concept, label, path in study.concept_files(lang):
            what = f"{concept}, {lang}, {label}"
            named.append(("concepts.path", study.concepts.path, what, path))
    for path in study.label_files():
        label_language = study.concepts.label_language
        named.append(("concepts.label_language", label_language, label_language, path))
    missing: dict[str, tuple[str, list[str]]] = {}
    for key, template, what, path in named:
        if not Path(path).is_file():
            missing.setdefault(key, (template, []))[1].append(f"{path} ({what})")
    if missing:
        (key, (template, paths)), *others = missing.items()
        hint = f"not there: {', '.join(paths)}"
        for other, (_, more) in others:
            hint += f"; of `{other}`: {', '.join(more)}"
        if "{data}" in f"{template}{study.sentences.path}":
            hint += f". {{data}} stands for `{study.data}`, which `--config data=PATH` changes"
        raise StudyError(key, template, "files that exist", hint)
