"""What is wrong with settings, in words for the person who wrote them: key, value, allowed, hint."""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from babelscope.errors import StudyError

PATH_SAFE = "letters, digits, - and _, beginning with a letter or digit"
PATH_SAFE_HINT = "the name is part of file names"
#: For `re.fullmatch`, and for schemas: to `re.match`, $ would also be a place before a line end.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]*$"

#: Stands for an empty value of YAML, which no setting takes; None of Python is a setting that is not given.
NOTHING = object()

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_LIMITS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "too_long": "{max_length} items or fewer",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def first_complaint(error: ValidationError, kind: type[BaseModel], where: str = "") -> StudyError:
    """The complaint to begin with; its hint counts the others.

    Unknown keys come first: a misspelt key is the cause where another one is missing. Keys of another source
    come last.

    Args:
        error: What pydantic found.
        kind: The class of settings.
        where: Key of the settings, such as ``extraction``.
    """
    parts: list[Mapping[str, Any]] = [dict(part) for part in error.errors(include_url=False)]
    lists_of_wrong_items = {part["loc"][:end] for part in parts for end in range(len(part["loc"]))}
    found: dict[str, tuple[int, StudyError]] = {}
    for part in parts:
        if part["type"] == "too_short" and part["loc"] in lists_of_wrong_items:
            continue  # pydantic does not count the items that it refuses
        place = _Place(kind, part["loc"], where)
        rank = 1 if part["type"] != "extra_forbidden" else 2 * bool(place.owners)
        complaint = _translate(part, place)
        found.setdefault(complaint.key, (rank, complaint))
    first, *others = [complaint for _, complaint in sorted(found.values(), key=lambda pair: pair[0])]
    if others:
        keys = ", ".join(f"`{other.key}`" for other in others[:5])
        more = f"{len(others)} more to repair: {keys}" + (", ..." if len(others) > 5 else "")
        hint = f"{first.hint}; {more}" if first.hint else more
        first = StudyError(first.key, first.given, first.allowed, hint)
    return first


def _translate(part: Mapping[str, Any], place: _Place) -> StudyError:
    type_, ctx, about = part["type"], part.get("ctx", {}), place.about
    given = None if part["input"] is NOTHING else part["input"]
    cause = ctx.get("error")
    if isinstance(cause, StudyError):  # raised by a validator, with a key relative to its own place
        key = ".".join(filter(None, [place.key, cause.key]))
        return StudyError(key, cause.given, cause.allowed, cause.hint)
    if part["loc"][-1:] == ("[key]",):
        allowed, hint = PATH_SAFE, name_hint(given)
    elif type_ == "extra_forbidden" and place.owners:
        allowed = f"nothing: it is for source {' or '.join(place.owners)}"
        where = place.key.removesuffix(f".{place.name}")
        hint = f"{where}.source is {place.source}; remove `{place.name}`, or change that"
    elif type_ == "extra_forbidden":
        allowed = "keys here are " + ", ".join(place.keys)
        now = place.renamed.get(place.name)
        hint = f"it is `{now}` now" if now else nearest(place.name, place.keys)
    elif type_ == "missing" and isinstance(part["loc"][-1], int):  # of a list of fixed length
        place.key, hint = place.key.rpartition("[")[0], ""
        allowed = f"{part['loc'][-1] + 1} items or more"
    elif type_ == "missing":
        noun = "a path" if place.name.endswith("path") else "a value"
        reason = f"source {place.source} needs it" if place.source else "it is required"
        given, allowed, hint = None, f"{noun}: {reason}", about
    elif ctx.get("discriminator") == "'source'":
        place.key, given = f"{place.key}.source", part["input"].get("source")
        names = _quoted(ctx.get("expected_tags", ""))
        allowed, hint = ", ".join(names) or "a value: it is required", nearest(given, names)
    elif type_ == "union_tag_invalid":
        allowed, hint = " or ".join(_quoted(ctx["expected_tags"])), _type_hint(given, "")
    elif type_ == "literal_error":
        names = _quoted(ctx["expected"])
        allowed, hint = ", ".join(names), nearest(given, names)
    elif type_ in _TYPES:
        allowed, hint = _TYPES[type_], _type_hint(given, _TYPES[type_])
    elif ctx.get("pattern") == NAME_PATTERN:
        allowed, hint = PATH_SAFE, PATH_SAFE_HINT
    elif type_ == "too_short":
        one = "at least one entry" if isinstance(given, Mapping) else "at least one item"
        allowed, hint = one if ctx["min_length"] == 1 else f"{ctx['min_length']} items or more", ""
    else:
        limits = {name: f"{value:g}" if isinstance(value, float) else value for name, value in ctx.items()}
        allowed, hint = _LIMITS.get(type_, part["msg"]).format(**limits), _share_hint(given, ctx)
    return StudyError(place.key, given, allowed, hint if type_ == "extra_forbidden" else hint or about)


