"""What the plan says that a study could tell, with its own concepts, languages, units and sentences."""

from __future__ import annotations

import copy

import pytest
import yaml

from babelscope.analysis.power import Design, ap_by_chance, detectable_overlap
from babelscope.ops.sensitivity import sensitivity_text
from babelscope.study.loading import load_study
from mini_study import ROOT

DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def text_of(**changes):
    return sensitivity_text(load_study({**copy.deepcopy(DEMO), **changes}))


def test_of_the_demo():
    excess = detectable_overlap(Design(16, 8, 20, 512))
    text = text_of()
    assert f"bridged, isolated: an overlap of {20 / 512 + excess:.3f} or more, {excess:.3f} above" in text
    assert "16 concepts, 8 languages, 20 of 512 units; 20 positive and 300 negative" in text
    assert f"{ap_by_chance(20, 300, 20 / 512):.3f} is an expert by chance alone" in text


def test_with_three_concepts_nothing_can_be_told():
    text = text_of(concepts={"source": "grammar", "ids": ["water", "house", "school"]})
    assert "no overlap, however large: too few concepts or languages" in text


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("groups", [{}, {"groups": "{data}/groups.txt"}])
def test_the_fewest_sentences_of_parallel_text(tmp_path, groups):
    """Of the concept and the half that have the fewest positive lines."""
    for lang in ("en", "de"):
        write(tmp_path / f"{lang}.txt", [f"{'dog' if n < 18 else 'cat'} {lang} {n}" for n in range(60)])
    write(tmp_path / "groups.txt", [f"g{n // 12}" for n in range(60)])
    (tmp_path / "words.yaml").write_text("dog: [dog]\ncat: [cat]\nbirds: [bird, cat]\nsome: [dog, cat]\n")
    study = {key: DEMO[key] for key in ("corpora", "tokenizers", "models")} | {
        "experts": {"k": 10},
        "study": "mine", "languages": ["en", "de"], "data": str(tmp_path),
        "sentences": {"source": "parallel", "path": "{data}/{lang}.txt", **groups},
        "concepts": {"source": "words", "label_language": "en", "lists": "{data}/words.yaml"},
    }  # fmt: skip
    text = sensitivity_text(load_study(study))
    # 18 dogs: 9 at even and 9 at odd lines; of five groups of 12 lines, 6 dogs in the second, one of half b's two.
    assert ("6 positive and 18 negative" if groups else "9 positive and 21 negative") in text


def test_the_fewest_sentences_of_concept_files(tmp_path):
    for concept, n in {"sea": 20, "sun": 9, "sky": 20, "sand": 21}.items():
        write(tmp_path / f"{concept}.en.positive.txt", [f"{concept} {i}" for i in range(n)])
        write(tmp_path / f"{concept}.de.positive.txt", [f"{concept} {i}" for i in range(n)])
    study = {key: DEMO[key] for key in ("corpora", "tokenizers", "models")} | {
        "experts": {"k": 10},
        "study": "mine", "languages": ["en", "de"], "data": str(tmp_path),
        "sentences": {"source": "concepts"},
        "concepts": {"source": "files", "path": "{data}/{concept}.{lang}.{label}.txt", "min_positive": 9},
    }  # fmt: skip
    assert "4 positive and 30 negative" in sensitivity_text(load_study(study))
