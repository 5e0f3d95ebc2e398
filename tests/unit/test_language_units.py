"""Units that tell a language: planted ones are found, and what hooks count is what plain passes give."""

from __future__ import annotations

import logging
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from babelscope.analysis.language_units import (
    EXPERTS,
    language_overlap,
    language_units,
    lape,
    parallel_sentences,
    stacked,
)
from babelscope.analysis.settings import AlignmentSettings
from babelscope.capture.firing import units_on
from babelscope.capture.settings import ExtractionSettings
from tiny_models import ENCODERS, SENTENCES, record, tiny_loaded

LANGS, N = ["de", "en", "ru", "zh"], 40
HALVES = ["ab"[at % 2] for at in range(N)]
SETTINGS = AlignmentSettings(bootstrap=50)


@pytest.mark.parametrize("architecture", ["xglm", "opt", "llama", "bert"])
def test_values_and_firing_are_those_of_plain_passes(architecture):
    loaded = tiny_loaded(architecture)
    settings = ExtractionSettings(sites=("mlp_act", "attn_out"), batch_size=3, max_length=24)
    found = units_on(loaded, SENTENCES, settings, where="en")
    n_tokens, fired = 0, dict.fromkeys(found.fired, 0)
    for row, (_, text) in enumerate(SENTENCES):
        own = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = [loaded.start_id, *own, *([1] if architecture in ENCODERS else [])]
        seen = record(loaded.model, torch.tensor([ids]), settings.sites)
        n_tokens += len(own)
        for place, values_SU in seen.items():
            values_TU = values_SU[1 : 1 + len(own)].numpy()
            assert found.values[place][row] == pytest.approx(values_TU.max(axis=0), abs=1e-5)
            if place[1] == "mlp_act":
                fired[place[0]] += (values_TU > 0).sum(axis=0)
    assert found.n_tokens == n_tokens
    for layer, counts in fired.items():
        assert np.abs(found.fired[layer] - counts).sum() <= 1  # a value may be zero but for rounding
    assert sum(int(of.sum()) for of in found.fired.values()) > 0


def pooled(langs=LANGS, *, planted=True, seed=0):
    """Noise in which unit a of layer 1 is of language a, and units 0 and 1 of layer 2 of the first; neuron a of
    layer 1 fires in language a alone, neuron 10 in all."""
    rng, found = np.random.default_rng(seed), {}
    for at, lang in enumerate(LANGS):
        values = {(layer, "mlp_act"): rng.normal(size=(N, 20)).astype(np.float32) for layer in (1, 2)}
        fired = {layer: rng.integers(0, 20, size=200) for layer in (1, 2)}
        if planted:
            values[1, "mlp_act"][:, at] += 6
            values[2, "mlp_act"][:, :2] += 6 * (at == 0)
            fired[1][[at, 10]] = 190
        found[lang] = SimpleNamespace(values=values, fired=fired, n_tokens=200)
    return {lang: found[lang] for lang in langs}


def found_in(pools):
    return language_units(pools, HALVES, model="m", step=3, k=4, seed=0)


def test_planted_units_are_found_in_their_layers():
    counts = found_in(pooled()).counts.set_index(["lang", "layer"])
    assert counts.loc[("de", -1), "share"] == 3 / 40
    assert counts.loc[("de", 2), "share"] == 2 / 20
    assert [counts.loc[(lang, 1), "share"] for lang in LANGS] == [1 / 20] * 4
    assert counts.loc[("zh", 2), "share"] == 0
    assert (counts["null"] == 0).all()
    assert [counts.loc[(lang, 1), "ap"] for lang in LANGS] == [1] * 4
    mean = counts.loc[("*", -1)]
    assert mean["share"] == pytest.approx((3 + 1 + 1 + 1) / 4 / 40)
    assert mean["low"] < mean["share"] < mean["high"]
    assert mean["null_ap"] < 0.6 < mean["ap_low"]
    assert mean[["n_units", "n_neurons", "n"]].tolist() == [40, 400, N]


