"""What every class of settings shares: it is strict, frozen, and refuses a key that it does not know.

A settings class is the only home of a default, a range and a description; the schema for editors and the
tables of keys are made of it. Light on purpose: every Snakemake process reads these classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    model_validator,
)
from pydantic.fields import FieldInfo

from babelscope.complaints import NAME_PATTERN, NOTHING, first_complaint
from babelscope.errors import StudyError


class Settings(BaseModel):
    """Base of all settings.

    Raises:
        StudyError: If a value is wrong: the key, the value given, what is allowed and a hint.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    section: ClassVar[str] = ""
    """Where they stand in a study."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Present names of keys by their names in earlier versions."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise first_complaint(error, type(self), self.section) from None

    # Tells pydantic not to call it for settings inside of others, whose errors are gathered.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_yaml(cls, values: Any, where: str = "") -> Self:
        """Settings as read from YAML, where an empty value is an error.

        Args:
            values: The mapping.
            where: Its key, for errors.
        """
        try:
            return cls.model_validate(values, context={"yaml": True})
        except ValidationError as error:
            raise first_complaint(error, cls, where) from None

    @model_validator(mode="before")
    @classmethod
    def _mark_nothing(cls, values: Any, info: ValidationInfo) -> Any:
        if info.context and isinstance(values, dict):
            return {key: NOTHING if value is None else value for key, value in values.items()}
        return values


def _each_once(items: tuple[Any, ...]) -> tuple[Any, ...]:
    for at, item in enumerate(items):
        if item in items[:at]:
            raise StudyError("", item, "each item once", "it stands in the list twice")
    return items


def _step_key(key: Any) -> Any:
    """A step as the key of a mapping; YAML has it as a number or in quotes."""
    if isinstance(key, str) and not key.isdecimal():
        raise StudyError("", key, "a step, as a whole number")
    return int(key) if isinstance(key, str) else key


def kind_of(value: Any) -> str:
    """The kind of a value in words, as a tag that tells the members of a union apart."""
    kinds = {str: "text", int: "a whole number", list: "a list", tuple: "a list", dict: "a mapping"}
    return kinds.get(type(value), "nothing else")


# YAML has lists where we keep tuples.
LIST = Strict(False)
EACH_ONCE = (AfterValidator(_each_once), Field(json_schema_extra={"uniqueItems": True}))
# 1 stays 1 and does not become 1.0: parameters of rules and fingerprints of runs are compared as written.
AS_GIVEN = WrapValidator(lambda value, handler: (handler(value), value)[1])
UNSET = "unset"
"""Marks a key whose default says that it is not given."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Names = Annotated[tuple[Name, ...], LIST, Field(min_length=1), *EACH_ONCE]
Text = Annotated[str, UNSET]
Count = Annotated[int, Field(ge=1)]
Number = Annotated[float, AS_GIVEN]
Positive = Annotated[float, Field(gt=0), AS_GIVEN]
Share = Annotated[float, Field(ge=0, le=1), AS_GIVEN]
Step = Annotated[int, Field(ge=0)]
StepKey = Annotated[int, BeforeValidator(_step_key)]


def _plain_fields(template: str) -> str:
    """A template whose fields take at most a width, since a wide one would fill the memory."""
    try:
        fields = [
            (name, spec or "", how) for _, name, spec, how in Formatter().parse(template) if name is not None
        ]
    except ValueError:
        return template  # refused where it is filled in, with what may stand in braces there
    for name, spec, how in fields:
        if how or not re.fullmatch(r"(0?[0-9]{1,2}d?)?", spec or ""):
            hint = f"`{name}` has the format `{spec or how}`"
            raise StudyError("", template, "fields like {step}, or {step:07d} with a width up to 99", hint)
    return template


Template = Annotated[str, AfterValidator(_plain_fields)]
"""A path with fields in braces."""


def default_of(field: FieldInfo) -> Any:
    """A field's default as YAML would have it."""
    return plain(field.get_default(call_default_factory=True))


def plain(default: Any) -> Any:
    """A value as YAML would have it."""
    if isinstance(default, BaseModel):
        return default.model_dump(exclude_unset=True)
    return list(default) if isinstance(default, tuple) else default
