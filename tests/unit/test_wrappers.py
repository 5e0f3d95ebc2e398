"""Multimodal models are read as the text model inside them: the same values as the wrapper computes of text."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from babelscope.analysis.audit.weights import measure_weights
from babelscope.analysis.model_checks import check_model
from babelscope.errors import ModelError, StudyError
from babelscope.models.architectures import SITES
from babelscope.models.checkpoints import initialise_checkpoint, load_checkpoint, load_model
from babelscope.models.dimensions import dimensions, n_parameters
from babelscope.models.files import read_config
from babelscope.models.hooks import ModuleEnd, watching
from babelscope.models.hub.listing import Listing, entry
from babelscope.models.tensors import check_tensors
from babelscope.models.wrappers import INSIDE, WRAPPERS, text_config, text_name
from babelscope.report.catalogue import count_parameters
from babelscope.study import cautions
from tiny_models import VOCABULARY_SIZE, record, tiny_tokenizer

IDS = torch.tensor([[0, 4, 9, 11, 6, 20, 8, 15, 23]])
_TEXT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 64, "vocab_size": VOCABULARY_SIZE,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
_SLIDES = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
_BY_THREE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0]}
_QWEN_SEES = {"depth": 1, "num_heads": 2, "out_hidden_size": 16, "hidden_size": 8, "intermediate_size": 8}
#: Text model and the part that sees of each wrapper.
TINY = {
    "gemma3": (
        {**_TEXT, **_SLIDES, "head_dim": 6, "query_pre_attn_scalar": 5},
        {
            "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
            "image_size": 28, "patch_size": 14,
        },
    ),
    "qwen2_vl": (
        {**_TEXT, "rope_parameters": _BY_THREE},
        {"depth": 1, "embed_dim": 8, "hidden_size": 16, "num_heads": 2},
    ),
    "qwen2_5_vl": ({**_TEXT, "rope_parameters": _BY_THREE}, _QWEN_SEES),
    "qwen3_vl": (
        {**_TEXT, "head_dim": 6, "rope_parameters": {**_BY_THREE, "mrope_section": [1, 1, 1]}},
        {**_QWEN_SEES, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    ),
}  # fmt: skip


def wrapper(name, *, tied=False):
    """A random wrapper of transformers, in eval mode."""
    text, vision = TINY[name]
    config = transformers.AutoConfig.for_model(
        name, text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied
    )
    model = transformers.AutoModelForImageTextToText.from_config(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            noise = torch.randn(weights.shape, generator=generator) * 0.3
            weights.copy_(noise if weights.ndim > 1 else weights + noise)
    return model.eval()


def saved(name, folder, **arguments):
    model = wrapper(name, **arguments)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


def rename(folder, change):
    """Give the tensors of a folder other names."""
    file = folder / "model.safetensors"
    save_file({change(key): value for key, value in load_file(file).items()}, file, {"format": "pt"})


def test_each_wrapper_of_the_table_is_tried():
    assert set(TINY) == set(WRAPPERS)


@pytest.mark.parametrize(
    ("name", "tied"),
    [("gemma3", True), ("gemma3", False), ("qwen2_vl", True), ("qwen2_5_vl", False), ("qwen3_vl", False)],
)
def test_the_text_model_computes_what_the_wrapper_does_of_text(name, tied, tmp_path):
    whole = saved(name, tmp_path, tied=tied)
    model = load_model(tmp_path)
    seen = {}

    def keep(at):
        return lambda x: seen.update({at: x[0].clone()})

    layers = whole.model.language_model.layers
    watchers = [(ModuleEnd(layer, "out"), keep((at, "resid"))) for at, layer in enumerate(layers, 1)]
    watchers += [(ModuleEnd(layers[at - 1].mlp.down_proj, "in"), keep((at, "mlp_act"))) for at in (1, 2)]
    watchers += [(ModuleEnd(layers[at - 1].self_attn.o_proj, "out"), keep((at, "attn_out"))) for at in (1, 2)]
    with torch.inference_mode(), watching(watchers):
        logits = whole(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS).logits, logits, rtol=1e-5, atol=1e-5)
    found = record(model, IDS)
    assert len(seen) == 6
    for place, value in seen.items():
        torch.testing.assert_close(found[place], value, rtol=1e-5, atol=1e-5)
    assert model.config.tie_word_embeddings is tied


@pytest.mark.parametrize("name", TINY)
def test_what_sees_is_neither_loaded_nor_counted(name, tmp_path):
    saved(name, tmp_path)
    model, shapes = load_model(tmp_path), check_tensors(tmp_path)
    assert set(shapes) == {key for key, _ in model.named_parameters()}
    n_weights = sum(weights.numel() for weights in model.parameters())
    facts = measure_weights(tmp_path)
    assert count_parameters(tmp_path) == facts.n_weights == n_weights
    assert not any("vis" in key for key in facts.names)
    matrices = sum(weights.numel() for weights in model.parameters() if weights.ndim > 1)
    assert n_parameters(read_config(tmp_path)) == matrices


def test_the_checks_of_a_model_hold_of_a_wrapper(tmp_path):
    saved("qwen3_vl", tmp_path)
    found = check_model(load_checkpoint(tmp_path, device="cpu"), {"en": ["the house is red .", "water"]})
    assert {one.level for one in found} == {"ok"}
    assert {f"site {site}" for site in SITES} <= {one.check for one in found}


@pytest.mark.parametrize("name", TINY)
def test_sizes_that_config_json_leaves_out_are_those_of_the_text_class(name):
    config = getattr(transformers, WRAPPERS[name]["config_class"])()
    given = text_config({"model_type": name})
    assert given["model_type"] == WRAPPERS[name]["text"]
    assert dimensions(given) == dimensions(text_config(config.to_dict()))
    inner = config.get_text_config()
    sizes = dimensions(given)
    assert (sizes.n_layers, sizes.hidden, sizes.mlp, sizes.vocab, sizes.max_positions) == (
        inner.num_hidden_layers, inner.hidden_size, inner.intermediate_size, inner.vocab_size,
        inner.max_position_embeddings,
    )  # fmt: skip
    assert sizes.key == inner.num_key_value_heads * sizes.head
    assert sizes.tied == config.tie_word_embeddings


def test_the_first_versions_kept_the_keys_of_the_text_model_beside_the_others(tmp_path):
    saved("qwen2_vl", tmp_path)
    before = load_model(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    text = config.pop("text_config")
    text.pop("model_type")
    rotation = text.pop("rope_parameters")
    older = {"rope_theta": 1e4, "rope_scaling": {"type": "mrope", "mrope_section": rotation["mrope_section"]}}
    file.write_text(json.dumps({**config, **text, **older}))
    assert dimensions(read_config(tmp_path)).n_layers == 2
    with torch.inference_mode():
        torch.testing.assert_close(load_model(tmp_path)(IDS).logits, before(IDS).logits)


@pytest.mark.parametrize("name", ["gemma3", "qwen2_vl"])
def test_tensors_may_have_the_names_of_any_version(name, tmp_path):
    saved(name, tmp_path)
    before = load_model(tmp_path)
    config = read_config(tmp_path)

    def newest(key):
        text = text_name(key, config)
        if text is None:
            return key
        return text if text.startswith("lm_head") else text.replace("model.", "model.language_model.", 1)

    rename(tmp_path, newest)
    with torch.inference_mode():
        torch.testing.assert_close(load_model(tmp_path)(IDS).logits, before(IDS).logits)


def test_a_tensor_of_the_text_model_that_is_left_over_is_refused(tmp_path):
    saved("gemma3", tmp_path)
    rename(tmp_path, lambda key: key.replace("layers.1.mlp.up_proj", "layers.1.mlp.other"))
    with pytest.raises(ModelError, match=r"holds 1 tensors that the model of its config\.json does not use"):
        load_model(tmp_path)


def test_a_quantised_wrapper_is_refused(tmp_path):
    saved("qwen3_vl", tmp_path)
    file = tmp_path / "config.json"
    config = {**json.loads(file.read_text()), "quantization_config": {"quant_method": "awq"}}
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"quantization_config \(awq\)"):
        check_tensors(tmp_path)


def test_the_random_baseline_is_the_text_model_alone(tmp_path):
    saved("qwen2_5_vl", tmp_path / "whole")
    initialise_checkpoint(tmp_path / "whole", tokenizer=tmp_path / "whole", out=tmp_path / "random", seed=0)
    written = json.loads((tmp_path / "random" / "config.json").read_text())
    assert written["model_type"] == "qwen2"
    assert INSIDE not in written
    assert dimensions(read_config(tmp_path / "random")) == dimensions(read_config(tmp_path / "whole"))
    load_model(tmp_path / "random")


@pytest.mark.parametrize(
    ("given", "tied"),
    [
        ({"model_type": "gemma3"}, True),
        ({"model_type": "gemma3", "tie_word_embeddings": False}, False),
        ({"model_type": "qwen2_vl"}, False),
        ({"model_type": "qwen2_vl", "text_config": {"tie_word_embeddings": True}}, True),
        ({"model_type": "qwen3_vl", "text_config": {"tie_word_embeddings": True}}, False),
    ],
)
def test_whether_the_head_is_tied_is_said_where_transformers_looks(given, tied):
    known = {key: value for key, value in given.items() if key != "model_type"}
    config = transformers.AutoConfig.for_model(given["model_type"], **known)
    assert text_config(given)["tie_word_embeddings"] is config.tie_word_embeddings is tied


def test_an_architecture_of_a_study_is_the_text_model():
    with pytest.raises(StudyError, match="qwen3_vl is read as the text model inside it: say qwen3"):
        dimensions({"model_type": "qwen3_vl"})


def test_the_hub_and_the_plan_say_what_is_read(tmp_path):
    listing = Listing("a/b", "mit", (), (), "", text_config({"model_type": "gemma3"}), True, "safetensors")
    told = entry(listing, "b")
    assert "gemma3: the text model inside it is read alone, as gemma3_text" in told
    assert "architecture: gemma3_text" in told
    saved("gemma3", tmp_path)
    study = SimpleNamespace(models={"m": SimpleNamespace(id="m", config=read_config(tmp_path))})
    (said,) = cautions._inside(study)
    assert said.startswith("m: gemma3 is read as the text model inside it (gemma3_text)")


def test_other_models_are_read_as_they_are():
    config = {"model_type": "llama", "text_config": {"hidden_size": 3}}
    assert text_config(config) == config
    assert text_name("model.visual.x", config) == "model.visual.x"
