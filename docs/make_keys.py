"""Make what comes from the settings classes and the registry: `make docs`.

- workflow/schemas/config.schema.yaml: the schema of a study, for editors;
- config/README.md, between the comments `<!-- keys -->` and `<!-- end of keys -->`: every key of a study;
- docs/suites.md, likewise: every suite.

A test compares what is made with what is committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from babelscope.complaints import bare, described, is_settings, members
from babelscope.settings import UNSET, default_of
from babelscope.study.config import StudySettings
from babelscope.study.suites import Family, Suite, families

ROOT = Path(__file__).resolve().parents[1]
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
    note = "# Made from the settings classes by `make docs`; not to be edited.\n"
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


def suite_table() -> str:
    """All suites as a Markdown table."""
    lines = [
        "| suite | parameters | steps | languages | licence | known faults | not confirmed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for file in families():
        for name, entry in file.content["suites"].items():
            # Suites that differ in a number only are one line.
            names = [name] if "each" not in entry else list(_names_of(file, name))
            lines.append(_table_line(name, [file.load(each) for each in names]))
    return "\n".join(lines)


def _names_of(file: Family, name: str) -> Iterator[str]:
    pattern = re.escape(name)
    for key in file.content["suites"][name]["each"]:
        pattern = pattern.replace(re.escape(f"{{{key}}}"), "(.+)")
    return (each for each in file.names if re.fullmatch(pattern, each))


def _table_line(name: str, suites: Sequence[Suite]) -> str:
    suite = suites[0]
    if suite.convert or suite.custom_code:
        state = suite.convert or "needs trust_remote_code, which is refused"
        steps = f"not loadable: {state}"
    else:
        steps = f"{len(suite.steps)}: {suite.steps[0]} to {suite.steps[-1]} ({suite.step_unit})"
    faults = "; ".join(
        f"{', '.join(map(str, fault.steps[:3])) or 'some'}{', ...' if len(fault.steps) > 3 else ''} "
        f"[{fault.kind}]({fault.source}) by {fault.evidence}"
        for fault in dict.fromkeys(fault for each in suites for fault in each.faults)
    )
    langs = f"{len(suite.languages)}" if len(suite.languages) > 6 else " ".join(suite.languages)
    if len(suites) > 1 and len({each.languages for each in suites}) > 1:
        langs = f"one of {len({each.languages for each in suites})}"
    label = f"`{name}`" + (f" ({len(suites)} suites)" if len(suites) > 1 else "")
    size = f"{suite.parameters / 1e6:,.0f}M" if suite.parameters else ""
    unconfirmed = ", ".join(suite.unconfirmed)
    cells = [label, size, steps, langs or suite.languages_note, suite.licence, faults, unconfirmed]
    return "| " + " | ".join(cells) + " |"


def pages() -> dict[Path, str]:
    """What is made, by its place."""
    made = {ROOT / "workflow/schemas/config.schema.yaml": schema_text()}
    for file, name, table in (
        ("config/README.md", "keys", keys_table()),
        ("docs/suites.md", "suites", suite_table()),
    ):
        before, rest = (ROOT / file).read_text(encoding="utf-8").split(f"<!-- {name} -->\n")
        _, after = rest.split(f"<!-- end of {name} -->")
        made[ROOT / file] = f"{before}<!-- {name} -->\n{table}\n<!-- end of {name} -->{after}"
    return made


def main() -> None:
    """Write all that is made."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
