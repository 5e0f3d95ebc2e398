"""What a repository of the hub holds, as an entry that a study can take over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from babelscope.errors import shown
from babelscope.models.architectures import ARCHITECTURES, Key
from babelscope.models.files import combined_hash, is_vocabulary
from babelscope.models.hub.client import WAITS, Hub, HubPlace

#: Revisions of the hub itself, not steps.
_OTHER = re.compile(r"main|refs/.*|pr/\d+")


@dataclass(frozen=True)
class Listing:
    """What is known of a repository without downloading weights.

    Attributes:
        repo: Its name.
        licence: As its card says; empty if it does not.
        revisions: Revision of each step; empty if none of its names has a number.
        others: Revisions that are no steps.
        template: Gives the revision of every step; empty if there is none.
        config: ``config.json`` of a step.
        has_tokenizer: Whether a step has a tokenizer of its own.
        format: ``safetensors``, ``bin`` or empty.
        duplicates: Steps with equal weights, if their hashes were asked for.
    """

    repo: str
    licence: str
    revisions: dict[int, str]
    others: tuple[str, ...]
    template: str
    config: dict[str, Any]
    has_tokenizer: bool
    format: str
    duplicates: tuple[tuple[int, ...], ...] = ()


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
    revisions = steps_of(names)
    place = HubPlace(repo, revisions[min(revisions)] if revisions else "main")
    _, files = hub.list_files(place)
    with TemporaryDirectory() as folder:
        config = hub.config(place, files, Path(folder))
        _, weights = hub.weights(place, files, Path(folder))
    duplicates: dict[str, list[int]] = {}
    if hashes:
        for step, revision in sorted(revisions.items()):
            duplicates.setdefault(_hash_of(hub, HubPlace(repo, revision)), []).append(step)
    return Listing(
        repo=repo,
        licence=hub.licence(repo),
        revisions=revisions,
        others=tuple(name for name in names if name not in revisions.values()),
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


def steps_of(names: Sequence[str]) -> dict[int, str]:
    """The step that each revision names, if no other revision names the same."""
    found: dict[int, list[str]] = {}
    for name in names:
        number = _step_in(name)
        if number and not _OTHER.fullmatch(name):
            found.setdefault(int(number[1]), []).append(name)
    return {step: same[0] for step, same in sorted(found.items()) if len(same) == 1}


def _step_in(name: str) -> re.Match[str] | None:
    """The number behind the word step, else the first number."""
    return re.search(r"step[_-]?(\d+)", name, re.IGNORECASE) or re.search(r"(\d+)", name)


def template_of(revisions: dict[int, str]) -> str:
    """A template that gives back the revision of every step, or nothing."""
    if len(revisions) < 2:
        return ""
    name = next(iter(revisions.values()))
    number = _step_in(name)
    assert number is not None
    ends = (name[: number.start(1)], name[number.end(1) :])
    before, after = (end.replace("{", "{{").replace("}", "}}") for end in ends)
    width = len(number[1])
    for number_ in ("{step}", f"{{step:0{width}d}}"):
        template = f"{before}{number_}{after}"
        if all(template.format(step=step) == name for step, name in revisions.items()):
            return template
    return ""


def entry(listing: Listing, name: str) -> str:
    """YAML of a model, with comments, for a study's ``models``."""
    model_type = listing.config.get("model_type")
    content: dict[str, Any] = {"source": "hub", "repo": listing.repo}
    if listing.template:
        content["revision"] = listing.template
    elif listing.revisions:
        content["revisions"] = dict(listing.revisions)
    else:
        content["revision"] = "main"
    notes = [
        f"{listing.repo}: {len(listing.revisions)} steps; licence {listing.licence or 'not stated'}; "
        f"{listing.format or 'no weights that transformers reads'}"
    ]
    if listing.others:
        notes.append(f"revisions that are no steps: {', '.join(listing.others[:10])}")
    if not listing.has_tokenizer:
        content["tokenizer_repo"] = "NAME/OF/THE/FINAL-MODEL"
        notes.append("the steps have no tokenizer: name the repository that has")
    if "auto_map" in listing.config:
        notes.append("it names code of its own (auto_map), which is not run")
    if isinstance(model_type, str) and model_type in ARCHITECTURES:
        content["architecture"] = model_type
        content["architecture_config"] = _sizes(listing.config)
    else:
        notes.append(f"architecture {model_type!r} is no row of babelscope/models/architectures.yaml")
    content["steps"] = list(listing.revisions) or [0]
    notes += [f"equal weights: steps {', '.join(map(str, steps))}" for steps in listing.duplicates]
    text = yaml.safe_dump({name: content}, sort_keys=False, default_flow_style=None, width=100)
    return "\n".join(f"# {shown(note, one_line=True)}" for note in notes) + "\n" + text


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """The sizes that the table of the architecture knows, as config.json names them."""
    known = ARCHITECTURES[config["model_type"]]
    keys = [part for part in vars(known).values() if isinstance(part, Key)]
    names = [name for key in keys for name in key.names]
    wanted = [*names, "vocab_size", "tie_word_embeddings"]
    return {name: config[name] for name in wanted if config.get(name) is not None}
