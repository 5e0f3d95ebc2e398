"""Validate the config, before any job is planned; name what the other rule files share. No jobs.

Sets STUDY (the validated study), RANGES (how it is cut into jobs) and the functions of a rule's wildcards:
what stands for `{steps}`, `{langs}` and `{layers}` (see docs/wildcards.md), which files that takes, and what
the job costs.
"""

import functools
import math
import sys
from pathlib import Path

from babelscope.errors import BabelscopeError, explained
from babelscope.io.files import check_contained, check_writable
from babelscope.models.dictionaries import files_of
from babelscope.models.dimensions import DICTIONARIES
from babelscope.ops.costs import MAX_THREADS, CostModel
from babelscope.ops.engine import check_overrides, engine, lift_timers, log_all, named_study
from babelscope.ops.languages import changed_languages
from babelscope.ops.layout import CONSTRAINTS
from babelscope.ops.progress import start_page
from babelscope.ops.ranges import StudyRanges
from babelscope.ops.regroup import last_study, remember_study, unused_files
from babelscope.ops.running import last_lines, speak_briefly
from babelscope.ops.runs import record_run, refuse_beside_others
from babelscope.ops.stages import STAGES, all_jobs, figures, job_cells, stage_versions, tables
from babelscope.ops.trained import changed_weights, check_kept, resumed_from
from babelscope.report.captions import STEP_TABLES, load_captions
from babelscope.runtime import export_source, keep_compiled
from babelscope.study.cautions import cautions
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study, read_study
from babelscope.study.models import paired_with_controls
from babelscope.study.series import check_checkpoints

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# A job in an environment of its own (--sdm conda) finds the package of this checkout.
export_source(Path(workflow.basedir, "src"))
# It may be only read: nothing is written but in the folder where the command is typed.
keep_compiled(Path(".snakemake/numba"))

try:
    if workflow.is_main_process:  # what Snakemake has read is refused as `babelscope plan` refuses it
        for file in workflow.configfiles:
            read_study(Path(file))
    STUDY = load_study(config)
    RANGES = StudyRanges.of(STUDY)
    if workflow.is_main_process:
        check_contained(Path(STUDY.results))
        check_checkpoints(STUDY)
        check_text(STUDY)
        check_kept(STUDY, last_study(STUDY))
        check_writable(Path(STUDY.results))
        told = [
            *changed_languages(STUDY, last_study(STUDY)),
            *unused_files(STUDY, named=named_study(workflow)),
        ]
        for warning in [*STUDY.warnings, *cautions(STUDY), *told]:
            logger.warning(f"babelscope: {warning}")
except BabelscopeError as error:
    raise WorkflowError(f"{explained(error)}\nNothing was run.") from None

MODELS = STUDY.models
LANGS = RANGES.langs


pathvars:
    results=STUDY.results,
    logs=f"{STUDY.results}/logs",
    benchmarks=f"{STUDY.results}/benchmarks",


# Ranges are checked where they are looked up, in words.
wildcard_constraints:
    **CONSTRAINTS,


# ----------------------------------------------------------------------- the cells of a job


def langs_of(wildcards):
    return list(LANGS[wildcards.langs])


def layers_of(wildcards):
    return list(RANGES.layers[wildcards.model][wildcards.layers])


def steps_of(wildcards):
    return list(RANGES.analysis[wildcards.model][wildcards.steps])


def training_steps(wildcards):
    return list(RANGES.training[wildcards.model][wildcards.steps])


def writing_steps(wildcards):
    return list(RANGES.writing[wildcards.model][wildcards.steps])


def tracing_steps(wildcards):
    return list(RANGES.tracing[wildcards.model][wildcards.steps])


def viewing_steps(wildcards):
    return list(RANGES.viewing[wildcards.model][wildcards.steps])


def real_steps(wildcards):
    return MODELS[wildcards.model].real_steps


