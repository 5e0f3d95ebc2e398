"""Every other choice beside the study's, against the stages that make the study's own."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.choices import (
    CHOICE,
    compare_choices,
    conclusions,
    keep_choices,
    kept_units,
    rank_correlations,
    with_probes,
)
from babelscope.analysis.reliability import search_units
from babelscope.analysis.scores import OTHER_HALF
from babelscope.analysis.settings import AlignmentSettings
from babelscope.io.cells import cell_name
from babelscope.io.h5 import atomic_h5
from score_files import GivenScores, rank
from synthetic_tables import synthetic_tables

LANGS = ("en", "de", "ru", "zh", "tr")
CONCEPTS = tuple(f"c{number:02d}" for number in range(12))
SITES = {(1, "attn_out"): 20, (1, "mlp_act"): 40, (2, "attn_out"): 20, (2, "mlp_act"): 40}
N_UNITS, K = sum(SITES.values()), 12
SETTINGS = AlignmentSettings(bootstrap=60, permutations=60, seed=3)


def made_up(sharing, *, seed, model="m", step=1, pooling="max", concepts=CONCEPTS):
    """Scores of every language: noise, a little of which is the concept's own in all (``sharing``), and more in
    one, which is what a ceiling needs."""
    rng = np.random.default_rng(seed)
    shape = len(concepts), N_UNITS
    common = rng.random(shape)
    files = {}
    for lang in LANGS:
        own = 0.5 * rng.random(shape) + sharing * common
        ap = {half: (own + 0.3 * rng.random(shape)) / 2 for half in OTHER_HALF}
        of = {"lang": lang, "model": model, "step": step, "pooling": pooling}
        files[lang] = GivenScores(concepts, {"all": own, **ap}, SITES, **of)
    return files


def compare(scores, settings, *, k, kept=N_UNITS):
    """What is found from what is kept of the scores, which are of one (model, step)."""
    step = next(iter(next(iter(scores.values())).values())).provenance.step
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "choices.h5")
        with atomic_h5(path, kind="choices") as file:
            groups = {lang: file.create_group(cell_name(step, lang)) for lang in LANGS}
            searched = keep_choices(scores, groups, kept=kept, seed=settings.seed)
        units = {
            pooling: {lang: of for (_, lang), of in kept_units([path], pooling=name).items()}
            for pooling, name in zip(scores, ["", *list(scores)[1:]], strict=True)
        }
        units = {pooling: {lang: of[lang] for lang in LANGS} for pooling, of in units.items()}
        return compare_choices(units, searched, settings, k=k)


def choice_of(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    return table


def test_a_choice_is_what_the_studys_own_stages_give_for_it(tmp_path):
    scores = made_up(0.4, seed=0)
    table, draws = compare({"max": scores}, SETTINGS, k=K)
    best = rank(tmp_path / "best.h5", {(1, lang): file for lang, file in scores.items()}, kept=N_UNITS)
    of_lang = {lang: best[1, lang] for lang in LANGS}
    search = search_units(scores, seed=SETTINGS.seed)
    for size, k in (("half", K // 2), ("study", K), ("double", 2 * K)):
        _, overlap, _, reliability, drawn = align_experts(of_lang, search, SETTINGS, k=k)
        means = overlap[(overlap["lang_a"] == "*") & (overlap["variant"] == "disjoint_lines")]
        for site, scope in (("*", "model"), ("attn_out", "site"), ("mlp_act", "site")):
            (expected,) = means[(means["scope"] == scope) & (means["site"] == site)].to_dict("records")
            (found,) = choice_of(table, measure="overlap", site=site, size=size).to_dict("records")
            assert found["value"] == expected["overlap"]
            for name in ("low", "high", "null", "null_high", "chance", "ceiling", "way", "way_low", "way_high",
                         "p_value", "k", "n_units", "n_concepts", "n_pairs", "n_null"):  # fmt: skip
                assert found[name] == pytest.approx(expected[name], nan_ok=True), (size, site, name)
        own = choice_of(draws, measure="overlap", site="*", size=size)
        drawn = drawn[(drawn["scope"] == "model") & (drawn["variant"] == "disjoint_lines")]
        for mine, theirs in (("value", "overlap"), ("null", "null"), ("ceiling", "ceiling")):
            np.testing.assert_array_equal(own[mine], drawn[theirs])
        single = reliability[(reliability["metric"] == "worst_ap") & (reliability["concept"] == "*")]
        (found,) = choice_of(table, measure="worst_ap", site="*").to_dict("records")
        assert found["value"] == pytest.approx(single["value"].item())
        assert found["chance"] == pytest.approx(single["chance_ap"].item())
    assert set(table["pooling"]) == {"max"}
    assert len(table) == 3 * 3 + 3  # three sites of three sizes, and the best units of each site


def test_the_best_unit_of_a_site_is_searched_there_alone():
    scores = made_up(0.2, seed=1)
    table, draws = compare({"max": scores}, SETTINGS, k=K)
    index = next(iter(scores.values())).units
    for site in ("attn_out", "mlp_act"):
        here = np.concatenate([np.arange(p.start, p.stop) for _, name, p in index.parts() if name == site])
        value_C = np.zeros(len(CONCEPTS))
        for half, other in OTHER_HALF.items():
            on, off = (
                np.stack([file.arrays[f"ap_{name}"].astype(np.float32) for file in scores.values()])
                for name in (half, other)
            )
            chosen = here[on[:, :, here].min(axis=0).argmax(axis=1)]
            value_C += off[:, np.arange(len(CONCEPTS)), chosen].min(axis=0) / 2
        (found,) = choice_of(table, measure="worst_ap", site=site).to_dict("records")
        assert found["value"] == pytest.approx(value_C.mean())
        assert found["n_units"] == len(here)
        assert found["low"] < found["value"] < found["high"]
        assert len(choice_of(draws, measure="worst_ap", site=site)) == SETTINGS.bootstrap


def study(*, main=(0.0, 1.5), other=(0.0, 0.0), steps=(0, 8)):
    """Two models at two steps; sharing by step of the pooling max, none of the pooling last."""
    rows, drawn = [], []
    for model, sharing in (("m", main), ("control", other)):
        for at, step in enumerate(steps):
            about = {"model": model, "step": step}
            seed = 10 * at + (model == "m")
            poolings = {
                "max": made_up(sharing[at], seed=seed, **about),
                "last": made_up(0.0, seed=100 + seed, pooling="last", **about),
            }
            for into, table in zip((rows, drawn), compare(poolings, SETTINGS, k=K), strict=True):
                into.append(table)
    return pd.concat(rows, ignore_index=True), pd.concat(drawn, ignore_index=True)


def test_conclusions_are_told_apart_by_pooling():
    choices, draws = study()
    found = conclusions(choices, draws, [("m", "control")])
    for asks in ("above null", "rises", "above control"):
        answers = choice_of(found, model="m", asks=asks, measure="overlap")
        assert len(answers) == 2 * 3 * 3
        assert choice_of(answers, pooling="max")["holds"].all(), asks
        assert choice_of(answers, pooling="last")["holds"].mean() < 0.4, asks
        best = choice_of(found, model="m", asks=asks, measure="worst_ap")
        assert len(best) == 2 * 3
        assert choice_of(best, pooling="max")["holds"].all(), asks
        assert choice_of(best, pooling="last")["holds"].mean() < 0.4, asks
    assert set(found.loc[found["asks"] == "above control", "control"]) == {"control"}
    assert set(found.loc[found["asks"] != "above control", "control"]) == {""}
    control = choice_of(found, model="control", measure="overlap", pooling="max")
    assert set(control["asks"]) == {"above null", "rises"}
    assert control["holds"].mean() < 0.4
    rises = choice_of(
        found, model="m", asks="rises", pooling="max", measure="overlap", site="*", size="study"
    )
    assert rises[["first", "last"]].to_numpy().tolist() == [[0, 8]]
    ends = choice_of(choices, model="m", pooling="max", measure="overlap", site="*", size="study")
    excess = ends["value"] - ends["null"]
    assert rises["value"].item() == pytest.approx(excess.iloc[1] - excess.iloc[0])


def test_one_step_does_not_rise_and_needs_no_control():
    choices, draws = study(steps=(8,), main=(0.8,), other=(0.0,))
    assert set(conclusions(choices, draws, [])["asks"]) == {"above null"}


def test_choices_are_ranked_against_each_other_over_models_and_steps():
    choices, _ = study(main=(0.0, 0.2, 0.5, 0.9), other=(0.0, 0.1, 0.0, 0.3), steps=(0, 2, 4, 8))
    ranks = rank_correlations(choices)
    assert set(ranks["n"]) == {8}
    assert len(ranks[ranks["measure"] == "overlap"]) == 18 * 17 / 2
    assert len(ranks[ranks["measure"] == "worst_ap"]) == 6 * 5 / 2
    points = {}
    for site in ("*", "mlp_act"):
        of = choice_of(choices, measure="overlap", pooling="max", site=site, size="study")
        points[site] = (of["value"] - of["null"]).tolist()
    (row,) = choice_of(
        ranks, measure="overlap", pooling_a="max", site_a="*", size_a="study", pooling_b="max",
        site_b="mlp_act", size_b="study",
    ).to_dict("records")  # fmt: skip
    assert row["rho"] == pytest.approx(spearmanr(points["*"], points["mlp_act"]).statistic)
    assert row["rho"] > 0.6
    assert rank_correlations(choices[choices["step"] == 0]).empty  # two points have no ranks worth the name


def test_sizes_that_are_the_studys_own_are_told_once():
    scores = made_up(0.4, seed=0)
    for k, sizes in ((1, ["study", "double"]), (N_UNITS, ["half", "study"])):
        table, _ = compare({"max": scores}, SETTINGS, k=k)
        at = choice_of(table, measure="overlap", site="*")
        assert at["size"].tolist() == sizes
    table, _ = compare({"max": scores}, SETTINGS, k=K, kept=2 * K - 1)  # so many are not kept
    assert set(table["size"]) == {"half", "study"}
    full, _ = compare({"max": scores}, SETTINGS, k=K)
    assert (
        table[table["size"] == "half"]
        .reset_index(drop=True)
        .equals(full[full["size"] == "half"].reset_index(drop=True))
    )


def test_poolings_of_other_units_are_refused():
    scores = made_up(0.4, seed=0)
    other = made_up(0.4, seed=0, concepts=CONCEPTS[:-1])
    with pytest.raises(ValueError, match="other concepts or units"):
        compare({"max": scores, "last": other}, SETTINGS, k=K)


def test_kinds_of_probe_are_choices_too():
    choices, draws = study()
    probes = synthetic_tables()["probes"]
    table, resamples = with_probes(choices, draws, probes)
    kinds = set(table.loc[table["measure"] == "probe", "probe"])
    assert kinds == {"full", "pc8", "new_types", "anchors"}
    cells = probes[(probes["probe"] == "pc8") & (probes["metric"] == "accuracy") & (probes["seed"] == -1)]
    cells = cells[(cells["model"] == "bridged-seed0") & (cells["step"] == 2048) & (cells["layer"] > 0)]
    (row,) = choice_of(table, model="bridged-seed0", step=2048, probe="pc8").to_dict("records")
    assert row["value"] == pytest.approx(cells["value"].mean())
    assert row["low"] < row["value"] < row["high"]
    assert row["null"] == pytest.approx(cells["null"].mean())
    assert table[table["measure"] != "probe"][CHOICE].equals(choices[CHOICE])
    found = conclusions(table, resamples, [("bridged-seed0", "isolated-seed0")])
    asked = choice_of(found, measure="probe", model="bridged-seed0")
    assert set(asked["asks"]) == {"above null", "falls"}
    falls = choice_of(asked, asks="falls", probe="pc8")
    assert falls[["first", "last"]].to_numpy().tolist() == [[64, 2048]]  # not the random weights
    first = choice_of(table, model="bridged-seed0", step=64, probe="pc8")["value"].item()
    assert falls["value"].item() == pytest.approx(
        (first - row["value"]) - (choice_of(table, step=64, probe="pc8")["null"].iloc[0] - row["null"])
    )
    assert rank_correlations(table)["measure"].tolist().count("probe") == 4 * 3 / 2
    unscored = probes.assign(value=probes["value"].where(probes["probe"] != "anchors"))
    assert "anchors" not in set(with_probes(choices, draws, unscored)[0]["probe"])
    with_none, same = with_probes(choices, draws, probes[probes["metric"] == "share"])
    assert with_none is choices
    assert same is draws
