"""Checkpoints that are not what they seem, by the cases of tests/cases/checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from babelscope.errors import DataError
from babelscope.models.architectures import architecture
from babelscope.models.checkpoints import initialise_checkpoint, load_model, save_model
from babelscope.models.files import is_complete
from babelscope.models.tensors import check_tensors, is_of_head
from babelscope.models.tokenizer_files import cut_hash
from babelscope.study.models import LocalSeries
from babelscope.study.series import check_checkpoints
from checkpoint_cases import Case, cases, edit, in_shards
from tiny_models import ARCHITECTURES, MIXTURES, tiny_model, tiny_tokenizer

REFUSED, ACCEPTED, SERIES = cases("refused"), cases("accepted"), cases("series")


def sound(folder: Path, architecture: str, seed: int = 0) -> Path:
    save_model(tiny_model(architecture, seed=seed), tiny_tokenizer(), folder)
    return folder


@pytest.fixture(params=REFUSED.values(), ids=REFUSED)
def refused(request) -> Case:
    return request.param


def test_what_is_not_the_model_is_refused_while_planning(tmp_path, refused):
    folder = sound(tmp_path, refused.architecture)
    check_tensors(folder)
    refused.spoil(folder)
    assert is_complete(folder) is None, "it is whole, and was loaded"
    if refused.late:
        check_tensors(folder)
        return
    with pytest.raises(DataError, match=refused.expected) as caught:
        check_tensors(folder)
    assert caught.value.hint


def test_what_is_not_the_model_is_refused_when_it_is_loaded(tmp_path, refused):
    folder = sound(tmp_path, refused.architecture)
    refused.spoil(folder)
    with pytest.raises(DataError, match=refused.expected):
        load_model(folder)


def test_an_index_without_metadata_is_no_index(tmp_path):
    """transformers would end in a KeyError."""
    folder = sound(tmp_path, "llama")
    in_shards(folder)
    file = folder / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": json.loads(file.read_text())["weight_map"]}))
    assert is_complete(folder) == "model.safetensors.index.json has no metadata beside weight_map"


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED)
def test_what_looks_odd_gives_the_same_logits(tmp_path, case):
    folder = sound(tmp_path, case.architecture)
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        before = load_model(folder)(ids).logits
        case.spoil(folder)
        check_tensors(folder)
        assert torch.equal(load_model(folder)(ids).logits, before)


@pytest.mark.parametrize("case", SERIES.values(), ids=SERIES)
def test_a_step_of_another_series(tmp_path, case):
    for step in (1, 2, 3):
        sound(tmp_path / str(step), case.architecture, seed=step)
    model = LocalSeries(
        run_id="m", id="m", role="main", batches=((1,), (2,), (3,)), results="r", data="d",
        path=f"{tmp_path}/{{step}}",
    )  # fmt: skip
    study = SimpleNamespace(models={"m": model})
    check_checkpoints(study)
    case.spoil(tmp_path / "2")
    load_model(tmp_path / "2")
    if not case.expected:
        check_checkpoints(study)
        return
    with pytest.raises(DataError, match=case.expected) as caught:
        check_checkpoints(study)
    assert "take step 2 out of models.m.steps" in caught.value.hint


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_of_every_architecture_is_known(tmp_path, name):
    """With every bias that its config can ask for."""
    biases = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "decoder_bias": True,
              "norm_bias": True, "qkv_bias": True}  # fmt: skip
    for config in ({}, biases):
        model = tiny_model(name, **config)
        model.save_pretrained(tmp_path)
        shapes = check_tensors(tmp_path)
        if name in MIXTURES:  # whose files hold the maps of each expert apart
            with safe_open(tmp_path / "model.safetensors", "pt") as file:
                assert shapes == {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            continue
        known = {name.replace("embed_out.", "lm_head."): shape for name, shape in shapes.items()}
        assert {name: tuple(weights.shape) for name, weights in model.named_parameters()}.items() <= (
            known.items() | {(key, tuple(w.shape)) for key, w in model.named_parameters() if tied(key)}
        )


SWITCHES = [
    ("opt", {"enable_bias": False}), ("opt", {"layer_norm_elementwise_affine": False}),
    ("opt", {"do_layer_norm_before": False}), ("opt", {"word_embed_proj_dim": 8}),
    ("modernbert", {"norm_bias": True}), ("modernbert", {"decoder_bias": False}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config"), [*((name, {}) for name in ARCHITECTURES), *SWITCHES])
def test_every_weight_that_is_missing_is_seen_while_planning(tmp_path, name, config):
    """All that a model has is known, so that one less or one more is; of heads of encoders nobody asks."""
    tiny_model(name, **config).save_pretrained(tmp_path)
    check_tensors(tmp_path)
    load_model(tmp_path)
    entry, sound_ = architecture(name), load_file(tmp_path / "model.safetensors")
    if any(key in entry.switches for key in config):
        return  # seen when it is loaded
    for missing in sound_:
        if is_of_head(missing, entry) or missing.endswith((".beta", ".eps")) or "rotary" in missing:
            continue
        edit(tmp_path, lambda tensors, name=missing: tensors.pop(name))
        with pytest.raises(DataError, match=f"lacks .*{re.escape(missing)}|files hold"):
            check_tensors(tmp_path)
        save_file(sound_, tmp_path / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keys_of_biases_are_those_of_transformers(name):
    def biases(**config):
        return {key for key, _ in tiny_model(name, **config).named_parameters() if key.endswith(".bias")}

    for key, kind in {"attention_bias": "attn", "mlp_bias": "mlp"}.items():
        differ = biases(**{key: True}) - biases(**{key: False})
        assert bool(differ) == (key in architecture(name).biases)
        modules = {
            part.module
            for site, parts in architecture(name).sites.items()
            if site.startswith(kind)
            for part in parts
        }
        assert {key.removesuffix(".bias").split(".", 3)[-1] for key in differ} <= modules


def tied(name: str) -> bool:
    return name.startswith(("lm_head", "cls.predictions.decoder", "decoder"))


def test_the_random_baseline_has_the_tokenizer_of_its_series(tmp_path):
    """Byte for byte: read and written anew it would be another one to a strict eye."""
    folder = sound(tmp_path / "series", "llama")
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n\n")
    initialise_checkpoint(folder, tokenizer=folder, out=tmp_path / "0", seed=1)
    assert (tmp_path / "0/tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert cut_hash(tmp_path / "0") == cut_hash(folder)
