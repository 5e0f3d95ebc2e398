"""The docs site: `make site` builds docs/_build/html from the repository's pages, with warnings as errors.

The source folder is the repository itself, so that README, config/README.md and notebooks/ are pages where
they lie, and links between files work there and here alike.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.chdir(ROOT)

project, author = "babelscope", "The babelscope developers"
copyright = "2026, the babelscope developers"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"),
    *("config/README.md", "results/README.md", "benchmarks/README.md", "docs/**.md", "notebooks/*.md"),
    *("tests/cases/attacks/README.md", "tests/cases/checkpoints/README.md"),
]
exclude_patterns = ["docs/_build/**", ".venv/**"]

html_theme = "furo"
html_title = "babelscope"
html_static_path: list[str] = []
#: Nothing is loaded from elsewhere.
html_theme_options = {"source_repository": "", "footer_icons": []}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True

#: Notebooks run on the demo's results; where there are none they are shown without what they give.
nb_execution_mode = "force" if (ROOT / "results/demo/tables").is_dir() else "off"
nb_execution_in_temp = False
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_cache_path = str(ROOT / "docs/_build/jupyter")

# ------------------------------------------------------------------------------------------ the demo's report

#: The report of the demo, as the site has it too, if the demo has run here.
REPORT = "results/demo/report.html"
_PLACE = "<!-- the report itself -->"
#: A state of its explorer, which what stands before speaks of.
_SEEN = re.compile(r"<!-- seen: (#/[^ ]+) -->")


def link_report(app: Any, page: str, source: list[str]) -> None:
    """Put links to the report where a page has room for them; without one the page says nothing of it."""
    if (ROOT / REPORT).is_file():
        up = "../" * page.count("/")
        link = f'<a href="{up}{REPORT}">Open the report itself</a>: one file, with the explorer.'
        text = source[0].replace(_PLACE, link)
        source[0] = _SEEN.sub(rf'(<a href="{up}{REPORT}\1">see it</a>)', text)


def copy_report(app: Any, error: Exception | None) -> None:
    """Lay the report beside the pages."""
    if error is None and (ROOT / REPORT).is_file():
        target = Path(app.outdir, REPORT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / REPORT, target)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_report)
    app.connect("build-finished", copy_report)
