"""A small study for tests of the explorer: the kept results of a release, twice, with made-up token traces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from babelscope.results import open_study

KEPT = Path(__file__).parents[1] / "data" / "results-0.1.0"
MODEL, TWIN = "tiny-seed0", "twin-seed0"
#: Units that are traced: the best of the concept in German at the last step, and one that is not.
CONCEPT = "dog"

HOSTILE = {
    "markup": '<img src=x onerror="document.title=1"><script>document.title=2</script>&lt;b&gt;',
    "bidi": "a\u202etxet\u202c \u2066left\u2069 \u200fend",
    "control": "a\x00b\x1bc\x7fd\u0085e",
    "clone": "".join(chr(0xF0000 + ord(c)) for c in "hund"),
}


def made_up_traces(
    units: list[tuple[int, str, int]],
    *,
    model: str = MODEL,
    steps: tuple[int, ...] = (0, 4),
    texts: Mapping[str, list[str]] | None = None,
    concept: str = CONCEPT,
) -> pd.DataFrame:
    """Rows as of ``tables/traces.parquet``: a token per word, values that rise with the step."""
    texts = texts or {"en": ["The dog barks.", "A house"], "de": ["Der Hund bellt."]}
    rng, rows = np.random.default_rng(0), []
    for layer, site, unit in units:
        for lang, sentences in texts.items():
            for rank, text in enumerate(sentences):
                starts, ends = bounds(text)
                for step in steps:
                    values = rng.normal(0, 1 + step, len(starts)).astype(np.float32)
                    rows.append(
                        {
                            "model": model, "step": step, "layer": layer, "site": site, "unit": unit,
                            "concept": concept, "lang": lang, "kind": ("strongest", "random", "lowest")[rank % 3],
                            "rank": rank // 3 + 1, "sentence": f"s{rank}", "positive": rank % 2 == 0, "text": text,
                            "starts": starts, "ends": ends, "values": values.tolist(),
                            "value": float(values.max(initial=-9)), "quantile": 0.9,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def bounds(text: str) -> tuple[list[int], list[int]]:
    """Where the words of a text start and end, in UTF-16 units."""
    starts, ends, at, inside = [], [], 0, False
    for character in text:
        if character == " ":
            if inside:
                ends.append(at)
            inside = False
        elif not inside:
            starts.append(at)
            inside = True
        at += 1 + (ord(character) > 0xFFFF)
    return starts, [*ends, at] if inside else ends


def small_study(*, flagged: tuple[int, ...] = (), texts: Mapping[str, list[str]] | None = None):
    """Settings, tables and best units of two models that are alike."""
    study = open_study(KEPT)
    tables = {name: study.tables[name] for name in study.tables}
    for name in ("overlap", "lifelines", "audit", "steps", "models", "texts"):
        table = tables[name]
        twin = table.assign(model=TWIN, **({"id": "twin", "role": "control"} if "role" in table else {}))
        tables[name] = pd.concat([table, twin], ignore_index=True)
    audit = tables["audit"]
    is_bad = audit["step"].isin(flagged) & (audit["model"] == MODEL)
    tables["audit"] = audit.assign(flag=is_bad, reasons=np.where(is_bad, "a <b>strange</b> loss", ""))
    best = study.best(MODEL)
    top = study.kept(MODEL, concept=CONCEPT, lang="de", step=4).iloc[0]
    units = [(int(top["layer"]), str(top["site"]), int(top["unit"])), (1, "mlp_out", 11)]
    tables["traces"] = made_up_traces(units, texts=texts)
    return study.settings, tables, {MODEL: best, TWIN: best}
