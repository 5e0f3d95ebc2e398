"""Validate the config, before any job is planned; name what the other rule files share. No jobs.

Sets STUDY (the validated study), the batches of the stages (which cells one job takes) and the
places of inputs that the user brings.
"""

import functools
import json
import math
import os
from pathlib import Path

from babelscope.ops.batches import one_of
from babelscope.ops.costs import MAX_THREADS, CostModel
from babelscope.errors import BabelscopeError
from babelscope.ops.jobs import (
    Work,
    figures,
    generation_batches,
    language_batches,
    layer_batches,
    pretrain_batches,
    step_batches,
)
from babelscope.ops.runs import record_run, refuse_beside_others
from babelscope.runtime import export_source
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study
from babelscope.versions import STAGE_VERSION

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# A job in an environment of its own (--sdm conda) finds the package of this checkout.
export_source(Path(workflow.basedir, "src"))

try:
    STUDY = load_study(config)
    if workflow.is_main_process:
        check_text(STUDY)
        for warning in STUDY.warnings:
            logger.warning(f"babelscope: {warning}")
except BabelscopeError as error:
    raise WorkflowError(f"{error}\nNothing was run.") from None


pathvars:
    results=STUDY.results,
    logs=f"{STUDY.results}/logs",
    benchmarks=f"{STUDY.results}/benchmarks",


MODELS = STUDY.models
PRETRAINED = [model for model in MODELS.values() if model.source == "pretrain"]
FROM_HUB = [model for model in MODELS.values() if model.source == "hub"]
WITH_BASELINE = [model for model in MODELS.values() if model.random_baseline]

# One job takes the steps of an inner list of the config, and so many languages or layers.
STEP_BATCHES = step_batches(STUDY)
PRETRAIN_BATCHES = pretrain_batches(STUDY)
LANG_BATCHES = language_batches(STUDY)
LAYER_BATCHES = layer_batches(STUDY)
GENERATION_BATCHES = generation_batches(STUDY)


@functools.cache
def on_cluster():
    """Whether jobs run on a cluster. Known when jobs are planned, not yet while these files are read."""
    if workflow.non_local_exec:
        # `cores` of profiles/default counts the cores of the machine where the command is typed. Snakemake would
        # cap the threads of every job by it, on the node too, while its time limit counts on all it asks for.
        workflow.resource_settings.cores = None
        workflow.global_resources["_cores"] = None
    return workflow.non_local_exec or workflow.remote_exec  # a job asks too, on its node


@functools.cache
def costs():
    """What jobs take where they will run."""
    gpu = on_cluster() and STUDY.extraction.device != "cpu"
    return CostModel(STUDY, gpu=gpu, max_threads=MAX_THREADS if on_cluster() else 1)


wildcard_constraints:
    corpus=one_of(STUDY.corpora),
    tokenizer=one_of(STUDY.tokenizers),
    model=one_of(MODELS),
    lang=one_of(STUDY.all_languages),
    step=r"\d+",
    layer=r"\d+",


def settings(part):
    """A part of the study as plain values, for a rule's params."""
    return part.model_dump()


def model_files(run_id, step):
    """What a checkpoint is loaded from: files that are made here, a folder fetched, or the user's files."""
    model = MODELS[run_id]
    if model.source == "pretrain":
        names = ["config.json", "model.safetensors", "tokenizer.json"]
        return [f"<results>/models/{run_id}/{step}/{name}" for name in names]
    if model.source == "hub" or model.is_random(step):
        return [f"<results>/models/{run_id}/{step}"]
    folders = [STUDY.model_folder(run_id, step), STUDY.tokenizer_folder(run_id, step)]
    return sorted({str(file) for folder in folders for file in Path(folder).iterdir() if file.is_file()})


def first_real_step(run_id):
    """The first step of a series that is not its random baseline."""
    return next(step for step in MODELS[run_id].steps if not MODELS[run_id].is_random(step))


def hub_place(repo, revision, subfolder):
    return dict(repo=repo, revision=revision, subfolder=subfolder)


def batch_model_files(batch):
    """Input function: the checkpoints of all steps of a batch."""

    def files(wildcards):
        return [file for step in batch.steps_of(wildcards) for file in model_files(wildcards.model, step)]

    return files


def batch_folders(batch):
    """Params function: per step of a batch, the folders of its weights and of its tokenizer."""

    def folders(wildcards):
        return {
            step: (
                str(STUDY.model_folder(wildcards.model, step)),
                str(STUDY.tokenizer_folder(wildcards.model, step)),
            )
            for step in batch.steps_of(wildcards)
        }

    return folders


def run_settings(run_id):
    """Settings of extraction for one model: the study's, with the model's own in their place."""
    own = {name: getattr(MODELS[run_id], name) for name in ["compute_dtype", "batch_size"]}
    return {**settings(STUDY.extraction), **{name: value for name, value in own.items() if value is not None}}


def cost_of(stage, wildcards, batch=None):
    """What a job takes, as `babelscope plan` has it."""
    named = dict(wildcards.items())
    steps = batch.steps_of(wildcards) if batch else [int(named["step"])] if "step" in named else []
    parts = batch.parts_of(wildcards) if batch else []
    return costs().cost(Work(stage, named.get("model", ""), tuple(steps), tuple(parts)))


