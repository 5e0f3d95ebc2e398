"""The table of architectures against the real config classes and modules."""

from __future__ import annotations

import pytest
import torch
import transformers

from babelscope.errors import StudyError
from babelscope.models import architectures
from babelscope.models.architectures import SITES, is_encoder
from babelscope.models.dimensions import dimensions, max_positions, n_layers, n_parameters, site_widths
from babelscope.models.hooks import site_modules
from tiny_models import ARCHITECTURES, CONFIGS, MIXTURES, VOCABULARY_SIZE, tiny_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_defaults_are_those_of_the_config_class(name):
    entry = architectures.ARCHITECTURES[name]
    config = getattr(transformers, entry.config_class)()
    sizes = dimensions({"model_type": name})
    assert sizes == dimensions(config.to_dict())
    assert sizes.n_layers == config.num_hidden_layers
    assert sizes.hidden == config.hidden_size
    positions = getattr(config, "max_position_embeddings", None)
    assert sizes.max_positions == (
        positions if entry.padding is None else positions - config.pad_token_id - 1
    )
    assert sizes.vocab == config.vocab_size
    assert sizes.tied == config.tie_word_embeddings
    assert sizes.head == (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def test_the_table_and_the_tiny_models_have_the_same_architectures():
    assert set(ARCHITECTURES) == set(architectures.ARCHITECTURES)


def counted(model):
    return sum(weights.numel() for weights in model.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_within_a_percent_of_the_real_model(name):
    """Of the sizes that each config class has by itself, 100 million to 20 billion for most."""
    config = getattr(transformers, architectures.ARCHITECTURES[name].config_class)()
    kind = "MaskedLM" if is_encoder({"model_type": name}) else "CausalLM"
    with torch.device("meta"):
        model = getattr(transformers, f"AutoModelFor{kind}").from_config(config)
    assert n_parameters({"model_type": name}) == pytest.approx(counted(model), rel=0.01)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_left_out_is_norms_and_biases(name):
    """In a model of width 16 these are a tenth; all matrices but the two rows of token types are counted."""
    model = tiny_model(name)
    matrices = sum(weights.numel() for weights in model.parameters() if weights.ndim > 1)
    token_types = 2 * 16 if name in ("bert", "roberta", "xlm-roberta") else 0
    given = {"model_type": name, **CONFIGS[name], "vocab_size": VOCABULARY_SIZE}
    assert n_parameters(model.config.to_dict()) == n_parameters(given) == matrices - token_types
    assert 0.8 * counted(model) < n_parameters(given) <= counted(model)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 12}),
        ("llama", {"tie_word_embeddings": True}),
        ("smollm3", {"tie_word_embeddings": False}),
        ("gpt_neox", {"tie_word_embeddings": True}),
        ("gpt2", {"n_inner": 24, "tie_word_embeddings": False}),
        ("llama", {"num_key_value_heads": None, "head_dim": None}),
    ],
)
def test_matrices_in_other_configs(name, config):
    model = tiny_model(name, **config)
    matrices = sum(weights.numel() for weights in model.parameters() if weights.ndim > 1)
    given = {"model_type": name, **CONFIGS[name], **config, "vocab_size": VOCABULARY_SIZE}
    assert n_parameters(model.config.to_dict()) == n_parameters(given) == matrices


def test_published_models_have_the_parameters_that_are_published():
    bloom = {"model_type": "bloom", "n_layer": 24, "hidden_size": 1024, "n_head": 16, "vocab_size": 250880}
    opt_350m = {
        "model_type": "opt", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "ffn_dim": 4096, "word_embed_proj_dim": 512, "do_layer_norm_before": False,
    }  # fmt: skip
    pythia_14m = {
        "model_type": "gpt_neox", "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
        "intermediate_size": 512, "vocab_size": 50304,
    }  # fmt: skip
    for config, published in (
        (bloom, 559_214_592),
        ({"model_type": "gpt2"}, 124_439_808),
        (opt_350m, 331_196_416),
        ({"model_type": "llama", "max_position_embeddings": 4096}, 6_738_415_616),
        (pythia_14m, 14_067_712),
    ):
        assert n_parameters(config) == pytest.approx(published, rel=0.01)


def test_active_parameters_are_those_that_a_token_is_computed_with():
    """As their authors say: Mixtral 8x7B 46.7 and 12.9 billion, OLMoE 6.9 and 1.3, Qwen3-30B-A3B 30.5 and 3.3."""
    olmoe = {"model_type": "olmoe", "intermediate_size": 1024}
    qwen = {"model_type": "qwen3_moe", "num_hidden_layers": 48, "head_dim": 128, "num_key_value_heads": 4}
    for config, whole, active in (
        ({"model_type": "mixtral"}, 46.7e9, 12.9e9),
        (olmoe, 6.9e9, 1.3e9),
        (qwen, 30.5e9, 3.3e9),
    ):
        assert n_parameters(config) == pytest.approx(whole, rel=0.01)
        assert n_parameters(config, active=True) == pytest.approx(active, rel=0.03)
    dense = {"model_type": "llama"}
    assert n_parameters(dense, active=True) == n_parameters(dense)


