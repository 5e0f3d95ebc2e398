"""Traces against what is known: units set by hand, plain forward passes, plain sorts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from babelscope.analysis.settings import TraceSettings
from babelscope.analysis.traces import KINDS, choose_sentences, quantiles, sentences_of, trace_step
from babelscope.capture.extraction import pooled_batches
from babelscope.capture.settings import POOLINGS, ExtractionSettings
from babelscope.errors import NumericsError
from babelscope.io.tables import read_table, write_table
from babelscope.models.architectures import SITES
from tiny_models import ARCHITECTURES, ENCODERS, SENTENCES, WORDS, record, tiny_loaded

ALL_SITES = ExtractionSettings(sites=SITES, batch_size=3, max_length=20)
RESID = ExtractionSettings(sites=("resid",), batch_size=2, max_length=20)
#: The sentences that hold the word that the planted unit knows.
WATER = {"water-0000", "house-0002"}


def units_of(*rows):
    return pd.DataFrame(rows, columns=["layer", "site", "unit", "concept"])


def choose(loaded, units, settings, extraction, sentences=SENTENCES, lang="en", step=8, seed=0):
    positive = {"water": [pair for pair in SENTENCES if pair[0].startswith("water")]}
    return choose_sentences(
        loaded, units, sentences, positive, model="m", step=step, lang=lang, settings=settings,
        extraction=extraction, seed=seed,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted():
    """A unit of the embeddings that is 5 at one word and 0 at all others."""
    loaded = tiny_loaded("llama")
    embedding = loaded.model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[:, 3] = 0.0
        embedding[4 + WORDS.index("water"), 3] = 5.0
    return loaded


def test_a_unit_that_knows_a_word_is_seen_at_this_word_alone(planted):
    settings = TraceSettings(strongest=2, random=1, lowest=1)
    chosen = choose(planted, units_of((0, "resid", 3, "water")), settings, RESID)
    assert chosen.groupby("kind").size().to_dict() == {"strongest": 2, "random": 1, "lowest": 1}
    strongest = chosen[chosen["kind"] == "strongest"].set_index("sentence")["positive"].to_dict()
    assert strongest == {"water-0000": True, "house-0002": False}
    table = trace_step(planted, chosen, {"en": SENTENCES}, step=16, settings=RESID)
    assert (table["step"] == 16).all()
    for _, row in table.iterrows():
        words = [row["text"][a:b] for a, b in zip(row["starts"], row["ends"], strict=True)]
        assert words == row["text"].split()
        assert row["values"].tolist() == [5.0 * (word == "water") for word in words]
        assert row["value"] == 5.0 * (row["sentence"] in WATER)
        # Two of seven sentences have the word: each is above the five others, and level with one.
        assert row["quantile"] == pytest.approx(5.5 / 6 if row["sentence"] in WATER else 2 / 6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_values_are_those_of_a_plain_forward_pass(name):
    """At every site, its first and last unit and one between, of sites of several parts too."""
    loaded = tiny_loaded(name)
    values = {
        sentence: record(
            loaded.model,
            torch.tensor([[0, *loaded.tokenizer(text)["input_ids"], *([1] if name in ENCODERS else [])]]),
        )
        for sentence, text in SENTENCES
    }
    widths = {place: x.shape[1] for place, x in values["water-0001"].items()}
    places = [
        (layer, site, unit)
        for (layer, site), width in widths.items()
        for unit in (0, width // 2 + 1, width - 1)
    ]
    units = units_of(*((*place, "water") for place in places))
    chosen = choose(loaded, units, TraceSettings(strongest=2, random=2, lowest=3), ALL_SITES)
    assert len(chosen) == len(units) * len(SENTENCES)
    table = trace_step(loaded, chosen, {"en": SENTENCES}, step=8, settings=ALL_SITES)
    end = -1 if name in ENCODERS else None
    for _, row in table.iterrows():
        own = values[row["sentence"]][row["layer"], row["site"]][1:end, row["unit"]].numpy()
        np.testing.assert_allclose(row["values"], own, rtol=1e-4, atol=1e-4)
        assert row["value"] == row["values"].max()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_pooled_value_is_that_of_extraction(pooling):
    loaded = tiny_loaded("xglm")
    settings = ALL_SITES.model_copy(update={"sites": ("mlp_act",), "poolings": (pooling,)})
    units = units_of((1, "mlp_act", 7, "water"), (2, "mlp_act", 0, "water"))
    chosen = choose(loaded, units, TraceSettings(strongest=7), settings)
    table = trace_step(loaded, chosen, {"en": SENTENCES}, step=8, settings=settings)
    extracted = {}
    for rows, pooled in pooled_batches(loaded, SENTENCES, settings, where="here"):
        for at, row in enumerate(rows):
            extracted |= {(SENTENCES[row][0], *place): x[at] for place, x in pooled.items()}
    for _, row in table.iterrows():
        assert row["value"] == extracted[row["sentence"], row["layer"], row["site"]][row["unit"]]
        n_tokens = len(loaded.tokenizer(row["text"])["input_ids"])
        assert len(row["values"]) == len(row["starts"]) == len(row["ends"]) == n_tokens
        if pooling in ("mean", "last", "max"):
            reduce = {"mean": np.mean, "last": lambda x: x[-1], "max": np.max}[pooling]
            assert row["value"] == pytest.approx(reduce(row["values"]), abs=1e-5)


@pytest.mark.parametrize("pooling", ["max", "ml-selfcond"])
def test_of_a_prefix_nothing_is_shown(planted, pooling):
    """Tokens stand where they stand in the sentence, and the unit's word in the prefix is not seen."""
    settings = RESID.model_copy(update={"prefix": "water in ", "poolings": (pooling,)})
    chosen = choose(planted, units_of((0, "resid", 3, "water")), TraceSettings(strongest=7), settings)
    table = trace_step(planted, chosen, {"en": SENTENCES}, step=8, settings=settings)
    assert len(table) == len(SENTENCES)
    for _, row in table.iterrows():
        words = [row["text"][a:b] for a, b in zip(row["starts"], row["ends"], strict=True)]
        assert words == row["text"].split()
        assert row["values"].tolist() == [5.0 * (word == "water") for word in words]
        assert row["value"] >= row["values"].max()
        assert pooling != "max" or row["value"] == 5.0 * (row["sentence"] in WATER)


