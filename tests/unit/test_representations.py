"""Retrieval, neighbours and CKA: against other ways to compute them, and on states whose relation is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from babelscope.analysis.representations import (
    MOST_SENTENCES,
    layer_rows,
    nearest,
    representation_table,
    retrieved,
    u_centred,
)
from babelscope.analysis.settings import AlignmentSettings
from score_files import provenance

SETTINGS = AlignmentSettings(bootstrap=50, permutations=39)
LANGS = ["de", "en", "zh"]


def found_in(states_LND, langs=LANGS):
    """Mean rows of a layer by measure and whether centred: value, null, low, high, p."""
    names = ["measure", "centred", "a", "b", "value", "low", "high", "null", "null_high", "p", "n"]
    rows = [dict(zip(names, row, strict=True)) for row in layer_rows(states_LND, langs, SETTINGS)]
    return {(row["measure"], row["centred"]): row for row in rows if row["a"] == "*"}


def hsic_of_song(one, other):
    """The unbiased HSIC of Song et al. (2012), equation 5, as it is written there."""
    n = len(one)
    one, other = (kernel - np.diag(np.diag(kernel)) for kernel in (one, other))
    ones = np.ones(n)
    total = np.trace(one @ other)
    total += (ones @ one @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    total -= 2 / (n - 2) * (ones @ one @ other @ ones)
    return total / (n * (n - 3))


def test_products_of_centred_kernels_are_the_unbiased_hsic():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(2, 12, 5)) + rng.normal(size=(2, 1, 5))
    kernels = states @ states.transpose(0, 2, 1)
    one, other = u_centred(kernels)
    assert (one * other).sum() / (12 * 9) == pytest.approx(hsic_of_song(*kernels))
    cka = hsic_of_song(*kernels) / np.sqrt(
        hsic_of_song(kernels[0], kernels[0]) * hsic_of_song(kernels[1], kernels[1])
    )
    assert found_in(states, LANGS[:2])["cka", True]["value"] == pytest.approx(cka)


def test_retrieval_is_that_of_a_loop_and_shares_equal_ones():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(2, 9, 4))
    states[1] = states[0] + 0.8 * states[1]
    states /= np.linalg.norm(states, axis=2, keepdims=True)
    cosine = states[0] @ states[1].T
    hits = [(np.argmax(cosine[i]) == i) / 2 + (np.argmax(cosine[:, i]) == i) / 2 for i in range(9)]
    assert retrieved(states, [(0, 1)])[0].tolist() == hits
    assert 0 < np.mean(hits) < 1
    same = np.ones((2, 9, 4)) / 2
    assert retrieved(same, [(0, 1)])[0] == pytest.approx(np.full(9, 1 / 9))


def test_neighbours_are_the_nearest_others():
    states = np.array([[[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [-1, 0.2]]], dtype=float)
    states /= np.linalg.norm(states, axis=2, keepdims=True)
    assert nearest(states, 1)[0].argmax(axis=1).tolist() == [1, 0, 3, 2, 2]
    assert nearest(states, 2)[0].sum(axis=1).tolist() == [2] * 5
    assert not nearest(states, 4)[0].diagonal().any()


def related(kind, seed=0, n=60, width=8):
    """States of three languages: the same in a place of their own, turned, or of nothing in common."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, width))
    parts = []
    for _ in LANGS:
        turn = np.linalg.qr(rng.normal(size=(width, width)))[0] if kind == "turned" else np.eye(width)
        own = rng.normal(size=(n, width)) if kind == "nothing" else common @ turn
        parts.append(own + (20 * rng.normal(size=width) if kind == "moved" else 0))
    return np.stack(parts)


def test_languages_in_a_place_of_their_own_are_parallel_once_their_mean_is_taken_away():
    found = found_in(related("moved"))
    assert found["retrieval", True]["value"] == 1
    assert found["retrieval", False]["value"] < 0.5
    assert found["neighbours", True]["value"] == 1
    assert found["cka", True]["value"] == pytest.approx(1)


def test_turned_states_are_seen_by_neighbours_and_cka_alone():
    found = found_in(related("turned"))
    assert found["retrieval", True]["low"] <= 1 / 60 + 0.03
    assert found["neighbours", False]["value"] == pytest.approx(1)
    assert found["cka", True]["value"] == pytest.approx(1)
    assert found["cka", True]["p"] == pytest.approx(1 / 40)


def test_where_nothing_is_in_common_all_are_at_chance():
    over_seeds = [found_in(related("nothing", seed)) for seed in range(20)]
    for key in over_seeds[0]:
        values = np.array([found[key]["value"] for found in over_seeds])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - np.mean([found[key]["null"] for found in over_seeds])) < 4 * error + 1e-3
    assert over_seeds[0]["retrieval", True]["null"] == 1 / 60
    assert over_seeds[0]["neighbours", True]["null"] == 10 / 59
    assert abs(np.mean([found["cka", True]["value"] for found in over_seeds])) < 0.02
    assert sum(found["cka", True]["p"] <= 0.05 for found in over_seeds) <= 4


def file_of(lang, ids, states):
    return SimpleNamespace(
        provenance=provenance(lang=lang, step=7),
        layers=[0, 1],
        mean_sentence_ids=ids,
        means=lambda layer: states + layer,
    )


def test_sentences_are_joined_by_their_ids():
    states, ids = related("moved"), [f"c-{at:03d}" for at in range(60)]
    files = {}
    for at, lang in enumerate(reversed(LANGS)):
        order = np.random.default_rng(at).permutation(60)[: 60 - 3 * at]
        files[lang] = file_of(lang, [ids[row] for row in order], states[at][order])
    table = representation_table(files, SETTINGS)
    rows = table[(table["measure"] == "retrieval") & table["centred"]]
    assert (rows["value"] == 1).all()
    assert len(rows) == 2 * (1 + 3)
    assert rows["n"].between(50, 59).all()
    assert set(table["model"]) == {"m"}
    assert set(table["step"]) == {7}
    assert list(table.loc[table["lang_a"] != "*", "lang_a"].unique()) == ["de", "en"]


def test_too_few_common_sentences_give_no_rows_and_many_are_thinned():
    states, ids = related("moved", n=400), [f"c-{at:03d}" for at in range(400)]
    few = {lang: file_of(lang, ids[:19], states[at][:19]) for at, lang in enumerate(LANGS)}
    assert representation_table(few, SETTINGS).empty
    many = {lang: file_of(lang, ids, states[at]) for at, lang in enumerate(LANGS)}
    table = representation_table(many, SETTINGS)
    assert set(table["n"]) == {MOST_SENTENCES}
    assert (table.loc[(table["measure"] == "retrieval") & table["centred"], "value"] == 1).all()
