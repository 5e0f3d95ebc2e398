"""The models of a study: what is trained here, fetched from the hub, or found in a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from babelscope.errors import StudyError
from babelscope.models.dictionaries import (
    DictionaryPlace,
    DictionarySettings,
    read_dictionary,
    widths_of,
)
from babelscope.models.dimensions import DICTIONARIES, n_layers, site_widths
from babelscope.models.files import find_steps, read_config, stored_type
from babelscope.models.training.settings import TrainingSettings
from babelscope.study.settings import Entry, HubEntry, HubKeys, LocalEntry, PretrainEntry
from babelscope.study.steps import label, step_batches
from babelscope.study.suites import Suite, load_suite, step_warnings

Batches = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A series of checkpoints, wherever it is from.

    Attributes:
        run_id: Names it in paths: ``<id>-seed<seed>`` if pre-trained, else ``<id>``.
        batches: Its steps; those of an inner tuple are done by one job.
        results: Folder of the study's results.
        data: What ``{data}`` stands for in paths.
        compute_dtype: Instead of the study's.
        batch_size: Instead of the study's.
        prefix: Instead of the study's.
        dictionaries: What a study says of its dictionaries, by name.
        dose: Of what ties languages together, as the study counts it.
        tokens: Tokens seen at a step, where they are not proportional to it.
        random_baseline: Whether its step 0 is made here, with random weights.
        warnings: What a reader must know of the steps chosen.
        seed: Of pre-training here.
        checkpoints: Where the steps lie on the hub.
    """

    source: ClassVar[str]
    run_id: str
    id: str
    role: str
    batches: Batches
    results: str
    data: str
    compute_dtype: str | None = None
    batch_size: int | None = None
    prefix: str | None = None
    dictionaries: Mapping[str, DictionarySettings] = field(default_factory=dict)
    dose: float | None = None
    tokens_per_step: float | None = None
    tokens: Mapping[int, int] = field(default_factory=dict)
    random_baseline: bool = False
    warnings: tuple[str, ...] = ()
    seed: int | None = None
    checkpoints: Suite | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """All steps, increasing."""
        return tuple(sorted(step for batch in self.batches for step in batch))

    @property
    def real_steps(self) -> list[int]:
        """The steps without the random baseline."""
        return [step for step in self.steps if not self.is_random(step)]

    @property
    def first_real_step(self) -> int:
        """The first step that is not the random baseline."""
        return self.real_steps[0]

    @property
    def known_faults(self) -> dict[int, str]:
        """What the registry says of steps that are not sound."""
        found: dict[int, list[str]] = {}
        for fault in self.checkpoints.faults if self.checkpoints else ():
            for step in set(self.steps) & set(fault.steps or self.steps):
                found.setdefault(step, []).append(f"{fault.kind}: {fault.note} ({fault.source})")
        return {step: "; ".join(found[step]) for step in sorted(found)}

    @property
    @abstractmethod
    def own_config(self) -> dict[str, Any]:
        """Its config as far as it is known before any job: sizes and model type."""

    @cached_property
    def config(self) -> dict[str, Any]:
        """The same with what is known of its dictionaries, as the files of its first step have them.

        Raises:
            DataError: If a file cannot be read or is of another model.
        """
        if not self.dictionaries:
            return self.own_config
        found = [read_dictionary(place, self.own_config) for place in self.dictionaries_at(self.steps[0])]
        return {**self.own_config, DICTIONARIES: widths_of(found)}

    @property
    @abstractmethod
    def stored_type(self) -> str | None:
        """Type that its weights are stored in, as far as it is known before any job."""

    @property
    def n_layers(self) -> int:
        """Its blocks."""
        return n_layers(self.config)

    def n_units(self, sites: Sequence[str]) -> int:
        """Its units at some sites."""
        return sum(site_widths(self.config, sites).values())

    def dictionaries_at(self, step: int, sites: Sequence[str] | None = None) -> list[DictionaryPlace]:
        """Where the dictionaries of a step lie, by name and layer; of all that it has, or of some sites."""
        return [
            settings.at(name, layer, data=self.data, step=step)
            for name, settings in self.dictionaries.items()
            if sites is None or name in sites
            for layer in settings.layers_of(n_layers(self.own_config))
        ]

    @property
    def description(self) -> dict[str, Any]:
        """What the table of models says of it; see :func:`babelscope.report.catalogue.describe_models`."""
        suite = self.checkpoints
        return {
            "model": self.run_id,
            "id": self.id,
            "seed": self.seed,
            "role": self.role,
            "dose": self.dose,
            "source": self.source,
            "folder": str(self.folder(self.steps[-1])),
            "tokens_per_step": self.tokens_per_step,
            "languages": list(suite.languages) if suite else [],
            "licence": suite.licence if suite else "",
            "unconfirmed": ", ".join(suite.unconfirmed) if suite else "",
        }

    def is_random(self, step: int) -> bool:
        """Whether a step is the random baseline that is made here."""
        return self.random_baseline and step == 0

    def tokens_at(self, step: int) -> int | None:
        """Tokens seen at a step, if that is known."""
        if step == 0 or step in self.tokens:
            return self.tokens.get(step, 0)
        return None if self.tokens_per_step is None else round(self.tokens_per_step * step)

    def folder(self, step: int) -> Path:
        """Folder of a checkpoint."""
        return Path(self.results, "models", self.run_id, str(step))

    def tokenizer_folder(self, step: int) -> Path:
        """Folder of a checkpoint's tokenizer."""
        return self.folder(step)

    def files(self, step: int) -> list[str]:
        """What a checkpoint is loaded from, as a job that reads it names its inputs: here, its folder."""
        return [str(self.folder(step))]


