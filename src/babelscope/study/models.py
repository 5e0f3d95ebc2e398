"""The models of a study: what is trained here, fetched from the hub, or found in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from babelscope.errors import StudyError
from babelscope.models.files import find_steps
from babelscope.study.steps import step_batches
from babelscope.study.suites import Suite, load_suite, step_warnings, suite_names
from babelscope.study.yaml import nearest

PRETRAIN_KEYS = ("corpus", "tokenizer", "architecture", "training")
SERIES_KEYS = ("tokens_per_step", "tokens", "random_baseline")
HUB_KEYS = (
    "suite",
    "repo",
    "repos",
    "revision",
    "revisions",
    "subfolder",
    "tokenizer_repo",
    "tokenizer_revision",
    "languages",
    "licence",
)
_RUN_KEYS = ("compute_dtype", "batch_size")


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
    """One pre-training run, or one series of checkpoints from the hub or from local folders.

    Attributes:
        run_id: Names it in paths: ``<id>-seed<seed>`` if pre-trained, else ``<id>``.
        batches: Its steps; those of an inner tuple are done by one job.
        random_baseline: Whether its step 0 is made here, with random weights.
        checkpoints: Where the steps lie on the hub.
        warnings: What a reader must know of the steps chosen.
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
    tokens_per_step: float | None = None
    tokens: Mapping[int, int] = field(default_factory=dict)
    random_baseline: bool = False
    checkpoints: Suite | None = None
    compute_dtype: str | None = None
    batch_size: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def known_faults(self) -> dict[int, str]:
        """What the registry says of steps that are not sound."""
        if self.checkpoints is None:
            return {}
        faults = {step: self.checkpoints.faults_of(step) for step in self.steps}
        return {
            step: "; ".join(f"{fault.kind}: {fault.note} ({fault.source})" for fault in found)
            for step, found in faults.items()
            if found
        }

    @property
    def steps(self) -> tuple[int, ...]:
        """All steps, increasing."""
        return tuple(sorted(step for batch in self.batches for step in batch))

    def is_random(self, step: int) -> bool:
        """Whether a step is the random baseline that is made here."""
        return self.random_baseline and step == 0

    def tokens_at(self, step: int) -> int | None:
        """Tokens seen at a step, if that is known."""
        if step == 0 or step in self.tokens:
            return self.tokens.get(step, 0)
        return None if self.tokens_per_step is None else round(self.tokens_per_step * step)


def make_models(entries: Mapping[str, Mapping[str, Any]], data: str) -> dict[str, Model]:
    """The models of a study by run id.

    Args:
        entries: The study's ``models``, with defaults filled in.
        data: What ``{data}`` stands for in paths.

    Raises:
        StudyError: If a key is missing, a step or a suite unknown, or a name given twice.
    """
    models: dict[str, Model] = {}
    for name, entry in entries.items():
        key = f"models.{name}"
        make = {"pretrain": _pretrained, "hub": _from_hub, "local": _local}[entry["source"]]
        common = {
            "id": name,
            "source": entry["source"],
            "role": entry["role"],
            **{part: entry[part] for part in _RUN_KEYS if part in entry},
        }
        runs = make(key, entry, common, data)
        for run in runs:
            if run.run_id in models:
                hint = f"a run of model {models[run.run_id].id} has this name too; rename one"
                raise StudyError(key, run.run_id, "a name of its own for every run", hint)
            models[run.run_id] = run
    return models


