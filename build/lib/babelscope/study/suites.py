"""The registry: public series of checkpoints as data, in ``registry/``.

Light on purpose: Snakemake reads it whenever it reads a study that names a suite.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from babelscope.complaints import nearest
from babelscope.errors import DataError, StudyError
from babelscope.io.yaml import read_mapping
from babelscope.settings import EACH_ONCE, LIST, Count, Settings, Step, Text
from babelscope.study.settings import HubKeys, StepRule
from babelscope.study.steps import increasing, step_batches
from babelscope.study.yaml import merge

SUITES = Path(__file__).parent / "registry"
"""Folder of the suites that the package knows."""

_Link = Annotated[str, Field(pattern="^https://")]
_SAID = {
    "duplicate": "holds the weights of another step",
    "broken": "is broken",
    "missing": "has no weights",
    "suspect": "is suspect",
    "config": "has a config.json that needs care",
}
_EVIDENCE = {"weights": "its weights", "outputs": "its outputs", "report": "a report"}


class Fault(Settings):
    """Steps that are not what their names say."""

    steps: Annotated[tuple[Step, ...], LIST, BeforeValidator(lambda steps: () if steps == "all" else steps)]
    """Which ones; all if the source does not say."""
    kind: Literal["duplicate", "broken", "missing", "suspect", "config"]
    """duplicate: the weights of another step; broken: unusable; missing: no weights; suspect: reported, not
    settled; config: config.json needs care."""
    of: Step | None = None
    """duplicate: the step whose weights these are."""
    evidence: Literal["weights", "outputs", "report"]
    """weights: files or tensors were compared; outputs: what the model computes; report: somebody says so."""
    note: str
    """What is wrong."""
    source: _Link
    """Where it was found."""

    def __str__(self) -> str:
        is_copy = self.kind == "duplicate" and self.of is not None
        what = f"holds the weights of step {self.of}" if is_copy else _SAID[self.kind]
        return f"{what}: {self.note} (by {_EVIDENCE[self.evidence]}: {self.source})"


def _all_steps(steps: Any) -> Any:
    """The steps of a rule, one by one."""
    if isinstance(steps, dict):
        return tuple(step for (step,) in step_batches(StepRule.from_yaml(steps), ""))
    return steps


class Suite(HubKeys):
    """A public series of checkpoints."""

    name: str
    family: Text = ""
    title: Text = ""
    """Name for people."""
    parameters: Count | None = None
    """Number of parameters."""
    dtype: Literal["", "float32", "float16", "bfloat16"] = ""
    """Type of the stored weights."""
    weights: Literal["", "bin", "safetensors"] = ""
    """Format of the stored weights."""
    steps: Annotated[tuple[Step, ...], LIST, BeforeValidator(_all_steps), AfterValidator(increasing)] = ()
    """Steps that are public: a list, or a rule as in a study."""
    step_unit: str = "optimizer steps"
    """What a step counts, such as billions of tokens."""
    languages_note: Text = ""
    """What the list of languages does not say."""
    faults: Annotated[tuple[Fault, ...], LIST] = ()
    """Steps that are known not to be what their names say."""
    unconfirmed: Annotated[tuple[str, ...], LIST, *EACH_ONCE] = ()
    """Keys whose value was inferred, or not seen in a source that we could read."""
    notes: Text = ""
    """What else to know."""
    sources: Annotated[tuple[_Link, ...], LIST] = ()
    """Where the facts are from."""
    custom_code: bool = False
    """Whether the model runs code of its repository; babelscope refuses that."""
    convert: Text = ""
    """Not empty: the weights are no Hugging Face folder; what to do."""

    def place(self, step: int) -> dict[str, str]:
        """Repository, revision and sub-folder of a step."""
        repo = self.repos.get(step) or self.repo.format(step=step)
        revision = self.revisions.get(step) or self.revision.format(step=step) or "main"
        return {"repo": repo, "revision": revision, "subfolder": self.subfolder.format(step=step)}

    def tokenizer_place(self, step: int) -> dict[str, str]:
        """Repository, revision and sub-folder of a step's tokenizer."""
        if self.tokenizer_repo:
            revision = self.tokenizer_revision or "main"
            return {"repo": self.tokenizer_repo, "revision": revision, "subfolder": ""}
        place = self.place(step)
        return {**place, "revision": self.tokenizer_revision or place["revision"]}


def suite_names(folder: Path = SUITES) -> list[str]:
    """Names of all suites."""
    return sorted(name for file in families(folder) for name in file.names)


