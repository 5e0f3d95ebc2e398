"""The study: a config, validated before any job is planned, as typed values.

Light on purpose: every Snakemake process reads it. It knows the science of a study (what to
compute), not the machine.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from babelscope.errors import DataError, StudyError
from babelscope.models.dimensions import n_layers, site_widths
from babelscope.models.files import stored_type
from babelscope.study.checks import cross_check
from babelscope.study.models import HUB_KEYS, PRETRAIN_KEYS, SERIES_KEYS, Model, make_models
from babelscope.study.steps import chunks
from babelscope.study.word_lists import read_word_lists
from babelscope.study.yaml import check_schema, merge, nearest, read_yaml, resolve, with_defaults
from babelscope.text.concepts import LABELS, find_concepts

_PAIRS = {"grammar": "grammar", "parallel": "words", "concepts": "files"}


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
    exclude_flagged: bool = False


@dataclass(frozen=True)
class Audit:
    sentences: int


@dataclass(frozen=True)
class Granularity:
    steps_per_job: int
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
    audit: Audit
    assumed: Mapping[str, str]
    """Settings that are only assumed: dotted key, and why."""
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

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person who runs the study must know before it runs."""
        return tuple(dict.fromkeys(text for model in self.models.values() for text in model.warnings))

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
        return list(dict.fromkeys(path for _, _, path in self.concept_files(lang)))

    def concept_files(self, lang: str) -> list[tuple[str, str, str]]:
        """(concept, label, path) of the concept files of a language that are there."""
        if self.concepts.source != "files":
            return []
        files = []
        for concept in self.concept_ids:
            for label in LABELS:
                path = self.fill(self.concepts.path, concept=concept, lang=lang, label=label)
                if label == "positive" or Path(path).exists():
                    files.append((concept, label, path))
        return files

    def label_files(self, lang: str) -> list[str]:
        """Files that the labels of a language come from, beside the sentences themselves."""
        if self.concepts.source == "files":
            return self.sentence_files(lang)
        if self.concepts.source == "grammar":
            return []
        return [self.fill(self.sentences.path, lang=self.concepts.label_language)]

    @cached_property
    def word_lists(self) -> dict[str, list[str]]:
        """Words of each concept in the label language; empty unless concepts come from words."""
        if self.concepts.source != "words":
            return {}
        lists = read_word_lists(self.fill(self.concepts.lists))
        chosen = self.concepts.ids or tuple(lists)
        unknown = [concept for concept in chosen if concept not in lists]
        if unknown:
            hint = nearest(unknown[0], lists)
            raise StudyError("concepts.ids", unknown[0], ", ".join(lists), hint)
        return {concept: lists[concept] for concept in chosen}

    @cached_property
    def concept_ids(self) -> tuple[str, ...]:
        """The concepts, in order."""
        if self.concepts.source == "words":
            return tuple(self.word_lists)
        if self.concepts.ids:
            return self.concepts.ids
        if self.concepts.source == "files":
            return tuple(find_concepts(self.concepts.path.replace("{data}", self.data), self.languages[0]))
        from babelscope.text.grammar.lexicon import CONCEPTS

        return tuple(CONCEPTS)

    # ---------------------------------------------------------------------------- models

    def model_config(self, run_id: str) -> dict[str, Any]:
        """A model's config as far as it is known before any job: sizes and model type."""
        model = self.models[run_id]
        if model.source != "local":
            return {"model_type": model.architecture, **model.architecture_config}
        first = next(step for step in model.steps if not model.is_random(step))
        file = self.model_folder(run_id, first) / "config.json"
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            hint = "every step needs a folder in Hugging Face format"
            raise DataError(file, f"is no model config: {error}", hint) from error

    def stored_type(self, run_id: str) -> str | None:
        """Type that a model's weights are stored in, as far as it is known before any job."""
        model = self.models[run_id]
        if model.checkpoints is not None:
            return model.checkpoints.dtype or None
        if model.source == "pretrain":
            return "float32"
        first = next(step for step in model.steps if not model.is_random(step))
        return stored_type(self.model_folder(run_id, first))

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
        if model.source != "local" or model.is_random(step):
            return Path(self.results, "models", run_id, str(step))
        return Path(self.fill(model.path, step=step))

    def tokenizer_folder(self, run_id: str, step: int) -> Path:
        """Folder of a checkpoint's tokenizer."""
        model = self.models[run_id]
        if model.tokenizer_path and not model.is_random(step):
            return Path(self.fill(model.tokenizer_path, step=step))
        return self.model_folder(run_id, step)

    def previous_step(self, run_id: str, step: int) -> int | None:
        """The step before ``step`` that another job saves; None if it is the first."""
        model = self.models[run_id]
        own = next(batch for batch in model.batches if step in batch)
        before = [other for other in model.steps if other < own[0] and other not in own]
        return before[-1] if before else None

    def analysis_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """Steps of a model as one job of the analysis takes them: inner lists, and so many of the others."""
        batches = self.models[run_id].batches
        alone = [batch[0] for batch in batches if len(batch) == 1]
        together = [batch for batch in batches if len(batch) > 1]
        return tuple(sorted([*together, *chunks(alone, self.granularity.steps_per_job)]))

    # ------------------------------------------------------------------------ generation

    def generation_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """Steps of a model that write, batched as its steps are."""
        if not self.generation.enabled:
            return ()
        wanted = self.generation.steps
        batches = [
            tuple(step for step in batch if wanted is None or step in wanted)
            for batch in self.analysis_batches(run_id)
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

SCHEMA = Path(__file__).resolve().parents[3] / "workflow" / "schemas" / "config.schema.yaml"
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
    rules = read_yaml(schema)
    given = copy.deepcopy(_extended(config))
    check_schema(given, rules)
    _check_pair(given["sentences"]["source"], given["concepts"]["source"])
    full = with_defaults(given, rules, rules)
    languages = tuple(full["languages"])
    if "min_languages" not in given["experts"]:  # a default must suit the smallest study
        full["experts"]["min_languages"] = min(full["experts"]["min_languages"], len(languages))
    corpora = {
        name: _record(Corpus, {"languages": languages, **entry}) for name, entry in full["corpora"].items()
    }
    data = full["data"].rstrip("/") or "/"
    tokenizers = {name: _record(Tokenizer, entry) for name, entry in full["tokenizers"].items()}
    study = Study(
        name=full["study"],
        seed=full["seed"],
        data=data,
        languages=languages,
        corpora=corpora,
        tokenizers=tokenizers,
        models=make_models(full["models"], data),
        sentences=_record(Sentences, full["sentences"]),
        concepts=_record(Concepts, full["concepts"]),
        extraction=_record(Extraction, full["extraction"]),
        probes=_record(Probes, full["probes"]),
        experts=_record(Experts, full["experts"]),
        generation=_record(Generation, {"languages": languages, **full["generation"]}),
        audit=_record(Audit, full["audit"]),
        assumed=full["assumed"],
        report=_record(Report, full["report"]),
        granularity=_record(Granularity, full["granularity"]),
        keep_activations=full["keep_activations"],
        config=full,
    )
    cross_check(study)
    _check_belonging(given, rules)
    return study


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
        base = read_yaml(path)
    except OSError as error:
        hint = "the path is relative to the working directory"
        raise StudyError("extends", str(path), allowed, hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}") from error
    if not isinstance(base, dict):
        raise DataError(path, "is no mapping of keys to values")
    return merge(_extended(base, (*above, path.resolve())), own)


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
        **dict.fromkeys((*PRETRAIN_KEYS, "seeds"), ("pretrain",)),
        **dict.fromkeys(("architecture", "architecture_config"), ("pretrain", "hub")),
        **dict.fromkeys(("path", "tokenizer_path"), ("local",)),
        **dict.fromkeys(SERIES_KEYS, ("hub", "local")),
        **dict.fromkeys(HUB_KEYS, ("hub",)),
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
                default = resolve(rule["properties"][key], rules).get("default")
                if entry["source"] not in sources and value != default:
                    allowed = f"nothing: it is for source {' or '.join(sources)}"
                    hint = f"{where}.source is {entry['source']}; remove `{key}`, or change that"
                    raise StudyError(f"{where}.{key}", value, allowed, hint)
