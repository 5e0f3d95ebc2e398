"""Make the parts of the documentation that come from the code: `make docs`.

- docs/images/architecture.svg: the rooms of the package, and which imports which;
- docs/architecture.md, between the comments `<!-- made: NAME -->` and `<!-- end -->`: the same as a table,
  and the stages of the pipeline;
- results/README.md: what lies where;
- docs/figures.md: how every figure is read;
- docs/commands.md: what every subcommand says of itself;
- src/babelscope/columns.yaml: what every column of a table means, as docs/formats.md has it, for notebooks.

Layers and colours are those of the import rules in `.importlinter`; what a room is for is read from the table
of rooms in docs/architecture.md. A test compares what is made with what is committed.
"""

from __future__ import annotations

import configparser
import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import grimp
import yaml

from babelscope.cli import subcommands
from babelscope.ops.layout import results_page
from babelscope.ops.stages import STAGES
from babelscope.report.captions import load_captions, load_sections

# Help is as wide as a page here, whatever the terminal.
os.environ["COLUMNS"] = "100"

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/architecture.md"
PICTURE = ROOT / "docs/images/architecture.svg"
RESULTS = ROOT / "results/README.md"
FIGURES, COMMANDS = ROOT / "docs/figures.md", ROOT / "docs/commands.md"
FORMATS, COLUMNS = ROOT / "docs/formats.md", ROOT / "src/babelscope/columns.yaml"
#: What is no room of the package: rules and scripts, which call it.
WORKFLOW = "workflow"
COMMAND = "make docs"


# ---------------------------------------------------------------------------- what the code says


@cache
def layers() -> list[list[str]]:
    """Rooms from top to bottom, as the import rules have them; the workflow stands above all."""
    contract = _rules()["importlinter:contract:layers"]
    rows = [re.split(r"\s*[|:]\s*", line) for line in contract["layers"].split("\n") if line]
    return [[WORKFLOW, *rows[0]], *rows[1:]]


@cache
def light_rooms() -> frozenset[str]:
    """Rooms whose imports never reach torch or transformers, as the import rules have them."""
    modules = _rules()["importlinter:contract:light"]["source_modules"].split()
    return frozenset(module.removeprefix("babelscope.") for module in modules)


def _rules() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter", encoding="utf-8")
    return parser


