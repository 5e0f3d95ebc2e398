"""The table of architectures against the real config classes and modules."""

from __future__ import annotations

import pytest
import transformers
from tiny_models import ARCHITECTURES, CONFIGS, tiny_model

from babelscope import architectures
from babelscope.architectures import (
    SITES,
    dimensions,
    hidden_size,
    max_positions,
    n_layers,
    site_widths,
)
from babelscope.errors import StudyError
from babelscope.hooks import site_modules


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_defaults_are_those_of_the_config_class(name):
    entry = architectures.ARCHITECTURES[name]
    config = getattr(transformers, entry.config_class)()
    sizes = dimensions({"model_type": name})
    assert sizes == dimensions(config.to_dict())
    assert sizes.n_layers == config.num_hidden_layers
    assert sizes.hidden == config.hidden_size
    assert sizes.max_positions == getattr(config, "max_position_embeddings", None)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_widths_are_those_of_the_modules(name):
    model = tiny_model(name)
    given = {"model_type": name, **CONFIGS[name]}
    assert site_widths(given, SITES) == site_widths(model.config.to_dict(), SITES)
    assert (n_layers(given), hidden_size(given)) == (2, 16)
    for (layer, site), width in site_widths(given, SITES).items():
        if site == "resid":
            continue
        sizes = []
        for module, end in site_modules(model, site, layer):
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
    assert hidden_size({"model_type": "bloom", "n_embed": 32, "hidden_size": 64}) == 32
    assert n_layers({"model_type": "xglm", "num_hidden_layers": 7}) == 7


def test_published_sizes():
    bloom_7b1 = {"model_type": "bloom", "n_layer": 30, "hidden_size": 4096, "n_head": 32}
    units = site_widths(bloom_7b1, ("attn_qkv", "attn_out", "mlp_in", "mlp_out"))
    assert sum(units.values()) == 30 * 9 * 4096
    assert max_positions(bloom_7b1) is None  # ALiBi


def test_what_does_not_exist_is_answered_with_what_does():
    with pytest.raises(StudyError, match="bloom, gpt2, gpt_neox, llama, xglm"):
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

    code = "import sys, babelscope.architectures, babelscope.store; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
