"""Make docs/models.md, which architecture passes which check, on random models of each: `make docs`.

Two blocks of width 16 each, so that every width tells another part; `babelscope check-model` tries the same
on a checkpoint of yours.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

PAGE = ROOT / "docs/models.md"
TEXTS = {
    "en": ["the house is red .", "water flows in the big river near a house ."],
    "es": ["la casa es roja ."],
}
MARKS = {"ok": "●", "warning": "(●)", "problem": "**no**"}
HEAD = """\
# Models

What was checked of each architecture with transformers {version}, on random models of two blocks, by
`babelscope.analysis.model_checks`; the tests check more on the same models. ● holds, – does not apply.

- **padding**: a sentence has the same values in a batch as alone;
- **order**: what stands later changes nothing before it (encoders see both sides, so there is no such thing);
- each site: as many units as the config says; units that are held at a value have it; each layer changes the
  logits.

`babelscope check-model FOLDER` (or `ORG/NAME` of the hub, with `--revision`) tries all this on one
of yours, and says what no check of one checkpoint can know. Another architecture is a row of a table:
[extend.md](extend.md#an-architecture).

"""
FOOT = """
Multimodal models that are read as the text model inside them: {inside}. With text alone they compute what it
computes: the tests compare logits and sites with the class that sees.
"""


def page() -> str:
    """The page as it should be."""
    import transformers

    from babelscope.analysis.model_checks import check_model
    from babelscope.models.architectures import SITES
    from babelscope.models.wrappers import WRAPPERS
    from tiny_models import CONFIGS, tiny_loaded

    checks = ["padding", "order", *(f"site {site}" for site in SITES)]
    lines = [
        "| architecture | kind | " + " | ".join(f"`{name.removeprefix('site ')}`" for name in checks) + " |"
    ]
    lines.append("| --- | --- |" + " :-: |" * len(checks))
    for name in CONFIGS:
        loaded = tiny_loaded(name)
        found = {one.check: MARKS[one.level] for one in check_model(loaded, TEXTS)}
        kind = "decoder" if loaded.end_id is None else "encoder"
        lines.append(f"| `{name}` | {kind} | " + " | ".join(found.get(check, "–") for check in checks) + " |")
    inside = ", ".join(f"`{name}` (as `{row['text']}`)" for name, row in WRAPPERS.items())
    return (
        HEAD.format(version=transformers.__version__) + "\n".join(lines) + "\n" + FOOT.format(inside=inside)
    )


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