@cache
def imports() -> frozenset[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second, anywhere, also inside functions."""
    graph = grimp.build_graph("babelscope", cache_dir=None)
    found = {
        (_room(module), _room(other))
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
    }
    for file in sorted((ROOT / "workflow").rglob("*.smk")) + sorted((ROOT / "workflow/scripts").glob("*.py")):
        for name in re.findall(r"^\s*(?:from|import) babelscope\.(\w+)", file.read_text("utf-8"), re.M):
            found.add((WORKFLOW, name))
    return frozenset((one, other) for one, other in found if one and other and one != other)


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def arrows() -> list[tuple[str, str]]:
    """The imports that are drawn: those that do not follow from two or more others."""
    below: dict[str, set[str]] = {}
    for row in reversed(layers()):
        for room in row:
            direct = {other for one, other in imports() if one == room}
            below[room] = direct.union(*(below.get(other, set()) for other in direct))
    drawn = []
    for one, other in imports():
        between = {middle for start, middle in imports() if start == one and middle != other}
        if not any(other in below[middle] for middle in between):
            drawn.append((one, other))
    order = [room for row in layers() for room in row]
    return sorted(drawn, key=lambda arrow: (order.index(arrow[0]), order.index(arrow[1])))


def n_lines(room: str) -> int:
    """Lines of Python in a room, to tens; of the workflow also its rules."""
    if room == WORKFLOW:
        files = [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk"), *(ROOT / "workflow").rglob("*.py")]
    else:
        place = ROOT / "src/babelscope" / room
        files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return round(sum(len(file.read_text("utf-8").splitlines()) for file in files), -1)


@cache
def purposes() -> dict[str, str]:
    """What each room is for: the second column of the table of rooms."""
    table = PAGE.read_text("utf-8").partition("## The rooms")[2].partition("<!-- made")[0]
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \| (.+?) \|", table, re.M)
    return {name: words.replace("`", "") for name, words in rows}


# ------------------------------------------------------------------------------------- tables


def import_table() -> str:
    """A dot where the room of the row imports that of the column: none stands left of the diagonal."""
    rooms = [room for row in layers() for room in row]
    columns = [room for room in rooms if any(other == room for _, other in imports())]
    lines = ["| | " + " | ".join(f"`{room}`" for room in columns) + " |"]
    lines.append("| --- |" + " :-: |" * len(columns))
    for room in rooms:
        marks = ("●" if (room, other) in imports() else "" for other in columns)
        lines.append(f"| `{room}` | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def stage_table() -> str:
    """A row per stage."""
    lines = ["| stage (rule, script) | one job per | writes | settings that it reads | runs a model |"]
    lines.append("| --- | --- | --- | --- | :-: |")
    for name, stage in STAGES.items():
        axes = " ".join(f"`{{{wildcard}}}`" for wildcard in stage.axes.wildcards) or "study"
        files = ", ".join(f"`{pattern}`" for pattern in stage.writes)
        reads = ", ".join(f"`{key}`" for key in stage.reads)
        lines.append(f"| `{name}` | {axes} | {files} | {reads} | {'●' if stage.runs_a_model else ''} |")
    return "\n".join(lines)


def page() -> str:
    """docs/architecture.md with its made parts as they should be."""
    text = PAGE.read_text("utf-8")
    for name, made in (("imports", import_table()), ("stages", stage_table())):
        between = re.compile(rf"(<!-- made: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert between.search(text), f"docs/architecture.md has no part {name}"
        text = between.sub(lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text)
    return text


def columns() -> str:
    """Per table of the report, and of experts, its columns: name, type, meaning."""
    page = FORMATS.read_text("utf-8")
    read = r"(?:tables/(?=\w+\.)|(?=experts/))(\w+)"
    sections = re.findall(rf"^### `{read}[^`]*`\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    usual = _usual_meanings(page)
    found = {
        name: [[each, kind, _meaning(said, usual.get(each, ""))] for each, kind, said in _columns_of(text)]
        for name, text in sections
    }
    for listed in found.values():
        for column in listed:
            column[2] = _resolved(found, column[0], column[2])
    head = f"# Made of docs/formats.md by `{COMMAND}`.\n"
    return head + yaml.safe_dump(found, allow_unicode=True, sort_keys=False, width=110)


def _resolved(tables: dict[str, list[list[str]]], column: str, meaning: str) -> str:
    """A meaning that is that of another table, in its words."""
    other = re.match(r"as in `tables/(\w+)\.\w+`", meaning)
    if not other:
        return meaning
    (found,) = (said for name, _, said in tables[other[1]] if name == column)
    return _resolved(tables, column, found) + meaning[other.end() :]


def _usual_meanings(page: str) -> dict[str, str]:
    """What a column means where its table says nothing of it."""
    table = page.partition("it is this:\n")[2].partition("### ")[0]
    rows = re.findall(r"^\| (`.*`) \| (.+) \|$", table, re.M)
    return {name: meaning for names, meaning in rows for name in re.findall(r"`([^`]+)`", names)}


def _meaning(said: str, usual: str) -> str:
    """What a table says of a column; what it usually means goes before if that is only when it is empty."""
    only_when_empty = not said or said.startswith("MAY be empty")
    return "; ".join(filter(None, [usual, said])) if only_when_empty else said


def _columns_of(text: str) -> Iterator[tuple[str, str, str]]:
    for row in re.findall(r"^\| (`.*) ?\|$", text, re.M):
        names, kinds, meaning = (field.strip() for field in row.split(" |", 2))
        named, typed = re.findall(r"`([^`]+)`", names), kinds.split(", ")
        for name, kind in zip(named, typed * len(named) if len(typed) == 1 else typed, strict=True):
            yield name, kind, meaning


def figures() -> str:
    """A section per figure: how it is read, what it is drawn from, how to get it."""
    parts = [
        "# Figures\n\n"
        + textwrap.fill(
            "How to read each figure of a report, in its order. "
            '`bs.open_study("results/demo").figure("NAME")` draws one from the tables, with `step=512` '
            "as it was then; `.table(...)` has its numbers, `.columns(...)` what they mean. Lines of one "
            "model are means over its pre-training seeds; bands are intervals of 95 %.",
            110,
            break_on_hyphens=False,
        )
        + "\n"
    ]
    for heading, title in {"overview": "Overview", **load_sections()}.items():
        own = [caption for caption in load_captions().values() if caption.section == heading]
        if own:
            parts.append(f"## {title}\n")
        for caption in own:
            tables = ", ".join(f"`{name}`" for name in caption.tables)
            said = textwrap.fill(f"{caption.read.strip()} Drawn from {tables}.", 110)
            made = textwrap.fill(f"*Computed:* {caption.formula.strip()}", 110, break_on_hyphens=False)
            parts.append(f"### `{caption.name}`: {caption.title}\n\n{said}\n\n{made}\n")
    return "\n".join(parts)


def report_captions() -> dict[Path, str]:
    """What Snakemake's own report says under each figure: a file for each, since its captions are files."""
    return {
        ROOT / f"workflow/report/figures/{name}.rst": textwrap.fill(caption.read.strip(), 110) + "\n"
        for name, caption in load_captions().items()
    }


def commands() -> str:
    """What every subcommand of ``babelscope`` says of itself."""
    head = "Beside Snakemake, which runs a study: what helps to write, size and mend one."
    parts = [f"# The command `babelscope`\n\n{head}\n"]
    for name, parser in subcommands().items():
        parts.append(f"## `babelscope {name}`\n\n```\n{parser.format_help().strip()}\n```\n")
    return "\n".join(parts)


# ------------------------------------------------------------------------------------ picture

_WIDTH, _MARGIN, _ROW, _BOX, _GAP = 1040, 28, 92, 58, 16
_TOP = 64
_INK, _FAINT, _PAPER = "#1f2933", "#616e7c", "#fbfaf7"
_FILLS = {
    "workflow": ("#e8e4f3", "#7c6bb0"),
    "light": ("#dcecee", "#3d8a92"),
    "model": ("#f7e3cf", "#c07a2c"),
}


@dataclass(frozen=True)
class Box:
    """A room in the picture."""

    room: str
    row: int
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def boxes() -> dict[str, Box]:
    """Where rooms stand: a row per layer, wider with their lines, in the middle."""
    placed = {}
    for at, row in enumerate(layers()):
        widths = [min(420.0, 160 + 0.07 * n_lines(room)) for room in row]
        x = (_WIDTH - sum(widths) - _GAP * (len(row) - 1)) / 2
        for room, width in zip(row, widths, strict=True):
            placed[room] = Box(room, at, x, _TOP + at * _ROW, width)
            x += width + _GAP
    return placed


def picture() -> str:
    """The SVG; it has its own paper, so that it reads on light and on dark pages."""
    height = _TOP + len(layers()) * _ROW + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        "<title>The rooms of babelscope and what they import</title>",
        "<desc>" + "; ".join(f"{one} imports {other}" for one, other in arrows()) + "</desc>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0.8 L7.4 4 L0 7.2 z" fill="{_FAINT}"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{height}" rx="14" fill="{_PAPER}"/>',
        *_legend(height),
        *_paths(),
        *(_box(box) for box in boxes().values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(height: float) -> Iterator[str]:
    words = {
        "workflow": "rules and scripts",
        "light": "imports neither torch nor transformers",
        "model": "may run a model",
    }
    x = float(_MARGIN)
    for kind, said in words.items():
        fill, edge = _FILLS[kind]
        yield f'<rect x="{x}" y="22" width="16" height="16" rx="4" fill="{fill}" stroke="{edge}"/>'
        yield f'<text x="{x + 24}" y="35" font-size="13" fill="{_INK}">{said}</text>'
        x += 50 + 6.6 * len(said)
    said = "An arrow points to what is imported; one that follows from two others is not drawn."
    yield f'<text x="{_MARGIN}" y="{height - 18}" font-size="12.5" fill="{_FAINT}">{said}</text>'


def _box(box: Box) -> str:
    room = box.room
    kind = "workflow" if room == WORKFLOW else "model" if runs_a_model(room) else "light"
    fill, edge = _FILLS[kind]
    words = textwrap.wrap(purposes().get(room, ""), width=int((box.width - 22) / 5.9))[:2]
    said = "".join(
        f'<text x="{box.x + 11:.1f}" y="{box.y + 35 + 14 * at:.1f}" font-size="11" fill="{_INK}">'
        f"{escape(line)}</text>"
        for at, line in enumerate(words)
    )
    return (
        f'<g id="{room}"><rect x="{box.x:.1f}" y="{box.y}" width="{box.width:.1f}" height="{_BOX}" rx="8" '
        f'fill="{fill}" stroke="{edge}" stroke-width="1.4"/>'
        f'<text x="{box.x + 11:.1f}" y="{box.y + 19}" font-size="14" font-weight="600" fill="{_INK}">'
        f'{room}</text><text x="{box.x + box.width - 11:.1f}" y="{box.y + 19}" font-size="11" '
        f'text-anchor="end" fill="{_FAINT}">{n_lines(room):,} lines</text>{said}</g>'
    )


def runs_a_model(room: str) -> bool:
    """Whether torch or transformers is reached from a room."""
    return room not in light_rooms() and bool(_reaching() & {room})


@cache
def _reaching() -> frozenset[str]:
    graph = grimp.build_graph("babelscope", include_external_packages=True, cache_dir=None)
    heavy = {name for name in ("torch", "transformers") if name in graph.modules}
    return frozenset(_room(module) for name in heavy for module in graph.find_downstream_modules(name))


def _paths() -> Iterator[str]:
    """Arrows: straight to the next row, else around the boxes, each in a lane of its own."""
    places = boxes()
    lanes = {"left": 0, "right": 0}
    for one, other in arrows():
        start, end = places[one], places[other]
        if end.row == start.row + 1:
            way = _straight(start, end)
        else:
            free = [side for side in lanes if _outermost(start, side)]
            side = min(free, key=lambda name: (not _outermost(end, name), lanes[name]))
            way = _around(start, end, side, lanes[side])
            lanes[side] += 1
        yield (
            f'<path class="arrow" d="{way}" fill="none" stroke="{_FAINT}" stroke-width="1.5" '
            f'marker-end="url(#tip)"><title>{one} imports {other}</title></path>'
        )


def _outermost(box: Box, side: str) -> bool:
    """Whether nothing stands beside a box on this side."""
    return layers()[box.row][0 if side == "left" else -1] == box.room


def _straight(start: Box, end: Box) -> str:
    """Down, upright where one stands above the other."""
    from_x = min(max(end.middle, start.x + 14), start.x + start.width - 14)
    to_x = min(max(from_x, end.x + 14), end.x + end.width - 14)
    return f"M{from_x:.1f} {start.y + _BOX} L{to_x:.1f} {end.y - 1}"


def _around(start: Box, end: Box, side: str, lane: int) -> str:
    """Out at the side, down, and in again: at the side, or from above where another box is in the way."""
    sign = 1 if side == "right" else -1
    ends = [sign * (box.middle + sign * box.width / 2) for box in boxes().values()
            if start.row <= box.row <= end.row]  # fmt: skip
    edge = sign * (max(ends) + 14 + 11 * lane)
    from_x, to_x = (box.middle + sign * box.width / 2 for box in (start, end))
    out, back = start.y + 18 + 4 * (lane % 6), end.y + 16 + 5 * (lane % 6)
    tail = f"L{to_x + sign:.1f} {back}"
    if not _outermost(end, side):
        back, to_x = end.y - 19 + 3 * (lane % 3), end.middle + sign * 12 * lane
        tail = (
            f"L{to_x + 8 * sign:.1f} {back} Q{to_x:.1f} {back} {to_x:.1f} {back + 8} L{to_x:.1f} {end.y - 1}"
        )
    return (
        f"M{from_x:.1f} {out} L{edge - 8 * sign:.1f} {out} Q{edge:.1f} {out} {edge:.1f} {out + 8} "
        f"L{edge:.1f} {back - 8} Q{edge:.1f} {back} {edge - 8 * sign:.1f} {back} {tail}"
    )


def main() -> None:
    """Write all that is made."""
    made = {
        PAGE: page(),
        PICTURE: picture(),
        RESULTS: results_page(),
        FIGURES: figures(),
        COMMANDS: commands(),
        COLUMNS: columns(),
        **report_captions(),
    }
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
