"""What lasts of the scores, against a straightforward computation on all of them."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.ranking import BestFile, best_files, k_by_scope, lots_of, top
from babelscope.analysis.reliability import search_units
from babelscope.analysis.scores import OTHER_HALF, SUBSETS, WORD_SUBSETS
from babelscope.analysis.settings import AlignmentSettings
from babelscope.errors import StoreError
from score_files import GivenScores, rank

LANGS = ("en", "de", "ru")
CONCEPTS = ("dog", "sea", "sun")
#: The sites of a layer stand apart, as the order of sites allows.
SITES = {(1, "qkv"): 7, (2, "qkv"): 9, (1, "act"): 10, (2, "act"): 14}
N_UNITS = sum(SITES.values())


def random_scores(rng, *, digits=2, langs=LANGS, concepts=CONCEPTS, step=1, subsets=SUBSETS):
    """Scores of every language; few digits make ties."""
    shape = len(concepts), N_UNITS
    return {
        (step, lang): GivenScores(
            concepts,
            {subset: rng.random(shape).round(digits).astype(np.float32) for subset in subsets},
            SITES,
            rng.normal(size=shape).astype(np.float32),
            lang=lang,
            step=step,
        )
        for lang in langs
    }


def order_of(ap, lang, subset, units=slice(None)):
    """Best first, equal ones by lot."""
    lots = np.tile(lots_of(N_UNITS, lang, subset, seed=0)[units], (len(ap), 1))
    return np.lexsort((lots, -ap), axis=1)


def in_layer(units, layer):
    return np.concatenate([np.arange(part.start, part.stop) for at, _, part in units.parts() if at == layer])


@given(
    seed=st.integers(0, 2**32 - 1),
    digits=st.sampled_from([1, 2, 6]),
    kept=st.sampled_from([1, 5, 39, 40, 99]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_kept_is_what_a_sort_of_everything_gives(seed, digits, kept):
    scores = random_scores(np.random.default_rng(seed), digits=digits)
    with tempfile.TemporaryDirectory() as folder:
        found = rank(Path(folder, "best.h5"), scores, kept=kept)
        n = min(kept, N_UNITS)
        rows = np.arange(len(CONCEPTS))[:, None]
        for (step, lang), file in found.items():
            arrays, units = scores[step, lang].arrays, scores[step, lang].units
            assert (file.kept, file.concepts, file.units, file.langs) == (
                n,
                list(CONCEPTS),
                units,
                list(LANGS),
            )
            assert file.provenance == scores[step, lang].provenance
            assert file.positive_rate.tolist() == scores[step, lang].positive_rate.tolist()
            assert file.chance_ap.tolist() == scores[step, lang].chance_ap.tolist()
            for subset in SUBSETS:
                ap = arrays[f"ap_{subset}"]
                order = order_of(ap, lang, subset)[:, :n]
                best = file.best(subset)
                assert np.array_equal(best.unit, order)
                assert np.array_equal(best.ap, ap[rows, order])
                assert np.array_equal(best.median, arrays["median"][rows, order])
                for layer, n_layer in k_by_scope(units, n).items():
                    if layer == -1:
                        continue
                    there = in_layer(units, layer)
                    inside = order_of(ap[:, there], lang, subset, there)[:, :n_layer]
                    of_layer = file.best(subset, layer)
                    assert np.array_equal(of_layer.unit, there[inside])
                    assert np.array_equal(of_layer.ap, ap[rows, there[inside]])
                if subset == "all":
                    assert np.isnan(best.held_out_ap).all()
                    continue
                other = f"ap_{OTHER_HALF[subset]}"
                assert np.array_equal(best.held_out_ap, arrays[other][rows, order])
                abroad = [scores[step, target].arrays[other][rows, order] for target in LANGS]
                assert np.array_equal(file.abroad(subset), abroad)
                sums = arrays[f"ap_{subset}"].sum(axis=0, dtype=np.float64)
                assert np.allclose(file.sum_over_concepts(subset), sums, rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), kept=st.sampled_from([1, 7, 40]), k=st.sampled_from([1, 7, 13]))
@settings(max_examples=20)
def test_the_best_of_every_place_are_those_of_a_sort(seed, kept, k):
    """Of the model, its layers, its sites and a site in a layer; on halves and on disjoint words."""
    subsets = (*SUBSETS, *WORD_SUBSETS)
    scores = random_scores(np.random.default_rng(seed), digits=1, langs=("en",), subsets=subsets)
    k = min(k, kept)
    with tempfile.TemporaryDirectory() as folder:
        best = rank(Path(folder, "best.h5"), scores, kept=kept)[1, "en"]
        found = best.chosen(k)
    places = [(-1, "*"), (1, "*"), (2, "*"), (-1, "qkv"), (-1, "act"), (1, "qkv"), (2, "act")]
    for place in places:
        layer, site = place
        there = np.concatenate(
            [
                np.arange(part.start, part.stop)
                for at, name, part in best.units.parts()
                if layer in (-1, at) and site in ("*", name)
            ]
        )
        n = max(1, round(k * len(there) / N_UNITS))
        for subset in subsets if site == "*" else (*OTHER_HALF, *WORD_SUBSETS):
            ap = scores[1, "en"].arrays[f"ap_{subset}"][:, there]
            assert np.array_equal(found[place, subset], there[order_of(ap, "en", subset, there)[:, :n]])
    assert best.split_by_words.all()


def aligned(scores, *, kept, k):
    settings_ = AlignmentSettings(bootstrap=20, permutations=20, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        best = rank(Path(folder, "best.h5"), scores, kept=kept)
        search = search_units({lang: file for (_, lang), file in scores.items()}, seed=3)
        return align_experts({lang: file for (_, lang), file in best.items()}, search, settings_, k=k)


@pytest.mark.parametrize("k", [1, 4, 11, 40])
def test_any_smaller_k_gives_the_same_as_if_no_more_had_been_kept(k):
    """Experts, overlap, transfer and reliability of K do not depend on how many units are kept."""
    scores = random_scores(np.random.default_rng(k), digits=1)
    for kept in (k, k + 1, N_UNITS, 1000):
        for found, expected in zip(
            aligned(scores, kept=kept, k=k), aligned(scores, kept=k, k=k), strict=True
        ):
            pd.testing.assert_frame_equal(found, expected)


@given(seed=st.integers(0, 2**32 - 1), digits=st.sampled_from([1, 6]), kept=st.sampled_from([1, 6, 40]))
@settings(max_examples=25)
def test_the_ap_of_a_pair_is_known_or_bounded(seed, digits, kept):
    rng = np.random.default_rng(seed)
    scores = random_scores(rng, digits=digits, langs=("en",))
    with tempfile.TemporaryDirectory() as folder:
        best = rank(Path(folder, "best.h5"), scores, kept=kept)[1, "en"]
        concept, unit = (grid.ravel() for grid in np.meshgrid(range(len(CONCEPTS)), range(N_UNITS)))
        order = rng.permutation(len(unit))
        concept, unit = concept[order], unit[order]
        ap, below = best.ap(concept, unit)
        truth = scores[1, "en"].arrays["ap_all"][concept, unit]
        is_kept = (best.best("all").unit[concept] == unit[:, None]).any(axis=1)
        assert np.array_equal(np.isnan(ap), ~is_kept)
        assert np.array_equal(np.isnan(below), is_kept)
        assert np.array_equal(ap[is_kept], truth[is_kept])
        assert (truth[~is_kept] <= below[~is_kept]).all()
        # The bound is the last that was kept, no looser.
        assert np.array_equal(below[~is_kept], best.best("all").ap[concept[~is_kept], -1])
        assert best.ap(concept[:0], unit[:0])[0].shape == (0,)


def test_equal_scores_go_by_lot():
    lots = np.array([4, 2, 3, 1, 0])
    assert top(np.array([1.0, 2.0, 2.0, 2.0, 0.0]), lots, 2).tolist() == [3, 1]
    assert top(np.zeros(5), lots, 3).tolist() == [4, 3, 1]
    assert top(np.array([3.0, 1.0]), lots[:2], 2).tolist() == [0, 1]


def test_a_layer_has_its_share():
    units = random_scores(np.random.default_rng(0))[1, "en"].units
    assert k_by_scope(units, 40) == {-1: 40, 1: 17, 2: 23}
    assert k_by_scope(units, 1) == {-1: 1, 1: 1, 2: 1}


def test_equal_scores_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        rank(tmp_path / f"{name}.h5", random_scores(np.random.default_rng(0)), kept=9)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_other_units_or_concepts_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    other = random_scores(rng, langs=("zh",), concepts=("dog", "sea", "tea"))
    message = "language zh and model m, step 1, language en were scored for other concepts or units"
    with pytest.raises(ValueError, match=message):
        rank(tmp_path / "best.h5", {**random_scores(rng), **other}, kept=5)
    assert not (tmp_path / "best.h5").exists()


def test_files_of_many_steps_are_found_by_what_they_say(tmp_path):
    rng = np.random.default_rng(0)
    early = rank(tmp_path / "4.h5", random_scores(rng, step=4), kept=5)
    late = rank(tmp_path / "16.h5", random_scores(rng, step=16), kept=5)
    wanted = [(16, "ru"), (4, "en")]
    found = best_files([tmp_path / "16.h5", tmp_path / "4.h5"], wanted)
    assert list(found) == wanted
    assert found[16, "ru"].best("a").ap.tolist() == late[16, "ru"].best("a").ap.tolist()
    assert found[4, "en"].best("a").ap.tolist() == early[4, "en"].best("a").ap.tolist()
    with pytest.raises(StoreError, match="has no cell 4/zh"):
        BestFile(tmp_path / "4.h5", "4/zh")


def test_languages_that_were_ranked_beside_others_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    rank(tmp_path / "two.h5", random_scores(rng, langs=LANGS[:2]), kept=5)
    rank(tmp_path / "other.h5", random_scores(rng, langs=LANGS[2:]), kept=5)
    paths = [tmp_path / "two.h5", tmp_path / "other.h5"]
    message = r"1/ru was ranked beside \['ru'\], 1/en beside \['en', 'de'\]"
    with pytest.raises(StoreError, match=message) as caught:
        best_files(paths, [(1, lang) for lang in LANGS])
    assert "other.h5" in str(caught.value)
    assert list(best_files(paths, [(1, "en"), (1, "de")])) == [(1, "en"), (1, "de")]
