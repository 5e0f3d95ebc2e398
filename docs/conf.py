"""The docs site: `make site` builds docs/_build/html from the repository's pages, with warnings as errors.

The source folder is the repository itself, so that README, config/README.md and notebooks/ are pages where
they lie, and links between files work there and here alike.
"""

from __future__ import annotations

import os
from pathlib import Path

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