def test_what_is_cut_has_no_values():
    loaded = tiny_loaded("llama")
    settings = ExtractionSettings(sites=("resid",), max_length=4)
    chosen = choose(loaded, units_of((1, "resid", 0, "water")), TraceSettings(strongest=7), settings)
    table = trace_step(loaded, chosen, {"en": SENTENCES}, step=8, settings=settings)
    longest = table.set_index("sentence").loc["water-0000"]
    assert len(longest["values"]) == 3
    assert longest["text"][: longest["ends"][-1]] == "the water flows"


def test_sentences_are_held_over_steps_and_batches_change_nothing(planted):
    units = units_of((0, "resid", 3, "water"), (1, "resid", 5, ""))
    chosen = choose(planted, units, TraceSettings(), RESID)
    other = RESID.model_copy(update={"batch_size": 7})
    pd.testing.assert_frame_equal(chosen, choose(planted, units, TraceSettings(), other))
    first, second = (
        trace_step(planted, chosen, {"en": SENTENCES}, step=step, settings=settings)
        for step, settings in ((0, RESID), (8, other))
    )
    same = ["layer", "site", "unit", "concept", "lang", "kind", "rank", "sentence", "positive", "text"]
    pd.testing.assert_frame_equal(first[same], second[same])
    pd.testing.assert_frame_equal(chosen[same[:-1]], first[same[:-1]])
    assert not chosen.loc[chosen["concept"] == "", "positive"].any()


