"""Traces in the formats of others: what Neuronpedia's schema asks for, and lines that hold the table."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from babelscope.analysis.trace_export import neuronpedia_batches, write_jsonl, write_neuronpedia
from babelscope.cli import main
from babelscope.errors import BabelscopeError
from babelscope.io.tables import write_table


def trace(model="Run-seed0", step=4, layer=1, unit=0, lang="en", rank=1, text="a 👩🏽 house", bounds=None):
    starts, ends = zip(*(bounds or [(0, 1), (2, 6), (7, 12)]), strict=True)
    return {
        "model": model, "step": step, "layer": layer, "site": "mlp_act", "unit": unit, "concept": "house",
        "lang": lang, "kind": "strongest", "rank": rank, "sentence": "house-0001", "positive": True,
        "text": text, "starts": np.array(starts, np.int32), "ends": np.array(ends, np.int32),
        "values": np.linspace(-1, 0.5, len(starts), dtype=np.float32), "value": np.float32(0.5),
        "quantile": 0.75,
    }  # fmt: skip


def check(batch):
    """As ``uploadBatchSchema`` of Neuronpedia says; what it does not name it would drop."""
    assert batch.keys() == {"modelId", "source", "features"}
    for name in ("modelId", "source"):
        assert batch[name]
        assert batch[name] == batch[name].lower()
    assert 1 <= len(batch["features"]) <= 128
    assert len({feature["index"] for feature in batch["features"]}) == len(batch["features"])
    for feature in batch["features"]:
        assert feature.keys() == {"index", "activations"}
        assert isinstance(feature["index"], int)
        assert 0 <= feature["index"] <= 10_000_000
        assert feature["activations"]
        for activation in feature["activations"]:
            assert activation.keys() == {"tokens", "values", "quantileMax", "quantileFraction"}
            assert 1 <= len(activation["tokens"]) == len(activation["values"]) <= 1024
            assert all(isinstance(token, str) and token for token in activation["tokens"])
            assert all(isinstance(value, float) for value in activation["values"])
            assert activation["quantileMax"] <= 99_999_999
            assert 0 <= activation["quantileFraction"] <= 1


def test_a_batch_is_of_one_layer_site_and_step():
    rows = [
        trace(step=step, layer=layer, unit=unit, lang=lang)
        for step in (4, 0)
        for layer in (1, 12)
        for lang in ("en", "de")
        for unit in (7, 3)
    ]
    batches = json.loads(json.dumps(list(neuronpedia_batches(pd.DataFrame(rows)))))
    for batch in batches:
        check(batch)
        assert [feature["index"] for feature in batch["features"]] == [3, 7]
        assert all(len(feature["activations"]) == 2 for feature in batch["features"])
    assert [batch["source"] for batch in batches] == [
        "1-mlp_act-step0", "12-mlp_act-step0", "1-mlp_act-step4", "12-mlp_act-step4"
    ]  # fmt: skip
    (first, *_) = batches[0]["features"][0]["activations"]
    assert first["tokens"] == ["a", " 👩🏽", " house"]
    assert first["values"] == [-1.0, -0.25, 0.5]
    assert (first["quantileMax"], first["quantileFraction"]) == (0.5, 0.75)


def test_batches_and_sentences_are_no_longer_than_is_taken(tmp_path):
    long = [(at, at + 1) for at in range(1500)]
    rows = [trace(unit=unit) for unit in range(300)] + [trace(step=8, text="x" * 1500, bounds=long)]
    files = write_neuronpedia(pd.DataFrame(rows), tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        *(f"run-seed0/1-mlp_act-step4.{n:03d}.json" for n in range(3)), "run-seed0/1-mlp_act-step8.000.json"
    ]  # fmt: skip
    batches = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for batch in batches:
        check(batch)
    assert [len(batch["features"]) for batch in batches] == [128, 128, 44, 1]
    (feature,) = batches[-1]["features"]
    assert len(feature["activations"][0]["tokens"]) == 1024


def test_models_that_would_have_one_name_are_refused(tmp_path):
    rows = pd.DataFrame([trace(model="run-seed0"), trace(model="Run-seed0")])
    with pytest.raises(BabelscopeError, match="lower case"):
        write_neuronpedia(rows, tmp_path)
    assert [file.name for file in write_jsonl(rows, tmp_path)] == ["run-seed0.jsonl", "Run-seed0.jsonl"]


def test_lines_hold_the_table(tmp_path):
    rows = pd.DataFrame([trace(), trace(unit=1, lang="de"), trace(model="other-seed1")])
    for file in write_jsonl(rows, tmp_path):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        own = rows[rows["model"] == file.stem]
        assert [list(line) for line in lines] == [list(rows.columns)] * len(own)
        for line, (_, row) in zip(lines, own.iterrows(), strict=True):
            for name, value in line.items():
                told = row[name].tolist() if isinstance(row[name], np.ndarray) else row[name]
                assert value == told


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results" / "mini"
    write_table(pd.DataFrame([trace(), trace(model="b", unit=3)]), folder / "tables" / "traces.parquet")
    return folder


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["--format", "neuronpedia"], ["b/1-mlp_act-step4.000.json", "run-seed0/1-mlp_act-step4.000.json"]),
        ([], ["Run-seed0.jsonl", "b.jsonl"]),
        (["--model", "b"], ["b.jsonl"]),
        (["--model", "b", "--model", "Run-seed0", "--model", "b"], ["Run-seed0.jsonl", "b.jsonl"]),
    ],
)
def test_the_command_writes_what_it_is_told(results, tmp_path, capsys, arguments, files):
    out = tmp_path / "out"
    assert main(["export-traces", str(results), "--out", str(out), *arguments]) == 0
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == files
    assert f"{len(files)} file" in capsys.readouterr().out


def test_what_is_not_there_is_said(results, tmp_path, capsys):
    assert main(["export-traces", str(results), "--out", str(tmp_path), "--model", "c"]) == 1
    assert "no traces of model 'c'; there are: Run-seed0, b" in capsys.readouterr().err
    (results / "tables" / "traces.parquet").rename(results / "tables" / "others.parquet")
    assert main(["export-traces", str(results), "--out", str(tmp_path)]) == 1
    assert "no table 'traces'; there are: others" in capsys.readouterr().err
