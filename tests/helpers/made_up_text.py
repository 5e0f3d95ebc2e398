"""Text in the places that config/README.md names: all that the shipped studies need to be planned."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = "ar bn ca en es eu fr hi id pt sw ta te ur vi zh".split()


def write_all(folder: Path, *, concepts: int = 200, sentences: int = 24, length: int = 0) -> Path:
    """Parallel text, text to pre-train on, and concepts, in all sixteen languages.

    Args:
        folder: What ``{data}`` is to stand for.
        concepts: Number of concepts.
        sentences: Positive and negative sentences of each.
        length: Bytes of a sentence, at least.
    """
    words = yaml.safe_load((ROOT / "config/concepts/ntrex-en.yaml").read_text())
    parallel = [f"{forms[0]} {number} {concept}" for concept, forms in words.items() for number in range(60)]
    documents = [f"document {number // 5}" for _ in words for number in range(60)]
    _write(folder / "ntrex" / "DOCUMENT_IDS.tsv", documents)
    for lang in LANGUAGES:
        _write(folder / "ntrex" / f"{lang}.txt", parallel)
        for name in ("pretraining", "commonvoice"):
            _write(folder / name / f"{lang}.txt", [f"{lang} sentence {i}" for i in range(200)])
        for concept in range(concepts):
            lists = {
                "positive": [f"{concept} in {lang}, number {i}".ljust(length, ".") for i in range(sentences)],
                "negative": [f"anything in {lang}, number {i}".ljust(length, ".") for i in range(sentences)],
            }
            path = folder / "concepts" / lang / f"concept-{concept}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"sentences": lists}))
    return folder


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
