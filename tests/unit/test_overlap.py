"""The share of the way, ceilings and nulls of overlap, against simulated studies whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelscope.analysis.changes import overlap_changes, overlap_contrasts
from babelscope.analysis.neighbours import blocks_of_groups, nearest_blocks, permuted_within, relabellings
from babelscope.analysis.overlap import _Chance, _Pairs, _summary_row, overlap_tables
from babelscope.analysis.settings import AlignmentSettings
from babelscope.text.grammar.generate import make_sentences
from babelscope.text.kinship import compare_languages, script_of
from babelscope.units import UnitIndex

MODEL = (-1, "*")
SETTINGS = AlignmentSettings(bootstrap=200, permutations=200)


def drawn(rng, pools, k, *, common=0, n_units=2000):
    """Experts of each concept: ``k`` at random of its pool, the first ``common`` of it surely; ``(C, K)``."""
    rows = []
    for pool in pools:
        rest = rng.choice(pool[common:], size=k - common, replace=False)
        rows.append(np.concatenate([pool[:common], rest]))
    return np.stack(rows)


def of_halves(draw, n_langs):
    """Experts of languages, drawn for each half anew."""
    return {f"l{at}": {(MODEL, half): draw() for half in ("all", "a", "b")} for at in range(n_langs)}


def tables(chosen, n_concepts, *, n_units=2000, **more):
    units = UnitIndex.of([(1, "mlp_act", n_units)])
    concepts = [f"c{at}" for at in range(n_concepts)]
    return overlap_tables(chosen, units, concepts, SETTINGS, **more).table


def row_of(table, lang="*", variant="disjoint_lines"):
    return table[(table["variant"] == variant) & (table["lang_a"] == lang)].iloc[0]


@pytest.mark.parametrize(("n_langs", "n_concepts", "lang_sd"), [(4, 16, 0.05), (8, 16, 0.02), (8, 16, 0.06)])
def test_the_interval_of_the_share_of_the_way_covers_it(n_langs, n_concepts, lang_sd):
    """Overlap, null and ceiling vary together over concepts and languages, as those of a model do."""
    rng, trials, covered = np.random.default_rng(7), 150, 0
    truth = (0.25 - 0.05) / (0.6 - 0.05)
    for trial in range(trials):
        concept, lang = rng.normal(0, 0.06, n_concepts), rng.normal(0, lang_sd, n_langs)
        shared = rng.normal(0.05, 0.03, (n_langs, n_langs, n_concepts, n_concepts))
        for a in range(n_langs):
            for b in range(n_langs):
                level = 0.6 + concept + lang[a] if a == b else 0.25 + 0.5 * concept + (lang[a] + lang[b]) / 2
                np.fill_diagonal(shared[a, b], level + rng.normal(0, 0.04, n_concepts))
        pairs = _Pairs.disjoint(shared, None)
        chance = _Chance.of(
            n_concepts,
            n_langs,
            np.arange(n_concepts),
            AlignmentSettings(bootstrap=200, permutations=20, seed=trial),
        )
        members = [at for at, (a, b) in enumerate(pairs.pairs) if a != b]
        row, _ = _summary_row(pairs, members, chance)
        covered += row["way_low"] <= truth <= row["way_high"]
    # Few languages make the interval cautious; 93% less two standard errors of so many trials.
    assert covered / trials >= 0.93 - 2 * np.sqrt(0.93 * 0.07 / trials)


def test_the_share_of_the_way_is_that_of_its_three_numbers():
    rng = np.random.default_rng(0)
    pools = [rng.permutation(2000)[:60] for _ in range(12)]
    row = row_of(tables(of_halves(lambda: drawn(rng, pools, 30, common=6), 4), 12))
    assert row["way"] == pytest.approx((row["overlap"] - row["null"]) / (row["ceiling"] - row["null"]))
    # All languages draw from the same pools: they agree as far as one agrees with itself.
    assert row["way_low"] < 1 < row["way_high"]
    assert abs(row["way"] - 1) < 0.15
    own = [rng.permutation(2000)[:60] for _ in range(4 * 12)]
    apart = {
        f"l{at}": {(MODEL, half): drawn(rng, own[12 * at : 12 * at + 12], 30) for half in ("all", "a", "b")}
        for at in range(4)
    }
    row = row_of(tables(apart, 12))
    assert row["ceiling"] > 0.4
    assert row["way_low"] < 0 < row["way_high"]
    assert row_of(tables(apart, 12), variant="same_lines")[["ceiling", "way"]].isna().all()


def test_without_room_below_the_ceiling_there_is_no_share():
    rng = np.random.default_rng(1)
    anything = [np.arange(2000)] * 12
    row = row_of(tables(of_halves(lambda: drawn(rng, anything, 30), 4), 12))
    assert row[["way_low", "way_high"]].isna().all()


def with_words(rng, concept_pools, word_pools, n_langs):
    """Each half takes experts of the concept and of all its words; each side of the split those of one word."""
    found = {}
    for at in range(n_langs):
        of = {}
        for subset in ("all", "a", "b", "words_a", "words_b"):
            words = [0, 1] if len(subset) < 4 else [int(subset == "words_b")]
            rows = []
            for concept, pool in enumerate(concept_pools):
                lexical = np.concatenate([word_pools[concept][word] for word in words])
                own = rng.choice(pool, size=10, replace=False)
                rows.append(np.concatenate([own, rng.choice(lexical, size=20, replace=False)]))
            of[MODEL, subset] = np.stack(rows)
        found[f"l{at}"] = of
    return found


def test_a_ceiling_of_words_alone_is_seen_through():
    """Two thirds of the experts are those of words, which all languages have in common: halves agree on
    them, sentences of other words do not."""
    rng = np.random.default_rng(2)
    numbers = rng.permutation(2000)
    concept_pools = [numbers[at * 12 : at * 12 + 12] for at in range(12)]
    word_pools = [[numbers[200 + at * 60 + w * 24 :][:24] for w in (0, 1)] for at in range(12)]
    chosen = with_words(rng, concept_pools, word_pools, 4)
    split = np.ones(12, bool)
    row = row_of(tables(chosen, 12, split_by_words=split))
    expected = 10 / 30 * 10 / 12  # only the concept's own agree, ten of twelve
    assert row["ceiling_words"] == pytest.approx(expected, abs=0.03)
    assert row["ceiling"] > row["ceiling_words"] + 0.2
    assert row["way_words_low"] > 1  # languages agree on words beyond what the concept explains
    assert row["n_concepts_words"] == 12
    # Concepts that cannot be split count in neither of the three.
    split[6:] = False
    half = row_of(tables(chosen, 12, split_by_words=split))
    assert half["n_concepts_words"] == 6
    first = {lang: {key: unit_CK[:6] for key, unit_CK in of.items()} for lang, of in chosen.items()}
    # The null is over concepts that are not split, too; a concept's share of it is.
    expected = row_of(tables(first, 6, split_by_words=np.ones(6, bool)))
    assert half["ceiling_words"] == pytest.approx(expected["ceiling_words"])
    assert half["way_words"] == pytest.approx(expected["way_words"], abs=0.02)
    none = row_of(tables(chosen, 12))
    assert none[["ceiling_words", "way_words"]].isna().all()
    assert none["n_concepts_words"] == 0


def p_values(trials, n_concepts, group, common, **more):
    """Plain and near p-values of studies whose concepts draw most experts from their group's pool."""
    found = []
    for trial in range(trials):
        rng = np.random.default_rng([trial, 11])
        numbers = rng.permutation(2000)
        of_group = [numbers[at * 60 : at * 60 + 60] for at in range(-(-n_concepts // group))]
        own = [numbers[1000 + at * 12 : 1000 + at * 12 + 12] for at in range(n_concepts)]
        pools = [np.concatenate([own[c][:common], of_group[c // group]]) for c in range(n_concepts)]
        chosen = of_halves(lambda p=pools, r=rng: drawn(r, p, 30, common=common), 4)
        row = row_of(tables(chosen, n_concepts, **more))
        found.append((row["p_value"], row["p_near"], row["null"], row["null_near"], row["overlap"]))
    return np.array(found)


@pytest.mark.parametrize("given_groups", [False, True])
def test_groups_alone_do_not_pass_the_null_of_near_concepts(given_groups):
    """Four groups of four concepts share experts as groups: the plain null sees it always, the other seldom."""
    groups = {f"g{g}": [f"c{4 * g + at}" for at in range(4)] for g in range(4)} if given_groups else None
    p_plain, p_near, null, near, overlap = p_values(100, 16, 4, 0, groups=groups).T
    assert (p_plain < 0.05).all()
    assert (p_near < 0.05).mean() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 100)
    assert (near > null + 0.2).all()
    assert near.mean() == pytest.approx(overlap.mean(), abs=0.01)


def test_concepts_of_their_own_pass_the_null_of_near_concepts():
    """The same groups, where each concept has three experts of thirty of its own."""
    *_, p_near, _, near, overlap = p_values(30, 16, 4, 3)[:, 1:].T[[0, 0, 1, 2, 3]]
    assert (p_near < 0.05).mean() > 0.9
    assert (overlap > near).all()


def test_too_few_concepts_have_no_p_value_among_neighbours():
    assert np.isnan(p_values(1, 6, 2, 0)[0, 1])  # three pairs: eight relabellings


@given(seed=st.integers(0, 999), n=st.integers(2, 15))
@settings(max_examples=40)
def test_everyone_stands_with_its_nearest_and_labels_stay_among_neighbours(seed, n):
    rng = np.random.default_rng(seed)
    shared = rng.random((n, n))
    blocks = nearest_blocks(shared)
    similar = shared + shared.T - 10 * np.eye(n)
    assert (blocks == blocks[similar.argmax(axis=1)]).all()
    orders = permuted_within(blocks, 50, rng)
    assert (np.sort(orders, axis=1) == np.arange(n)).all()
    assert (blocks[orders] == blocks).all()
    assert relabellings(np.array([0, 0, 1, 1, 1, 2])) == 12


def test_planted_neighbours_are_found_and_groups_are_taken():
    similar = np.full((6, 6), 0.1)
    for a, b in ((0, 3), (1, 5), (2, 4)):
        similar[a, b] = similar[b, a] = 0.5
    blocks = nearest_blocks(similar)
    assert blocks[0] == blocks[3] != blocks[1] == blocks[5] != blocks[2] == blocks[4]
    found = blocks_of_groups({"animals": ["cat", "dog"]}, ["dog", "sea", "cat", "sun"])
    assert found[0] == found[2]
    assert len(set(found)) == 3


def test_means_over_kinds_of_pairs_are_means_over_these_pairs():
    rng = np.random.default_rng(3)
    pools = [rng.permutation(2000)[:60] for _ in range(12)]
    chosen = of_halves(lambda: drawn(rng, pools, 30), 4)
    kinship = pd.DataFrame(
        [
            (f"l{a}", f"l{b}", a < 2 and b < 2, 0.3 if (a, b) == (0, 1) else 0.0)
            for a in range(4)
            for b in range(a + 1, 4)
        ],
        columns=["lang_a", "lang_b", "same_script", "shared_words"],
    )
    table = (
        tables(chosen, 12, kinship=kinship)
        .query("variant == 'disjoint_lines'")
        .set_index(["lang_a", "lang_b"])
    )
    one = table.loc[("l0", "l1")]
    for name in ("*same_script", "*cognates"):
        row = table.loc[(name, name)]
        assert row["n_pairs"] == 1
        for column in ("overlap", "null", "null_near", "ceiling", "way", "p_value"):
            assert row[column] == pytest.approx(one[column])
    others = table[[len(a) == 2 and a != b and (a, b) != ("l0", "l1") for a, b in table.index]]
    for name in ("*other_script", "*no_cognates"):
        row = table.loc[(name, name)]
        assert row["n_pairs"] == 5 == len(others)
        assert row["overlap"] == pytest.approx(others["overlap"].mean())
        assert row["low"] < row["overlap"] < row["high"]


def test_sites_have_rows_over_all_layers_and_in_each():
    rng = np.random.default_rng(4)
    units = UnitIndex.of([(layer, site, 100) for layer in (1, 2) for site in ("attn_out", "mlp_out")])
    places = [MODEL, (1, "*"), (2, "*"), (-1, "attn_out"), (-1, "mlp_out"), (1, "attn_out"), (2, "mlp_out")]
    halves = [(place, half) for place in places for half in ("a", "b")]
    keys = [*halves, *((place, "all") for place in places[:3])]
    drawn_ = {
        lang: {key: np.stack([rng.permutation(400)[:8] for _ in range(6)]) for key in keys} for lang in "xyz"
    }
    ordered = {
        lang: dict(sorted(of.items(), key=lambda item: item[0][0] != MODEL)) for lang, of in drawn_.items()
    }
    table = overlap_tables(ordered, units, list("abcdef"), SETTINGS).table
    rows = table[table["lang_a"] == "*"].set_index(["scope", "layer", "site", "variant"])
    assert rows.index.is_unique
    assert rows.loc[("site", -1, "attn_out", "disjoint_lines"), "n_units"] == 200
    assert rows.loc[("layer_site", 2, "mlp_out", "disjoint_lines"), "n_units"] == 100
    assert rows.loc[("layer", 1, "*", "disjoint_lines"), "n_units"] == 200
    assert not table[(table["site"] != "*")]["lang_a"].isin(list("xyz")).any()


def test_scripts_and_cognates_of_the_grammar():
    positive = {}
    for lang in ("en", "es", "fr", "ru", "zh"):
        positive[lang] = {}
        for each in make_sentences(lang, per_concept=40, seed=1):
            positive[lang].setdefault(each.concept, []).append(each.text)
    found = compare_languages(positive).set_index(["lang_a", "lang_b"])
    assert found.loc[("en", "es"), "same_script"]
    assert not found.loc[("en", "ru"), "same_script"]
    assert set(found["script_b"]) == {"LATIN", "CYRILLIC", "CJK"}
    # Names and numbers are the same in all, and tell no concept.
    assert (found.loc[~found["same_script"], "shared_words"] == 0).all()
    assert found.loc[("en", "fr"), "shared_words"] > 0
    assert script_of(["123 !"]) == ""


def test_words_that_come_with_every_concept_are_no_cognates():
    texts = {"dog": ["NASA hotel dog"], "sea": ["NASA sea"]}
    other = {"dog": ["NASA hôtels chien"], "sea": ["NASA mer"]}
    row = compare_languages({"en": texts, "fr": other}).iloc[0]
    assert row["shared_words"] == pytest.approx(1 / 3)  # hotel, of hotel, dog; sea


def study_of_steps(rng, levels, n_langs=6, n_concepts=16):
    """Tables and draws of steps, whose concepts and languages differ alike at each of them."""
    concept, lang = rng.normal(0, 0.08, n_concepts), rng.normal(0, 0.05, n_langs)
    found = []
    for step, level in levels.items():
        shared = rng.normal(0.05, 0.02, (n_langs, n_langs, n_concepts, n_concepts))
        for a in range(n_langs):
            for b in range(n_langs):
                own = (0.6 if a == b else level) + concept + (lang[a] + lang[b]) / 2
                np.fill_diagonal(shared[a, b], own + rng.normal(0, 0.02, n_concepts))
        pairs = _Pairs.disjoint(shared, None)
        chance = _Chance.of(n_concepts, n_langs, np.arange(n_concepts), SETTINGS)
        members = [at for at, (a, b) in enumerate(pairs.pairs) if a != b]
        row, drawn_ = _summary_row(pairs, members, chance)
        about = {"model": "m", "step": step, "scope": "model", "layer": -1, "variant": "disjoint_lines"}
        table = pd.DataFrame([{**about, "lang_a": "*", "n_concepts": n_concepts, **row}])
        found.append((table, pd.DataFrame(drawn_).assign(**about)))
    return [pd.concat(part, ignore_index=True) for part in zip(*found, strict=True)]


def test_changes_between_steps_are_paired():
    """A small rise that intervals side by side would hide; the interval covers it, and zero where there is none."""
    covered, none, narrower, trials = 0, 0, 0, 60
    for trial in range(trials):
        overlap, draws = study_of_steps(np.random.default_rng([trial, 3]), {0: 0.2, 64: 0.2, 128: 0.23})
        found = overlap_changes(overlap, draws).query("measure == 'excess'").set_index(["since", "step"])
        assert list(found.index) == [(0, 64), (0, 128), (64, 128)]
        rise, still = found.loc[(0, 128)], found.loc[(0, 64)]
        covered += rise["low"] <= 0.03 <= rise["high"]
        none += still["low"] <= 0 <= still["high"]
        assert rise["low"] > 0
        before, after = overlap.iloc[0], overlap.iloc[2]
        assert before["high"] > after["low"]  # side by side they do not separate
        narrower += rise["high"] - rise["low"] < (after["high"] - after["low"]) / 2
    assert min(covered, none) / trials >= 0.9
    assert narrower == trials


def test_models_are_contrasted_with_controls_draw_by_draw():
    """A small difference that intervals side by side would hide; nothing where there is none."""
    overlap, draws = study_of_steps(np.random.default_rng(7), {0: 0.2, 64: 0.2, 128: 0.23})
    names = {0: "control", 64: "same", 128: "more"}
    overlap, draws = (t.assign(model=t["step"].map(names), step=64) for t in (overlap, draws))
    found = overlap_contrasts(overlap, draws, [("more", "control"), ("same", "control"), ("more", "none")])
    assert set(found["model"]) == {"more", "same"}
    excess = found[found["measure"] == "excess"].set_index("model")
    at = overlap.set_index("model")
    for name in ("more", "same"):
        by_hand = (
            at.loc[name, "overlap"]
            - at.loc[name, "null"]
            - at.loc["control", "overlap"]
            + at.loc["control", "null"]
        )
        assert excess.loc[name, "difference"] == pytest.approx(by_hand)
    assert excess.loc["more", "low"] > 0
    assert excess.loc["same", "low"] <= 0 <= excess.loc["same", "high"]
    none = overlap_contrasts(overlap, draws, [])
    assert none.empty
    assert list(none.columns) == list(found.columns)


def test_changes_of_the_way_are_those_of_the_table():
    overlap, draws = study_of_steps(np.random.default_rng(0), {0: 0.1, 64: 0.4})
    (row,) = overlap_changes(overlap, draws).query("measure == 'way'").to_dict("records")
    assert row["change"] == pytest.approx(overlap["way"].iloc[1] - overlap["way"].iloc[0])
    assert row["low"] < row["change"] < row["high"]
    assert overlap_changes(overlap.head(1), draws.query("step == 0")).empty
