"""YAML files of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from babelscope.errors import DataError

_DEEPEST = 100
_SHORT = 10_000  # letters, which cannot be deep enough to harm
#: Most values that a text may stand for, each alias counted as what it stands for.
MOST_VALUES = 1_000_000
_TOO_MUCH = f"it stands for more than {MOST_VALUES:,} values, or is nested too deeply"


def parse_yaml(text: str) -> Any:
    """What a text in YAML says.

    Raises:
        yaml.YAMLError: If it is none, or stands for more than it says, by aliases in aliases.
    """
    # Every job reads some; libyaml, where it is there, does so six times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if len(text) > _SHORT:
            _check_depth(text, loader)
        if "&" in text and not is_bounded(yaml.compose(text, Loader=loader), _parts_of_node):
            raise yaml.YAMLError(_TOO_MUCH)
        found = yaml.load(text, Loader=loader)
        if not is_bounded(found):
            raise yaml.YAMLError(_TOO_MUCH)
        return found
    except RecursionError:
        raise yaml.YAMLError(_TOO_MUCH) from None
    except (ValueError, KeyError, TypeError) as error:  # a date, number or tag that is none
        raise yaml.YAMLError(f"a value of it cannot be read: {error}") from None


def _check_depth(text: str, loader: Any) -> None:
    """Refuse what is so deep that libyaml would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(_TOO_MUCH)


def _parts_of_node(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


def is_bounded(root: Any, parts: Callable[[Any], list[Any]] = _parts) -> bool:
    """Whether nested values stand for no more than :data:`MOST_VALUES`, those that stand in several places
    counted in each, and none for itself.

    Args:
        root: A value.
        parts: The values in a value.
    """
    sizes: dict[int, int] = {}
    waiting = [(root, False)]
    open_: set[int] = set()
    while waiting:
        value, counted = waiting.pop()
        inside = parts(value)
        if counted:
            open_.discard(id(value))
            sizes[id(value)] = 1 + sum(sizes.get(id(part), 1) for part in inside)
            if sizes[id(value)] > MOST_VALUES:
                return False
        elif id(value) in open_:
            return False
        elif inside and id(value) not in sizes:
            if len(open_) > _DEEPEST:
                return False
            open_.add(id(value))
            waiting += [(value, True), *((part, False) for part in inside)]
    return True


@cache
def packaged_yaml(room: str, name: str) -> Any:
    """A YAML file that ships with the package; never change what it gives.

    Args:
        room: The package that it lies in, such as ``babelscope.report``.
        name: Its path there.
    """
    text = files(room).joinpath(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read_mapping(path: Path, hint: str = "") -> dict[str, Any]:
    """The keys and values of a file.

    Args:
        path: The file.
        hint: What to do if it cannot be used.

    Raises:
        DataError: If it is not there, is no YAML, or holds something else.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(path, f"is no YAML: {error}", hint) from error
    if not isinstance(content, dict):
        raise DataError(path, "must hold keys and values", hint)
    return content
