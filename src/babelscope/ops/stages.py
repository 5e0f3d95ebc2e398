"""The stages of the pipeline, a row each: what one job takes, what it writes, what it costs.

Rules, plan, status, export and the report read these rows. A new stage is its rule, its script and a row.
``version`` is a param of the stage's rule: Snakemake does not see edits of an imported library, so raise it
in the change that moves the stage's numbers, and the stage and all that follows from it are computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from babelscope.ops.ranges import Ranges, StudyRanges
from babelscope.report.captions import load_captions
from babelscope.study.config import Study


@dataclass(frozen=True)
class JobCells:
    """What one job takes: cells of one model, or of the whole study if no model is named.

    Attributes:
        stage: The rule.
        model: Run id.
        steps: Steps of the model.
        parts: Languages or layers of each step.
        wildcards: Those of the rule, by name, as they stand in the paths of the job's files.
    """

    stage: str
    model: str = ""
    steps: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()
    wildcards: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def files(self) -> list[str]:
        """The files that the job writes, below the results."""
        return [pattern.format_map(dict(self.wildcards)) for pattern in STAGES[self.stage].writes]

    @property
    def words(self) -> str:
        """``model m, steps 0 to 4, en to de``; empty if the job is of the study as a whole."""
        ends = {name: value.replace("..", " to ") for name, value in self.wildcards}
        said = [f"model {self.model}"] if self.model else []
        for name, word in (("step", "step"), ("steps", "step"), ("layers", "layer")):
            if name in ends:
                said.append(f"{word}{'s' if ' to ' in ends[name] else ''} {ends[name]}")
        said += [ends[name] for name in ("corpus", "tokenizer", "lang", "langs", "figure") if name in ends]
        return ", ".join(said)


@dataclass(frozen=True)
class Axes:
    """Over what the jobs of a stage fan out.

    Attributes:
        wildcards: Names of the rule's wildcards, in the order of its paths.
        jobs: The wildcards of every job of a study.
        steps: Which ranges the wildcard ``steps`` names.
    """

    wildcards: tuple[str, ...]
    jobs: Callable[[Study, StudyRanges], Iterator[dict[str, str]]]
    steps: Callable[[StudyRanges], Mapping[str, Ranges[int]]] = attrgetter("analysis")


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        axes: Over what its jobs fan out.
        cost: Method of :class:`babelscope.ops.costs.CostModel` that says what one of them takes.
        writes: Pattern of each of its files below ``results/<study>/``, and what the file holds.
        reads: Parts of the config that its results depend on, beside those of the stages before it.
        version: Of the numbers that it computes.
        column: Heading of its column in ``babelscope status``; stages of one heading share it.
        runs_a_model: Whether it needs a GPU where there are any.
    """

    axes: Axes
    cost: str
    writes: Mapping[str, str]
    reads: tuple[str, ...] = ()
    version: int = 1
    column: str = ""
    runs_a_model: bool = False


# ------------------------------------------------------------------------------------------- axes


