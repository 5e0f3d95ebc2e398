"""What a repository of the hub holds, as an entry that a study can take over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from babelscope.errors import shown
from babelscope.models.architectures import ARCHITECTURES, Key
from babelscope.models.files import combined_hash, is_vocabulary
from babelscope.models.hub.client import WAITS, Hub, HubPlace
from babelscope.models.hub.revisions import Series, series_of
from babelscope.models.wrappers import INSIDE


@dataclass(frozen=True)
class Listing:
    """What is known of a repository without downloading weights.

    Attributes:
        repo: Its name.
        licence: As its card says; empty if it does not.
        series: Its revisions that are steps, the longest series first.
        others: Revisions that are no steps.
        template: Gives the revision of every step; empty if there is none.
        config: ``config.json`` of a step.
        has_tokenizer: Whether a step has a tokenizer of its own.
        format: ``safetensors``, ``bin`` or empty.
        duplicates: Steps with equal weights, if their hashes were asked for.
    """

    repo: str
    licence: str
    series: tuple[Series, ...]
    others: tuple[str, ...]
    template: str
    config: dict[str, Any]
    has_tokenizer: bool
    format: str
    duplicates: tuple[tuple[int, ...], ...] = ()

    @property
    def steps(self) -> Series:
        """The longest series; empty if no name is that of a step."""
        return self.series[0] if self.series else Series("")


def list_repo(repo: str, *, hashes: bool = False) -> Listing:
    """Look at a repository.

    Args:
        repo: Such as ``EleutherAI/pythia-70m``.
        hashes: Compare the weights of all steps by the hub's hashes; one request for each.

    Raises:
        HubError: If it is not there, not given, or holds no model at a step.
    """
    hub = Hub(WAITS[:2])
    names = hub.revisions(repo)
    series, others = series_of(names)
    revisions = series[0].revisions if series else {}
    place = HubPlace(repo, revisions[min(revisions)] if revisions else "main")
    _, files = hub.list_files(place)
    with TemporaryDirectory() as folder:
        config = hub.config(place, files, Path(folder))
        _, weights = hub.weights(place, files, Path(folder))
    duplicates: dict[str, list[int]] = {}
    if hashes:
        for step, revision in revisions.items():
            duplicates.setdefault(_hash_of(hub, HubPlace(repo, revision)), []).append(step)
    return Listing(
        repo=repo,
        licence=hub.licence(repo),
        series=tuple(series),
        others=tuple(others),
        template=template_of(revisions),
        config=config,
        has_tokenizer=any(is_vocabulary(file.name) for file in files),
        format=weights[0].name.rpartition(".")[2] if weights else "",
        duplicates=tuple(tuple(steps) for steps in duplicates.values() if len(steps) > 1),
    )


def _hash_of(hub: Hub, place: HubPlace) -> str:
    """What equal weights have in common, whatever else lies beside them."""
    _, files = hub.list_files(place)
    with TemporaryDirectory() as folder:
        _, weights = hub.weights(place, files, Path(folder))
    return combined_hash(file.sha256 or file.blob for file in weights)


def template_of(revisions: Mapping[int, str]) -> str:
    """A template that gives back the revision of every step, or nothing."""
    if len(revisions) < 2:
        return ""
    step, name = next(iter(revisions.items()))
    for number in re.finditer(r"\d+", name):
        ends = (name[: number.start()], name[number.end() :])
        before, after = (end.replace("{", "{{").replace("}", "}}") for end in ends)
        width = len(number[0])
        for field in ("{step}", f"{{step:0{width}d}}") if int(number[0]) == step else ():
            template = f"{before}{field}{after}"
            if all(template.format(step=step) == name for step, name in revisions.items()):
                return template
    return ""


def entry(listing: Listing, name: str) -> str:
    """YAML of a model, with comments, for a study's ``models``."""
    model_type = listing.config.get("model_type")
    content: dict[str, Any] = {"source": "hub", "repo": listing.repo}
    steps = listing.steps
    if listing.template:
        content["revision"] = listing.template
    elif steps.revisions:
        content["revisions"] = dict(steps.revisions)
    else:
        content["revision"] = "main"
    notes = [
        f"{listing.repo}: {len(steps.revisions)} steps; licence {listing.licence or 'not stated'}; "
        f"{listing.format or 'no weights that transformers reads'}"
    ]
    if steps.in_tokens:
        notes.append("a step is the number of tokens seen, as the names of the revisions say")
        content["tokens_per_step"] = 1
    elif steps.tokens.keys() == steps.revisions.keys() and steps.tokens:
        content["tokens"] = steps.tokens
    notes += [f"two revisions of one step: {clash}" for each in listing.series for clash in each.clashes]
    for each in listing.series[1:]:
        named = ", ".join(f"{revision} ({step})" for step, revision in each.revisions.items())
        notes.append(f"a series of its own, for an entry of its own: {each.name}: {named}")
    if listing.others:
        notes.append(f"revisions that are no steps: {', '.join(listing.others)}")
    if not listing.has_tokenizer:
        content["tokenizer_repo"] = "NAME/OF/THE/FINAL-MODEL"
        notes.append("the steps have no tokenizer: name the repository that has")
    if "auto_map" in listing.config:
        notes.append("it names code of its own (auto_map), which is not run")
    if INSIDE in listing.config:
        notes.append(f"{listing.config[INSIDE]}: the text model inside it is read alone, as {model_type}")
    if isinstance(model_type, str) and model_type in ARCHITECTURES:
        content["architecture"] = model_type
        content["architecture_config"] = _sizes(listing.config)
    else:
        notes.append(f"architecture {model_type!r} is no row of babelscope/models/architectures.yaml")
    content["steps"] = list(steps.revisions) or [0]
    notes += [f"equal weights: steps {', '.join(map(str, same))}" for same in listing.duplicates]
    text = yaml.safe_dump({name: content}, sort_keys=False, default_flow_style=None, width=100)
    return "\n".join(f"# {shown(note, one_line=True)}" for note in notes) + "\n" + text


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """The sizes that the table of the architecture knows, as config.json names them."""
    known = ARCHITECTURES[config["model_type"]]
    keys = [part for part in vars(known).values() if isinstance(part, Key)]
    names = [name for key in keys for name in key.names]
    wanted = [*names, "vocab_size", "tie_word_embeddings"]
    return {name: config[name] for name in wanted if config.get(name) is not None}