def test_mixtures_that_cannot_be_read_are_refused():
    given = {"model_type": "qwen3_moe", **CONFIGS["qwen3_moe"]}
    for name, value in (("mlp_only_layers", [0]), ("decoder_sparse_step", 2)):
        with pytest.raises(StudyError, match=f"{name}`: got .*experts in all"):
            dimensions({**given, name: value})
    with pytest.raises(StudyError, match="num_experts_per_tok`: got 6; allowed: at most the 5 experts"):
        dimensions({**given, "num_experts_per_tok": 6})
    with pytest.raises(StudyError, match=r"qwen2_moe is a mixture of experts: olmoe, mixtral and qwen3_moe"):
        dimensions({"model_type": "qwen2_moe"})


def test_gates_and_kinds():
    gated = {name for name in ARCHITECTURES if dimensions({"model_type": name}).gated}
    assert "apertus" not in gated
    assert {"llama", "gemma3_text", "olmo2", "qwen3", "smollm3", "modernbert"} <= gated
    assert not gated & {"xglm", "bloom", "gpt2", "gpt_neox", "opt", "bert", "roberta", "xlm-roberta"}
    encoders = [name for name in ARCHITECTURES if is_encoder({"model_type": name})]
    assert encoders == ["bert", "roberta", "xlm-roberta", "modernbert"]


def test_positions_that_padding_takes_are_not_counted():
    base = {"model_type": "xlm-roberta", "max_position_embeddings": 514}
    assert max_positions({**base, "pad_token_id": 1}) == max_positions(base) == 512
    assert max_positions({**base, "pad_token_id": 3}) == 510
    with pytest.raises(StudyError, match="max_position_embeddings`: got 2; allowed: more than 2"):
        max_positions({**base, "max_position_embeddings": 2})
    assert max_positions({"model_type": "opt"}) == 2048


def test_key_heads_that_do_not_divide_the_heads_are_refused():
    small = {"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 4}
    with pytest.raises(StudyError, match="num_key_value_heads`: got 32; allowed: a divisor of the 4 heads"):
        dimensions(small)
    assert dimensions({**small, "num_key_value_heads": 2}).key == 32
    assert dimensions({**small, "num_key_value_heads": None}).key == 64


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_widths_are_those_of_the_modules(name):
    model = tiny_model(name)
    given = {"model_type": name, **CONFIGS[name]}
    assert site_widths(given, SITES) == site_widths(model.config.to_dict(), SITES)
    assert (n_layers(given), dimensions(given).hidden) == (2, 16)
    for (layer, site), width in site_widths(given, SITES).items():
        if site == "resid":
            continue
        sizes = []
        for module, end, _ in site_modules(model, site, layer):
            if name in MIXTURES and site.startswith("mlp"):
                experts = model.model.layers[layer - 1].mlp.experts
                n, wide, narrow = experts.down_proj.shape
                sizes.append(wide if site == "mlp_out" else n * narrow)
                continue
            rows, columns = module.weight.shape
            if type(module).__name__ == "Conv1D":  # GPT-2 keeps its weights transposed
                rows, columns = columns, rows
            sizes.append(rows if end == "out" else columns)
        assert sum(sizes) == width, (layer, site)


def test_units_are_ordered_by_layer_then_by_site_as_given():
    config = {"model_type": "xglm", "num_layers": 2}
    assert list(site_widths(config, ("mlp_out", "resid", "attn_qkv"))) == [
        (0, "resid"),
        (1, "mlp_out"), (1, "resid"), (1, "attn_qkv"),
        (2, "mlp_out"), (2, "resid"), (2, "attn_qkv"),
    ]  # fmt: skip


def test_other_names_of_a_key_are_understood():
    assert dimensions({"model_type": "gpt2", "hidden_size": 32}).mlp == 128
    assert dimensions({"model_type": "bloom", "n_embed": 32, "hidden_size": 64}).hidden == 32
    assert n_layers({"model_type": "xglm", "num_hidden_layers": 7}) == 7


def test_published_sizes():
    bloom_7b1 = {"model_type": "bloom", "n_layer": 30, "hidden_size": 4096, "n_head": 32}
    units = site_widths(bloom_7b1, ("attn_qkv", "attn_out", "mlp_in", "mlp_out"))
    assert sum(units.values()) == 30 * 9 * 4096
    assert max_positions(bloom_7b1) is None  # ALiBi


def test_what_does_not_exist_is_answered_with_what_does():
    with pytest.raises(StudyError, match=r"apertus, bert, bloom, .*xglm, xlm-roberta"):
        n_layers({"model_type": "t5"})
    with pytest.raises(StudyError, match="mlp_act"):
        site_widths({"model_type": "xglm"}, ["neurons"])
    with pytest.raises(StudyError, match="different"):
        site_widths({"model_type": "xglm"}, ["resid", "resid"])
    with pytest.raises(StudyError, match="positive integer"):
        n_layers({"model_type": "xglm", "num_layers": 0})


def test_the_table_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, babelscope.models.dimensions, babelscope.capture.store; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