def each(pattern, kind="analysis"):
    """Files of every model and range of its steps; of models that have such ranges."""
    return [
        pattern.format(model=model, steps=name)
        for model, names in getattr(RANGES, kind).items()
        for name in names
    ]


def each_range():
    """Every model and range of its steps, in the order of the study."""
    return [(model, name) for model, names in RANGES.analysis.items() for name in names]


def one_of(names):
    """A constraint that only these names fit."""
    return "|".join(names) or "(?!)"


# ------------------------------------------------------------------------------------- text


def corpora(source):
    """Constraint of a corpus name: those of one source."""
    return one_of(name for name, corpus in STUDY.corpora.items() if corpus.source == source)


def grammar_settings(wildcards):
    corpus = STUDY.corpora[wildcards.corpus]
    return dict(
        documents=STUDY.n_documents(wildcards.corpus)[wildcards.lang],
        languages=list(corpus.languages),
        weights=STUDY.language_shares(wildcards.corpus),
        code_switching=corpus.code_switching,
        anchor_affinity=corpus.anchor_affinity,
        clones=STUDY.clones_among(corpus.languages),
        # Only where it is given: corpora of before stay as they are.
        **(dict(syntax=corpus.syntax) if corpus.syntax else {}),
    )


def dataset_settings(wildcards):
    corpus = STUDY.corpora[wildcards.corpus]
    return dict(
        place=STUDY.corpus_path(wildcards.corpus, wildcards.lang),
        name=STUDY.fill(corpus.name, lang=wildcards.lang),
        split=corpus.split,
        column=corpus.column,
        heldout=corpus.heldout,
        letters=letters(wildcards),
    )


def letters(wildcards):
    """Number of the letters of a clone; 0 for a language that is none."""
    return STUDY.letters(wildcards.lang)


def learnt_from(wildcards):
    """Languages that the pieces of a tokenizer are learnt from: a clone has those of its original."""
    corpus = STUDY.corpora[STUDY.tokenizers[wildcards.tokenizer].corpus]
    return [lang for lang in corpus.languages if lang not in STUDY.clones]


def documents(corpus, languages=None):
    languages = languages or STUDY.corpora[corpus].languages
    return expand("<results>/corpora/{corpus}/{lang}.jsonl", corpus=corpus, lang=languages)


# ------------------------------------------------------------------------------ checkpoints


def checkpoints(steps):
    """Input function: what the checkpoints of these steps are loaded from."""
    return lambda wildcards: list(
        dict.fromkeys(file for step in steps(wildcards) for file in MODELS[wildcards.model].files(step))
    )


def folders(steps):
    """Params function: per step the folders of its weights and of its tokenizer."""

    def found(wildcards):
        model = MODELS[wildcards.model]
        return {
            step: (str(model.folder(step)), str(model.tokenizer_folder(step))) for step in steps(wildcards)
        }

    return found


def run_settings(wildcards):
    """Settings of extraction for one model: the study's, with the model's own in their place."""
    return STUDY.extraction_settings(wildcards.model).as_params()


def prefixes():
    """A rule's param of the prefix; in a study without one none, so that params are as they always were."""
    settings = {model: STUDY.extraction_settings(model) for model in MODELS}
    if not any(each.prefix for each in settings.values()):
        return {}
    return {"prefix": lambda wildcards: settings[wildcards.model].prefix}


def dictionaries(steps):
    """Input function: files of the dictionaries whose latents are units, at these steps."""

    def found(wildcards):
        model = MODELS[wildcards.model]
        places = [place for step in steps(wildcards) for place in dictionaries_at(model, step)]
        return list(dict.fromkeys(str(file) for place in places for file in files_of(place)))

    return found


def dictionaries_at(model, step):
    return model.dictionaries_at(step, STUDY.extraction.sites)


def latents(steps):
    """A rule's param of these dictionaries, per step; in a study without one none, so that params are as they were."""
    if not any(model.dictionaries for model in MODELS.values()):
        return {}

    def found(wildcards):
        model = MODELS[wildcards.model]
        return {
            step: [place.as_param() for place in dictionaries_at(model, step)] for step in steps(wildcards)
        }

    return {"dictionaries": found}


