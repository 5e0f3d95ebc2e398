"""Scripts join files by what these say of themselves: in another order they give the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from babelscope.study.loading import load_study
from mini_study import ROOT, MiniStudy

pytestmark = pytest.mark.workflow

#: Runs scripts of the workflow as Snakemake does, each with the object that it injects.
RUNNER = """
import json, runpy, sys
from types import SimpleNamespace

class Named(list):
    def __init__(self, given):
        self.named = given if isinstance(given, dict) else {}
        super().__init__(self.named.values() if self.named else given)
        self.__dict__.update(self.named)
    def __getitem__(self, key):
        return self.named[key] if isinstance(key, str) else super().__getitem__(key)
    def get(self, key, default=None):
        return self.named.get(key, default)

for script, job in json.load(open(sys.argv[1])).items():
    parts = {name: Named(job[name]) for name in ("input", "output", "params")}
    if "folders" in parts["params"].named:  # JSON has no numbers as keys
        parts["params"].folders = {int(step): each for step, each in parts["params"].folders.items()}
    parts["resources"] = SimpleNamespace(**job.get("resources", {}))
    snakemake = SimpleNamespace(**parts, wildcards=SimpleNamespace(model="tiny-seed0"), threads=1, log=[script + ".log"])
    runpy.run_path(sys.argv[2] + "/" + script + ".py", {"snakemake": snakemake})
