"""The word lists that are shipped find enough lines in the text that they are made for."""

import os
from collections import Counter
from pathlib import Path

import pytest
import yaml

from babelscope.text.concepts import match_words
from babelscope.text.lines import half_of, iter_lines

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BABELSCOPE_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.skipif(
    not (DATA / "ntrex").is_dir(),
    reason=f"needs NTREX-128 in {DATA}/ntrex (or set BABELSCOPE_DATA), see config/README.md",
)
def test_the_word_lists_find_enough_in_ntrex():
    lists = yaml.safe_load((ROOT / "config/concepts/ntrex-en.yaml").read_text(encoding="utf-8"))
    assert len(lists) >= 24
    for concept, lines in match_words(list(iter_lines(DATA / "ntrex" / "en.txt")), lists).items():
        halves = Counter(half_of(f"L{line + 1:05d}") for line in lines)
        assert len(lines) >= 30, concept
        assert min(halves["a"], halves["b"]) >= 10, concept
