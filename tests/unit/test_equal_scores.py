"""Units with equal scores: constant ones are no experts, the others go by lot, and the tables say how many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.experts import kept_units, of_model, select_experts
from babelscope.analysis.ranking import NOBODY
from babelscope.analysis.reliability import search_units
from babelscope.analysis.scores import SUBSETS, ScoreFile
from babelscope.analysis.settings import AlignmentSettings
from score_files import SITES, make_labels, make_units, rank, score

CONCEPTS = ("dog", "sea", "sun", "tea")
IDS = [f"{concept}-{i:04d}" for concept in CONCEPTS for i in range(16)]
LANGS = ("de", "en", "es", "ru")
N_UNITS = sum(SITES.values())
K = 6


def scored(folder: Path, values: dict[str, np.ndarray]) -> dict[tuple[int, str], ScoreFile]:
    labels, found = make_labels(IDS, CONCEPTS), {}
    for lang, values_NU in values.items():
        units = make_units(folder / f"{lang}.u.h5", values_NU.astype(np.float32), IDS, lang=lang)
        found[1, lang] = score(folder / f"{lang}.s.h5", labels, units)
    return found


def aligned(folder: Path, values: dict[str, np.ndarray], k: int = K) -> dict[str, pd.DataFrame]:
    scores = scored(folder, values)
    best = {lang: file for (_, lang), file in rank(folder / "b.h5", scores, kept=k).items()}
    search = search_units({lang: file for (_, lang), file in scores.items()}, seed=0)
    tables = align_experts(best, search, AlignmentSettings(bootstrap=50, permutations=50, seed=0), k=k)
    return dict(zip(("experts", "overlap", "transfer", "reliability", "draws"), tables, strict=True))


def mean(overlap: pd.DataFrame, variant: str, lang: str = "*") -> pd.Series:
    rows = overlap[
        (overlap["scope"] == "model") & (overlap["variant"] == variant) & (overlap["lang_a"] == lang)
    ]
    return rows.iloc[0]


def noise(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {lang: rng.normal(size=(len(IDS), N_UNITS)) for lang in LANGS}


def test_where_all_units_are_constant_nothing_is_shared(tmp_path):
    """Output projections of zero at step 0: overlap was 1.000, its null 1.000, the difference no number."""
    found = aligned(tmp_path, {lang: np.zeros((len(IDS), N_UNITS)) for lang in LANGS})
    assert found["experts"].empty
    for variant, lang in (("same_lines", "*"), ("disjoint_lines", "*"), ("disjoint_lines", "=")):
        row = mean(found["overlap"], variant, lang)
        assert row[["overlap", "null", "calibrated", "tied", "lacking"]].tolist() == [0, 0, 0, 0, 1]
    # Predicted by nobody, as by a constant.
    assert found["transfer"]["ap"].to_numpy() == pytest.approx(0.25)


def test_a_constant_unit_is_never_chosen_and_k_is_what_is_there(tmp_path):
    values = noise(0)
    for values_NU in values.values():
        values_NU[:, 4:] = 3.25
    scores = scored(tmp_path, values)
    best = rank(tmp_path / "b.h5", scores, kept=20)
    for lang in LANGS:
        chosen = best[1, lang].best("all").unit
        assert (np.sort(chosen[:, :4], axis=1) == range(4)).all()
        assert (chosen[:, 4:] == NOBODY).all()
        experts = of_model(select_experts(best[1, lang], k=K))
        assert experts.groupby("concept").size().to_dict() == dict.fromkeys(CONCEPTS, 4)
        assert len(kept_units(best[1, lang])) == 4 * len(CONCEPTS)
        # Whatever is not kept is a constant.
        ap, below = best[1, lang].ap(np.array([0]), np.array([10]))
        assert (np.isnan(ap[0]), below[0]) == (True, 0.25)
    row = mean(aligned(tmp_path, values)["overlap"], "same_lines")
    assert (row["overlap"], row["null"], row["lacking"]) == (1, 1, pytest.approx(2 / 6))


def test_equal_units_are_shared_as_by_chance(tmp_path):
    """Twelve units fire on the same sentences of a concept: which of them are experts says nothing."""
    values = {lang: np.zeros((len(IDS), N_UNITS)) for lang in LANGS}
    for values_NU in values.values():
        values_NU[np.arange(len(IDS)) % 16 < 8, :12] = 1
        values_NU[:16, :12] += 1
    found = aligned(tmp_path, values)
    for variant in ("same_lines", "disjoint_lines"):
        row = mean(found["overlap"], variant)
        assert row["overlap"] == pytest.approx(0.5, abs=0.15), "six of twelve, drawn in each language"
        assert row["null"] == pytest.approx(0.5, abs=0.15)
        assert row["tied"] == 1
    assert mean(found["overlap"], "disjoint_lines", "=")["overlap"] < 1


def test_the_share_by_lot_is_that_at_the_border(tmp_path):
    """Two units are better than the others, of which five are equal and one is worse."""
    values = noise(1)
    for values_NU in values.values():
        dog = np.arange(len(IDS)) < 16
        values_NU[:, :] = np.where(dog[:, None], -np.arange(len(IDS))[:, None], 0)
        values_NU[:, 0] = values_NU[:, 1] = dog
        values_NU[:, 2:7] = (np.arange(len(IDS)) < 17)[:, None]
    tied = rank(tmp_path / "b.h5", scored(tmp_path, values), kept=K)[1, "en"]
    shares = {k: tied.tied(k)[(-1, "*"), "all"][0] for k in range(1, K + 1)}
    assert shares == {1: 1, 2: 0, 3: 1 / 3, 4: 2 / 4, 5: 3 / 5, 6: 4 / 6}


def test_scores_without_ties_say_so(tmp_path):
    found = aligned(tmp_path, noise(2))["overlap"]
    exact = found[found["scope"].isin(["model", "layer"])]
    assert (exact["lacking"] == 0).all()
    assert mean(found, "same_lines")["tied"] < 0.2


def test_the_lot_does_not_depend_on_what_else_is_ranked(tmp_path):
    values = {lang: values_NU > 1 for lang, values_NU in noise(3).items()}
    scores = scored(tmp_path, values)
    together = rank(tmp_path / "all.h5", scores, kept=K)
    for cell, file in scores.items():
        alone = rank(tmp_path / "one.h5", {cell: file}, kept=K)[cell]
        for subset in SUBSETS:
            assert np.array_equal(alone.best(subset).unit, together[cell].best(subset).unit)
    other = rank(tmp_path / "seed.h5", scores, kept=K, seed=1)
    assert any((other[cell].best("a").unit != together[cell].best("a").unit).any() for cell in scores)
    assert all(np.array_equal(other[cell].best("a").ap, together[cell].best("a").ap) for cell in scores)


@given(seed=st.integers(0, 2**32 - 1), value=st.sampled_from([0.0, -1.5, 1e-30, 7.25]), words=st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_constant_is_known_by_its_score(tmp_path, seed, value, words):
    """Whatever the numbers of sentences: to the last bit of what is stored, on every subset."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(20, 40, size=2)
    ids = [f"{c}-{i:04d}" for c, n in zip(("dog", "sea"), counts, strict=True) for i in range(n)]
    labels = make_labels(ids, ("dog", "sea"))
    if words:
        labels["word_group"] = np.where(labels["label"] == 1, rng.integers(0, 3, len(labels)), 0)
    keep = (rng.random(len(labels)) < 0.9) | (labels["label"] == 1)
    units = make_units(tmp_path / "u.h5", np.full((len(ids), N_UNITS), value, np.float32), ids)
    file = score(tmp_path / "s.h5", labels[keep], units)
    for subset, constant_C in file.constant_ap.items():
        ap_CU = file.read(1, "mlp_act", f"ap_{subset}")
        assert np.array_equal(ap_CU, np.repeat(constant_C[:, None], ap_CU.shape[1], axis=1), equal_nan=True)