def test_a_table_of_traces_is_read_as_it_was_written(planted, tmp_path):
    chosen = choose(planted, units_of((0, "resid", 3, "water")), TraceSettings(), RESID)
    table = trace_step(planted, chosen, {"en": SENTENCES}, step=8, settings=RESID)
    write_table(table, tmp_path / "traces.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "traces.parquet"), table, check_dtype=False)


def test_values_that_are_not_finite_are_refused(planted):
    chosen = choose(planted, units_of((0, "resid", 3, "water")), TraceSettings(), RESID)
    broken = tiny_loaded("llama")
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[4 + WORDS.index("water"), 3] = torch.nan
    with pytest.raises(NumericsError, match="model m, step 8, sentences of en"):
        trace_step(broken, chosen, {"en": SENTENCES}, step=8, settings=RESID)


VALUES = st.lists(st.integers(-2, 2), min_size=1, max_size=30)


@given(VALUES, st.integers(1, 5), st.integers(0, 4), st.integers(0, 3), st.integers(0, 99))
def test_sentences_are_those_of_a_plain_sort(values, strongest, random, lowest, seed):
    values_N = np.array(values, dtype=np.float32)
    settings = TraceSettings(strongest=strongest, random=random, lowest=lowest)
    found = sentences_of(values_N, settings, np.random.default_rng(seed))
    falling = sorted(values, reverse=True)
    n_strongest = min(strongest, len(values))
    n_lowest = min(lowest, len(values) - n_strongest)
    assert values_N[found["strongest"]].tolist() == falling[:n_strongest]
    assert values_N[found["lowest"]].tolist() == falling[::-1][:n_lowest]
    assert len(found["random"]) == min(random, len(values) - n_strongest - n_lowest)
    rows = np.concatenate([found[kind] for kind in KINDS])
    assert len(set(rows.tolist())) == len(rows)


def test_equal_sentences_go_by_lot_and_random_ones_are_drawn_evenly():
    """Ten sentences are equal and highest; of 30 draws each, every one is chosen about as often."""
    values_N, settings = np.repeat([1.0, 0.0], [10, 20]), TraceSettings(strongest=4, random=2, lowest=1)
    counts = {kind: np.zeros(30) for kind in KINDS}
    for seed in range(3000):
        for kind, rows in sentences_of(values_N, settings, np.random.default_rng(seed)).items():
            counts[kind][rows] += 1
    np.testing.assert_allclose(counts["strongest"][:10] / 3000, 0.4, atol=0.04)
    np.testing.assert_allclose(counts["lowest"][10:] / 3000, 1 / 20, atol=0.02)
    assert counts["strongest"][10:].sum() == counts["lowest"][:10].sum() == 0
    # Six of the ten and nineteen of the twenty are left for the draw.
    np.testing.assert_allclose(counts["random"][:10] / 3000, 0.6 * 2 / 25, atol=0.02)
    np.testing.assert_allclose(counts["random"][10:] / 3000, 0.95 * 2 / 25, atol=0.02)


def test_lots_differ_by_unit_language_and_seed(planted):
    with torch.no_grad():  # two more units that are alike on all sentences
        planted.model.get_input_embeddings().weight[:, 4:6] = 0.0
    units, settings = units_of((0, "resid", 4, ""), (0, "resid", 5, "")), TraceSettings()
    tables = [
        choose(planted, units, settings, RESID, lang=lang, seed=seed)
        for lang, seed in (("en", 0), ("en", 1), ("de", 0))
    ]
    orders = {tuple(rows["sentence"]) for table in tables for _, rows in table.groupby("unit")}
    assert len(orders) == 6
    pd.testing.assert_frame_equal(tables[0], choose(planted, units, settings, RESID))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 2], [1, 0, 0.5]),
        ([2, 1, 2, 3], [0.5, 0, 0.5, 1]),
        ([0, 0, 0, 0], [0.5] * 4),
        ([0, 0, 0, 0, 9], [0.375] * 4 + [1]),
        ([7], [0]),
    ],
)
def test_quantiles(values, expected):
    assert quantiles(np.array([values], dtype=np.float32).T)[:, 0].tolist() == expected


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=20))
def test_the_mean_quantile_is_a_half(values):
    assert quantiles(np.array([values]).T).mean() == pytest.approx(0.5)
