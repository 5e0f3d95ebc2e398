"""The jobs of a study: what one takes, and all that there are.

The rule files cut their stages with the same functions, so that what is planned is what runs; a test
compares :func:`all_jobs` with Snakemake's own plan of every shipped study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from babelscope.ops.batches import Batch, make_batches
from babelscope.report.captions import load_captions
from babelscope.study.config import Study


@dataclass(frozen=True)
class Work:
    """What one job takes: cells of one model, or of the whole study if no model is named.

    Attributes:
        stage: The rule, without the label of a batch.
        model: Run id.
        steps: Steps of the model.
        parts: Languages or layers of each step.
    """

    stage: str
    model: str = ""
    steps: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()


def step_batches(study: Study) -> list[Batch]:
    """Steps that one job of the analysis takes."""
    return make_batches(_plans(study))


def _plans(study: Study) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {run_id: study.analysis_batches(run_id) for run_id in study.models}


def pretrain_batches(study: Study) -> list[Batch]:
    """Steps that one job trains: the inner lists of the config, since a chain is cut where the user says."""
    return make_batches({model.run_id: model.batches for model in study.pretrained})


def language_batches(study: Study) -> list[Batch]:
    """Steps and languages that one job takes."""
    return make_batches(
        _plans(study),
        {run_id: study.languages for run_id in study.models},
        parts_per_job=study.granularity.languages_per_job,
        axis="lang",
    )


def layer_batches(study: Study) -> list[Batch]:
    """Steps and layers that one job takes."""
    return make_batches(
        _plans(study),
        {run_id: [str(layer) for layer in range(study.n_layers(run_id) + 1)] for run_id in study.models},
        parts_per_job=study.granularity.layers_per_job,
        axis="layer",
    )


def generation_batches(study: Study) -> list[Batch]:
    """Steps that write, as one job takes them."""
    batches = {run_id: study.generation_batches(run_id) for run_id in study.models}
    return make_batches({run_id: found for run_id, found in batches.items() if found})


#: Figures that are drawn from what models write.
_GENERATED = {"generation", "texts"}


def figures(study: Study) -> list[str]:
    """Figures of the report: those whose tables the study makes."""
    made = {name: set(caption.tables) for name, caption in load_captions().items()}
    return [name for name, needed in made.items() if generation_batches(study) or not needed & _GENERATED]


def all_jobs(study: Study) -> Iterator[Work]:
    """Every job of a study that has not run."""
    trained = study.pretrained
    for name, corpus in study.corpora.items():
        made_by = {"grammar": "make_demo_corpus", "text": "prepare_corpus", "dataset": "prepare_dataset"}
        if any(name in (run.corpus, study.tokenizers[run.tokenizer].corpus) for run in trained):
            for lang in corpus.languages:
                yield Work(made_by[corpus.source], parts=(lang,))
    for lang in study.languages:
        yield Work("prepare_sentences", parts=(lang,))
        yield Work("prepare_concepts", parts=(lang,))
    for _ in {run.tokenizer for run in trained}:
        yield Work("train_tokenizer")
    for _ in {(run.corpus, run.tokenizer, run.training.sequence_length) for run in trained}:
        yield Work("tokenize_corpus")
    for run_id, model in study.models.items():
        for step in model.steps:
            if model.is_random(step):
                yield Work("initialise_checkpoint", run_id, (step,))
            elif model.source == "hub":
                yield Work("fetch_checkpoint", run_id, (step,))
        yield Work("trace_units", run_id, model.steps)
    yield from _of_batches("pretrain_step", pretrain_batches(study))
    for stage in ("audit_checkpoint", "align_experts"):
        yield from _of_batches(stage, step_batches(study))
    for stage in ("extract_activations", "score_units", "select_experts"):
        yield from _of_batches(stage, language_batches(study))
    yield from _of_batches("fit_language_probe", layer_batches(study))
    writes = generation_batches(study)
    for stage in ("generate_text", "identify_language"):
        yield from _of_batches(stage, writes)
    collected = ["models", "concepts", "extraction", "audit", "probes", "alignment"]
    for what in [*collected, *(["generation"] if writes else [])]:
        yield Work(f"collect_{what}")
    if writes:
        yield Work("write_concept_words")
    for _ in figures(study):
        yield Work("plot_figure")
    yield Work("render_report")


def _of_batches(stage: str, batches: Sequence[Batch]) -> Iterator[Work]:
    for batch in batches:
        steps = [(step,) for step in batch.steps] if batch.by_step else [batch.steps]
        parts = [(part,) for part in batch.parts] if batch.by_part else [batch.parts]
        for model in batch.models:
            for some_steps in steps:
                for some_parts in parts:
                    yield Work(stage, model, some_steps, some_parts)