def counted_latents():
    """A rule's param of how many latents each model has; in a study without a dictionary none."""
    found = {name: model.config[DICTIONARIES] for name, model in MODELS.items() if model.dictionaries}
    return {"dictionaries": found} if found else {}


def training_tokens(wildcards):
    model = MODELS[wildcards.model]
    return f"<results>/tokens/{model.corpus}.{model.tokenizer}.{model.training.sequence_length}.h5"


def cut_and_trained():
    """By model the folder of its tokenizer and, if it is trained here, of what text and windows, and how drawn."""
    found = {}
    for name, model in MODELS.items():
        found[name] = dict(tokenizer=str(model.tokenizer_folder(model.steps[-1])))
        if model in STUDY.pretrained:
            length, languages = model.training.sequence_length, STUDY.corpora[model.corpus].languages
            found[name] |= dict(
                windows=f"{STUDY.results}/tokens/{model.corpus}.{model.tokenizer}.{length}.h5",
                mixture=STUDY.mixture(model.corpus),
                documents={
                    lang: f"{STUDY.results}/corpora/{model.corpus}/{lang}.jsonl" for lang in languages
                },
            )
    return found


def training_text():
    """Every file of text and windows that a model of this study is trained on."""
    models = cut_and_trained().values()
    files = [file for of in models for file in (of.get("windows"), *of.get("documents", {}).values()) if file]
    return list(dict.fromkeys(files))


def previous_steps(wildcards):
    """Input function: the range that holds the step which the first step of this range goes on from."""
    step = resumed_from(STUDY, wildcards.model, training_steps(wildcards)[0])
    return [] if step is None else MODELS[wildcards.model].files(step)


def until_read(folder):
    """Checkpoints that were fetched go when all that reads them has run, if the study says so."""
    return folder if STUDY.keep_checkpoints else temp(folder)


def fetching_threads(wildcards):
    """A thread; all, where checkpoints go once they are read: so none is fetched while a job reads one."""
    return 1 if STUDY.keep_checkpoints or engine(workflow).on_cluster else workflow.cores