@dataclass(frozen=True, kw_only=True)
class PretrainedModel(Model):
    """A pre-training run of this study."""

    source = "pretrain"
    stored_type = "float32"  # weights are saved as they are trained
    corpus: str
    tokenizer: str
    architecture: str
    architecture_config: Mapping[str, Any]
    training: TrainingSettings

    @property
    def own_config(self) -> dict[str, Any]:
        """Its sizes; the size of the vocabulary is the tokenizer's."""
        return {"model_type": self.architecture, **self.architecture_config}

    def files(self, step: int) -> list[str]:
        """The list that the job which trains the step ends with."""
        trained = next(batch for batch in self.batches if step in batch)
        return [f"{self.results}/models/{self.run_id}/{label(trained)}.json"]


@dataclass(frozen=True, kw_only=True)
class HubSeries(Model):
    """Checkpoints that are fetched from the hub."""

    source = "hub"
    checkpoints: Suite

    @property
    def architecture(self) -> str:
        """Model type of transformers."""
        return self.checkpoints.architecture

    @property
    def own_config(self) -> dict[str, Any]:
        """The sizes that the suite or the study names."""
        return {"model_type": self.architecture, **self.checkpoints.architecture_config}

    @property
    def stored_type(self) -> str | None:
        """As the suite has it."""
        return self.checkpoints.dtype or None


@dataclass(frozen=True, kw_only=True)
class LocalSeries(Model):
    """Checkpoints in folders of the user.

    Attributes:
        path: Folder of a step, with {step} and maybe {data}.
        tokenizer_path: Folder of its tokenizer; empty: the checkpoint's own.
    """

    source = "local"
    path: str
    tokenizer_path: str = ""

    @cached_property
    def own_config(self) -> dict[str, Any]:
        """What the config.json of the first step says.

        Raises:
            DataError: If it cannot be read.
        """
        return read_config(self.folder(self.first_real_step))

    @property
    def stored_type(self) -> str | None:
        """As the files of the first step say."""
        return stored_type(self.folder(self.first_real_step))

    def folder(self, step: int) -> Path:
        """The user's folder; that of the results for the random baseline."""
        if self.is_random(step):
            return super().folder(step)
        return Path(self.path.format(data=self.data, step=step))

    def tokenizer_folder(self, step: int) -> Path:
        """Folder of a checkpoint's tokenizer."""
        if self.tokenizer_path and not self.is_random(step):
            return Path(self.tokenizer_path.format(data=self.data, step=step))
        return self.folder(step)

    def files(self, step: int) -> list[str]:
        """The user's files, of model and tokenizer."""
        if self.is_random(step):
            return super().files(step)
        folders = (self.folder(step), self.tokenizer_folder(step))
        return sorted({str(file) for folder in folders for file in folder.iterdir() if file.is_file()})


# ------------------------------------------------------------------------------ out of a study


def make_models(entries: Mapping[str, Entry], *, data: str, results: str) -> dict[str, Model]:
    """The models of a study by run id; ``data`` and ``results`` as in :class:`Model`.

    Raises:
        StudyError: If a step or a suite is unknown, or a name given twice.
    """
    models: dict[str, Model] = {}
    for name, entry in entries.items():
        key = f"models.{name}"
        common = {
            "id": name, "role": entry.role, "results": results, "data": data,
            "compute_dtype": entry.compute_dtype, "batch_size": entry.batch_size, "prefix": entry.prefix,
            "dose": entry.dose, "dictionaries": entry.dictionaries,
        }  # fmt: skip
        if isinstance(entry, PretrainEntry):
            runs: Sequence[Model] = _pretrained(key, entry, common)
        elif isinstance(entry, HubEntry):
            runs = [_from_hub(key, entry, common)]
        else:
            runs = [_local(key, entry, common)]
        for run in runs:
            if run.run_id in models:
                hint = f"a run of model {models[run.run_id].id} has this name too; rename one"
                raise StudyError(key, run.run_id, "a name of its own for every run", hint)
            models[run.run_id] = run
    return models


def paired_with_controls(models: Mapping[str, Model]) -> list[tuple[str, str]]:
    """Runs that are compared: the first run of each main model with the first of each control, and so on.

    Args:
        models: By run id, in the order of the study.
    """
    runs: dict[tuple[str, str], list[str]] = {}
    for name, model in models.items():
        runs.setdefault((model.role, model.id), []).append(name)
    own, controls = (
        [of for (role, _), of in runs.items() if role == wanted] for wanted in ("main", "control")
    )
    # Of unequal numbers of runs the last ones are compared with none.
    return [pair for of in own for other in controls for pair in zip(of, other, strict=False)]


