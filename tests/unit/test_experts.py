"""Mixtures of experts: units by expert, what the router leaves out, forcing, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import babelscope as bs
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.model_checks import check_model
from babelscope.capture import parity
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.routing import routed_shares
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import StudyError
from babelscope.models.dimensions import dimensions, site_widths
from babelscope.models.hooks import expert_place, site_modules, watching
from babelscope.ops.sizes import activation_bytes, extraction_memory
from babelscope.units import expert_name
from babelscope.units import expert_place as place_by_expert
from tiny_models import CONFIGS, MIXTURES, SENTENCES, record, tiny_loaded, tiny_model

IDS = torch.tensor([[0, 4, 9, 11, 6, 20, 8, 15, 23]])
LAYER = 2


def logits(model, ids=IDS):
    with torch.inference_mode():
        return model(ids).logits[0]


def sent(model, ids=IDS):
    """Where the router sends each token: (S, E), 0 or 1."""
    seen = []
    place = expert_place(model, LAYER, "sent")
    with watching([(place, lambda x: seen.append(x[0].clone()))]):
        logits(model, ids)
    return seen[0]


@pytest.mark.parametrize("name", MIXTURES)
def test_looking_on_changes_nothing(name):
    model = tiny_model(name)
    plain = logits(model)
    with watching(
        [(place, lambda x: None) for site in ("mlp_in", "mlp_act") for place in site_modules(model, site, 1)]
    ):
        torch.testing.assert_close(logits(model), plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(model), plain)


@pytest.mark.parametrize("name", MIXTURES)
def test_units_of_an_expert_are_0_where_its_token_was_not_sent(name):
    model = tiny_model(name)
    n, width = dimensions(model.config.to_dict()).experts, dimensions(model.config.to_dict()).mlp
    acts_SEF = record(model, IDS, ("mlp_act",))[LAYER, "mlp_act"].view(-1, n, width)
    sent_SE = sent(model)
    assert (sent_SE.sum(dim=1) == 2).all()
    assert 0 < sent_SE.mean() < 1
    assert torch.equal((acts_SEF != 0).any(dim=2), sent_SE.bool())


@pytest.mark.parametrize("name", MIXTURES)
def test_a_held_unit_counts_where_its_expert_is_asked_and_nowhere_else(name):
    """Held in the last layer, so that no later token sees it: the logits differ where the router sent the token."""
    model = tiny_model(name)
    width, plain, sent_SE = dimensions(model.config.to_dict()).mlp, logits(model), sent(model)
    for expert in range(sent_SE.shape[1]):
        held = UnitSet([LAYER], ["mlp_act"], [expert * width + 3], [5.0])
        with force_units(model, held):
            differs = (logits(model) - plain).abs().amax(dim=1) > 1e-4
        assert torch.equal(differs, sent_SE[:, expert].bool())


def test_an_expert_that_is_ablated_gives_nothing():
    """All its neurons at 0 are as its last map at 0."""
    model, other = tiny_model("olmoe"), tiny_model("olmoe")
    width = dimensions(model.config.to_dict()).mlp
    units = range(2 * width, 3 * width)
    with torch.no_grad():
        other.model.layers[LAYER - 1].mlp.experts.down_proj[2] = 0
    with force_units(model, UnitSet([LAYER] * width, ["mlp_act"] * width, units, [0.0] * width)):
        torch.testing.assert_close(logits(model), logits(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MIXTURES)
def test_shares_are_those_of_the_own_tokens(name):
    loaded = tiny_loaded(name)
    encoded = encode_sentences(loaded, SENTENCES, max_length=20, where="sentences")
    counts, n_tokens = 0, 0
    for row in encoded.rows:
        own = sent(loaded.model, torch.tensor([row]))[1:]
        counts, n_tokens = counts + own.sum(dim=0).numpy(), n_tokens + len(own)
    shares_LE = routed_shares(loaded, encoded, batch_size=3)
    np.testing.assert_allclose(shares_LE[LAYER - 1], counts / n_tokens)
    np.testing.assert_allclose(shares_LE.sum(axis=1), 2)


@pytest.mark.parametrize(
    ("dtype", "hint"), [("bfloat16", "changed which experts"), ("float32", "looks at padding")]
)
def test_the_self_test_of_padding_says_what_16_bits_may_do(dtype, hint, monkeypatch):
    monkeypatch.setitem(parity.PARITY_TOLERANCE, dtype, -1.0)  # so that any difference, also none, is refused
    loaded = tiny_loaded("mixtral")
    loaded.model.to(getattr(torch, dtype))
    encoded = encode_sentences(loaded, SENTENCES, max_length=20, where="sentences")
    with pytest.raises(parity.ParityError, match=f"hint: .*{hint}"):
        parity.parity_check(loaded, encoded, ExtractionSettings(max_length=20, compute_dtype=dtype))


def test_a_dense_model_has_no_router():
    loaded = tiny_loaded("llama")
    encoded = encode_sentences(loaded, SENTENCES, max_length=20, where="sentences")
    with pytest.raises(
        StudyError, match="got 'llama'; allowed: a mixture of experts: olmoe, mixtral, qwen3_moe"
    ):
        routed_shares(loaded, encoded, batch_size=3)


def test_the_notebook_says_where_tokens_go_and_takes_names_by_expert():
    loaded = tiny_loaded("mixtral")
    table = bs.routing(loaded, {"en": ["the house is red"], "es": ["la casa es roja", "agua"]})
    assert list(table) == ["lang", "layer", "expert", "share"]
    assert len(table) == 2 * 2 * 5
    assert table.groupby(["lang", "layer"])["share"].sum().tolist() == pytest.approx([2.0] * 4)
    with bs.ablate(loaded, ["L02.mlp_act.e1.3"]):
        by_expert = logits(loaded.model)
    with bs.ablate(loaded, ["L02.mlp_act.15"]):
        assert torch.equal(logits(loaded.model), by_expert)
    for wrong in ("L02.mlp_act.e5.0", "L02.mlp_act.e0.12"):
        with pytest.raises(ValueError, match="has 5 experts of 12 neurons"), bs.ablate(loaded, [wrong]):
            pass
    with (
        pytest.raises(ValueError, match="has no experts"),
        bs.ablate(tiny_loaded("gpt2"), ["L01.mlp_act.e0.0"]),
    ):
        pass


@given(st.integers(1, 99), st.integers(0, 500_000), st.integers(1, 20_000))
def test_names_by_expert_and_numbers_are_the_same_units(layer, unit, width):
    at, expert, neuron = place_by_expert(expert_name(layer, unit, width))
    assert (at, expert * width + neuron) == (layer, unit)
    assert neuron < width


def test_the_check_of_a_model_says_how_tokens_are_spread():
    found = {
        one.check: one.what for one in check_model(tiny_loaded("qwen3_moe"), {"en": ["the house is red"]})
    }
    assert "5 experts a block, 2 for each token" in found["experts"]
    assert "a token is computed with about" in found["weights"]


def test_memory_counts_the_neurons_of_all_experts():
    given = {"model_type": "olmoe", **CONFIGS["olmoe"]}
    settings = ExtractionSettings(batch_size=2, max_length=8)
    more = {**given, "num_experts": 50}
    assert sum(site_widths(more, ("mlp_act",)).values()) == 2 * 50 * 12
    # 45 more experts of 12 neurons, seen and changed, at 16 positions of 4 bytes.
    assert activation_bytes(more, settings) - activation_bytes(given, settings) == 2 * 45 * 12 * 16 * 4
    assert extraction_memory(more, settings, n_sentences=9) > extraction_memory(
        given, settings, n_sentences=9
    )
