"""Documentation that is made from the code, or names what is in it, says what is there today."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from babelscope.ops.layout import CONSTRAINTS, results_page
from babelscope.ops.stages import STAGES
from babelscope.report.captions import load_captions

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def load_maker():
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "make.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_make"] = module
    spec.loader.exec_module(module)
    return module


make = load_maker()
RENEW = f"renew it with `{make.COMMAND}`"
PICTURE = make.PICTURE.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------- what is made


def test_the_page_of_results_says_what_lies_where():
    assert make.RESULTS.read_text(encoding="utf-8") == results_page(), f"results/README.md: {RENEW}"
    assert all(f"`{pattern}`" in results_page() for stage in STAGES.values() for pattern in stage.writes)


def test_the_page_of_figures_has_all():
    assert make.FIGURES.read_text(encoding="utf-8") == make.figures(), f"docs/figures.md: {RENEW}"
    assert all(f"### `{name}`" in make.figures() for name in load_captions())


def test_snakemakes_own_report_has_the_captions_of_the_figures():
    captions = make.report_captions()
    for path, text in captions.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: {RENEW}"
    assert set((ROOT / "workflow/report/figures").iterdir()) == set(captions)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help anew in every version")
def test_the_page_of_commands_has_all():
    assert make.COMMANDS.read_text(encoding="utf-8") == make.commands(), f"docs/commands.md: {RENEW}"


def test_columns_mean_what_the_page_of_formats_says():
    assert make.COLUMNS.read_text(encoding="utf-8") == make.columns(), f"columns.yaml: {RENEW}"


def test_every_column_has_a_meaning():
    for table, columns in make.yaml.safe_load(make.columns()).items():
        for name, _, meaning in columns:
            assert len(meaning) > 3, f"docs/formats.md: {table}, {name}"
            assert not meaning.startswith("MAY"), f"docs/formats.md: {table}, {name}"
            # It is read without the page, and without the rows above.
            assert not re.search(r"\bas (in `?tables/|in the|above|below)", meaning), (
                f"{table}, {name}: {meaning}"
            )


def test_the_tables_of_the_architecture_are_those_of_the_code():
    assert make.PAGE.read_text(encoding="utf-8") == make.page(), f"docs/architecture.md: {RENEW}"


def test_the_picture_has_the_rooms_and_the_arrows_of_the_code():
    drawn = {tuple(pair) for pair in re.findall(r"<title>(\w+) imports (\w+)</title>", PICTURE)}
    assert drawn == set(make.arrows()), f"docs/images/architecture.svg: {RENEW}"
    assert set(re.findall(r'<g id="(\w+)">', PICTURE)) == {room for row in make.layers() for room in row}


def test_the_sizes_in_the_picture_are_about_right():
    """Not to the line: else every change would ask for a new picture."""
    said = re.findall(r'<g id="(\w+)">.*?>([\d,]+) lines<', PICTURE)
    assert len(said) == len(re.findall("<g id", PICTURE))
    for room, lines in said:
        real = make.n_lines(room)
        assert abs(int(lines.replace(",", "")) - real) <= max(60, 0.15 * real), f"{room}: {RENEW}"


def test_every_import_points_down_and_what_is_not_drawn_follows_from_what_is():
    row = {room: at for at, rooms in enumerate(make.layers()) for room in rooms}
    assert all(row[one] < row[other] for one, other in make.imports())
    reached = {room: set() for room in row}
    for room in sorted(row, key=row.get, reverse=True):
        for one, other in make.arrows():
            if one == room:
                reached[room] |= {other} | reached[other]
    assert all(other in reached[one] for one, other in make.imports())


def test_every_room_says_what_it_is_for():
    rooms = {path.stem for path in (ROOT / "src/babelscope").iterdir() if path.suffix in ("", ".py")}
    rooms -= {"__init__", "__pycache__", "py"}
    assert rooms | {"workflow"} == set(make.purposes())
    assert all(make.purposes().values())


# ------------------------------------------------------------------------- names that are there


def named():
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("architecture.md", "extend.md"))
    return sorted(set(re.findall(r"`([\w/]+\.(?:py|smk)):(\w+)`", text)))


def names_in(file: Path) -> set[str]:
    """Rules, or what a module defines at its top, imported names not among them."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".smk":
        return set(re.findall(r"^(?:rule|def) (\w+)", text, re.M))
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize(("file", "name"), named())
def test_what_a_walk_names_is_there(file, name):
    place = ROOT / file if (ROOT / file).exists() else ROOT / "src/babelscope" / file
    assert place.exists(), file
    assert name in names_in(place)


def test_a_walk_names_much():
    assert len(named()) > 40


@pytest.mark.parametrize("page", ["architecture.md", "wildcards.md", "extend.md", "formats.md"])
def test_files_that_a_page_names_are_there(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text):
        assert (DOCS / target).exists(), target
    for path in set(
        re.findall(
            r"`(?!models/m/)((?:workflow|profiles|ops|study|report|models|io|text|analysis|config)/[\w/]*[\w.]*)`",
            text,
        )
    ):
        assert (ROOT / path).exists() or (ROOT / "src/babelscope" / path).exists(), path


# ------------------------------------------------------------------------------------ wildcards


def test_every_wildcard_is_explained():
    page = (DOCS / "wildcards.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `\{(\w+)\}` \|", page, re.M))
    used = {name for stage in STAGES.values() for name in stage.axes.wildcards}
    used |= {
        name
        for stage in STAGES.values()
        for pattern in stage.writes
        for name in re.findall(r"{(\w+)}", pattern)
    }
    assert explained == used == set(CONSTRAINTS)


@pytest.mark.parametrize("wildcard", CONSTRAINTS)
def test_the_examples_of_a_wildcard_are_what_it_may_be(wildcard):
    page = (DOCS / "wildcards.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `\{{{wildcard}\}}` \|.*$", page, re.M)[0].split(" | ")
    examples = re.findall(r"`([^`]+)`", row[3])
    assert examples
    for example in examples:
        assert re.fullmatch(CONSTRAINTS[wildcard], example), example


def test_ranges_that_stages_take_are_those_of_the_page():
    page = (DOCS / "wildcards.md").read_text(encoding="utf-8")
    table = page.partition("depends on the stage")[2].partition("Ranges are cut")[0]
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in re.findall(r"^\| `.*$", table, re.M)]

    class Kinds:
        training, analysis, writing, tracing = "training", "analysis", "writing", "tracing"
        viewing = "viewing"

    for stages, kind in zip(rows, ("training", "analysis", "writing", "tracing", "viewing"), strict=True):
        assert stages == {
            name
            for name, stage in STAGES.items()
            if "steps" in stage.axes.wildcards and stage.axes.steps(Kinds) == kind
        }


def test_targets_are_those_of_the_snakefile():
    page = (DOCS / "wildcards.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^rule (\w+):", (ROOT / "Snakefile").read_text(encoding="utf-8"), re.M))
    assert targets - {"all"} == set(re.findall(r"^snakemake (\w+) --configfile", page, re.M))


# -------------------------------------------------------------------------------------- formats


def test_every_file_that_a_stage_writes_has_a_section():
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### `(.+)`$", page, re.M)
    assert len(sections) == len(set(sections))
    assert set(sections) == {pattern for stage in STAGES.values() for pattern in stage.writes}