def _pretrained(key: str, entry: PretrainEntry, common: dict[str, Any]) -> list[PretrainedModel]:
    if entry.steps == "all":
        raise StudyError(f"{key}.steps", "all", "a list or a rule: source pretrain has no steps yet")
    return [
        PretrainedModel(
            run_id=f"{common['id']}-seed{seed}",
            seed=seed,
            batches=step_batches(entry.steps, f"{key}.steps"),
            corpus=entry.corpus,
            tokenizer=entry.tokenizer,
            architecture=entry.architecture,
            architecture_config=entry.architecture_config,
            training=entry.training,
            tokens_per_step=entry.training.sequence_length * entry.training.batch_size,
            **common,
        )
        for seed in entry.seeds
    ]


def _local(key: str, entry: LocalEntry, common: dict[str, Any]) -> LocalSeries:
    warnings = []
    if entry.steps == "all":
        template = entry.path.replace("{data}", common["data"])
        if "{step" not in template:
            raise StudyError(f"{key}.path", entry.path, "a path with {step}: steps is all")
        whole, unfinished = find_steps(template)
        if not whole:
            reasons = "; ".join(f"step {step}: {problem}" for step, problem in unfinished.items())
            hint = reasons or "the path is relative to the working directory; {step} stands for the step"
            raise StudyError(f"{key}.path", entry.path, "a path of which at least one step is there", hint)
        batches: Batches = tuple((step,) for step in whole)
        warnings = [
            f"{common['id']}: step {step} is left out of this run, its folder is not whole: {problem}"
            for step, problem in unfinished.items()
        ]
    else:
        batches = step_batches(entry.steps, f"{key}.steps")
    return LocalSeries(
        run_id=common["id"],
        path=entry.path,
        tokenizer_path=entry.tokenizer_path,
        batches=_with_baseline(key, entry, batches),
        random_baseline=entry.random_baseline,
        tokens_per_step=entry.tokens_per_step,
        tokens=entry.tokens,
        warnings=tuple(warnings),
        **common,
    )


def _from_hub(key: str, entry: HubEntry, common: dict[str, Any]) -> HubSeries:
    suite = _suite(key, entry, common["id"])
    if entry.steps == "all":
        if not suite.steps:
            hint = "name them, or name a suite; `babelscope hub REPO` lists what there is"
            raise StudyError(f"{key}.steps", "all", "a list or a rule: only a suite knows all steps", hint)
        batches: Batches = tuple((step,) for step in suite.steps)
    else:
        batches = step_batches(entry.steps, f"{key}.steps")
    chosen = [step for batch in batches for step in batch]
    for step in chosen:
        unknown = suite.steps and step not in suite.steps
        if unknown or (suite.revisions and step not in suite.revisions):
            known = suite.steps or tuple(suite.revisions)
            hint = f"the nearest is {min(known, key=lambda other: abs(other - step))}"
            raise StudyError(f"{key}.steps", step, f"steps that there are: {_shortened(known)}", hint)
    return HubSeries(
        run_id=common["id"],
        checkpoints=suite,
        batches=_with_baseline(key, entry, batches),
        random_baseline=entry.random_baseline,
        tokens_per_step=suite.tokens_per_step,
        tokens=suite.tokens,
        warnings=tuple(step_warnings(suite, chosen)),
        **common,
    )


def _with_baseline(key: str, entry: HubEntry | LocalEntry, batches: Batches) -> Batches:
    if not entry.random_baseline:
        return batches
    if any(0 in batch for batch in batches):
        hint = "the series has a step 0 of its own"
        raise StudyError(f"{key}.random_baseline", True, "false, or steps without 0", hint)
    return ((0,), *batches)


def _suite(key: str, entry: HubEntry, name: str) -> Suite:
    """The entry's suite with what stands beside it, or a suite made of the entry alone."""
    given = {part: getattr(entry, part) for part in HubKeys.model_fields if getattr(entry, part)}
    if entry.suite:
        suite = load_suite(entry.suite, key=f"{key}.suite")
        if suite.convert or suite.custom_code:
            why = suite.convert or "its model runs code of the repository, which babelscope refuses"
            raise StudyError(f"{key}.suite", entry.suite, "a suite that transformers can load", why)
        return suite.model_copy(update=given)
    hint = "or name a suite of docs/suites.md; `babelscope hub REPO` prints an entry to paste"
    instead = {"repo": {"repos"}, "revision": {"revisions", "subfolder", "repos"}}
    for part in ("repo", "revision", "architecture", "architecture_config"):
        # One repository per step needs no revision; nor does a folder per step in one revision.
        told = {part, *instead.get(part, ())} & given.keys() or (part == "revision" and "{step" in entry.repo)
        if not told:
            raise StudyError(f"{key}.{part}", None, "a value: source hub needs it", hint)
    return Suite(name=name, **given)


def _shortened(steps: tuple[int, ...]) -> str:
    shown = [str(step) for step in steps]
    return ", ".join(shown if len(shown) <= 20 else [*shown[:10], "...", *shown[-5:]])
