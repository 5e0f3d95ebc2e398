"""Put the explorers of several studies into one page, on one axis of tokens seen."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from babelscope.results import ResultsSet

_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<folder>.+)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The studies, the page, and what it may take."""
    parser.add_argument(
        "studies", metavar="[NAME=]RESULTS", nargs="+",
        help="folder of a study that has its report, results/STUDY; NAME is what the page calls it",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, required=True, help="the page, such as bundle.html")
    parser.add_argument(
        "--megabytes", type=float, default=10.0,
        help="what the data may take, 10 by default; if it is more, the page drops detail and says so",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the page, and say how large it is."""
    from babelscope.errors import ResultsError
    from babelscope.io.files import written_whole
    from babelscope.ops.terminal import counted, size
    from babelscope.report.explorer.build import build_explorer
    from babelscope.report.explorer.page import explorer_page
    from babelscope.report.summaries import run_names
    from babelscope.results import open_studies

    both = open_studies(_folders(args.studies))
    for name, study in both.studies.items():
        if "overlap" not in study.tables:
            raise ResultsError(f"{study.folder}: no overlap of experts; study {name} has nothing to explore")
    tables = _shown_tables(both)
    models = run_names(tables["overlap"], tables.get("models"))
    settings = {name: study.settings for name, study in both.studies.items()}
    languages = [lang for each in settings.values() for lang in each["languages"]]
    explorer = build_explorer(
        {"study": " + ".join(settings), "languages": list(dict.fromkeys(languages)), "studies": settings},
        tables,
        {model: both.best(model) for model in models},
        megabytes=args.megabytes,
        by_tokens=True,
    )
    page = explorer_page(
        explorer,
        title=f"babelscope: {', '.join(settings)}",
        lead=[
            "Models are named study/model. Beside a model stands another at the step at which it had seen "
            "the most nearly equal number of tokens. Their studies may differ in languages, concepts, "
            "sentences and settings: then numbers beside each other are of different questions."
        ],
        studies=[_described(name, study) for name, study in both.studies.items()],
    )
    with written_whole(args.out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    held = f"{counted(len(models), 'model')} of {', '.join(settings)}"
    print(f"babelscope: {args.out} ({size(len(page.encode()))}), {held}")
    return 0


def _folders(told: Sequence[str]) -> dict[str, Path]:
    """Folders by the name that a study has here: that of its folder, if none is told."""
    from babelscope.errors import ResultsError

    folders: dict[str, Path] = {}
    for each in told:
        found = None if Path(each).exists() else _NAMED.fullmatch(each)
        folder = Path(found["folder"] if found else each)
        name = found["name"] if found else folder.resolve().name
        if name in folders:
            raise ResultsError(
                f"{folder} and {folders[name]} would both be called {name!r}\n"
                f"hint: name one of them, such as other={folder}"
            )
        folders[name] = folder
    return folders


def _shown_tables(both: ResultsSet) -> dict[str, pd.DataFrame]:
    """The joined tables, without the steps that a study leaves out since the audit flags them."""
    from babelscope.report.summaries import without_flagged
    from babelscope.report.views import excludes_flagged

    tables = {name: both.tables[name] for name in both.tables}
    if "audit" not in tables:
        return tables
    leaving_out = [name for name, study in both.studies.items() if excludes_flagged(study.settings)]
    audit = tables["audit"]
    kept = without_flagged({**tables, "audit": audit[audit["study"].isin(leaving_out)]})
    return {**{name: table for name, table in kept.items() if table is not None}, "audit": audit}


def _described(name: str, study: Any) -> dict[str, Any]:
    return {
        "name": name,
        "models": study.models,
        "languages": study.settings["languages"],
        "version": "babelscope " + study.study.get("versions", {}).get("babelscope", "?"),
    }