_TRUTHS = ("true", "false", "yes", "no", "on", "off")


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


class _Place:
    """Where an error is: its key, what is said about it there, and the keys that are known there.

    Attributes:
        name: The last part of the key.
        source: The source here, where not all need this key; empty if all do.
        renamed: Present names of keys there, by their names of before.
        owners: The sources that know this key.
    """

    def __init__(self, kind: Any, loc: Sequence[Any], where: str) -> None:
        self.key, self.name, self.about, self.source = where, "", "", ""
        self.keys: list[str] = []
        self.renamed: Mapping[str, str] = {}
        self.owners: list[str] = []
        variants: dict[str, Any] = {}  # where the part before was a source: the classes of all sources
        for part in loc:
            if part == "[key]":
                break
            if tagged := members(kind):
                kind, self.source = tagged[part], part
                variants = {tag: each for tag, each in tagged.items() if is_settings(each)}
                continue
            self.name, kind = str(part), bare(kind)
            text = f"[{part}]" if isinstance(part, int) and get_origin(kind) is tuple else f".{part}"
            self.key = f"{self.key}{text}".removeprefix(".")
            if is_settings(kind):
                self.keys, self.about = list(kind.model_fields), described(kind).get(self.name, "")
                self.renamed = getattr(kind, "renamed", {})
                kind = kind.model_fields[self.name].annotation if self.name in self.keys else Any
                self.owners = [tag for tag, each in variants.items() if self.name in each.model_fields]
                if len(self.owners) == len(variants):
                    self.source = ""
            else:
                kind = get_args(kind)[1 if get_origin(kind) is dict else 0]
            variants = {}


@cache
def described(kind: type[BaseModel]) -> dict[str, str]:
    """What the source says of each field, in the string below it; that of a class for its ``source``.

    Read when it is asked for: pydantic would read it when classes are made, in every process.
    """
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each is BaseModel or not issubclass(each, BaseModel):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in itertools.pairwise(body.body):
            said = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and text.value.value
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and said:
                found[field.target.id] = " ".join(str(said).split())
    if "source" in kind.model_fields:
        found["source"] = inspect.getdoc(kind) or ""
    return found


def is_settings(kind: Any) -> bool:
    """Whether a type is a class of settings."""
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def bare(kind: Any) -> Any:
    """A type without what is said about it, and without None."""
    while True:
        some = [part for part in get_args(kind) if part is not type(None)]
        if get_origin(kind) is Annotated or (get_origin(kind) in (Union, UnionType) and len(some) == 1):
            kind = some[0]
        else:
            return kind


def members(kind: Any) -> dict[str, Any]:
    """Types of a union by their tags, which are sources or kinds of value; empty if it is none."""
    kind = bare(kind)
    found: dict[str, Any] = {}
    for member in get_args(kind) if get_origin(kind) in (Union, UnionType) else ():
        tags = [note.tag for note in getattr(member, "__metadata__", ()) if isinstance(note, Tag)]
        found[tags[0] if tags else get_args(member.model_fields["source"].annotation)[0]] = bare(member)
    return found


def _share_hint(given: Any, ctx: Mapping[str, Any]) -> str:
    """What to do about a share that is given in per cent."""
    most = ctx.get("le", ctx.get("lt"))
    if isinstance(most, int | float) and most <= 1 and isinstance(given, int | float) and 1 < given <= 100:
        return f"it is a share of 1: {given:g} % is {given / 100:g}"
    return ""


def _type_hint(given: Any, kind: str) -> str:
    """The traps of YAML: empty values, `no` for Norwegian, 1e-3 without a point."""
    if given is None:
        return "nothing stands there; give a value, or remove the key for its default"
    if kind == "text":
        return name_hint(given)
    if kind == "true or false" and isinstance(given, str) and given.lower() in _TRUTHS:
        named = str(given.lower() in ("true", "yes", "on"))
        return (
            f"it is text here: write it without quotes; in `--config` write {named} by itself, "
            "since what stands inside of a mapping is text there: give that in a file"
        )
    if kind in ("a number", "a whole number") and isinstance(given, str):
        with contextlib.suppress(ValueError):
            float(given)
            return (
                "YAML reads it as text: write it without quotes, and 1e-3 as 1.0e-3; "
                "in `--config` what stands inside of a mapping is text, so give it in a file"
            )
    if isinstance(given, float) and not math.isfinite(given):
        return "it must be finite"
    return ""


def name_hint(given: Any) -> str:
    """What to do about a value that is no name."""
    if isinstance(given, bool):
        return "YAML reads no, yes, on and off as true or false: put it in quotes"
    if isinstance(given, int | float):
        return "YAML reads it as a number: put it in quotes"
    return PATH_SAFE_HINT if isinstance(given, str) else ""


def nearest(given: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that was probably meant, as a question; empty if none is near."""
    found = difflib.get_close_matches(str(given), list(known), n=1, cutoff=cutoff)
    return f"did you mean `{found[0]}`?" if found else ""