def test_they_are_the_best_of_their_language_on_either_half():
    best = found_in(pooled()).best
    for half, (at, lang) in product("ab", enumerate(LANGS)):
        rows = best[(best["lang"] == lang) & (best["subset"] == half)].sort_values("rank")
        assert len(rows) == 4
        expected = {(1, at)} | ({(2, 0), (2, 1)} if lang == "de" else set())
        first = rows.head(len(expected))
        assert set(zip(first["layer"], first["unit"], strict=True)) == expected
        assert (first[["ap", "held_out_ap"]] == 1).all(axis=None)
        assert (rows["held_out_ap"].iloc[len(expected) :] < 0.6).all()


def test_of_noise_nothing_is_found():
    mean = found_in(pooled(planted=False)).counts.set_index(["lang", "layer"]).loc[("*", -1)]
    assert mean["share"] == 0
    assert mean["ap"] == pytest.approx(mean["null_ap"], abs=0.1)


def test_the_order_of_languages_is_no_matter():
    for one, other in zip(found_in(pooled()), found_in(pooled(LANGS[::-1])), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_neurons_of_one_language_have_the_least_entropy():
    found = lape({1: np.stack([of.fired[1] for of in pooled().values()])}, np.array([200] * 4))[1]
    assert found.sum() == 2  # a hundredth of 200 neurons
    assert all(found[at, at] or not found[:, at].any() for at in range(4))
    assert not found[:, 4:].any()  # the neuron that fires in all languages is not among them
    quiet = lape({1: np.zeros((4, 200), dtype=int)}, np.array([200] * 4))[1]
    assert not quiet.any()
    assert lape({}, np.array([1])) == {}


def test_longer_texts_do_not_make_neurons_of_their_language():
    fired = np.full((2, 100), 10)
    fired[0] *= 3
    fired[1, 7] = 100
    found = lape({1: fired}, np.array([300, 100]))[1]
    assert found.sum(axis=1).tolist() == [0, 1]
    assert found[1, 7]


def experts_of(own_unit):
    """Two experts of each concept and language on each half; the second, if ``own_unit``, tells the language."""
    rows = [
        ("m", 3, lang, "model", half, concept, 1, "mlp_act", unit)
        for (at, lang), half, concept in product(enumerate(LANGS), "ab", ("dog", "ice"))
        for unit in (19, at if own_unit else 18)
    ]
    return pd.DataFrame(rows, columns=EXPERTS)


@pytest.mark.parametrize("own_unit", [True, False])
def test_units_of_a_language_that_are_experts_in_it_are_counted(own_unit):
    found = found_in(pooled())
    alone = found.best[found.best["rank"] == 0]
    table = language_overlap(alone, [experts_of(own_unit)], found.counts, SETTINGS).set_index("lang")
    mean = table.loc["*"]
    # Of the first language the best unit on a half is one of three, of equal score.
    assert [table.loc[lang, "overlap"] for lang in LANGS[1:]] == [float(own_unit)] * 3
    assert mean["other_languages"] == 0
    assert mean["difference"] == mean["overlap"]
    assert mean["low"] <= mean["overlap"] <= mean["high"]
    assert mean[["chance", "k", "n_units", "n_concepts"]].tolist() == [1 / 40, 1, 40, 2]


def test_steps_without_language_units_have_no_overlap():
    nothing = stacked([])
    assert nothing.counts.empty
    assert nothing.best["unit"].dtype == np.int64
    table = language_overlap(nothing.best, [experts_of(True)], nothing.counts, SETTINGS)
    assert table.empty
    assert table["step"].dtype == np.int64


def test_sentences_are_those_that_all_languages_have_evenly(monkeypatch):
    monkeypatch.setattr("babelscope.analysis.language_units.MOST_SENTENCES", 20)
    sentences = {
        "de": [(f"s{at:03d}", f"de {at}") for at in reversed(range(60))],
        "en": [(f"s{at:03d}", f"en {at}") for at in range(1, 70)],
    }
    found = parallel_sentences(sentences)
    assert [name for name, _ in found["de"]] == [name for name, _ in found["en"]]
    assert found["de"][0] == ("s001", "de 1")
    assert found["en"][-1] == ("s059", "en 59")
    assert len(found["de"]) == 20


def test_too_few_of_them_are_said(caplog):
    sentences = {lang: [(f"{lang}-{at}", "text") for at in range(60)] for lang in ("de", "en")}
    with caplog.at_level(logging.WARNING, "babelscope"):
        assert parallel_sentences(sentences) == {}
    assert "0 sentences are in all of 2 languages" in caplog.text