"""


def jobs(study: MiniStudy, out: Path) -> dict[str, dict[str, Any]]:
    """Jobs that read several cells, their inputs in reverse order."""
    settings = load_study(study.config)
    results, langs = study.results, list(settings.languages)
    backwards = {"steps": [4, 0], "langs": langs[::-1]}

    def files(pattern: str, steps: list[int]) -> list[str]:
        paths = [results / pattern.format(step=step, lang=lang)
                 for step in steps for lang in backwards["langs"]]  # fmt: skip
        return list(dict.fromkeys(map(str, paths)))

    def outputs(folder: str, **names: str) -> dict[str, str]:
        return {key: str(out / folder / name) for key, name in names.items()}

    experts = settings.experts
    extraction = settings.extraction_settings("tiny-seed0").model_dump()
    folders = {step: [str(results / f"models/tiny-seed0/{step}")] * 2 for step in (4, 0)}
    return {
        "score_units": {
            "input": {"units": str(results / "activations/tiny-seed0/4/en.units.h5"),
                      "concepts": [str(results / "concepts/en.tsv")]},
            "output": outputs("scores/tiny-seed0/4", table="en.h5"),
            "params": {"steps": [4], "langs": ["en"],
                       "poolings": ["max"]},
            "resources": {"block_units": experts.block_units},
        },
        "rank_units": {
            "input": files("scores/tiny-seed0/{step}/{lang}.h5", [4]),
            "output": outputs("best/tiny-seed0", best="4.h5", search="4.search.parquet",
                              choices="4.choices.h5", choices_search="4.choices.parquet"),
            "params": {"steps": [4], "langs": langs, "poolings": ["max"], "kept": experts.kept,
                       "seed": settings.seed},
        },
        "compare_choices": {
            "input": {"kept": str(results / "best/tiny-seed0/4.choices.h5"),
                      "search": str(results / "best/tiny-seed0/4.choices.parquet")},
            "output": outputs("choices/tiny-seed0", choices="4.parquet", draws="4.draws.parquet"),
            "params": {"steps": [4], "langs": langs, "poolings": ["max"], "k": experts.k,
                       "bootstrap": experts.bootstrap, "permutations": experts.permutations,
                       "seed": settings.seed},
        },
        "align_experts": {
            "input": {"best": str(results / "best/tiny-seed0/4.h5"),
                      "search": str(results / "best/tiny-seed0/4.search.parquet"),
                      "pairs": str(results / "tables/pairs.tsv")},
            "output": {
                **outputs("experts/tiny-seed0", experts="4.parquet"),
                **outputs("alignment/tiny-seed0", overlap="4.overlap.parquet",
                          transfer="4.transfer.parquet", reliability="4.reliability.parquet",
                          draws="4.draws.parquet"),
            },
            "params": {"steps": [4], "langs": langs, "k": experts.k, "bootstrap": experts.bootstrap,
                       "permutations": experts.permutations, "seed": settings.seed,
                       "groups": settings.concepts.groups},
        },
        "trace_units": {
            "input": {"best": files("best/tiny-seed0/{step}.h5", backwards["steps"]),
                      "experts": files("experts/tiny-seed0/{step}.parquet", backwards["steps"])},
            "output": outputs("alignment", lifelines="tiny-seed0.lifelines.parquet",
                              lifespans="tiny-seed0.lifespans.tsv"),
            "params": {"steps": [0, 4], "langs": langs, "min_languages": experts.min_languages,
                       "max_traced_units": experts.max_traced_units, "seed": settings.seed},
        },
        "choose_sentences": {
            "input": {"model": [], "audit": files("audit/tiny-seed0/{step}.h5", backwards["steps"]),
                      "best": files("best/tiny-seed0/{step}.h5", backwards["steps"]),
                      "reliability": files("alignment/tiny-seed0/{step}.reliability.parquet", backwards["steps"]),
                      "lifelines": str(results / "alignment/tiny-seed0.lifelines.parquet"),
                      **{name: files(f"{name}/{{lang}}.tsv", [4]) for name in ("sentences", "concepts")}},
            "output": outputs("traces", table="tiny-seed0.sentences.parquet"),
            "params": {"folders": folders, "langs": langs, "seed": settings.seed, "settings": {},
                       "extraction": extraction},
        },
        "trace_sentences": {
            "input": {"model": [], "chosen": str(results / "traces/tiny-seed0.sentences.parquet"),
                      "sentences": files("sentences/{lang}.tsv", [4])},
            "output": outputs("traces/tiny-seed0", table="4.parquet"),
            "params": {"folders": {4: folders[4]}, "langs": langs, "extraction": extraction},
        },
        "fit_language_probe": {
            "input": {"tokens": files("activations/tiny-seed0/{step}/{lang}.tokens.h5", [4]), "sentences": []},
            "output": outputs("probes/tiny-seed0/4", table="1.tsv"),
            "params": {"steps": [4], "layers": [1], "langs": langs, "seed": settings.seed,
                       "settings": settings.probes.model_dump()},
        },
        "collect_extraction": {
            "input": files("activations/tiny-seed0/{step}/{lang}.tokens.h5", backwards["steps"]),
            "output": outputs("tables", table="extraction.tsv"),
            "params": {"languages": langs},
        },
        "collect_audit": {
            "input": [str(results / f"audit/tiny-seed0/{step}.h5") for step in backwards["steps"]],
            "output": outputs("tables", audit="audit.tsv", losses="audit_losses.tsv"),
            "params": {"known_faults": {"tiny-seed0": {}}},
        },
        "collect_concepts": {
            "input": {
                name: [str(results / f"{name}/{lang}.tsv") for lang in backwards["langs"]]
                for name in ("concepts", "sentences")
            } | {"label_text": [str(study.folder / "data/parallel/en.txt")]},
            "output": outputs("tables", concepts="concepts.tsv", pairs="pairs.tsv",
                              words="concept_words.tsv", shared="concept_pairs.tsv", purity="purity.tsv"),
            "params": {"languages": langs, "words": settings.word_lists, "label_language": "en",
                       "clones": {}},
        },
    }  # fmt: skip


def test_files_in_another_order_give_the_same_bytes(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished.folder)
    out = tmp_path / "out"
    planned = jobs(finished, out)
    (tmp_path / "jobs.json").write_text(json.dumps(planned))
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "jobs.json"), str(ROOT / "workflow/scripts")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    written = [file for job in planned.values() for file in map(Path, job["output"].values())]
    assert len(written) == 25
    for file in written:
        assert file.read_bytes() == (finished.results / file.relative_to(out)).read_bytes(), file.name
