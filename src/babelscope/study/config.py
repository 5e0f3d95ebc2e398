"""The study: a config, validated before any job is planned, as typed values.

Light on purpose: every Snakemake process reads it. It knows the science of a study (what to
compute), not the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, Field

from babelscope.analysis.settings import (
    AuditSettings,
    ExpertSettings,
    GenerationSettings,
    Probes,
    Sampling,
    TraceSettings,
    ViewSettings,
)
from babelscope.capture.settings import ExtractionSettings
from babelscope.complaints import bare, is_settings, members, nearest
from babelscope.errors import StudyError
from babelscope.settings import UNSET, Name, Names, Settings, Text, default_of
from babelscope.study.models import Model, PretrainedModel, make_models
from babelscope.study.settings import Entry, Granularity, ReportSettings, StudyGeneration
from babelscope.study.steps import chunks
from babelscope.study.yaml import read_word_lists
from babelscope.text.clones import MOST
from babelscope.text.concepts import LABELS, ConceptFile, find_concepts, groups_of_concepts
from babelscope.text.labelled import read_labelled
from babelscope.text.languages import IDENTIFIED, as_written, by_identified, identified_as
from babelscope.text.settings import (
    Concepts,
    Corpus,
    FileConcepts,
    GrammarConcepts,
    GrammarCorpus,
    Sentences,
    TokenizerSettings,
    WordConcepts,
)


class StudySettings(Settings):
    """Languages x models x steps x corpora x concepts, and how to analyse them.

    What a machine offers (threads, memory, partitions) stands in profiles, not here.
    """

    study: Name
    """Name of the study; its results go to `results/NAME`."""
    extends: str | None = None
    """Path of a study that this one differs from; keys given here replace its keys, mappings are merged."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random except pre-training, which has seeds of its own."""
    data: Annotated[str, AfterValidator(lambda path: path.rstrip("/") or "/")] = "data"
    """Folder that {data} stands for in paths, relative to the working directory."""
    languages: Annotated[Names, Field(min_length=2)]
    """Codes (BCP 47) of the languages to analyse. Append, so that finished jobs stay as they are."""
    clones: Annotated[dict[Name, Name], Field(max_length=MOST)] = Field(default_factory=dict)
    """Languages that are the text of another one under letters of their own, such as `en2: en`, so that
    nothing is spelt alike. They stand in `languages` of study and corpora as any other. At most two."""
    corpora: dict[Name, Corpus] = Field(default_factory=dict)
    """Text to pre-train on, by name."""
    tokenizers: dict[Name, TokenizerSettings] = Field(default_factory=dict)
    """Tokenizers to train, by name."""
    models: Annotated[dict[Name, Entry], Field(min_length=1)]
    """Models, by name."""
    sentences: Sentences
    """Text that is analysed and never trained on."""
    concepts: Concepts
    """Which sentences express what."""
    extraction: ExtractionSettings = ExtractionSettings()
    """What is taken from the models."""
    probes: Probes = Probes()
    """Language probes."""
    experts: ExpertSettings
    """Expert units."""
    traces: TraceSettings = TraceSettings()
    """What chosen units do on every token of a few sentences, over training."""
    views: ViewSettings = ViewSettings()
    """Views behind the four findings, each of which can be switched on and off."""
    generation: StudyGeneration = StudyGeneration(enabled=False)
    """What a model writes with its experts forced."""
    audit: AuditSettings = AuditSettings()
    """The audit of every checkpoint. Its thresholds are in docs/methods.md."""
    assumed: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """Settings that the study only assumes, such as those that a paper which it repeats does not say: key of
    the config, with dots, and why. The report lists them."""
    report: ReportSettings = ReportSettings()
    """The report."""
    granularity: Granularity = Granularity()
    """How much one job takes; results do not depend on it."""
    retrain: Text = ""
    """Name of a model of source pretrain, or all: its checkpoints are trained anew where settings that they
    depend on have changed, which else stops planning. Give it once, as `--config retrain=NAME`."""
    keep_checkpoints: bool = True
    """Keep checkpoints that are fetched from the hub; else each goes once all that reads it has run, and the
    next is fetched then, so that a long series fits on a small disk. What runs a model later fetches anew."""
    keep_activations: bool = False
    """Keep the pooled unit activations, which are large, for other tools, and so that other concepts can be
    scored without the model; else units are scored as the model runs, and nothing pooled is written."""
    keep_scores: bool = False
    """Keep the scores of all units, which are large, so that a language can be added without scoring the
    others anew; else they are removed once a step is ranked, and the best units (experts.kept) stay."""