def _need(key: str, entry: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if not entry.get(name):
            raise StudyError(f"{key}.{name}", None, f"a value: source {entry['source']} needs it")


def _pretrained(key: str, entry: Mapping[str, Any], common: dict[str, Any], _data: str) -> list[Model]:
    _need(key, entry, PRETRAIN_KEYS)
    if entry["steps"] == "all":
        raise StudyError(f"{key}.steps", "all", "a list or a rule: source pretrain has no steps yet")
    given = entry["training"]
    values: dict[str, Any] = {part: tuple(v) if isinstance(v, list) else v for part, v in given.items()}
    training = Training(**values)
    return [
        Model(
            run_id=f"{common['id']}-seed{seed}",
            seed=seed,
            batches=step_batches(entry["steps"], f"{key}.steps"),
            corpus=entry["corpus"],
            tokenizer=entry["tokenizer"],
            architecture=entry["architecture"],
            architecture_config=entry["architecture_config"],
            training=training,
            tokens_per_step=training.sequence_length * training.batch_size,
            **common,
        )
        for seed in entry["seeds"]
    ]


def _local(key: str, entry: Mapping[str, Any], common: dict[str, Any], data: str) -> list[Model]:
    _need(key, entry, ("path",))
    warnings = []
    if entry["steps"] == "all":
        template = entry["path"].replace("{data}", data)
        if "{step" not in template:
            raise StudyError(f"{key}.path", entry["path"], "a path with {step}: steps is all")
        whole, unfinished = find_steps(template)
        if not whole:
            reasons = "; ".join(f"step {step}: {problem}" for step, problem in sorted(unfinished.items()))
            hint = reasons or "the path is relative to the working directory; {step} stands for the step"
            raise StudyError(f"{key}.path", entry["path"], "a path of which at least one step is there", hint)
        batches: tuple[tuple[int, ...], ...] = tuple((step,) for step in sorted(whole))
        warnings = [
            f"{common['id']}: step {step} is left out of this run, its folder is not whole: {problem}"
            for step, problem in sorted(unfinished.items())
        ]
    else:
        batches = step_batches(entry["steps"], f"{key}.steps")
    return [
        Model(
            run_id=common["id"],
            path=entry["path"],
            tokenizer_path=entry.get("tokenizer_path", ""),
            warnings=tuple(warnings),
            **_series(key, entry, batches),
            **common,
        )
    ]


def _from_hub(key: str, entry: Mapping[str, Any], common: dict[str, Any], _data: str) -> list[Model]:
    suite = _suite(key, entry, common["id"])
    if entry["steps"] == "all":
        if not suite.steps:
            hint = "name them, or name a suite; `babelscope hub REPO` lists what there is"
            raise StudyError(f"{key}.steps", "all", "a list or a rule: only a suite knows all steps", hint)
        batches: tuple[tuple[int, ...], ...] = tuple((step,) for step in suite.steps)
    else:
        batches = step_batches(entry["steps"], f"{key}.steps")
    chosen = [step for batch in batches for step in batch]
    for step in chosen:
        unknown = suite.steps and step not in suite.steps
        if unknown or (suite.revisions and step not in suite.revisions):
            known = suite.steps or tuple(suite.revisions)
            hint = f"the nearest is {min(known, key=lambda other: abs(other - step))}"
            raise StudyError(f"{key}.steps", step, f"steps that there are: {_shortened(known)}", hint)
    series = _series(key, entry, batches)
    series["tokens_per_step"] = entry.get("tokens_per_step", suite.tokens_per_step)
    series["tokens"] = series["tokens"] or suite.tokens
    return [
        Model(
            run_id=common["id"],
            architecture=suite.architecture,
            architecture_config=suite.architecture_config,
            checkpoints=suite,
            warnings=tuple(step_warnings(suite, chosen)),
            **series,
            **common,
        )
    ]


def _series(key: str, entry: Mapping[str, Any], batches: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """What hub and local series share."""
    if entry["random_baseline"]:
        if any(0 in batch for batch in batches):
            hint = "the series has a step 0 of its own"
            raise StudyError(f"{key}.random_baseline", True, "false, or steps without 0", hint)
        batches = ((0,), *batches)
    return {
        "batches": batches,
        "random_baseline": entry["random_baseline"],
        "tokens_per_step": entry.get("tokens_per_step"),
        "tokens": {int(step): n for step, n in entry.get("tokens", {}).items()},
    }


def _suite(key: str, entry: Mapping[str, Any], name: str) -> Suite:
    """The entry's suite with what stands beside it, or a suite made of the entry alone."""
    known = {field.name for field in dataclasses.fields(Suite)}
    own = {part: value for part, value in entry.items() if part in known and part in HUB_KEYS}
    own |= {part: entry[part] for part in ("architecture", "architecture_config") if entry.get(part)}
    for part in ("revisions", "repos"):
        if part in own:
            own[part] = {int(step): place for step, place in own[part].items()}
    if "languages" in own:
        own["languages"] = tuple(own["languages"])
    if "suite" in entry:
        names = suite_names()
        if entry["suite"] not in names:
            hint = nearest(entry["suite"], names) or "config/suites/README.md lists them"
            raise StudyError(f"{key}.suite", entry["suite"], f"one of {len(names)} suites", hint)
        suite = load_suite(entry["suite"])
        if suite.convert or suite.custom_code:
            why = suite.convert or "its model runs code of the repository, which babelscope refuses"
            raise StudyError(f"{key}.suite", entry["suite"], "a suite that transformers can load", why)
        return dataclasses.replace(suite, **own)
    hint = "or name a suite of config/suites; `babelscope hub REPO` prints an entry to paste"
    for part, others in (
        ("repo", ("repos",)),
        ("revision", ("revisions", "subfolder", "repos")),
        ("architecture", ()),
        ("architecture_config", ()),
    ):
        if not entry.get(part) and not any(entry.get(other) for other in others):
            # One repository per step needs no revision; nor does a folder per step in one revision.
            if part == "revision" and "{step" in entry.get("repo", ""):
                continue
            raise StudyError(f"{key}.{part}", None, "a value: source hub needs it", hint)
    return Suite(name=name, **own)


def _shortened(steps: tuple[int, ...]) -> str:
    shown = [str(step) for step in steps]
    return ", ".join(shown if len(shown) <= 20 else [*shown[:10], "...", *shown[-5:]])
