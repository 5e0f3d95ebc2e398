"""Reads a config: on top of the study that it extends, with defaults, checked in every way."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from babelscope.complaints import bare, members
from babelscope.errors import DataError, StudyError
from babelscope.settings import Settings, default_of
from babelscope.study.checks import cross_check
from babelscope.study.config import Study, StudySettings
from babelscope.study.yaml import merge, read_named

_PAIRS = {"grammar": "grammar", "parallel": "words", "concepts": "files"}


def load_study(config: Mapping[str, Any]) -> Study:
    """Validate a config and give it as typed values.

    Args:
        config: The config, as read from YAML.

    Raises:
        StudyError: Naming the key, the value given, what is allowed and a hint.
        DataError: If a file that the config names, such as a model's config.json, is unusable.
    """
    given = copy.deepcopy(_extended(config))
    ignored = _take_out_ignored(given)
    study = Study.of(given)
    _check_pair(study.sentences.source, study.concepts.source)
    cross_check(study)
    if ignored:
        raise ignored[0]
    return study


def _extended(config: Mapping[str, Any], above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The config on top of the study that it extends, if it does."""
    own = {key: value for key, value in config.items() if key != "extends"}
    if "extends" not in config:
        return own
    path, allowed = Path(str(config["extends"])), "path of a study file"
    if path.resolve() in above:
        raise StudyError("extends", str(path), allowed, "these studies extend each other in a circle")
    base = read_named("extends", str(path), allowed)
    if not isinstance(base, dict):
        raise DataError(path, "is no mapping of keys to values")
    return merge(_extended(base, (*above, path.resolve())), own)


def _check_pair(sentences: str, concepts: str) -> None:
    """Refuse labels that do not go with the sentences."""
    if _PAIRS[sentences] != concepts:
        allowed = "; ".join(f"sentences {a} with concepts {b}" for a, b in _PAIRS.items())
        hint = f"sentences.source is {sentences}, which goes with {_PAIRS[sentences]}"
        raise StudyError("concepts.source", concepts, allowed, hint)


def _take_out_ignored(config: dict[str, Any]) -> list[StudyError]:
    """Take out keys that only other sources use, and say so: they would do nothing.

    A default may stand there, so that a config whose defaults are filled in can be used again.
    """
    found = []
    for section in ("corpora", "models", "sentences", "concepts"):
        kind, part = StudySettings.model_fields[section].annotation, config.get(section)
        entries = {section: part}
        if section in ("corpora", "models"):  # by name
            kind, part = get_args(bare(kind))[1], part if isinstance(part, dict) else {}
            entries = {f"{section}.{name}": entry for name, entry in part.items()}
        for where, entry in entries.items():
            if isinstance(entry, dict):
                found += _ignored_keys(where, entry, members(kind))
    return found


def _ignored_keys(
    where: str, entry: dict[str, Any], sources: Mapping[str, type[Settings]]
) -> list[StudyError]:
    found: list[StudyError] = []
    own = sources.get(str(entry.get("source")))
    for key in [key for key in entry if own is not None and key not in own.model_fields]:
        owners = {name: each.model_fields[key] for name, each in sources.items() if key in each.model_fields}
        value = entry.pop(key) if owners else None
        if all(value != default_of(field) for field in owners.values()) and owners:
            allowed = f"nothing: it is for source {' or '.join(owners)}"
            hint = f"{where}.source is {entry['source']}; remove `{key}`, or change that"
            found.append(StudyError(f"{where}.{key}", value, allowed, hint))
    return found
