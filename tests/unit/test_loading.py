"""Every form in which a checkpoint is published is loaded, and nothing of it is run."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_checkpoint_files import save
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel

from babelscope.errors import DataError, StudyError
from babelscope.models.checkpoints import end_token, load_checkpoint, load_model, load_tokenizer
from babelscope.models.files import Manifest, weights_hash, write_manifest
from tiny_models import DECODERS, ENCODERS, tiny_model, tiny_tokenizer

IDS = torch.tensor([[0, 4, 9, 11]])


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("shards", [True, False], ids=["shards", "one file"])
def test_formats(tmp_path, safe, shards):
    folder = save(tmp_path / "x", shards=shards, safe=safe)
    assert torch.equal(logits(load_model(folder)), logits(tiny_model("gpt2")))


class Trap:
    """What a pickle can do: run a program when it is read."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_run(tmp_path, zipped):
    folder, flag = save(tmp_path / "x", safe=False), tmp_path / "run"
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(
        {**tensors, "trap": Trap(flag)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(DataError, match=r"more than weights: it asks for (posix|os)\.system") as caught:
        load_model(folder)
    assert "safetensors" in caught.value.hint
    assert "weights_only" not in str(caught.value), "torch's advice to run it"
    assert not flag.exists()


def test_no_conversion_runs_on_the_side(tmp_path, monkeypatch):
    """transformers converts ``.bin`` files of the hub in a thread; here there is no thread and no request."""
    folder = save(tmp_path / "x", safe=False)
    started = []
    original = threading.Thread.start

    def start(thread):
        started.append(thread.name)
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda *_: pytest.fail("a request"))
    load_model(folder)
    assert not [name for name in started if "conversion" in name.lower()]
    assert [file.name for file in folder.glob("*.safetensors")] == []


def test_safetensors_are_loaded_where_both_are_there(tmp_path):
    folder = save(tmp_path / "x")
    before = weights_hash(folder)
    other = tiny_model("gpt2", seed=5)
    torch.save(dict(other.state_dict()), folder / "pytorch_model.bin")
    assert torch.equal(logits(load_model(folder)), logits(tiny_model("gpt2")))
    assert weights_hash(folder) == before


@pytest.mark.parametrize("name", ["bloom", "gpt2", "xglm", "opt"])
def test_weights_of_the_bare_model(tmp_path, name):
    """Older BLOOM checkpoints: saved without the head, under names without its prefix; config says so."""
    model = tiny_model(name)
    bare = AutoModel.from_config(model.config)
    bare.load_state_dict(model.base_model.state_dict())
    bare.save_pretrained(tmp_path)
    assert torch.equal(logits(load_model(tmp_path)), logits(model))


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "modernbert"])
def test_an_encoder_without_its_head(tmp_path, name, caplog):
    """As most are published. The head is never run, so it may be missing; a weight of a block may not."""
    model = tiny_model(name)
    bare = model.base_model
    bare.save_pretrained(tmp_path)
    ids = torch.arange(4, 12)[None]
    loaded = load_model(tmp_path)
    with torch.inference_mode():
        assert torch.equal(
            loaded.base_model(input_ids=ids).last_hidden_state, bare(input_ids=ids).last_hidden_state
        )
    assert "MISSING" not in caplog.text
    tensors = load_file(tmp_path / "model.safetensors")
    last = max(key for key in tensors if "norm" in key.lower() and "1" in key)
    del tensors[last]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match="lacks 1 weights"):
        load_model(tmp_path)


def test_another_class_in_the_config(tmp_path):
    model = tiny_model("bloom")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["BloomModel"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(load_model(tmp_path)), logits(model))


def test_tied_heads_that_are_stored_and_buffers_of_old_versions(tmp_path, caplog):
    folder = save(tmp_path / "x", safe=False)
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(tensors, folder / "pytorch_model.bin")
    assert torch.equal(logits(load_model(folder)), logits(tiny_model("gpt2")))
    assert "not used" not in caplog.text
    tensors["transformer.h.0.adapter.weight"] = torch.zeros(3)
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(
        DataError, match=r"1 tensors .* does not use; the first is transformer\.h\.0\.adapter"
    ):
        load_model(folder)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_have_an_end_token(tmp_path, name):
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    model = tiny_model(name)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path, device="cpu")
    assert (loaded.start_id, loaded.end_id) == (0, 1)
    with torch.inference_mode():
        assert torch.equal(loaded.model(IDS).logits, model(IDS).logits)


def test_decoders_have_none(tmp_path):
    model = tiny_model(DECODERS[0])
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path, device="cpu")
    assert (loaded.end_id, loaded.repo, loaded.commit) == (None, "", "")


def test_where_a_fetched_checkpoint_is_from(tmp_path):
    tiny_model("gpt2").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    write_manifest(tmp_path, Manifest(repo="org/name", commit="c" * 40))
    loaded = load_checkpoint(tmp_path, device="cpu")
    assert (loaded.repo, loaded.commit) == ("org/name", "c" * 40)


def test_an_encoder_without_an_end_token():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(StudyError, match="sep or eos"):
        end_token(tokenizer)


def test_a_tokenizer_beside_a_config_that_has_its_own(tmp_path):
    """Beside a Qwen2 config transformers takes Qwen2's way of cutting text; the file must win."""
    tiny_model("qwen2").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    words = load_tokenizer(tmp_path)
    assert words("the house is red")["input_ids"] == tiny_tokenizer()("the house is red")["input_ids"]


def test_a_model_that_is_spread_gives_the_same(tmp_path, monkeypatch):
    """There is one device here, so this holds the way through accelerate, not the spreading itself."""
    folder = save(tmp_path / "x")
    monkeypatch.setattr("babelscope.models.checkpoints.resolve_device", lambda _: "spread")
    model = load_model(folder, device="spread")
    assert torch.equal(logits(model), logits(tiny_model("gpt2")))


def test_spread_needs_gpus(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(StudyError, match="no CUDA device"):
        load_model(save(tmp_path / "x"), device="spread")
