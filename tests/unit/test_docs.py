"""What the documentation tells users to write is valid."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from babelscope.io.yaml import packaged_yaml
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[2]


def blocks():
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def test_the_example_study_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study({**blocks()[0], "data": str(tmp_path)})
    assert study.models["small-seed0"].steps[:3] == (0, 64, 128)


def test_the_other_examples_fit_into_it(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = {**blocks()[0], "data": str(tmp_path)}
    files = {**config, "sentences": {"source": "concepts"}, **blocks()[1]}
    assert load_study(files).concept_ids == ("house", "water")
    for step in (1000, 2000, 4000):
        folder = tmp_path / f"my-run/checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        save_file({"weight": np.zeros(4, dtype=np.float32)}, folder / "model.safetensors")
        (folder / "tokenizer.json").write_text("{}")
    path = blocks()[2]["concepts"]["path"]
    assert path.format(data="d", lang="en", concept="house") == "d/concepts/en/house.json"
    for lang in ("en", "sw", "te"):
        for concept in ("sense/football-1_04_00__", "homograph/bank-1_14_00__"):
            file = tmp_path / lang / f"{concept}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    grouped = load_study({**config, **blocks()[3]})
    assert grouped.concept_files("sw")[0][2] == f"{tmp_path}/sw/sense/football-1_04_00__.json"
    for lang in ("en", "sw", "te"):
        table = tmp_path / "sib200" / f"{lang}.tsv"
        table.parent.mkdir(exist_ok=True)
        table.write_text("category\ttext\nscience/technology\tA.\ntravel\tB.\n")
    sib = load_study({**config, **blocks()[4]})
    assert sib.concept_ids == ("science-technology", "travel")
    massive = load_study({**config, **blocks()[4], **blocks()[5]})
    assert massive.concept_files("sw")[1][1:] == (
        "positive", f"{tmp_path}/massive/test.parquet", "utt", "intent", "locale", "sw"
    )  # fmt: skip
    form = load_study({**config, **blocks()[6], "generation": {"enabled": False}})
    assert form.has_pairs
    assert not form.warnings
    cloned = load_study({**config, **blocks()[7]})
    assert cloned.corpus_path("web", "en2") == cloned.corpus_path("web", "en")
    local = {**config, **blocks()[8]}
    del local["corpora"], local["tokenizers"]
    models = load_study(local).models
    assert models["mine"].steps == (1000, 2000, 4000)
    assert models["bloom"].checkpoints.repo == "bigscience/bloom-560m-intermediate"


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "config/README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/methods.md",
        "docs/bring-your-model.md",
        "docs/library.md",
        "docs/report-a-study.md",
    ],
)
def test_links_lead_somewhere(path):
    file = ROOT / path
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (file.parent / target).exists(), target


def test_the_site_has_the_demos_report_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what follows goes elsewhere, and this comes back
    spec = importlib.util.spec_from_file_location("conf", ROOT / "docs/conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    monkeypatch.setattr(conf, "ROOT", tmp_path)
    app, page = (
        SimpleNamespace(outdir=tmp_path / "site"),
        (ROOT / "docs/results/demo.md").read_text(encoding="utf-8"),
    )
    for report in (None, "<p>"):
        if report:
            (tmp_path / conf.REPORT).parent.mkdir(parents=True)
            (tmp_path / conf.REPORT).write_text(report, encoding="utf-8")
        source = [page]
        conf.link_report(app, "docs/results/demo", source)
        conf.copy_report(app, None)
        assert ('<a href="../../results/demo/report.html">' in source[0]) == bool(report)
        assert (app.outdir / conf.REPORT).exists() == bool(report)
    seen = re.findall(r'href="../../results/demo/report.html#(/[^"]+)">see it', source[0])
    assert {each.split("?")[0] for each in seen} == {"/matrix", "/layers", "/unit"}
    assert "<!-- seen" not in source[0]


def test_what_a_study_is_to_report_is_there_to_read():
    """The page names tables that exist, and its lines run on a results folder."""
    text = (ROOT / "docs/report-a-study.md").read_text(encoding="utf-8")
    items = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    named = {name for item in items[1:] for name in re.findall(r"`(\w+)`", item)}
    described = packaged_yaml("babelscope", "columns.yaml")
    columns = {column for table in described.values() for column, _, _ in table}
    assert len(named) > 10
    assert named <= {*described, *columns, "assumed"}
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    shown = {}
    exec(code.replace("results/demo", str(ROOT / "tests/data/results-0.1.0")), shown)
    assert shown["study"].settings["study"] == "mini"