def needs(stage, batch=None):
    """Memory and time limit of a rule's jobs, with room; more with each attempt."""

    def mem_mb(wildcards, attempt):
        return round(1.25 * attempt * cost_of(stage, wildcards, batch).memory / 1e6)

    def runtime(wildcards, attempt):
        return math.ceil(attempt * (10 + 2 * cost_of(stage, wildcards, batch).wall / 60))

    return dict(mem_mb=mem_mb, runtime=runtime)


def threads_of(stage, batch):
    """Threads of a rule's jobs, where one can use several."""
    return lambda wildcards: cost_of(stage, wildcards, batch).threads


def training_threads(wildcards):
    """Several runs train side by side; one run alone may use every core. On a cluster a GPU trains."""
    return 4 if on_cluster() else max(1, workflow.cores // len(PRETRAINED))


def activations(batch):
    """Resource of jobs that write or read pooled activations: their size, so that a profile can bound it."""

    def activations_gb(wildcards):
        return math.ceil(cost_of("extract_activations", wildcards, batch).temporary / 1e9)

    return dict(activations_gb=activations_gb)


def each_cell(pattern, models=MODELS):
    """Paths for every (model, step) of the study; the pattern has ``{model}`` and ``{step}``."""
    return [
        pattern.format(model=model.run_id, step=step)
        for model in (MODELS[run_id] for run_id in models)
        for step in model.steps
    ]


def grammar_settings(wildcards):
    corpus = STUDY.corpora[wildcards.corpus]
    return dict(
        documents=STUDY.n_documents(wildcards.corpus)[wildcards.lang],
        languages=list(corpus.languages),
        weights=STUDY.language_shares(wildcards.corpus),
        code_switching=corpus.code_switching,
        anchor_affinity=corpus.anchor_affinity,
    )


def dataset_settings(wildcards):
    corpus = STUDY.corpora[wildcards.corpus]
    return dict(
        place=STUDY.corpus_path(wildcards.corpus, wildcards.lang),
        name=STUDY.fill(corpus.name, lang=wildcards.lang),
        split=corpus.split,
        column=corpus.column,
        heldout=corpus.heldout,
    )


def corpus_documents(corpus):
    return expand(
        "<results>/corpora/{corpus}/{lang}.jsonl", corpus=corpus, lang=STUDY.corpora[corpus].languages
    )


def training_tokens(wildcards):
    model = MODELS[wildcards.model]
    return f"<results>/tokens/{model.corpus}.{model.tokenizer}.{model.training.sequence_length}.h5"


def resumed_from(run_id, step):
    """The step whose training state a job goes on from; None if it starts at random weights.

    The step before it in the study, unless the checkpoint exists: then the step that it was in fact
    made from. So a step that is inserted later does not make its successors train again; cutting a
    run differently does not change its numbers.
    """
    made = Path(STUDY.results, "models", run_id, str(step), "training", "progress.json")
    try:
        return json.loads(made.read_text())["resumed_from"]
    except (OSError, ValueError, KeyError):
        return STUDY.previous_step(run_id, step)


def previous_state(batch):
    """Input function: the training state that the first step of a batch goes on from."""

    def files(wildcards):
        step = resumed_from(wildcards.model, batch.steps_of(wildcards)[0])
        if step is None:
            return []
        names = ["model.safetensors", "training/optimizer.safetensors", "training/progress.json"]
        return [f"<results>/models/{wildcards.model}/{step}/{name}" for name in names]

    return files


def training_settings(wildcards):
    model = MODELS[wildcards.model]
    return dict(
        architecture=model.architecture,
        architecture_config=dict(model.architecture_config),
        training=settings(model.training),
        seed=model.seed,
    )


def maybe_temp(paths):
    """Pooled unit activations are read once by score_units, so they go unless the study keeps them."""
    return paths if STUDY.keep_activations else temp(paths)


def generation_settings(wildcards):
    names = ["samples", "seeds", "max_new_tokens", "temperature", "top_p", "batch_size"]
    chosen = {name: getattr(STUDY.generation, name) for name in names}
    return dict(chosen, k=STUDY.generation_k(wildcards.model))


def audit_settings(wildcards):
    return dict(
        n_sentences=STUDY.audit.sentences,
        max_length=STUDY.extraction.max_length,
        compute_dtype=run_settings(wildcards.model)["compute_dtype"],
        device=STUDY.extraction.device,
    )


def generation_files(kind):
    return [
        f"<results>/generation/{run_id}/{step}.{kind}.parquet"
        for run_id in MODELS
        for step in STUDY.generation_steps(run_id)
    ]


def tables(names):
    return {name: f"<results>/tables/{name}.{TABLES[name]}" for name in names if name in TABLES}


def enter_run(log):
    """Stop if Slurm jobs of an earlier run of this study still write; else note this run."""
    try:
        refuse_beside_others(STUDY.results)
    except BabelscopeError as error:
        raise WorkflowError(str(error)) from None
    record_run(STUDY.results, log[0] if isinstance(log, list) else log)


def announce_report():
    """Say where the result is."""
    path = Path(STUDY.results, "report.html")
    if path.exists():
        print(f"\nbabelscope: the report is at {path.resolve()}")
