"""Checkpoints: what is saved is what is loaded, and what is missing is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing

from babelscope.errors import DataError, StudyError
from babelscope.models.checkpoints import (
    load_checkpoint,
    load_model,
    load_tokenizer,
    resolve_device,
    save_model,
    start_token,
)
from babelscope.models.files import tokenizer_files_hash, weights_hash
from tiny_models import ARCHITECTURES, SENTENCES, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "128"
    save_model(tiny_model("xglm"), tiny_tokenizer(), folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "128")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_model_computes_the_same(name, tmp_path):
    model, tokenizer = tiny_model(name), tiny_tokenizer()
    save_model(model, tokenizer, tmp_path)
    loaded = load_checkpoint(tmp_path, device="cpu")
    assert not loaded.model.training
    assert loaded.config["model_type"] == name
    ids = torch.tensor([[0, 4, 9, 11]])
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, model(ids).logits)
    texts = [text for _, text in SENTENCES]
    assert loaded.tokenizer(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    assert (loaded.start_id, loaded.pad_id) == (0, 2)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_type_of_the_weights_is_chosen(saved):
    assert load_model(saved, dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(saved).dtype == torch.float32


def test_the_tokenizer_may_lie_elsewhere(folder, tmp_path):
    elsewhere = tmp_path / "words"
    elsewhere.mkdir()
    for file in folder.glob("tokenizer*"):
        shutil.move(file, elsewhere)
    with pytest.raises(DataError, match="no tokenizer"):
        load_checkpoint(folder)
    loaded = load_checkpoint(folder, tokenizer=elsewhere)
    assert loaded.tokenizer_hash == tokenizer_files_hash(elsewhere)


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["extra"])
    save_model(tiny_model("gpt2"), tokenizer, tmp_path)
    with pytest.raises(DataError, match=r"tokenizer has .* tokens, the model only"):
        load_checkpoint(tmp_path)


def test_hashes_tell_weights_apart(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_model(tiny_model("gpt2", seed=seed), tiny_tokenizer(), tmp_path / name)
    a, b, c = (weights_hash(tmp_path / name) for name in "abc")
    assert a == b != c
    assert tokenizer_files_hash(tmp_path / "a") == tokenizer_files_hash(tmp_path / "c")


def test_saving_keeps_other_files_and_takes_a_tokenizer_folder(saved, tmp_path):
    (tmp_path / "training").mkdir()
    save_model(tiny_model("xglm"), saved, tmp_path)
    assert (tmp_path / "training").is_dir()
    assert tokenizer_files_hash(tmp_path) == tokenizer_files_hash(saved)
    assert weights_hash(tmp_path) == weights_hash(saved)


def _without_weights(folder):
    (folder / "model.safetensors").unlink()


def _cut_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _one_weight_less(folder):
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.fc1.weight"]
    save_file(weights, file, metadata={"format": "pt"})


def _without_config(folder):
    (folder / "config.json").unlink()


def _broken_config(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (_without_weights, "has no weights"),
        (_cut_weights, "is cut off"),
        (_one_weight_less, r"lacks 1 weights; the first is model.layers.1.fc1.weight"),
        (_without_config, "has no config.json"),
        (_broken_config, "cannot be read as a model config"),
    ],
)
def test_a_broken_folder_is_named_with_its_fault(folder, damage, message):
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


def test_a_broken_tokenizer_is_named(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json: cannot be read as a tokenizer"):
        load_tokenizer(folder)
    with pytest.raises(DataError, match="no such folder"):
        load_tokenizer(folder / "nowhere")


def test_an_unknown_architecture_is_answered_with_those_that_exist(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    with pytest.raises(StudyError, match="xglm"):
        load_model(folder)


def test_the_start_token():
    tokenizer = tiny_tokenizer()
    assert start_token(tokenizer) == 0
    # XGLM's own tokenizer puts </s> first, and so were its models trained.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", 1)]
    )
    assert start_token(tokenizer) == 1
    # T5 and others put it last.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    assert start_token(tokenizer) == 0
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = None
    assert start_token(tokenizer) == 1
    tokenizer.eos_token = None
    assert start_token(tokenizer, tiny_model("gpt2", bos_token_id=3)) == 3
    with pytest.raises(StudyError, match="bos or eos"):
        start_token(tokenizer)


def test_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(StudyError, match="no CUDA"):
        resolve_device("cuda")
    with pytest.raises(StudyError, match="auto, cpu, cuda"):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"


def test_a_model_is_loaded_without_scipy(tmp_path):
    """The losses of image detection would bring it, half a second of each job."""
    tiny_model("xglm").save_pretrained(tmp_path)
    code = (
        "import sys; from babelscope.models.checkpoints import load_model; load_model(sys.argv[1]);"
        "from transformers.utils import is_scipy_available as there; print('scipy' in sys.modules, there())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
