"""Whether a checkpoint folder is whole, while somebody may still be writing it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from babelscope.errors import DataError
from babelscope.models.checkpoints import load_model
from babelscope.models.files import (
    Manifest,
    find_steps,
    is_complete,
    read_manifest,
    stored_type,
    weight_files,
    weights_hash,
    write_manifest,
)
from babelscope.study.checks import check_local_folder
from babelscope.study.models import LocalSeries
from tiny_models import tiny_model


def save(folder: Path, *, shards: bool = False, safe: bool = True, seed: int = 0) -> Path:
    """As plain transformers writes it; ``.bin`` as older versions did."""
    model = tiny_model("gpt2", seed=seed)
    if safe:
        model.save_pretrained(folder, max_shard_size="10KB" if shards else "1GB")
        return folder
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    tensors = dict(model.state_dict())
    if not shards:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    names = list(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[:10], "pytorch_model-00002-of-00002.bin": names[10:]}
    for file, part in parts.items():
        torch.save({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return folder


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("shards", [True, False])
def test_what_is_written_whole(tmp_path, safe, shards):
    folder = save(tmp_path / "x", shards=shards, safe=safe)
    assert is_complete(folder) is None
    assert (len(weight_files(folder)) > 1) is shards


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("shards", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_what_is_still_written(tmp_path, safe, shards, share):
    folder = save(tmp_path / "x", shards=shards, safe=safe)
    last = weight_files(folder)[-1]
    os.truncate(last, int(last.stat().st_size * share))
    problem = is_complete(folder)
    assert problem is not None
    assert last.name in problem


def test_a_shard_or_the_index_comes_later(tmp_path):
    folder = save(tmp_path / "x", shards=True)
    index = folder / "model.safetensors.index.json"
    last = weight_files(folder)[-1].name
    content = index.read_text()
    index.unlink()
    (folder / last).unlink()
    assert "and no index" in is_complete(folder)
    index.write_text(content)
    assert "that its index names" in is_complete(folder)


def test_config_and_weights_are_needed(tmp_path):
    folder = save(tmp_path / "x")
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in is_complete(folder)
    (folder / "config.json").unlink()
    for without in (folder, tmp_path / "none"):
        assert is_complete(without).startswith("it has no config.json")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").unlink()
    assert is_complete(folder).startswith("it has no weights")


def test_what_transformers_loads_is_what_is_chosen(tmp_path):
    """Weights of four seeds in one folder, one in each form: what is loaded is taken away, and so on."""
    folder = tmp_path / "all"
    forms = {(1, True, False), (2, True, True), (3, False, False), (4, False, True)}
    for seed, safe, shards in forms:
        shutil.copytree(
            save(tmp_path / f"{seed}", shards=shards, safe=safe, seed=seed), folder, dirs_exist_ok=True
        )
    save_file({"w": torch.zeros(3)}, folder / "consolidated.safetensors")
    save_file({"w": torch.zeros(3)}, folder / "model-00009-of-00009.safetensors")
    order = []
    while len(order) < 4:
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        (seed,) = [n for n in range(1, 5) if equal(loaded, tiny_model("gpt2", seed=n))]
        order.append(seed)
        chosen = weight_files(folder)
        own = {
            file.name for file in (tmp_path / f"{seed}").iterdir() if file.suffix in (".safetensors", ".bin")
        }
        assert {file.name for file in chosen} == own
        assert weights_hash(folder) == weights_hash(tmp_path / f"{seed}")
        assert is_complete(folder) is None
        for file in [*chosen, *folder.glob(f"{chosen[0].name.partition('-')[0]}.*.index.json")]:
            file.unlink()
    assert order == [1, 2, 3, 4]
    with pytest.raises(DataError, match="has 1 shards of weights, and no index"):
        weight_files(folder)


FOLDERS = yaml.safe_load((Path(__file__).parents[1] / "cases/folders.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", FOLDERS, ids=[case["case"] for case in FOLDERS])
def test_what_another_tool_has_written_is_named_with_what_merges_it(tmp_path, case):
    for name in [*case["names"], *case.get("empty", ())]:
        path = tmp_path / name
        if name.endswith("/"):
            path.mkdir()
        elif name == "config.json":
            path.write_text('{"model_type": "llama"}', encoding="utf-8")
        else:
            path.write_text("" if name in case.get("empty", ()) else "{}", encoding="utf-8")
    model = LocalSeries(
        run_id="m", id="m", role="main", batches=((1,),), results="r", data="d", path=str(tmp_path)
    )
    with pytest.raises(DataError) as caught:
        check_local_folder(model, 1)
    assert re.search(case["says"], str(caught.value), re.DOTALL), str(caught.value)
    with pytest.raises(DataError, match=r"\nhint: "):
        load_model(tmp_path)


def equal(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_weights_that_the_config_names_are_refused(tmp_path):
    """transformers takes them before all others, so other files would be audited than are loaded."""
    folder = save(tmp_path / "x")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "other.safetensors"}))
    assert "transformers_weights, which is not supported" in is_complete(folder)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest = Manifest(repo="a/b", commit="c0ffee", files=({"name": "x", "bytes": 3, "sha256": "00"},))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def small(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file({"w": torch.zeros(3)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("run/checkpoint-{step}", {5: "run/checkpoint-5", 100: "run/checkpoint-100"}),
        ("run/step{step:07d}", {5: "run/step0000005", 100: "run/step0000100"}),
        ("run/{step}/hf-{step}", {5: "run/5/hf-5", 100: "run/100/hf-100"}),
        ("run[1]/{step}/model", {5: "run[1]/5/model", 100: "run[1]/100/model"}),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_steps_are_found(tmp_path, monkeypatch, template, names, absolute):
    monkeypatch.chdir(tmp_path)
    for name in names.values():
        small(tmp_path / name)
    for other in ("run/checkpoint-x", "run/step5", "run/5/hf-6", "run/best"):
        small(tmp_path / other)
    prefix = f"{tmp_path}/" if absolute else ""
    whole, rest = find_steps(prefix + template)
    assert whole == {step: Path(prefix + name) for step, name in names.items()}
    assert rest == {}


def test_steps_that_are_not_whole_are_told(tmp_path):
    small(tmp_path / "run-1")
    os.truncate(small(tmp_path / "run-2") / "model.safetensors", 30)
    whole, rest = find_steps(f"{tmp_path}/run-{{step}}")
    assert list(whole) == [1]
    assert list(rest) == [2]
    assert "model.safetensors is cut off" in rest[2]


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("safe", [True, False])
def test_the_type_of_stored_weights(tmp_path, name, safe):
    model = tiny_model("gpt2").to(getattr(torch, name))
    model.config.dtype = name
    model.save_pretrained(tmp_path)
    if not safe:
        torch.save(dict(model.state_dict()), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    assert stored_type(tmp_path) == name


def test_it_needs_no_torch():
    code = "import sys, babelscope.models.files; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
