"""The stages of the pipeline, a row each in ``stages.yaml``: what a job takes, what it writes, what it costs.

Rules, plan, status, export and the report read these rows. A new stage is its rule, its script and a row.
``version`` is a param of the stage's rule: Snakemake does not see edits of an imported library, so raise it
in the change that moves the stage's numbers, and the stage and all that follows from it are computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

from babelscope.io.yaml import packaged_yaml
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
        parts: Languages or layers of each step; of the figures, their names.
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
        return [
            pattern.format_map({"figure": name, **dict(self.wildcards)})
            for pattern in STAGES[self.stage].writes
            for name in (self.parts if "{figure}" in pattern else ("",))
        ]

    @property
    def words(self) -> str:
        """``model m, steps 0 to 4, en to de``; empty if the job is of the study as a whole."""
        ends = {name: value.replace("..", " to ") for name, value in self.wildcards}
        said = [f"model {self.model}"] if self.model else []
        for name, word in (("step", "step"), ("steps", "step"), ("layers", "layer")):
            if name in ends:
                said.append(f"{word}{'s' if ' to ' in ends[name] else ''} {ends[name]}")
        said += [ends[name] for name in ("corpus", "tokenizer", "lang", "langs") if name in ends]
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


def _if_words_are_looked_for(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    if ranges.writing or study.views.patching:
        yield {}


def _if_any_is_traced(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    if ranges.tracing:
        yield {}


def _viewed(view: str) -> Axes:
    """One job, if the study says that it wants the view."""

    def jobs(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
        if getattr(study.views, view):
            yield {}

    return Axes((), jobs)


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


def _traced(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for model in ranges.tracing:
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


def _viewed_steps(view: str) -> Axes:
    """The steps at which views run models, if the study says that it wants this one."""
    steps = _steps("viewing")

    def jobs(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
        if getattr(study.views, view):
            yield from steps.jobs(study, ranges)

    return replace(steps, jobs=jobs)


def _steps_and_languages(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for wildcards in _STEPS.jobs(study, ranges):
        for name in ranges.langs:
            yield {**wildcards, "langs": name}


def _stored(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    yield from _steps_and_languages(study, ranges) if study.keep_activations else ()


def _steps_and_layers(study: Study, ranges: StudyRanges) -> Iterator[dict[str, str]]:
    for wildcards in _STEPS.jobs(study, ranges):
        for name in ranges.layers[wildcards["model"]]:
            yield {**wildcards, "layers": name}


_STEPS = _steps("analysis")
AXES: dict[str, Axes] = {
    "study": Axes((), _once),
    "study that writes": Axes((), _if_any_writes),
    "study that looks for words": Axes((), _if_words_are_looked_for),
    "study that traces": Axes((), _if_any_is_traced),
    "study with onset": _viewed("onset"),
    "study with left_out": _viewed("left_out"),
    "study with representations": _viewed("representations"),
    "study with confounds": _viewed("confounds"),
    "study with language_units": _viewed("language_units"),
    "study with ablation": _viewed("ablation"),
    "study with patching": _viewed("patching"),
    "grammar corpus": _corpus("grammar"),
    "text corpus": _corpus("text"),
    "dataset corpus": _corpus("dataset"),
    "language": Axes(("lang",), _languages),
    "tokenizer": Axes(("tokenizer",), _tokenizers),
    "tokens": Axes(("corpus", "tokenizer", "length"), _token_files),
    "model": Axes(("model",), _models),
    "traced model": Axes(("model",), _traced),
    "fetched step": Axes(("model", "step"), _fetched),
    "baseline": Axes(("model", "step"), _baselines),
    "trained steps": _steps("training"),
    "steps": _STEPS,
    "writing steps": _steps("writing"),
    "traced steps": _steps("tracing"),
    "viewed steps with language_units": _viewed_steps("language_units"),
    "viewed steps with ablation": _viewed_steps("ablation"),
    "viewed steps with patching": _viewed_steps("patching"),
    "steps x languages": Axes(("model", "steps", "langs"), _steps_and_languages),
    "stored steps x languages": Axes(("model", "steps", "langs"), _stored),
    "steps x layers": Axes(("model", "steps", "layers"), _steps_and_layers),
    "figures": Axes((), _once),
    "nothing": Axes(("model", "step"), lambda study, ranges: iter(())),
}

STAGES: dict[str, Stage] = {
    rule: Stage(**{**row, "axes": AXES[row["axes"]], "reads": tuple(row.get("reads", ()))})
    for rule, row in packaged_yaml("babelscope.ops", "stages.yaml").items()
}

#: Rules whose jobs run a model, and so ask for a GPU on a cluster.
RUN_A_MODEL = frozenset(name for name, stage in STAGES.items() if stage.runs_a_model)


def figures(study: Study) -> list[str]:
    """Figures of the report: those whose tables the study makes, and that its models ask for."""
    made = tables(study)
    return [
        name
        for name, caption in load_captions().items()
        if set(caption.tables) <= set(made)
        and (not caption.asks or _any_model_has(study, caption.asks))
        and (study.pretrained or not caption.trained)
    ]


def _any_model_has(study: Study, key: str) -> bool:
    return any(getattr(model, key) is not None for model in study.models.values())


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
    elif axes is AXES["figures"]:
        parts = tuple(figures(study))
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