class Study(StudySettings):
    """A validated study, which is its settings and what follows from them; see ``config/README.md``."""

    model_config = ConfigDict(arbitrary_types_allowed=True, defer_build=True)

    models: dict[str, Model]  # type: ignore[assignment]
    """Every run, by run id."""
    config: dict[str, Any]
    """The config with its defaults filled in, as plain values."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Study:
        """The study of a config; its parts are not compared with each other yet.

        Raises:
            StudyError: Naming the key, the value given, what is allowed and a hint.
        """
        settings = StudySettings.from_yaml(given)
        parts, config = dict(settings), with_defaults(given, StudySettings)
        config.pop("retrain", None)  # it says what to do once, and nothing of the results
        langs, experts = settings.languages, settings.experts
        if "min_languages" not in experts.model_fields_set:  # a default must suit the smallest study
            least = min(experts.min_languages, len(langs))
            parts["experts"] = experts.model_copy(update={"min_languages": least})
            config["experts"]["min_languages"] = least
        parts["corpora"] = {name: _spelt(_named(corpus, langs)) for name, corpus in settings.corpora.items()}
        writing = _named(settings.generation, langs)
        written = tuple(as_written(lang, langs) for lang in writing.languages)
        parts["generation"] = writing.model_copy(update={"languages": written})
        if isinstance(settings.concepts, WordConcepts):
            label = as_written(settings.concepts.label_language, langs)
            parts["concepts"] = settings.concepts.model_copy(update={"label_language": label})
        results = f"results/{settings.study}"
        parts["models"] = make_models(settings.models, data=settings.data, results=results)
        return cls.model_construct(**parts, config=config)

    @property
    def name(self) -> str:
        """Its name."""
        return self.study

    @property
    def results(self) -> str:
        """Folder of the results."""
        return f"results/{self.name}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person who runs the study must know before it runs."""
        found = [text for model in self.models.values() for text in model.warnings]
        for name in self.models if self.experts.share is not None else ():
            if self.n_experts(name) == 1:
                units = f"{self.experts.share} of the {self.n_units(name)} units of {name}"
                found.append(f"experts.share: {units} is one expert, so an overlap is 0 or 1; raise it")
        return tuple(dict.fromkeys([*found, *self._unseen_forms(), *self._language_warnings()]))

    def _unseen_forms(self) -> list[str]:
        """Models that are asked for forms which their text does not have."""
        trained = {run.corpus: run.id for run in self.pretrained} if self.has_pairs else {}
        return [
            f"corpora.{name}: its subjects are all singular, since its `syntax` is 0, so {model} meets the "
            "forms of concepts of family syntax in analysis only"
            for name, model in trained.items()
            if isinstance(corpus := self.corpora[name], GrammarCorpus) and not corpus.syntax
        ]

    def _language_warnings(self) -> list[str]:
        """What is not known of the languages of generated texts."""
        known = [lang for lang in self.languages if lang not in self.clones]
        unknown = [lang for lang in known if identified_as(lang) is None]
        found = [
            f"{' and '.join(same)} are one language to the identifier, {IDENTIFIED[name]}: in which of them "
            "a generated text is will not be known"
            for name, same in by_identified(known).items()
            if len(same) > 1
        ]
        if unknown:
            found.append(
                f"generated texts cannot be identified as {', '.join(unknown)}: what is said of their "
                "languages leaves these out"
            )
        return found if self.generation.enabled else []

    def fill(self, template: str, **values: Any) -> str:
        """A path of the study, with {data} and other fields filled in."""
        return template.format(data=self.data, **values)

    # ------------------------------------------------------------------------------ text

    def original(self, lang: str) -> str:
        """The language that a clone is of; any other language itself."""
        return self.clones.get(lang, lang)

    def letters(self, lang: str) -> int:
        """Number of a clone's letters; 0 for a language that is none."""
        return list(self.clones).index(lang) + 1 if lang in self.clones else 0

    def clones_among(self, languages: Iterable[str]) -> dict[str, tuple[str, int]]:
        """The clones among some languages, see :data:`babelscope.text.clones.Clones`."""
        return {lang: (self.clones[lang], self.letters(lang)) for lang in languages if lang in self.clones}

    def corpus_path(self, corpus: str, lang: str) -> str:
        """File of a text corpus, or place of a data set."""
        entry = self.corpora[corpus]
        assert not isinstance(entry, GrammarCorpus)
        return self.fill(entry.path, lang=self.original(lang))

    def n_documents(self, corpus: str) -> dict[str, int]:
        """Documents of each language of a grammar corpus."""
        entry, shares = self.corpora[corpus], self.language_shares(corpus)
        assert isinstance(entry, GrammarCorpus)
        return {lang: max(1, round(share * entry.documents)) for lang, share in shares.items()}

    def language_shares(self, corpus: str) -> dict[str, float]:
        """Share of documents of each language of a grammar corpus."""
        entry = self.corpora[corpus]
        assert isinstance(entry, GrammarCorpus)
        unnamed = [lang for lang in entry.languages if lang not in entry.weights]
        rest = (1 - sum(entry.weights.values())) / max(1, len(unnamed))
        return {lang: entry.weights.get(lang, rest) for lang in entry.languages}

    def mixture(self, corpus: str) -> dict[str, float] | float:
        """How languages are drawn in training: shares if the study names them, else a temperature."""
        entry = self.corpora[corpus]
        return self.language_shares(corpus) if isinstance(entry, GrammarCorpus) else entry.temperature

    def sentence_files(self, lang: str) -> list[str]:
        """Files that the analysed sentences of a language come from."""
        if self.sentences.source == "parallel":
            return [self.fill(self.sentences.path, lang=self.original(lang))]
        return list(dict.fromkeys(path for _, _, path, *_ in self.concept_files(lang)))

    @property
    def sentence_groups(self) -> str | None:
        """File of the groups of sentences, if they have some; of concept files with {concept} and {label}."""
        if self.sentences.groups is None:
            return None
        return self.fill(self.sentences.groups, concept="{concept}", label="{label}")

    def group_files(self, lang: str) -> list[str]:
        """The same for each file of sentences of a language."""
        if self.sentence_groups is None:
            return []
        if self.sentences.source == "parallel":
            return [self.sentence_groups]
        lists = [(concept, label) for concept, label, *_ in self.concept_files(lang)]
        return [self.sentence_groups.format(concept=concept, label=label) for concept, label in lists]

    def concept_files(self, lang: str) -> list[ConceptFile]:
        """(concept, label, path), and maybe columns, of the concept files of a language that are there.

        They are looked up once: planning asks for them in every job, and there are hundreds in each language.
        """
        if self.concepts.source != "files":
            return []
        lang = self.original(lang)
        if lang not in self._concept_files:
            self._concept_files[lang] = self._find_concept_files(self.concepts.path, lang)
        return list(self._concept_files[lang])

    @cached_property
    def _concept_files(self) -> dict[str, list[ConceptFile]]:
        return {}

    def _find_concept_files(self, template: str, lang: str) -> list[ConceptFile]:
        if columns := self._columns(lang):
            path = self.fill(template, lang=lang)
            return [(concept, "positive", path, *columns) for concept in self.concept_ids]
        groups = groups_of_concepts(template.replace("{data}", self.data), lang)
        files: list[ConceptFile] = []
        for concept in self.concept_ids:
            for label in LABELS:
                group = groups.get(concept, "*")
                path = self.fill(template, concept=concept, lang=lang, label=label, group=group)
                if label == "positive" or Path(path).exists():
                    files.append((concept, label, path))
        return files

    def _columns(self, lang: str) -> tuple[str, ...]:
        """Columns of a labelled table and the language that is taken from it; none if concepts have files."""
        if not isinstance(self.concepts, FileConcepts) or self.concepts.columns is None:
            return ()
        columns = self.concepts.columns
        return columns.text, columns.label, columns.lang, lang if columns.lang else ""

    def label_files(self, lang: str) -> list[str]:
        """Files that the labels of a language come from, beside the sentences themselves."""
        if self.concepts.source == "files":
            return self.sentence_files(lang)
        return self.sentence_files(self.concepts.label_language) if self.concepts.source == "words" else []

    @cached_property
    def word_forms(self) -> dict[str, dict[str, list[str]]]:
        """Words of each concept by language; empty where no lists are named."""
        if isinstance(self.concepts, GrammarConcepts) or not self.concepts.lists:
            return {}
        template = self.concepts.lists.replace("{data}", self.data)
        lists = read_word_lists(template, self.languages, self.concepts.label_language)
        if self.concepts.source == "files":
            return {concept: forms for concept, forms in lists.items() if concept in self.concept_ids}
        for concept in self.concepts.ids:
            if concept not in lists:
                raise StudyError("concepts.ids", concept, ", ".join(lists), nearest(concept, lists))
        return {concept: lists[concept] for concept in self.concepts.ids or lists}

    @property
    def word_lists(self) -> dict[str, list[str]]:
        """Those of the label language, by which sentences are labelled; empty if they are not."""
        lang = self.concepts.label_language
        return {concept: forms[lang] for concept, forms in self.word_forms.items()} if lang else {}

    def _labels_of_tables(self, template: str) -> tuple[str, ...]:
        """Labels that the tables of some language have, by name; none where a table is not there."""
        originals = dict.fromkeys(map(self.original, self.languages))
        tables = {lang: Path(self.fill(template, lang=lang)) for lang in originals}
        found = (read_labelled(path, self._columns(lang)) for lang, path in tables.items() if path.is_file())
        return tuple(sorted(set().union(*found)))

    @cached_property
    def concept_ids(self) -> tuple[str, ...]:
        """The concepts, in order; of files all that some language has, by name."""
        if self.concepts.source == "words":
            return tuple(self.word_lists)
        if self.concepts.ids:
            return self.concepts.ids
        if self.concepts.source == "files":
            if self.concepts.columns:
                return self._labels_of_tables(self.concepts.path)
            template = self.concepts.path.replace("{data}", self.data)
            found = (find_concepts(template, self.original(lang)) for lang in self.languages)
            return tuple(sorted(set().union(*found)))
        return self.concepts_of_family

    @property
    def concepts_of_family(self) -> tuple[str, ...]:
        """All that the grammar has of the family of concepts."""
        from babelscope.text.grammar.lexicon import CONCEPTS
        from babelscope.text.grammar.syntax import SYNTAX

        assert isinstance(self.concepts, GrammarConcepts)
        return {"meaning": CONCEPTS, "syntax": SYNTAX}[self.concepts.family]

    @property
    def has_pairs(self) -> bool:
        """Whether each positive sentence stands beside a negative one of the same words."""
        return isinstance(self.concepts, GrammarConcepts) and self.concepts.family == "syntax"

    # ---------------------------------------------------------------------------- models

    @property
    def pretrained(self) -> list[PretrainedModel]:
        """The runs that are trained here."""
        return [model for model in self.models.values() if isinstance(model, PretrainedModel)]

    def extraction_settings(self, run_id: str) -> ExtractionSettings:
        """Settings of extraction for one model: the study's, with the model's own in their place."""
        model = self.models[run_id]
        own = {name: getattr(model, name) for name in ("compute_dtype", "batch_size", "prefix")}
        given = {name: value for name, value in own.items() if value is not None}
        return self.extraction.model_copy(update=given)

    def n_units(self, run_id: str) -> int:
        """Units of a model at the sites of the study."""
        return self.models[run_id].n_units(self.extraction.sites)

    def n_experts(self, run_id: str) -> int:
        """K of a model."""
        if self.experts.k is not None:
            return self.experts.k
        assert self.experts.share is not None
        return max(1, round(self.experts.share * self.n_units(run_id)))

    def previous_step(self, run_id: str, step: int) -> int | None:
        """The step before ``step`` that another job saves; None if it is the first."""
        model = self.models[run_id]
        own = next(batch for batch in model.batches if step in batch)
        return max((other for other in model.steps if other < own[0]), default=None)

    def analysis_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """Steps of a model as one job of the analysis takes them: inner lists, and so many of the others."""
        batches = self.models[run_id].batches
        alone = [batch[0] for batch in batches if len(batch) == 1]
        together = [batch for batch in batches if len(batch) > 1]
        return tuple(sorted([*together, *chunks(alone, self.granularity.steps_per_job)]))

    # ---------------------------------------------------------------------------- traces

    def traced_steps(self, run_id: str) -> tuple[int, ...]:
        """Steps of a model at which units are traced."""
        wanted, steps = self.traces.steps, self.models[run_id].steps
        if not self.traces.enabled or (self.models[run_id].role == "control" and not self.traces.controls):
            return ()
        if isinstance(wanted, tuple):
            return tuple(step for step in steps if step in wanted)
        return evenly_spread(steps, wanted)

    def tracing_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """The same, batched as the steps are, so that a step that is added leaves the others alone."""
        traced = self.traced_steps(run_id)
        batches = (tuple(step for step in batch if step in traced) for batch in self.analysis_batches(run_id))
        return tuple(filter(None, batches))

    def viewed_steps(self, run_id: str) -> tuple[int, ...]:
        """Steps of a model at which views are taken that read much."""
        return evenly_spread(self.models[run_id].steps, self.views.steps)

    def viewing_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """Those at which views run the model, batched as the steps are; none if none of these views is on."""
        views = self.views
        runs = views.language_units or views.ablation or views.patching
        viewed = self.viewed_steps(run_id) if runs else ()
        batches = (tuple(step for step in batch if step in viewed) for batch in self.analysis_batches(run_id))
        return tuple(filter(None, batches))

    @property
    def ablated_concepts(self) -> tuple[str, ...]:
        """Concepts whose experts are ablated."""
        return self._first_concepts(self.views.ablated_concepts)

    @property
    def patched_concepts(self) -> tuple[str, ...]:
        """Concepts that are patched, two and two with each other."""
        first = self._first_concepts(self.views.patched_concepts)
        return first[: len(first) // 2 * 2]

    # ------------------------------------------------------------------------ generation

    def generation_batches(self, run_id: str) -> tuple[tuple[int, ...], ...]:
        """Steps of a model that write, batched as its steps are."""
        if not self.generation.enabled:
            return ()
        wanted = self.generation.steps
        batches = self.analysis_batches(run_id)
        if wanted is not None:
            batches = tuple(tuple(step for step in batch if step in wanted) for batch in batches)
        return tuple(filter(None, batches))

    @property
    def generation_concepts(self) -> tuple[str, ...]:
        """Concepts whose experts are forced; a number of them are the first by name."""
        wanted = self.generation.concepts
        if isinstance(wanted, tuple):
            return wanted
        return self._first_concepts(wanted)

    def _first_concepts(self, wanted: int | None) -> tuple[str, ...]:
        """So many concepts, the first by name; all if None."""
        first = sorted(self.concept_ids)[:wanted]
        return tuple(concept for concept in self.concept_ids if concept in first)

    def generation_settings(self, run_id: str) -> GenerationSettings:
        """How a model's texts are drawn; all its experts are forced unless the study says how many."""
        sampling = self.generation.model_dump(include=set(Sampling.model_fields))
        k = self.generation.k or self.n_experts(run_id)
        sites = self.generation.sites or self.extraction.sites
        return GenerationSettings(**sampling, k=k, sites=sites)


def evenly_spread(steps: tuple[int, ...], wanted: int) -> tuple[int, ...]:
    """So many of the steps, from the first to the last, evenly spread over their list; of one the last."""
    last = len(steps) - 1
    if wanted == 1:
        return steps[last:]
    return tuple(dict.fromkeys(steps[round(at * last / (wanted - 1))] for at in range(wanted)))


def with_defaults(given: Any, kind: Any) -> Any:
    """A config with its defaults filled in, as plain values; ``given`` was read as ``kind``."""
    kind = bare(kind)
    if isinstance(given, dict) and get_origin(kind) is dict:
        return {key: with_defaults(value, get_args(kind)[1]) for key, value in given.items()}
    if isinstance(given, dict) and (sources := members(kind)):
        kind = sources.get(str(given.get("source")))
    if not isinstance(given, dict) or not is_settings(kind):
        return given
    full = dict(given)
    for name, field in kind.model_fields.items():
        unset = field.is_required() or UNSET in field.metadata or field.default in (None, ())
        if name not in full and not unset:
            full[name] = default_of(field)
        if name in full:
            full[name] = with_defaults(full[name], field.annotation)
    return full


def _spelt(corpus: Corpus | StudyGeneration) -> Corpus | StudyGeneration:
    """With weights by the codes that the corpus has for its languages."""
    if not isinstance(corpus, GrammarCorpus):
        return corpus
    weights: dict[Any, float] = {}
    for lang, share in corpus.weights.items():
        name = as_written(lang, corpus.languages) if isinstance(lang, str) else lang
        if name in weights:
            raise StudyError("weights", dict(corpus.weights), f"one share of {name}, which is named twice")
        weights[name] = share
    return corpus.model_copy(update={"weights": weights})


def _named(part: Corpus | StudyGeneration, langs: tuple[str, ...]) -> Corpus | StudyGeneration:
    """With the study's languages, if it names none."""
    return part if part.languages else part.model_copy(update={"languages": langs})