def _once(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    yield {}


def _if_any_writes(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    if ranges.writing:
        yield {}


def _languages(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for lang in study.languages:
        yield {"lang": lang}


def _corpus(source: str) -> Axes:
    def jobs(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
        used = {model.corpus for model in study.pretrained}
        used |= {study.tokenizers[model.tokenizer].corpus for model in study.pretrained}
        for name, corpus in study.corpora.items():
            if corpus.source == source and name in used:
                for lang in corpus.languages:
                    yield {"corpus": name, "lang": lang}

    return Axes(("corpus", "lang"), jobs)


def _tokenizers(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for name in dict.fromkeys(model.tokenizer for model in study.pretrained):
        yield {"tokenizer": name}


def _token_files(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for corpus, tokenizer, length in dict.fromkeys(
        (model.corpus, model.tokenizer, model.training.sequence_length) for model in study.pretrained
    ):
        yield {"corpus": corpus, "tokenizer": tokenizer, "length": str(length)}


def _models(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for model in study.models:
        yield {"model": model}


def _fetched(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for run_id, model in study.models.items():
        for step in model.steps if model.source == "hub" else ():
            if not model.is_random(step):
                yield {"model": run_id, "step": str(step)}


def _baselines(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for run_id, model in study.models.items():
        if model.random_baseline:
            yield {"model": run_id, "step": "0"}


def _steps(kind: str) -> Axes:
    steps = attrgetter(kind)

    def jobs(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
        for model, names in steps(ranges).items():
            for name in names:
                yield {"model": model, "steps": name}

    return Axes(("model", "steps"), jobs, steps)


def _steps_and_languages(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for wildcards in STEPS.jobs(study, ranges):
        for name in ranges.langs:
            yield {**wildcards, "langs": name}


def _steps_and_layers(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for wildcards in STEPS.jobs(study, ranges):
        for name in ranges.layers[wildcards["model"]]:
            yield {**wildcards, "layers": name}


def _figures(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for name in figures(study):
        yield {"figure": name}


STUDY = Axes((), _once)
STUDY_THAT_WRITES = Axes((), _if_any_writes)
LANGUAGE = Axes(("lang",), _languages)
TOKENIZER = Axes(("tokenizer",), _tokenizers)
TOKENS = Axes(("corpus", "tokenizer", "length"), _token_files)
MODEL = Axes(("model",), _models)
FETCHED_STEP = Axes(("model", "step"), _fetched)
BASELINE = Axes(("model", "step"), _baselines)
TRAINED_STEPS = _steps("training")
STEPS = _steps("analysis")
WRITING_STEPS = _steps("writing")
STEPS_LANGUAGES = Axes(("model", "steps", "langs"), _steps_and_languages)
STEPS_LAYERS = Axes(("model", "steps", "layers"), _steps_and_layers)
FIGURE = Axes(("figure",), _figures)
NOTHING = Axes(("model", "step"), lambda study, ranges: iter(()))


# ------------------------------------------------------------------------------------------ the rows

_CORPUS = {"corpora/{corpus}/{lang}.jsonl": "text to pre-train on, a document a line"}
_CHECKPOINT = "a checkpoint, as a folder in Hugging Face format"

STAGES: dict[str, Stage] = {
    "make_demo_corpus": Stage(_corpus("grammar"), "corpus", _CORPUS, ("corpora", "seed")),
    "prepare_corpus": Stage(_corpus("text"), "corpus", _CORPUS, ("corpora", "seed")),
    "prepare_dataset": Stage(_corpus("dataset"), "corpus", _CORPUS, ("corpora", "seed")),
    "prepare_sentences": Stage(
        LANGUAGE,
        "prepare",
        {"sentences/{lang}.tsv": "text to analyse: a sentence a line, with its id"},
        ("sentences", "concepts.ids", "concepts.path", "seed"),
    ),
    "prepare_concepts": Stage(
        LANGUAGE,
        "prepare",
        {"concepts/{lang}.tsv": "which sentence expresses which concept (1), and which does not (0)"},
        ("concepts",),
    ),
    "write_concept_words": Stage(
        STUDY_THAT_WRITES,
        "prepare",
        {"concepts/words.json": "words by which a concept is found in text that a model wrote"},
        ("concepts", "languages"),
    ),
    "train_tokenizer": Stage(
        TOKENIZER,
        "tokenizer",
        {
            "tokenizers/{tokenizer}/tokenizer.json": "a tokenizer trained here",
            "tokenizers/{tokenizer}/tokenizer_config.json": "its special tokens",
        },
        ("tokenizers", "seed"),
    ),
    "tokenize_corpus": Stage(
        TOKENS,
        "tokenize",
        {"tokens/{corpus}.{tokenizer}.{length}.h5": "a corpus in windows of so many subwords"},
    ),
    "pretrain_step": Stage(
        TRAINED_STEPS,
        "pretrain",
        {
            "models/{model}/{steps}.json": "checkpoints that a job trained or found whole, and their hashes; "
            "each lies in the folder of its step, with training/ to go on from"
        },
        ("models", "extraction.device"),
        column="model",
        runs_a_model=True,
    ),
    "fetch_checkpoint": Stage(
        FETCHED_STEP, "fetch", {"models/{model}/{step}": _CHECKPOINT}, ("models",), column="model"
    ),
    "initialise_checkpoint": Stage(
        BASELINE,
        "initialise",
        {"models/{model}/{step}": _CHECKPOINT},
        ("models", "seed"),
        column="model",
    ),
    "audit_checkpoint": Stage(
        STEPS,
        "audit",
        {"audit/{model}/{steps}.h5": "hashes, a sketch of the weights and held-out losses of checkpoints"},
        ("audit", "languages", "extraction.max_length", "extraction.compute_dtype"),
        column="audit",
        runs_a_model=True,
    ),
    "extract_activations": Stage(
        STEPS_LANGUAGES,
        "extract",
        {
            "activations/{model}/{steps}/{langs}.units.h5": "pooled unit activations; large, so removed once "
            "they are scored, unless keep_activations says otherwise",
            "activations/{model}/{steps}/{langs}.tokens.h5": "sampled token states, mean states of sentences",
        },
        ("extraction", "seed"),
        column="extract",
        runs_a_model=True,
    ),
    "score_units": Stage(
        STEPS_LANGUAGES,
        "score",
        {"scores/{model}/{steps}/{langs}.h5": "average precision of every unit for every concept"},
        ("concepts.min_positive",),
        column="score",
    ),
    "select_experts": Stage(
        STEPS_LANGUAGES,
        "select",
        {"experts/{model}/{steps}/{langs}.parquet": "the experts of every concept"},
        ("experts.k", "experts.share"),
        column="select",
    ),
    "align_experts": Stage(
        STEPS,
        "align",
        {
            "alignment/{model}/{steps}.overlap.parquet": "experts that languages share, beside nulls",
            "alignment/{model}/{steps}.transfer.parquet": "how experts of one language predict in others",
            "alignment/{model}/{steps}.reliability.parquet": "best units by their worst and mean language",
        },
        ("experts.bootstrap", "experts.permutations", "languages", "seed"),
        column="align",
    ),
    "trace_units": Stage(
        MODEL,
        "trace",
        {"alignment/{model}.lifelines.parquet": "the life lines of shared units over all steps"},
        ("experts.min_languages", "experts.max_traced_units", "languages"),
    ),
    "fit_language_probe": Stage(
        STEPS_LAYERS,
        "probe",
        {"probes/{model}/{steps}/{layers}.tsv": "scores of the language probes"},
        ("probes", "languages", "seed"),
        column="probe",
    ),
    "generate_text": Stage(
        WRITING_STEPS,
        "generate",
        {"generation/{model}/{steps}.texts.parquet": "what the model wrote, forced and unforced"},
        ("generation", "seed"),
        column="write",
        runs_a_model=True,
    ),
    "identify_language": Stage(
        WRITING_STEPS,
        "identify",
        {"generation/{model}/{steps}.languages.parquet": "the language of each of these texts"},
        ("languages",),
        column="identify",
    ),
    "collect_concepts": Stage(
        STUDY, "collect", {"tables/concepts.tsv": "sentences of every concept"}, ("languages",)
    ),
    "collect_extraction": Stage(
        STUDY,
        "collect",
        {"tables/extraction.tsv": "what activations were computed from: hashes, sentences that were cut"},
    ),
    "collect_models": Stage(
        STUDY,
        "collect",
        {
            "tables/models.tsv": "what the models are",
            "tables/steps.tsv": "tokens seen at each step",
            "tables/losses.parquet": "training and held-out losses of models trained here",
        },
        ("models",),
    ),
    "collect_audit": Stage(
        STUDY,
        "collect",
        {
            "tables/audit.tsv": "which checkpoints are out of line, and why",
            "tables/audit_losses.tsv": "held-out loss per language",
        },
    ),
    "collect_probes": Stage(
        STUDY, "collect", {"tables/probes.parquet": "language probes of every layer and step"}
    ),
    "collect_alignment": Stage(
        STUDY,
        "collect",
        {
            "tables/overlap.parquet": "overlap of all steps, corrected for the number of tests",
            "tables/transfer.parquet": "transfer of all steps",
            "tables/reliability.parquet": "reliability of all steps",
            "tables/lifelines.parquet": "life lines of all models",
        },
    ),
    "collect_generation": Stage(
        STUDY_THAT_WRITES,
        "collect",
        {
            "tables/generation.parquet": "concept words and languages in what the models wrote",
            "tables/texts.parquet": "a sample of these texts",
        },
        ("experts.bootstrap", "seed"),
    ),
    "plot_figure": Stage(
        FIGURE,
        "plot",
        {"figures/{figure}.svg": "a figure", "figures/{figure}.png": "the same in pixels"},
        ("report",),
    ),
    "render_report": Stage(
        STUDY,
        "plot",
        {
            "report.html": "the study's report, in one file",
            "tables/findings.tsv": "the verdicts of the report with their numbers",
        },
        ("report",),
    ),
    # No target needs it, so it is in no plan.
    "export_cell": Stage(
        NOTHING, "export", {"export/{model}/{step}": "one checkpoint's part of the study, for a bug report"}
    ),
}

#: Rules whose jobs run a model, and so ask for a GPU on a cluster.
RUN_A_MODEL = frozenset(name for name, stage in STAGES.items() if stage.runs_a_model)


def figures(study: Study) -> list[str]:
    """Figures of the report: those whose tables the study makes."""
    made = tables(study)
    return [name for name, caption in load_captions().items() if set(caption.tables) <= set(made)]


def tables(study: Study) -> dict[str, str]:
    """Name and path below the results of every table that the report reads."""
    ranges = StudyRanges.of(study)
    found: dict[str, str] = {}
    for name, stage in STAGES.items():
        if name != "render_report" and not stage.axes.wildcards and list(stage.axes.jobs(study, ranges)):
            found |= {Path(path).stem: path for path in stage.writes if path.startswith("tables/")}
    return found


def job_cells(rule: str, wildcards: Mapping[str, str], study: Study, ranges: StudyRanges) -> JobCells:
    """What the job of a rule with these wildcards takes.

    Raises:
        RangeError: If a wildcard names a range that the study does not have.
    """
    axes, model = STAGES[rule].axes, wildcards.get("model", "")
    steps: tuple[int, ...] = ()
    if "steps" in wildcards:
        steps = axes.steps(ranges)[model][wildcards["steps"]]
    elif "step" in wildcards:
        steps = (int(wildcards["step"]),)
    elif model:
        steps = study.models[model].steps
    parts: tuple[str, ...] = ()
    if "langs" in wildcards:
        parts = ranges.langs[wildcards["langs"]]
    elif "layers" in wildcards:
        parts = tuple(map(str, ranges.layers[model][wildcards["layers"]]))
    elif "lang" in wildcards:
        parts = (wildcards["lang"],)
    return JobCells(rule, model, steps, parts, tuple(wildcards.items()))


def all_jobs(study: Study) -> Iterator[JobCells]:
    """Every job of a study that has not run. A test compares them with Snakemake's plan of each study."""
    ranges = StudyRanges.of(study)
    for rule, stage in STAGES.items():
        for wildcards in stage.axes.jobs(study, ranges):
            yield job_cells(rule, wildcards, study, ranges)


def stage_versions() -> dict[str, int]:
    """Version of every stage, for the report."""
    return {name: stage.version for name, stage in STAGES.items()}
