"""Dictionaries: latents as units, by hand for every layout; a planted one is found; what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from test_study_checks import grammar_config

import babelscope as bs
from babelscope.analysis.ablation import Moves, moving
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.parity import parity_check
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import DataError, ModelError, StudyError
from babelscope.models.checkpoints import load_checkpoint, save_model
from babelscope.models.dictionaries import DictionaryPlace, read_dictionary, widths_of
from babelscope.models.dimensions import DICTIONARIES, site_widths
from babelscope.models.hooks import block_list, mlp_input, site_modules, watching
from babelscope.models.latents import attach
from babelscope.ops.costs import CostModel
from babelscope.ops.sizes import extraction_memory, generation_memory
from babelscope.ops.stages import all_jobs
from babelscope.study.loading import load_study
from babelscope.study.series import check_checkpoints
from babelscope.units import UnitIndex
from dictionaries import (
    tensors,
    without_threshold,
    write_file,
    write_saelens,
    write_scope,
    write_scope_2,
    write_sparsify,
)
from tiny_models import SENTENCES, record, tiny_loaded, tiny_model

IDS = torch.tensor([[0, 4, 9, 11, 6, 20, 8, 15, 23]])
N = 24


def with_dictionary(name, *places):
    """A tiny model with dictionaries, as :func:`load_checkpoint` attaches them."""
    loaded = tiny_loaded(name)
    found = [read_dictionary(place, loaded.config) for place in places]
    attach(loaded.model, found)
    setattr(loaded.model.config, DICTIONARIES, widths_of(found))
    return loaded


def seen_at(model, place, ids=IDS):
    """Values at a place, (S, D)."""
    seen = []
    with watching([(place, lambda x: seen.append(x[0].clone()))]), torch.inference_mode():
        model(ids)
    return seen[0].double()


def latents_of(model, layer, name="sae", ids=IDS):
    (place,) = site_modules(model, name, layer)
    return seen_at(model, place, ids)


def logits(model, ids=IDS):
    with torch.inference_mode():
        return model(ids).logits[0]


# ----------------------------------------------------------------------- every layout, by hand


def by_hand(x, of, *, kind, subtract=False, k=0, norm="none", by_decoder_norm=False):
    """The latents of each token, written out in float64, a token and a latent at a time."""
    of = {name: torch.from_numpy(tensor).double() for name, tensor in of.items()}
    rows = []
    for token in x.double():
        if norm == "layer_norm":
            centred = token - token.sum() / len(token)
            token = centred / ((centred**2).sum().div(len(token) - 1).sqrt() + 1e-5)
        if norm == "constant_norm_rescale":
            token = token * (len(token) ** 0.5 / (token**2).sum().sqrt())
        token = token - of["b_dec"] if subtract else token
        values = []
        for latent in range(N):
            value = sum(token[at] * of["W_enc"][at, latent] for at in range(len(token))) + of["b_enc"][latent]
            if by_decoder_norm:
                value = value * (of["W_dec"][latent] ** 2).sum().sqrt()
            values.append(float(value))
        kept = sorted(values, reverse=True)[:k]
        rows.append(
            [
                value if value > 0 and (kind != "jumprelu" or value > of["threshold"][at]) else 0.0
                for at, value in enumerate(values)
            ]
        )
        if kind == "topk":
            rows[-1] = [value if value in kept and value > 0 else 0.0 for value in values]
    return torch.tensor(rows, dtype=torch.float64)


SAELENS = {"d_in": 16, "d_sae": N, "apply_b_dec_to_input": False, "normalize_activations": "none"}
LAYOUTS = {
    "SAELens": (lambda f, of: write_saelens(f, of, architecture="standard", **SAELENS), {"kind": "relu"}),
    "SAELens, bias": (
        lambda f, of: write_saelens(f, of, architecture="standard", **{**SAELENS, "apply_b_dec_to_input": True}),
        {"kind": "relu", "subtract": True},
    ),
    "SAELens, bias by default": (
        lambda f, of: write_saelens(f, of, architecture="standard"),
        {"kind": "relu", "subtract": True},
    ),
    "SAELens, jumprelu": (
        lambda f, of: write_saelens(f, of, architecture="jumprelu", **SAELENS),
        {"kind": "jumprelu"},
    ),
    "SAELens, topk": (
        lambda f, of: write_saelens(f, of, architecture="topk", k=3, **SAELENS),
        {"kind": "topk", "k": 3},
    ),
    "SAELens, topk by decoder norm": (
        lambda f, of: write_saelens(f, of, architecture="topk", k=3, rescale_acts_by_decoder_norm=True, **SAELENS),
        {"kind": "topk", "k": 3, "by_decoder_norm": True},
    ),
    "SAELens 5, topk": (
        lambda f, of: write_saelens(
            f, of, activation_fn_str="topk", activation_fn_kwargs={"k": 4}, apply_b_dec_to_input=True
        ),
        {"kind": "topk", "k": 4, "subtract": True},
    ),
    "SAELens, layer norm": (
        lambda f, of: write_saelens(
            f, of, architecture="standard", **{**SAELENS, "normalize_activations": "layer_norm"}
        ),
        {"kind": "relu", "norm": "layer_norm"},
    ),
    "SAELens, constant norm": (
        lambda f, of: write_saelens(
            f, of, architecture="standard", **{**SAELENS, "normalize_activations": "constant_norm_rescale"}
        ),
        {"kind": "relu", "norm": "constant_norm_rescale"},
    ),
    "sparsify": (
        lambda f, of: write_sparsify(f, of, d_in=16, k=5, num_latents=N, transcode=False, activation="topk"),
        {"kind": "topk", "k": 5, "subtract": True},
    ),
    "sparsify of before": (
        lambda f, of: write_sparsify(f, of, d_in=16, k=5, expansion_factor=32, signed=False),
        {"kind": "topk", "k": 5, "subtract": True},
    ),
    "Gemma Scope": (lambda f, of: write_scope(f, of), {"kind": "jumprelu"}),
    "Gemma Scope 2": (lambda f, of: write_scope_2(f, of), {"kind": "jumprelu"}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_latents_are_those_of_the_library_that_wrote_them(layout, tmp_path):
    write, how = LAYOUTS[layout]
    of = tensors(16, N)
    loaded = with_dictionary("llama", DictionaryPlace("sae", 1, str(write(tmp_path / "x", of)), "resid"))
    x = record(loaded.model, IDS, ("resid",))[1, "resid"]
    expected = by_hand(x, of, **how)
    assert 0 < (expected > 0).double().mean() < 0.9
    torch.testing.assert_close(latents_of(loaded.model, 1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_a_file_without_a_config_is_read_as_the_study_says(kind, ending, tmp_path):
    of = tensors(16, N)
    kept = of if kind == "jumprelu" else without_threshold(of)
    file = tmp_path / f"layer.{ending}"
    np.savez(file, **kept) if ending == "npz" else write_file(file, kept)
    told = {"kind": kind, "k": 3 if kind == "topk" else None, "subtract_bias": True}
    loaded = with_dictionary("llama", DictionaryPlace("sae", 2, str(file), "resid", **told))
    x = record(loaded.model, IDS, ("resid",))[2, "resid"]
    expected = by_hand(x, of, kind=kind, k=3, subtract=True)
    torch.testing.assert_close(latents_of(loaded.model, 2), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "bloom", "bert", "modernbert", "olmoe"])
@pytest.mark.parametrize("site", ["resid", "attn_out", "mlp_out", "mlp_act", "mlp_input"])
def test_each_site_is_read_where_the_site_itself_is(name, site, tmp_path):
    if (name, site) == ("olmoe", "mlp_act"):
        return
    model = tiny_model(name)
    layers = (0, 1, 2) if site == "resid" else (1, 2)
    width = 16 if site == "mlp_input" else site_widths(model.config.to_dict(), [site])[1, site]
    of = tensors(width, N)
    told = {"kind": "jumprelu", "subtract_bias": site != "mlp_input"}
    file = write_file(tmp_path / "x.safetensors", of)
    loaded = with_dictionary(name, *(DictionaryPlace("sae", at, str(file), site, **told) for at in layers))
    for layer in layers:
        place = mlp_input(model, layer) if site == "mlp_input" else site_modules(model, site, layer)[0]
        expected = by_hand(seen_at(model, place), of, kind="jumprelu", subtract=site != "mlp_input")
        torch.testing.assert_close(latents_of(loaded.model, layer), expected, rtol=1e-4, atol=1e-4)


def test_what_goes_into_the_mlp_is_behind_its_norm():
    model = tiny_model("llama")
    block = block_list(model)[0]
    seen = []
    block.post_attention_layernorm.register_forward_hook(lambda *of: seen.append(of[2][0].double()))
    found = seen_at(model, mlp_input(model, 1))
    torch.testing.assert_close(found, seen[0])


# -------------------------------------------------------------------------- units like others


@pytest.fixture
def folder(tmp_path):
    """A checkpoint on disk, and dictionaries of its two layers."""
    loaded = tiny_loaded("llama")
    save_model(loaded.model, loaded.tokenizer, tmp_path / "model")
    for block in (0, 1):
        of = tensors(16, N, seed=block)
        write_saelens(
            tmp_path / f"sae/blocks.{block}", of, architecture="jumprelu",
            hook_name=f"blocks.{block}.hook_resid_post",
        )  # fmt: skip
    return tmp_path


def sae_of(folder, **more):
    return {"sae": {"path": f"{folder}/sae/blocks.{{block}}", "site": "resid", **more}}


def test_the_library_pools_latents(folder):
    model = bs.load_model(folder / "model", device="cpu", dictionaries=sae_of(folder))
    texts = {"en": dict(SENTENCES[:3]), "es": dict(SENTENCES[3:])}
    acts = bs.activations(model, texts, sites=("mlp_out", "sae"), batch_size=2)
    frame = acts.frame("en")
    assert list(frame.columns[[0, 15, 16, 39, 40]]) == [
        "L01.mlp_out.0", "L01.mlp_out.15", "L01.sae.0", "L01.sae.23", "L02.mlp_out.0",
    ]  # fmt: skip
    for name, text in texts["en"].items():
        words = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[model.start_id, *words]])
        for layer in (1, 2):
            expected = latents_of(model.model, layer, ids=ids)[1:].amax(dim=0)
            own = frame.loc[name, [f"L{layer:02d}.sae.{unit}" for unit in range(N)]]
            np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)
    origin = acts.units["en"].provenance
    assert origin.dictionaries_hash == model.dictionaries_hash != ""
    assert origin.sites == ("mlp_out", "sae")
    only = bs.activations(model, texts, sites=("sae",), batch_size=2)
    assert len(only.unit_index) == 2 * N


def test_other_files_have_another_hash_and_a_model_without_any_has_none(folder):
    model = bs.load_model(folder / "model", device="cpu", dictionaries=sae_of(folder))
    one = bs.load_model(folder / "model", device="cpu", dictionaries=sae_of(folder, layers=[2]))
    none = bs.load_model(folder / "model", device="cpu")
    assert len({model.dictionaries_hash, one.dictionaries_hash, none.dictionaries_hash}) == 3
    assert none.dictionaries_hash == ""
    assert site_widths(one.config, ["mlp_out", "sae"]) == {
        (1, "mlp_out"): 16,
        (2, "mlp_out"): 16,
        (2, "sae"): N,
    }
    with pytest.raises(StudyError, match=r"extraction.sites`: got .'sae'.; allowed: .* mlp_act"):
        bs.activations(none, {"en": ["the house"]}, sites=("sae",))


def test_a_sentence_has_the_same_latents_in_a_batch_as_alone(folder):
    """Only the model is asked whether it looks at padding: near a threshold rounding is a step."""
    model = bs.load_model(folder / "model", device="cpu", dictionaries=sae_of(folder))
    encoded = encode_sentences(model, SENTENCES, max_length=20, where="sentences")
    assert parity_check(model, encoded, ExtractionSettings(sites=("sae",), max_length=20)) < 1e-5


def test_latents_of_a_model_in_16_bits_are_kept_in_32():
    half = {"compute_dtype": "float16"}
    assert ExtractionSettings(sites=("mlp_act",), **half).unit_type("max") == "float16"
    assert ExtractionSettings(sites=("mlp_act", "sae"), **half).unit_type("max") == "float32"


def planted(folder):
    """A model whose blocks add nothing: states are word embeddings, and these are sums of known directions.

    Words of *house* in both languages hold direction 0, twice; words of *water* direction 1, three times; every
    word has something of direction 2, and noise in all directions but these. The other latents are dead.
    """
    loaded = tiny_loaded("llama")
    draw = np.random.default_rng(5)
    basis = np.linalg.qr(draw.normal(size=(16, 16)))[0].T
    words, offset = loaded.tokenizer.get_vocab(), draw.normal(size=16)
    states = draw.normal(size=(len(words), 13)) @ basis[3:] + offset + 0.5 * basis[2]
    for concept, strength, forms in ((0, 2, ("house", "casa")), (1, 3, ("water", "agua"))):
        for word in forms:
            states[words[word]] += strength * basis[concept]
    with torch.no_grad():
        for block in block_list(loaded.model):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        loaded.model.get_input_embeddings().weight[: len(words)] = torch.from_numpy(states).float()
    save_model(loaded.model, loaded.tokenizer, folder / "model")
    others = draw.normal(size=(21, 13)) @ basis[3:]
    of = {
        "W_enc": np.concatenate([basis[:3], others]).T,
        "b_enc": np.r_[np.zeros(3), np.full(21, -99.0)],
        "W_dec": np.concatenate([basis[:3], others]),
        "b_dec": offset,
    }
    order = draw.permutation(N)  # the planted ones are anywhere
    of = {name: each[:, order] if name == "W_enc" else each[order] if len(each) == N else each
          for name, each in of.items()}  # fmt: skip
    of = {name: np.ascontiguousarray(each, np.float32) for name, each in of.items()}
    write_saelens(folder / "sae", of, architecture="standard", apply_b_dec_to_input=True)
    return [int(np.flatnonzero(order == latent)[0]) for latent in range(3)]


def test_planted_latents_are_found_and_are_the_experts_of_both_languages(tmp_path):
    house, water, every = planted(tmp_path)
    sae = {"sae": {"path": f"{tmp_path}/sae", "site": "resid", "layers": [2]}}
    model = bs.load_model(tmp_path / "model", device="cpu", dictionaries=sae)
    words = {"en": "house water river red blue big".split(), "es": "casa agua fluye roja cerca un".split()}
    draw = np.random.default_rng(0).integers(2, 6, (48, 4))
    draw[:, 2] = np.where(np.arange(48) // 2 % 3 < 2, np.arange(48) // 2 % 3, draw[:, 2])
    texts = {
        lang: {f"s{at}": " ".join(of[word] for word in row) for at, row in enumerate(draw)}
        for lang, of in words.items()
    }
    concepts = {"house": 0, "water": 1}
    labels = {name: [f"s{at}" for at in range(48) if draw[at, 2] == word] for name, word in concepts.items()}
    acts = bs.activations(model, texts, sites=("sae",))
    for lang in texts:
        frame = acts.frame(lang)
        for latent, strength, name in ((house, 2, "house"), (water, 3, "water")):
            expected = [strength * (at in labels[name]) for at in frame.index]
            np.testing.assert_allclose(frame[f"L02.sae.{latent}"], expected, atol=1e-4)
        np.testing.assert_allclose(frame[f"L02.sae.{every}"], 0.5, atol=1e-4)
    scores = bs.score_units(acts, labels)
    for lang in texts:
        found = scores.frame(lang)
        assert found.loc["house", f"L02.sae.{house}"] == found.loc["water", f"L02.sae.{water}"] == 1
    experts = bs.experts(scores, k=1).query("scope == 'model' and subset == 'all'")
    best = {(row.lang, row.concept): row.name for row in experts.itertuples(index=False)}
    assert best == {
        (lang, name): f"L02.sae.{latent}"
        for lang in texts
        for name, latent in (("house", house), ("water", water))
    }


# --------------------------------------------------------------------------- forcing, ablation


def direction(of, latent, by_decoder_norm=False):
    row = torch.from_numpy(of["W_dec"][latent]).double()
    return row / row.norm() if by_decoder_norm else row


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "SAELens 5, topk"])
def test_a_held_latent_adds_its_direction_times_the_change(layout, tmp_path):
    write, how = LAYOUTS[layout]
    of, latent, value = tensors(16, N), 7, 5.0
    loaded = with_dictionary("llama", DictionaryPlace("sae", 1, str(write(tmp_path / "x", of)), "resid"))
    model, plain = loaded.model, record(loaded.model, IDS, ("resid",))[1, "resid"].double()
    change = (value - latents_of(model, 1)[:, latent])[:, None] * direction(of, latent, "decoder" in layout)
    if how.get("norm") == "layer_norm":
        change = change * plain.std(dim=1, keepdim=True)
    if how.get("norm") == "constant_norm_rescale":
        change = change * plain.norm(dim=1, keepdim=True) / 4
    with force_units(model, UnitSet([1], ["sae"], [latent], [value])):
        held = record(model, IDS, ("resid",))
    torch.testing.assert_close(held[1, "resid"].double(), plain + change, rtol=1e-4, atol=1e-4)
    block = block_list(model)[0]
    handle = block.register_forward_hook(lambda module, args, out: out + change.float())
    expected = logits(model)
    handle.remove()
    with force_units(model, UnitSet([1], ["sae"], [latent], [value])):
        torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(record(model, IDS, ("resid",))[1, "resid"].double(), plain)


def transcoder(folder, layer=1):
    of = without_threshold(tensors(16, N))
    write_sparsify(folder, of, d_in=16, k=5, transcode=True)
    return of, DictionaryPlace("tc", layer, str(folder), "mlp_input")


@pytest.mark.parametrize("name", ["llama", "opt", "gpt2", "olmoe"])
def test_a_transcoder_reads_the_mlp_s_input_and_writes_its_output(name, tmp_path):
    of, place = transcoder(tmp_path / "tc")
    loaded = with_dictionary(name, place)
    model, plain = loaded.model, record(loaded.model, IDS, ("mlp_out",))[1, "mlp_out"].double()
    expected = by_hand(seen_at(model, mlp_input(model, 1)), of, kind="topk", k=5)
    torch.testing.assert_close(latents_of(model, 1, "tc"), expected, rtol=1e-4, atol=1e-4)
    change = (4 - expected[:, 3])[:, None] * direction(of, 3)
    with force_units(model, UnitSet([1], ["tc"], [3], [4.0])):
        held = record(model, IDS, ("mlp_out",))[1, "mlp_out"].double()
        inputs = seen_at(model, mlp_input(model, 1))
    torch.testing.assert_close(held, plain + change, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(inputs, seen_at(model, mlp_input(model, 1)))


def test_looking_on_changes_nothing_and_leaves_no_hook(tmp_path):
    of = tensors(16, N)
    place = DictionaryPlace("sae", 1, str(write_scope(tmp_path / "x", of)), "resid")
    loaded = with_dictionary("llama", place, transcoder(tmp_path / "tc", 2)[1])
    model, plain = loaded.model, logits(tiny_model("llama"))
    assert torch.equal(logits(model), plain)
    (sae,), (tc,) = site_modules(model, "sae", 1), site_modules(model, "tc", 2)
    with watching([(sae, lambda x: None), (tc, lambda x: None)]):
        assert torch.equal(logits(model), plain)
        with watching([(sae, lambda x: x.clone())]):  # the same values, as another tensor
            assert torch.equal(logits(model), plain)
        with pytest.raises(RuntimeError, match="no"), watching([(sae, _fail)]):
            logits(model)
        assert torch.equal(logits(model), plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _fail(x):
    raise RuntimeError("no")


def test_what_is_entered_later_sees_what_was_held_before(tmp_path):
    of = tensors(16, N)
    place = DictionaryPlace("sae", 1, str(write_scope(tmp_path / "x", of)), "resid")
    model = with_dictionary("llama", place).model
    (resid,) = site_modules(model, "resid", 1)
    with force_units(model, UnitSet([1], ["resid"], [2], [9.0])):
        state = seen_at(model, resid)
        assert (state[:, 2] == 9).all()
        expected = by_hand(state, of, kind="jumprelu")
        torch.testing.assert_close(latents_of(model, 1), expected, rtol=1e-4, atol=1e-4)
    with force_units(model, UnitSet([1], ["sae"], [2], [9.0])):
        assert not torch.equal(
            seen_at(model, resid), record(tiny_model("llama"), IDS, ("resid",))[1, "resid"]
        )
        assert (latents_of(model, 1)[:, 2] == 9).all()


def test_gradients_pass_through_what_is_held(tmp_path):
    """Read and held without gradients first: tensors of that mode would be of no use later."""
    place = DictionaryPlace("sae", 1, str(write_scope(tmp_path / "x", tensors(16, N))), "resid")
    model = with_dictionary("llama", place).model
    with force_units(model, UnitSet([1], ["sae"], [7], [5.0])):
        plain = logits(model)
        found = model(IDS).logits[0]
        torch.testing.assert_close(found, plain)
        found.sum().backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_rows_of_a_batch_are_held_each_at_its_own(tmp_path):
    place = DictionaryPlace("sae", 1, str(write_scope(tmp_path / "x", tensors(16, N))), "resid")
    model = with_dictionary("llama", place).model
    held = UnitSet([1], ["sae"], [7], [5.0])
    with force_units(model, held):
        one = logits(model)
    with force_units(model, [held, None]), torch.inference_mode():
        both = model(IDS.repeat(2, 1)).logits
    torch.testing.assert_close(both[0], one, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both[1], logits(model), rtol=1e-5, atol=1e-5)


def test_ablation_moves_latents_to_a_mean(tmp_path):
    of = tensors(16, N)
    place = DictionaryPlace("sae", 2, str(write_scope(tmp_path / "x", of)), "resid")
    loaded = with_dictionary("llama", place)
    model, units = (
        loaded.model,
        UnitIndex.of((*at, n) for at, n in site_widths(loaded.config, ["sae"]).items()),
    )
    plain, latents = record(model, IDS, ("resid",))[2, "resid"].double(), latents_of(model, 2)
    moved, mean = np.array([4]), 0.7
    moves = Moves(moved, moved, np.array([mean]), np.ones(1))
    with moving(model, moves, units, first=1):
        found = record(model, IDS, ("resid",))[2, "resid"].double()
    change = (mean - latents[:, 4])[:, None] * direction(of, 4)
    change[0] = 0  # the start token is not moved
    torch.testing.assert_close(found, plain + change, rtol=1e-4, atol=1e-4)


def test_the_library_forces_latents(folder):
    model = bs.load_model(folder / "model", device="cpu", dictionaries=sae_of(folder))
    plain = bs.generate(model, 2, max_new_tokens=5)
    with bs.force(model, {"L02.sae.3": 80.0}):
        forced = bs.generate(model, 2, max_new_tokens=5)
    assert list(plain["text"]) != list(forced["text"])
    with pytest.raises(ValueError, match=r"no unit L02.sae.24 among"), bs.ablate(model, ["L02.sae.24"]):
        pass


# ---------------------------------------------------------------------------------- refusals


def saelens(**config):
    return lambda folder: write_saelens(folder, tensors(16, N), **config)


def sparsify(**config):
    return lambda folder: write_sparsify(folder, tensors(16, N), **config)


def renamed(old, new):
    def write(folder):
        of = tensors(16, N)
        of[new] = of.pop(old)
        return write_scope_2(folder, of)

    return write


def with_more(name, shape):
    def write(folder):
        return write_scope(folder, {**tensors(16, N), name: np.zeros(shape, np.float32)})

    return write


def cut(folder):
    file = write_scope_2(folder, tensors(16, N)) / "params.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    return folder


def of_objects(folder):
    folder.mkdir()
    of = {**tensors(16, N), "b_dec": np.array([_Runs()] * 16, dtype=object)}
    np.savez(folder / "params.npz", **of)
    return folder


class _Runs:
    """Would write a file if it were unpickled."""

    def __reduce__(self):
        return (Path("ran").touch, ())


def a_pickle(folder):
    folder.mkdir()
    (folder / "ae.pt").write_bytes(pickle.dumps(_Runs()))
    return folder


def llama_scope(folder):
    folder.mkdir()
    (folder / "hyperparams.json").write_text("{}")
    return folder


def both(folder):
    write_scope(folder, tensors(16, N))
    return write_scope_2(folder, tensors(16, N))


def no_config(folder):
    (write_saelens(folder, tensors(16, N), architecture="standard") / "cfg.json").unlink()
    return folder


def one_file(**told):
    return lambda folder: write_file(folder / "x.safetensors", without_threshold(tensors(16, N)))


REFUSED = {
    "gated": (saelens(architecture="gated"), "resid", "cfg.json: architecture is 'gated'; allowed: standard, jumprelu, topk.*gated autoencoder"),
    "a gate": (with_more("r_mag", (N,)), "resid", "params.npz: holds r_mag besides; allowed: W_enc.*gated autoencoder"),
    "left over": (with_more("scaling_factor", (N,)), "resid", "holds scaling_factor besides; allowed: W_enc, b_enc"),
    "a statistic": (saelens(architecture="standard", normalize_activations="expected_average_only_in"), "resid", "normalize_activations is 'expected_average_only_in'; allowed: none, layer_norm, constant_norm_rescale\nhint: it scales by a statistic of its data.*fold_activation_norm_scaling_factor"),
    "a statistic of before": (saelens(normalize_activations=True), "resid", "normalize_activations is True.*statistic of its data"),
    "another function": (saelens(activation_fn_str="tanh-relu"), "resid", "activation_fn is 'tanh-relu'; allowed: relu, topk"),
    "a head": (saelens(architecture="standard", metadata={"hook_head_index": 3}), "resid", "hook_head_index is 3; allowed: None"),
    "heads": (saelens(architecture="standard", reshape_activations="hook_z"), "resid", "reshape_activations is 'hook_z'"),
    "another hook": (saelens(architecture="standard", metadata={"hook_name": "blocks.0.attn.hook_z"}), "resid", "hook_name is 'blocks.0.attn.hook_z'; allowed: blocks.N.hook_resid_pre, .*read at no site here"),
    "another layer": (saelens(architecture="standard", hook_name="blocks.1.hook_resid_post"), "resid", "hook_name is 'blocks.1.hook_resid_post'; allowed: the place that it is for, resid of layer 1\nhint: that is site resid of layer 2, since blocks count from 0 there"),
    "another site": (saelens(architecture="standard", hook_point="blocks.0.hook_mlp_out"), "resid", "that is site mlp_out of layer 1"),
    "centred": (saelens(architecture="standard", model_from_pretrained_kwargs={"center_writing_weights": True}), "resid", "model_from_pretrained_kwargs.*residual stream was centred"),
    "a transcoder at a site": (saelens(architecture="transcoder"), "resid", "architecture is 'transcoder'; allowed: an autoencoder at resid"),
    "an autoencoder at the input": (saelens(architecture="standard"), "mlp_input", "architecture is 'standard'; allowed: a transcoder at mlp_input"),
    "no k": (saelens(architecture="topk"), "resid", "cfg.json: k is None; allowed: a whole number, 1 or more"),
    "k as text": (sparsify(k="5"), "resid", "cfg.json: k is '5'; allowed: a whole number"),
    "k beyond": (sparsify(k=N + 1), "resid", f"k is {N + 1}; allowed: at most its {N} latents"),
    "signed": (sparsify(k=5, signed=True), "resid", "signed is True; allowed: False"),
    "groupmax": (sparsify(k=5, activation="groupmax"), "resid", "activation is 'groupmax'; allowed: 'topk'"),
    "sparsify's transcoder": (sparsify(k=5, transcode=True), "resid", "transcode is True; allowed: true at mlp_input and false at other sites"),
    "a transcoder of before": (sparsify(k=5, skip_connection=True), "mlp_input", "transcode is None; allowed: true.*\nhint: older versions did not write it: say `subtract_bias`"),
    "no threshold": (lambda f: write_scope(f, without_threshold(tensors(16, N))), "resid", "holds no threshold, and its kind is jumprelu"),
    "a threshold": (lambda f: write_file(f / "sae_weights.safetensors", tensors(16, N)).parent, "resid", "has no cfg.json beside it"),
    "no encoder": (renamed("W_enc", "encoder"), "resid", "allowed: an encoder, W_enc, w_enc, encoder.weight"),
    "no bias": (renamed("b_enc", "bias"), "resid", "lacks b_enc; it holds"),
    "another width": (lambda f: write_scope(f, tensors(12, N)), "resid", "W_enc reads 12 values; allowed: 16, as wide as resid of the model"),
    "another decoder": (lambda f: write_scope(f, tensors(16, N, written=12)), "resid", r"W_dec has the shape \[24, 12\]; allowed: \[24, 16\], by the shape of W_enc"),
    "whole numbers": (lambda f: write_scope_2(f, {**tensors(16, N), "b_enc": np.zeros(N, np.int32)}), "resid", "b_enc is of type I32; allowed: F64, F32, F16, BF16"),
    "cut off": (cut, "resid", "has no readable header .*cut off"),
    "objects": (of_objects, "resid", "params.npz: has no readable header .*objects"),
    "a pickle": (a_pickle, "resid", "holds a dictionary as a pickle .*not opened"),
    "a pickle by name": (lambda f: a_pickle(f) / "ae.pt", "resid", "ae.pt: is no file of safetensors or npz.*pickle would run"),
    "Llama Scope": (llama_scope, "resid", "layout of Llama Scope .*statistic of its data: load it with SAELens"),
    "two": (both, "resid", "holds params.npz and params.safetensors; allowed: one of"),
    "nothing": (lambda f: f, "resid", "is not there: the dictionary sae of layer 1\nhint: .*`layers`"),
    "no config": (no_config, "resid", "sae_weights.safetensors: has no cfg.json beside it"),
    "not told": (one_file(), "resid", "no cfg.json says its `kind`; allowed: relu, jumprelu, topk"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, site, said = REFUSED[case]
    path = write(tmp_path / "x")
    with pytest.raises(ModelError, match=f"(?s){said}") as caught:
        read_dictionary(DictionaryPlace("sae", 1, str(path), site), tiny_model("llama").config.to_dict())
    assert str(path) in str(caught.value)
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["params.npz", "params.safetensors"])
def test_a_damaged_file_is_refused_wherever_it_is_damaged(name, tmp_path):
    """Nothing but our error comes out of it, and what is read in spite of it has the shapes of before."""
    write = write_scope if name.endswith("npz") else write_scope_2
    file = write(tmp_path, tensors(16, N)) / name
    content, draw = file.read_bytes(), np.random.default_rng(0)
    place, config, refused = (
        DictionaryPlace("sae", 1, str(file), "resid"),
        tiny_model("llama").config.to_dict(),
        0,
    )
    for _ in range(150):
        damaged = bytearray(content)
        for at in draw.integers(0, 400 if draw.random() < 0.5 else len(content), 3):
            damaged[at] = draw.integers(256)
        file.write_bytes(
            bytes(damaged[: draw.choice([len(content), draw.integers(1, len(content))], p=[0.8, 0.2])])
        )
        try:
            found = read_dictionary(place, config)
        except ModelError:
            refused += 1
        else:
            assert (found.width, found.n_latents) == (16, N)
    assert refused > 30


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"kind": "relu"}, "no cfg.json says its `subtract_bias`; allowed: true or false"),
        ({"kind": "topk", "subtract_bias": True}, "`k` is None and kind topk"),
        ({"kind": "relu", "subtract_bias": True, "k": 3}, "`k` is 3 and kind relu"),
        ({"kind": "jumprelu", "subtract_bias": True}, "holds no threshold, and its kind is jumprelu"),
    ],
)
def test_what_the_study_says_of_a_bare_file_must_fit_it(told, said, tmp_path):
    file = write_file(tmp_path / "x.safetensors", without_threshold(tensors(16, N)))
    with pytest.raises(ModelError, match=said):
        read_dictionary(
            DictionaryPlace("sae", 1, str(file), "resid", **told), tiny_model("llama").config.to_dict()
        )


def test_the_study_may_not_contradict_a_config(tmp_path):
    place = DictionaryPlace(
        "sae", 1, str(saelens(architecture="standard")(tmp_path / "x")), "resid", kind="topk"
    )
    with pytest.raises(ModelError, match="kind is 'relu' here; the study says 'topk'\nhint: take `kind` out"):
        read_dictionary(place, tiny_model("llama").config.to_dict())


@pytest.mark.parametrize(
    ("name", "site", "layer", "said"),
    [
        ("gemma2", "mlp_out", 1, "reads mlp_out; allowed: resid or mlp_act\nhint: in gemma2 a norm follows"),
        ("olmo2", "attn_out", 1, "reads attn_out; allowed: resid or mlp_act"),
        ("gemma", "resid", 0, "reads the input of block 1; allowed: layer 1 or later"),
        ("olmoe", "mlp_act", 1, "mlp_act of a mixture of experts"),
    ],
)
def test_a_site_that_is_another_place_there_is_refused(name, site, layer, said, tmp_path):
    config = tiny_model(name).config.to_dict()
    path = write_scope(tmp_path / "x", tensors(max(site_widths(config, [site]).values()), N))
    with pytest.raises(ModelError, match=said):
        read_dictionary(DictionaryPlace("sae", layer, str(path), site), config)


def test_values_that_are_no_numbers_are_refused_when_it_is_loaded(tmp_path):
    of = tensors(16, N)
    of["W_enc"][3, 4] = np.nan
    with pytest.raises(ModelError, match="W_enc holds a value that is not finite"):
        with_dictionary("llama", DictionaryPlace("sae", 1, str(write_scope(tmp_path / "x", of)), "resid"))


def test_a_config_cannot_bring_our_key(tmp_path):
    loaded = tiny_loaded("llama")
    save_model(loaded.model, loaded.tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({**config, DICTIONARIES: {"sae": {"latents": {"1": 5}}}})
    )
    with pytest.raises(ModelError, match=f"has the key {DICTIONARIES}"):
        load_checkpoint(tmp_path)


# ---------------------------------------------------------------------------------- planning


def study_with(folder, sites=("mlp_act", "sae"), **more):
    """A study of a model that is pre-trained here, 16 wide and 2 deep."""
    sae = {"path": f"{folder}/{{layer}}", "site": "resid", **more}
    return grammar_config(
        models__small__dictionaries={"sae": sae}, extraction__sites=list(sites), experts={"k": 4}
    )


@pytest.fixture
def saes(tmp_path):
    for layer in (1, 2):
        write_scope(tmp_path / str(layer), tensors(16, N, seed=layer))
    return tmp_path


def test_a_study_counts_latents_as_units(saes):
    study = load_study(study_with(saes))
    assert study.n_units("small-seed0") == 2 * (32 + N)
    assert study.models["small-seed0"].n_units(["sae"]) == 2 * N
    only = load_study(study_with(saes, sites=["sae"], layers=[2]))
    assert only.n_units("small-seed0") == N
    assert [place.path for place in only.models["small-seed0"].dictionaries_at(4)] == [f"{saes}/2"]
    assert load_study(study_with(saes, sites=["mlp_act"])).n_units("small-seed0") == 64


def test_units_of_a_dictionary_can_be_named_for_traces(saes):
    config = study_with(saes)
    load_study({**config, "traces": {"units": ["L02.sae.23"]}})
    with pytest.raises(
        StudyError, match=r"traces.units`: got 'L02.sae.24'; allowed: .*L01.mlp_act.0 to L02.sae.23"
    ):
        load_study({**config, "traces": {"units": ["L02.sae.24"]}})


def test_a_plan_counts_latents_in_memory_time_and_disk(saes):
    plain, more = load_study(study_with(saes, sites=["mlp_act"])), load_study(study_with(saes))
    for stage in ("extract_activations", "rank_units"):
        costs = [
            next(CostModel(study).cost(job) for job in all_jobs(study) if job.stage == stage)
            for study in (plain, more)
        ]
        assert costs[0].memory < costs[1].memory
        assert costs[0].seconds < costs[1].seconds
        assert costs[0].kept + costs[0].temporary < costs[1].kept + costs[1].temporary
    config = {"model_type": "llama", "vocab_size": 1000}
    big = {**config, DICTIONARIES: {"sae": {"latents": {3: 2**15}, "reads": {3: 4096}}}}
    settings = ExtractionSettings(sites=("mlp_act", "sae"), batch_size=2)
    least = 4 * 2**15 * 4096
    none = {**config, DICTIONARIES: {"sae": {"latents": {}, "reads": {}}}}
    grown = extraction_memory(big, settings, n_sentences=10) - extraction_memory(
        none, settings, n_sentences=10
    )
    assert least < grown < 2 * least
    assert 2 * least < generation_memory(big, settings) - generation_memory(none, settings) < 3 * least


PLANNED = {
    "no such site": ({"sites": ["sea"]}, "extraction.sites[0]", "allowed: mlp_act, .*resid, sae\nhint: did you mean `sae`?"),
    "a layer too many": ({"layers": [3]}, "models.small.dictionaries.sae.layers", "got 3; allowed: layers of the model at resid, 0 to 2"),
    "no layer in the path": ({"path": "x"}, "models.small.dictionaries.sae.path", "tells the files of its layers apart"),
    "no block": ({"path": "x/{block}", "layers": [0, 1]}, "models.small.dictionaries.sae.path", "layer 0 is of no block"),
    "another field": ({"path": "x/{lang}"}, "models.small.dictionaries.sae.path", "'lang' is not one of them"),
    "another key": ({"paht": "x"}, "models.small.dictionaries.sae.paht", "keys here are path, site, layers"),
    "another kind": ({"kind": "gated"}, "models.small.dictionaries.sae.kind", "allowed: relu, jumprelu, topk"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANNED)
def test_a_study_is_refused_while_it_is_planned(case, saes):
    given, key, said = PLANNED[case]
    with pytest.raises(StudyError, match=f"(?s){said}") as caught:
        load_study(study_with(saes, **given))
    assert caught.value.key == key


def test_a_dictionary_has_no_name_of_a_site(saes):
    of = {"path": f"{saes}/{{layer}}", "site": "resid"}
    with pytest.raises(StudyError, match=r"dictionaries.resid`: got 'resid'; allowed: .* no site: mlp_act"):
        load_study(grammar_config(models__small__dictionaries={"resid": of}))


def test_every_model_has_what_is_a_site(saes):
    config = study_with(saes)
    config["models"]["other"] = {**config["models"]["small"], "dictionaries": {}}
    with pytest.raises(
        StudyError, match=r"models.other.dictionaries`: got .*the dictionary sae of extraction.sites"
    ):
        load_study(config)


def test_a_layer_without_a_file_is_refused(saes):
    (saes / "2/params.npz").unlink()
    (saes / "2").rmdir()
    with pytest.raises(ModelError, match=r"is not there: the dictionary sae of layer 2\nhint: .*`layers`"):
        load_study(study_with(saes))
    load_study(study_with(saes, layers=[1]))


def test_the_dictionaries_of_later_steps_are_looked_at(saes):
    """Each step may have its own: as many latents, computed alike."""
    for step, n in ((0, N), (4, N)):
        for layer in (1, 2):
            write_scope(saes / f"{step}/{layer}", tensors(16, n, seed=step))
    study = load_study(study_with(saes, path=f"{saes}/{{step}}/{{layer}}"))
    check_checkpoints(study)
    write_scope(saes / "4/2", tensors(16, N + 1))
    with pytest.raises(
        DataError, match=r"4/2/params.npz: differs from that of step 0: .*25.*; allowed: one for all"
    ):
        check_checkpoints(study)
    (saes / "4/2/params.npz").unlink()
    with pytest.raises(ModelError, match="4/2: holds no dictionary"):
        check_checkpoints(study)


def test_the_library_refuses_what_a_study_does(folder):
    with pytest.raises(StudyError, match=r"(?s)dictionaries.sae.path`: .*'step' is not one of them"):
        bs.load_model(folder / "model", dictionaries={"sae": {"path": "x/{step}", "site": "resid"}})
    with pytest.raises(StudyError, match=r"dictionaries.a.b`: got 'a.b'; allowed: letters"):
        bs.load_model(folder / "model", dictionaries={"a.b": {"path": "x/{layer}", "site": "resid"}})