def load_suite(name: str, folder: Path = SUITES, *, key: str = "suite") -> Suite:
    """A suite of the registry, named at a key of the study.

    Raises:
        StudyError: If there is none of this name.
        DataError: If its file breaks the schema, naming the suite, the key, the value and what is allowed.
    """
    for file in families(folder):
        if name in file.names:
            return file.load(name)
    names = suite_names(folder)
    hint = nearest(name, names) or "docs/suites.md lists them"
    raise StudyError(key, name, f"one of {len(names)} suites", hint)


def step_warnings(suite: Suite, steps: Sequence[int]) -> list[str]:
    """What a person must know who picks these steps."""
    found = []
    for fault in suite.faults:
        chosen = [step for step in steps if step in fault.steps]
        if not fault.steps:
            found.append(f"{suite.name}: it is not known which steps are meant: {fault}")
        elif len(chosen) > 5:
            shown = f"{', '.join(map(str, chosen[:5]))} and {len(chosen) - 5} more"
            found.append(f"{suite.name}: steps {shown}: each {fault}")
        else:
            found += [f"{suite.name}: step {step} {fault}" for step in chosen]
    if suite.unconfirmed:
        found.append(f"{suite.name}: not confirmed in the registry: {', '.join(suite.unconfirmed)}")
    return found


class Family:
    """A family, read but not checked; names are cheap, suites are checked when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = read_mapping(path, "see docs/suites.md")
        if not isinstance(self.content.get("suites"), dict):
            raise DataError(path, "is no family of suites", "see docs/suites.md")
        self.names = dict(self._expanded())

    def _expanded(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, entry in self.content["suites"].items():
            each = entry.get("each") if isinstance(entry, dict) else None
            if not isinstance(each, dict):
                yield name, entry
                continue
            for values in itertools.product(*each.values()):
                fields = dict(zip(each, values, strict=True))
                own = {key: _fill(value, fields) for key, value in entry.items() if key != "each"}
                yield _fill(name, fields), own

    def load(self, name: str) -> Suite:
        """A suite of this file, with what all of the file share."""
        common, own = self.content.get("common", {}), self.names[name]
        faults = [*common.get("faults", []), *own.get("faults", [])]
        entry = {**merge(common, own), "faults": faults, "name": name, "family": self.content["family"]}
        try:
            return _checked(Suite.from_yaml(entry, f"suites.{name}"), self.path)
        except StudyError as error:
            problem = f"{error.key}: got {error.given!r}; allowed: {error.allowed}"
            raise DataError(self.path, problem, error.hint) from error


def _fill(part: Any, fields: Mapping[str, str]) -> Any:
    """What stands in an entry, or in a list there, with the names of ``each`` replaced."""
    if isinstance(part, list):
        return [_fill(item, fields) for item in part]
    for name, value in fields.items() if isinstance(part, str) else ():
        part = part.replace(f"{{{name}}}", value)
    return part


@cache
def families(folder: Path = SUITES) -> tuple[Family, ...]:
    """The files of a registry."""
    return tuple(Family(path) for path in sorted(folder.glob("*.yaml")))


def _checked(suite: Suite, path: Path) -> Suite:
    """What no schema can say.

    Raises:
        DataError: If parts of the entry do not fit each other.
    """

    def refuse(problem: str, hint: str = "") -> None:
        raise DataError(path, f"{suite.name}: {problem}", hint)

    for key in ("licence", "sources"):
        if not getattr(suite, key):
            refuse(f"{key} is missing", "a registry without it is hearsay")
    for key in suite.unconfirmed:
        if not hasattr(suite, key):
            refuse(f"unconfirmed names {key!r}, which is no key")
    for step in {step for fault in suite.faults for step in fault.steps} - set(suite.steps):
        refuse(f"a fault names step {step}, which is not in steps")
    if suite.convert or suite.custom_code:
        return suite
    for key in ("steps", "architecture", "architecture_config"):
        if not getattr(suite, key):
            refuse(f"{key} is missing")
    if not suite.repo and set(suite.repos) != set(suite.steps):
        refuse("repos does not name every step")
    places: dict[tuple[str, ...], int] = {}
    for step in suite.steps:
        try:
            other = places.setdefault(tuple(suite.place(step).values()), step)
        except (KeyError, IndexError, ValueError) as error:
            refuse(f"its place cannot be filled in: {error!r}", "{step} is the only field")
            raise
        if other != step:
            refuse(f"steps {other} and {step} have one place", "a template needs {step}")
    seen = [suite.tokens[step] for step in suite.steps if step in suite.tokens]
    if seen != sorted(seen):
        refuse("tokens fall from a step to a later one")
    return suite
