"""Read YAML, and check it against a JSON schema in words for the person who wrote it."""

from __future__ import annotations

import contextlib
import copy
import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema.validators
import yaml

from babelscope.errors import StudyError


def read_yaml(path: Path) -> Any:
    # Every job reads the study; libyaml, where it is there, does so six times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``own`` in their place, mappings merged; a key that is null goes."""
    merged = dict(base)
    for key, value in own.items():
        if value is None and key in base:
            del merged[key]
            continue
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def resolve(rule: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its reference merged in; what stands beside the reference wins."""
    if "$ref" not in rule:
        return dict(rule)
    target: Any = rules
    for part in rule["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**resolve(target, rules), **{k: v for k, v in rule.items() if k != "$ref"}}


def with_defaults(value: Any, rule: Mapping[str, Any], rules: Mapping[str, Any]) -> Any:
    rule = resolve(rule, rules)
    if not isinstance(value, dict):
        return value
    full = dict(value)
    for key, part in rule.get("properties", {}).items():
        part = resolve(part, rules)
        if key not in full and "default" in part:
            full[key] = copy.deepcopy(part["default"])
        if key in full:
            full[key] = with_defaults(full[key], part, rules)
    rest = rule.get("additionalProperties")
    if isinstance(rest, Mapping):
        for key in full:
            if key not in rule.get("properties", {}):
                full[key] = with_defaults(full[key], rest, rules)
    return full


# complaints


def _is_integer(_: Any, value: Any) -> bool:
    # JSON schema counts 5.0 as an integer; Python's range() and slices do not.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    # NaN passes every range check, since no comparison with it is true.
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


_extend: Any = jsonschema.validators.extend  # type: ignore[no-untyped-call, unused-ignore]
_Validator: Any = _extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)

PATH_SAFE = "letters, digits, - and _, beginning with a letter or digit"
PATH_SAFE_HINT = "the name is part of file names"
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def check_schema(config: Any, rules: Mapping[str, Any]) -> None:
    """Translate the schema's complaints into words for the person who wrote the config.

    Unknown keys come first: a misspelt key is the cause where another one is missing.
    """
    found: dict[str, tuple[bool, StudyError]] = {}
    for error in _Validator(rules).iter_errors(config):
        for complaint in _translate(error):
            unknown = error.validator == "additionalProperties"
            found.setdefault(complaint.key, (not unknown, complaint))
    if not found:
        return
    first, *others = [error for _, error in sorted(found.values(), key=lambda pair: pair[0])]
    if others:
        keys = ", ".join(f"`{error.key}`" for error in others[:5])
        more = f"{len(others)} more to repair: {keys}" + (", ..." if len(others) > 5 else "")
        hint = f"{first.hint}; {more}" if first.hint else more
        first = StudyError(first.key, first.given, first.allowed, hint)
    raise first


def _translate(error: Any) -> list[StudyError]:
    key, given, rule, kind = (
        _dotted(error.absolute_path),
        error.instance,
        error.schema,
        str(error.validator),
    )
    value: Any = error.validator_value
    about = str(rule.get("description", ""))
    inside = f"{key}." if key else ""
    if "propertyNames" in error.absolute_schema_path:
        # Here the instance is the key itself, and the path leads to its mapping.
        if rule.get("pattern") == "^[0-9]+$":
            return [StudyError(f"{inside}{given}", given, "a step, as a whole number")]
        return [StudyError(f"{inside}{given}", given, PATH_SAFE, name_hint(given))]
    if kind == "additionalProperties":
        known = list(rule.get("properties", {}))
        return [
            StudyError(
                f"{inside}{name}", given[name], "keys here are " + ", ".join(known),
                nearest(name, known),
            )
            for name in given
            if name not in known
        ]  # fmt: skip
    if kind == "required":
        parts = rule.get("properties", {})
        return [
            StudyError(
                f"{inside}{name}", None, "a value: it is required",
                parts.get(name, {}).get("description", ""),
            )
            for name in value
            if name not in given
        ]  # fmt: skip
    if kind == "oneOf":
        return _translate_choice(error, key, about)
    if kind == "uniqueItems":
        given = next(item for i, item in enumerate(given) if item in given[:i])
        return [StudyError(key, given, "each item once", "it stands in the list twice")]
    if kind == "type":
        return [StudyError(key, given, _type_name(value), _type_hint(given, value) or about)]
    if kind == "pattern":
        return [StudyError(key, given, PATH_SAFE, PATH_SAFE_HINT)]
    if kind == "enum":
        return [StudyError(key, given, ", ".join(value), nearest(given, value) or about)]
    limits = {
        "minimum": f"{value} or more",
        "maximum": f"{value} or less",
        "exclusiveMinimum": f"more than {value}",
        "exclusiveMaximum": f"less than {value}",
        "minItems": "at least one item" if value == 1 else f"{value} items or more",
        "maxItems": f"{value} items or fewer",
        "minProperties": "at least one entry",
    }
    allowed = f"a list with {value['const']}" if kind == "contains" else limits[kind]
    return [StudyError(key, given, allowed, about)]


def _translate_choice(error: Any, key: str, about: str) -> list[StudyError]:
    """Complaints about the branch of a ``oneOf`` that was meant, judged by the value's type."""
    if all("required" in branch for branch in error.validator_value):
        names = [branch["required"][0] for branch in error.validator_value]
        given = {name: error.instance[name] for name in names if name in error.instance}
        return [StudyError(key, given, "exactly one of " + ", ".join(names), about)]
    branches: dict[Any, list[Any]] = {}
    for part in error.context:
        branches.setdefault(part.schema_path[0], []).append(part)
    types = [
        part.validator_value
        for parts in branches.values()
        for part in parts
        if part.validator == "type" and not part.path
    ]
    meant = [
        parts
        for parts in branches.values()
        if not any(part.validator == "type" and not part.path for part in parts)
    ]
    if len(meant) == 1:
        return [complaint for part in meant[0] for complaint in _translate(part)]
    return [StudyError(key, error.instance, _type_name(types), about)]


def _type_name(kinds: str | list[str]) -> str:
    return " or ".join(_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _type_hint(given: Any, kind: str | list[str]) -> str:
    """The traps of YAML: empty values, `no` for Norwegian, 1e-3 without a point."""
    if given is None:
        return "nothing stands there; give a value, or remove the key for its default"
    if kind == "string":
        return name_hint(given)
    if kind in ("number", "integer") and isinstance(given, str):
        with contextlib.suppress(ValueError):
            float(given)
            return "YAML reads it as text: write it without quotes, and 1e-3 as 1.0e-3"
    if isinstance(given, float) and not math.isfinite(given):
        return "it must be finite"
    return ""


def name_hint(given: Any) -> str:
    if isinstance(given, bool):
        return "YAML reads no, yes, on and off as true or false: put it in quotes"
    if isinstance(given, int | float):
        return "YAML reads it as a number: put it in quotes"
    return PATH_SAFE_HINT if isinstance(given, str) else ""


def _dotted(path: Iterable[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def nearest(given: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    found = difflib.get_close_matches(str(given), list(known), n=1, cutoff=cutoff)
    return f"did you mean `{found[0]}`?" if found else ""