def training_threads(wildcards):
    """Several runs train side by side; one run alone may use every core. On a cluster a GPU trains."""
    return 4 if engine(workflow).on_cluster else max(1, workflow.cores // len(STUDY.pretrained))


def token_files():
    """Every file of what a model computes on the sentences."""
    jobs = [job for job in all_jobs(STUDY) if job.stage == "extract_activations"]
    return [f"{STUDY.results}/{file}" for job in jobs for file in job.files if file.endswith(".tokens.h5")]


def holding(steps, pattern):
    """Input function: files of the analysis that hold these steps of a model."""
    return lambda wildcards: expand(
        pattern,
        model=wildcards.model,
        steps=RANGES.analysis[wildcards.model].holding(steps(wildcards)),
    )


def of_viewed_steps(pattern):
    """Files of every model that hold the steps at which views are taken."""
    return [
        pattern.format(model=model, steps=name)
        for model, names in RANGES.analysis.items()
        for name in names.holding(STUDY.viewed_steps(model))
    ]


def viewed_cells():
    """By model the steps at which views are taken."""
    return {model: list(STUDY.viewed_steps(model)) for model in MODELS}


def of_all_steps(pattern):
    """Input function: files of all ranges of a model's steps."""
    return lambda wildcards: expand(pattern, model=wildcards.model, steps=RANGES.analysis[wildcards.model])


# ---------------------------------------------------------------------------------- scoring


def until_ranked(file):
    """Scores of all units are large and read once, so they go when they are ranked, unless the study says so."""
    return file if STUDY.keep_scores else temp(file)


def in_blocks():
    """How many units are scored at a time; no param, since no result depends on it."""
    return dict(block_units=STUDY.experts.block_units)


# Priorities. What removes scores goes first; then the losses, which are the first to be seen; then the cells, step
# by step, up to what languages share; then training, which most waits for; then texts, the longest of what is left
# in a small study, so that no core ends up waiting for them.
PLACES = {place: at for at, place in enumerate(reversed(each_range()))}
WRITE = 1
TRAIN = WRITE + 1
AUDIT_FIRST = TRAIN + len(PLACES) + 1
RANK_FIRST = AUDIT_FIRST + 1


def earlier_first(wildcards):
    """Priority of the cells of a range of steps."""
    return TRAIN + PLACES[wildcards.model, wildcards.steps] + 1


def next_first(wildcards):
    """Priority of a checkpoint that is fetched: after all that reads one, and in the order of the analysis."""
    (steps,) = RANGES.analysis[wildcards.model].holding([int(wildcards.step)])
    return WRITE * (PLACES[wildcards.model, steps] + 1) / (len(PLACES) + 1)


# ------------------------------------------------------------------------------------ report

# Every table that the report reads, every figure, and the tables that these are drawn from.
TABLES = {name: f"<results>/{path}" for name, path in tables(STUDY).items()}
FIGURES = figures(STUDY)
DRAWN = {table for figure in FIGURES for table in load_captions()[figure].tables} | {*STEP_TABLES}


# ------------------------------------------------------------------------------------- costs


@functools.cache
def costs():
    """What jobs take where they will run, which is known when jobs are planned."""
    cluster = engine(workflow).on_cluster
    gpu = cluster and STUDY.extraction.device != "cpu"
    return CostModel(STUDY, gpu=gpu, max_threads=MAX_THREADS if cluster else 1)


def cost_of(rule, wildcards):
    """What a job takes, as `babelscope plan` has it."""
    return costs().cost(cells_of(rule, wildcards))


def cells_of(rule, wildcards):
    """The cells that a job takes."""
    return job_cells(rule, dict(wildcards.items()), STUDY, RANGES)


def needs(rule):
    """Memory and time limit of a rule's jobs, with room; more with each attempt."""

    def mem_mb(wildcards, attempt):
        return round(1.25 * attempt * cost_of(rule, wildcards).memory / 1e6)

    def runtime(wildcards, attempt):
        return math.ceil(attempt * (10 + 2 * cost_of(rule, wildcards).wall / 60))

    return dict(mem_mb=mem_mb, runtime=runtime)


def threads_of(rule):
    """Threads of a rule's jobs, where one can use several."""
    return lambda wildcards: cost_of(rule, wildcards).cores


def scores_gb(rule):
    """Gigabytes of scores that a job counts for; a profile can bound them."""
    return lambda wildcards: math.ceil(costs().score_bytes(cells_of(rule, wildcards)) / 1e9)


def version(rule):
    """The version of a stage's numbers."""
    return STAGES[rule].version


# ------------------------------------------------------------------------- the run as a whole


def refuse_unknown_rules():
    """Stop if an option is for a rule that is not there."""
    try:
        check_overrides(engine(workflow), [rule.name for rule in workflow.rules])
    except BabelscopeError as error:
        raise WorkflowError(f"{explained(error)}\nNothing was run.") from None


def enter_run(log):
    """Stop if Slurm jobs of an earlier run of this study still write; else note this run."""
    lift_timers(workflow)
    log_all(workflow)
    try:
        refuse_beside_others(STUDY.results, study=named_study(workflow))
    except BabelscopeError as error:
        raise WorkflowError(explained(error)) from None
    record_run(STUDY.results, log[0] if isinstance(log, list) else log)
    remember_study(STUDY)
    speak_briefly(workflow, lambda rule, wildcards: cost_of(rule, wildcards).wall if rule in STAGES else 0.0)
    if not engine(workflow).on_cluster:
        page = start_page(STUDY).resolve()
        print(f"babelscope: what is there so far, from the first losses on: {page}", file=sys.stderr)


def announce_report():
    """Say what was found, where it lies, and what to try next."""
    for line in last_lines(STUDY.results):
        print(line)
