"""YAML files of keys and values, read as Snakemake reads its config: what is JSON is read as JSON.

A key that stands twice in a mapping is refused: the later one would win in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from babelscope.errors import DataError
from babelscope.io.json import Repeated, parse_json

#: Largest file that is read, in bytes: lists of words of a hundred languages are a tenth of it.
LARGEST = 10_000_000
_DEEPEST = 100
_SHORT = 10_000  # letters, which cannot be deep enough to harm
#: Most values that a text may stand for, each alias counted as what it stands for.
MOST_VALUES = 1_000_000
_TOO_MUCH = f"it stands for more than {MOST_VALUES:,} values, or is nested too deeply"


def parse_yaml(text: str) -> Any:
    """What a text in YAML says.

    Raises:
        yaml.YAMLError: With the line, if it is none or a key stands twice; if it is too large, or stands for
            more than it says, by aliases in aliases.
    """
    if len(text) > LARGEST:
        raise yaml.YAMLError(f"it has more than {LARGEST:,} letters")
    loader = _loader()
    try:
        if len(text) > _SHORT:
            _check_depth(text, loader)
        if "&" in text and not is_bounded(yaml.compose(text, Loader=loader), _parts_of_node):
            raise yaml.YAMLError(_TOO_MUCH)
        found = yaml.load(text, Loader=loader)
        if not is_bounded(found):
            raise yaml.YAMLError(_TOO_MUCH)
        return found
    except yaml.MarkedYAMLError as error:
        raise yaml.YAMLError(_in_words(error, text)) from None
    except RecursionError:
        raise yaml.YAMLError(_TOO_MUCH) from None
    except (ValueError, KeyError, TypeError) as error:  # a date, number or tag that is none
        raise yaml.YAMLError(f"a value of it cannot be read: {error}") from None


@cache
def _loader() -> Any:
    """A loader to which a key that stands twice is an error."""
    # Every job reads some YAML; libyaml, where it is there, does so six times as fast.
    fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(fastest):  # type: ignore[misc]
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            """Called for each mapping before others are merged into it, which may be more than once."""
            if not hasattr(node, "looked_at"):
                node.looked_at = True  # type: ignore[attr-defined]
                self._check_keys(node)
            super().flatten_mapping(node)

        def _check_keys(self, node: yaml.MappingNode) -> None:
            first: dict[Any, yaml.Node] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                before = first.setdefault(self.construct_object(key), key)
                if before is not key:
                    problem = f"{key.value!r} stands twice, first in line {before.start_mark.line + 1}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)

    return Loader


def _in_words(error: yaml.MarkedYAMLError, text: str) -> str:
    """Line and problem; of a tab what to do about it."""
    said = ", ".join(part for part in (error.problem, error.context) if part)
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return said
    lines = text.split("\n")  # YAML knows other ends of lines too
    begins = lines[mark.line][: mark.column + 1] if mark.line < len(lines) else ""
    tab = "; a tab stands there: indent with spaces" if begins.strip(" ")[:1] == "\t" else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}{tab}"


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


def read_values(path: Path) -> Any:
    """What a file in YAML or JSON holds.

    Raises:
        OSError: If it cannot be read.
        yaml.YAMLError: If it is too large, no text, or neither.
    """
    if path.exists() and not path.is_file():
        raise yaml.YAMLError("it is no file")
    if path.stat().st_size > LARGEST:
        raise yaml.YAMLError(f"it has more than {LARGEST:,} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(
            f"it is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}"
        ) from None
    try:
        found = parse_json(text, unique=True)
    except json.JSONDecodeError:
        return parse_yaml(text)
    except Repeated as error:
        raise yaml.YAMLError(f"{error.args[0]!r} stands twice in a mapping") from None
    if not is_bounded(found):
        raise yaml.YAMLError(_TOO_MUCH)
    return found


def read_mapping(path: Path, hint: str = "") -> dict[str, Any]:
    """The keys and values of a file.

    Args:
        path: The file.
        hint: What to do if it cannot be used.

    Raises:
        DataError: If it is not there, is no YAML, or holds something else.
    """
    try:
        content = read_values(path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}", hint) from error
    except yaml.YAMLError as error:
        raise DataError(path, f"is no YAML: {error}", hint) from error
    if not isinstance(content, dict):
        raise DataError(path, "must hold keys and values", hint)
    return content
