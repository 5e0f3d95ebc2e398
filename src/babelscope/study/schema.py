"""What is made of the settings classes: the schema for editors, the tables of keys and suites in the docs.

``python -m babelscope.study.schema``, in a checkout, writes them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from babelscope.complaints import bare, described, is_settings, members
from babelscope.settings import UNSET, default_of
from babelscope.study.config import StudySettings
from babelscope.study.suites import suite_table

_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping"}
_LIMITS = {"gt": "more than {}", "ge": "{} or more", "lt": "less than {}", "le": "{} or less"}


class _ForEditors(GenerateJsonSchema):
    """Without null, which no setting takes in YAML, and with what the classes say of their fields."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        for pattern, rule in made.pop("patternProperties", {}).items():  # which would let other names pass
            made |= {"propertyNames": {"pattern": pattern}, "additionalProperties": rule}
        return made

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for name, rule in made["properties"].items():
            if rule.get("default") in (None, "", []) or isinstance(rule["default"], dict):
                rule.pop("default", None)
            rule["description"] = described(schema["cls"])[name]
        return made


def schema_text() -> str:
    """The JSON schema of a study, as YAML."""
    made = StudySettings.model_json_schema(schema_generator=_ForEditors)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A study of babelscope"}
    note = "# Made from the settings classes by `python -m babelscope.study.schema`; not to be edited.\n"
    return note + yaml.safe_dump({**made, **head}, sort_keys=False, width=110, allow_unicode=True)


def keys_table() -> str:
    """Every key of a study as a Markdown table."""
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cells) + " |" for cells in _rows(StudySettings, "")]
    return "\n".join(lines)


def _rows(kind: Any, where: str) -> Iterator[tuple[str, str, str, str]]:
    sources = members(kind) or {"": kind}
    owners: dict[str, dict[str, Any]] = {}
    for source, each in sources.items():
        for name in each.model_fields:
            owners.setdefault(name, {})[source] = each
    for name, having in owners.items():
        said = {source: described(each)[name] for source, each in having.items()}
        for_some = len(having) < len(sources) or len(set(said.values())) > 1
        texts = {text: [source for source in said if said[source] == text] for text in said.values()}
        meaning = " ".join(f"{', '.join(by)}: {text}" if for_some else text for text, by in texts.items())
        field = next(iter(having.values())).model_fields[name]
        unset = field.is_required() or UNSET in field.metadata or default_of(field) in (None, [], {})
        default = "" if unset or is_settings(bare(field.annotation)) else f"`{_plain(default_of(field))}`"
        if name == "source":
            value = ", ".join(f"`{source}`" for source in having)
        else:
            value = _words(field.annotation, field.metadata)
        yield f"`{where}{name}`", value, "required" if field.is_required() else default, meaning
        inner, below = bare(field.annotation), f"{where}{name}."
        if get_origin(inner) is dict:
            inner, below = bare(get_args(inner)[1]), f"{below}NAME."
        if all(is_settings(each) for each in members(inner).values() or [inner]):
            yield from _rows(inner, below)


def _words(kind: Any, notes: Any = ()) -> str:
    """A type in words, with its limits."""
    for part in get_args(kind):  # what is said inside of `... | None`
        notes = [*notes, *getattr(part, "__metadata__", ())]
    notes = [each for note in notes for each in getattr(note, "metadata", [note])]
    kind, union = bare(kind), members(kind)
    if union and not all(is_settings(each) for each in union.values()):
        return " or ".join(union)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind) if value)
    if get_origin(kind) is tuple:
        return "list"
    limits = [
        text.format(getattr(note, name))
        for note in notes
        for name, text in _LIMITS.items()
        if hasattr(note, name)
    ]
    return ", ".join([_KINDS.get(get_origin(kind) or kind, "mapping"), *limits])


def _plain(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def pages() -> dict[Path, str]:
    """What the command writes, by the place in a checkout."""
    tables = {
        Path("config/README.md"): ("keys", keys_table()),
        Path("docs/suites.md"): ("suites", suite_table()),
    }
    made = {Path("workflow/schemas/config.schema.yaml"): schema_text()}
    for path, (name, table) in tables.items():
        before, rest = path.read_text(encoding="utf-8").split(f"<!-- {name} -->\n")
        _, after = rest.split(f"<!-- end of {name} -->")
        made[path] = f"{before}<!-- {name} -->\n{table}\n<!-- end of {name} -->{after}"
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
