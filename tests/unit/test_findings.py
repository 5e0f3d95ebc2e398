"""Findings: planted truths get the right verdict, and nothing is claimed beyond the intervals."""

import numpy as np
import pandas as pd
import pytest

from babelscope.errors import DataError
from babelscope.report.findings.criteria import (
    TITLES,
    Criterion,
    Quantity,
    exceeds,
    over_runs,
    over_runs_and_concepts,
    verdict_of,
)
from babelscope.report.findings.evaluate import claims_table, evaluate_findings, findings_table
from babelscope.report.findings.language_identity import middle_layers
from babelscope.report.summaries import generation_series, over_seeds, with_roles
from babelscope.report.words import Statement, words
from babelscope.stats import interval
from synthetic_tables import synthetic_tables

LANGUAGES = ("de", "en", "es", "ru", "zh")


def verdicts(tables):
    findings, _ = evaluate_findings(tables)
    return {(f.key, f.model): f.verdict for f in findings}


@pytest.fixture(scope="module")
def tables():
    return synthetic_tables(languages=LANGUAGES)


def test_planted_truths_are_found(tables):
    found = verdicts(tables)
    assert found["language_identity", "bridged"] == "holds"
    assert found["language_identity", "isolated"] == "does not hold"
    assert found["expert_overlap", "bridged"] == "holds"
    assert found["expert_overlap", "isolated"] == "does not hold"
    assert found["middle_layers", "bridged"] == "does not hold"  # the last layer shares most
    assert found["middle_layers", "isolated"] == "cannot be tested"  # nothing to locate
    assert found["reliable_units", "bridged"] == "holds"
    assert found["reliable_units", "isolated"] == "does not hold"
    assert found["forced_generation", "bridged"] == "holds"


def test_order_and_table(tables):
    findings, table = evaluate_findings(tables)
    assert [f.key for f in findings] == [key for key in TITLES for _ in range(2)]
    assert [f.role for f in findings[:2]] == ["main", "control"]
    assert table.equals(findings_table(findings))
    row = table[(table.finding == "expert_overlap") & (table.quantity == "overlap at step 2048")].iloc[0]
    assert row.low < row.value < row.high
    assert row.null < row.low
    assert row.n == 6


def test_texts_hold_the_numbers_of_the_tables(tables):
    findings, _ = evaluate_findings(tables)
    overlap = next(f for f in findings if f.key == "expert_overlap")
    row = tables["overlap"].query(
        "model == 'bridged-seed0' and step == 2048 and layer == -1 and variant == 'disjoint_lines' "
        "and lang_a == '*'"
    ).iloc[0]  # fmt: skip
    for number in (row.overlap, row.low, row.high, row.null):
        assert f"{number:.3f}" in overlap.text
    assert "nan" not in " ".join(f.text for f in findings)


def test_wide_intervals_forbid_the_claim(tables):
    overlap = tables["overlap"].copy()
    overlap["low"], overlap["high"] = overlap["overlap"] - 0.5, overlap["overlap"] + 0.5
    assert verdicts(tables | {"overlap": overlap})["expert_overlap", "bridged"] == "does not hold"


def test_missing_intervals_leave_it_open(tables):
    overlap = tables["overlap"].assign(low=np.nan, high=np.nan)
    assert verdicts(tables | {"overlap": overlap})["expert_overlap", "bridged"] == "cannot be tested"


def test_overlap_that_random_weights_have_already_is_no_growth(tables):
    overlap = tables["overlap"].copy()
    summary = overlap["lang_a"] == "*"
    for column, value in (("overlap", 0.10), ("low", 0.09), ("high", 0.11), ("null", 0.035)):
        overlap.loc[summary, column] = value
    changes = tables["overlap_changes"].assign(change=0.0, low=-0.01, high=0.01)
    findings, _ = evaluate_findings(tables | {"overlap": overlap, "overlap_changes": changes})
    finding = next(f for f in findings if f.key == "expert_overlap")
    assert finding.verdict == "does not hold"
    assert "growth is not shown" in finding.text
    # It says what it could have told: of the tables .0168 above the null, a rise of .014.
    assert (
        "as 0.017 above the null, or had it risen by 0.014, 80% of studies like each run here" in finding.text
    )
    assert "500 permutations" in finding.text


def test_a_finding_that_holds_says_nothing_of_power(tables):
    findings, _ = evaluate_findings(tables)
    (finding,) = (f for f in findings if f.key == "expert_overlap" and f.role == "main")
    assert finding.verdict == "holds"
    assert "80% of studies" not in finding.text


def test_growth_is_judged_by_the_paired_difference(tables):
    """Intervals side by side that overlap do not hide a rise that every concept and pair has."""
    overlap, changes = tables["overlap"].copy(), tables["overlap_changes"]
    summary = overlap["lang_a"] == "*"
    first = summary & (overlap["step"] == 0)
    overlap.loc[first, "high"] = overlap.loc[summary & (overlap["step"] == 2048), "low"].to_numpy() + 0.01
    assert verdicts(tables | {"overlap": overlap})["expert_overlap", "bridged"] == "holds"
    unknown = changes.assign(low=np.nan, high=np.nan)
    for other in (unknown, changes.head(0)):
        found = verdicts(tables | {"overlap_changes": other})
        assert found["expert_overlap", "bridged"] == "cannot be tested"


def test_the_share_of_the_way_counts_with_its_interval(tables):
    """A share of 30 % whose interval reaches below 10 % does not suffice."""
    low = tables["overlap"].assign(way_low=0.05)
    assert verdicts(tables | {"overlap": low})["expert_overlap", "bridged"] == "holds in part"


def test_significant_pairs_are_counted_by_kind(tables):
    """A control that shares in one script alone is not said to share nothing."""
    overlap, last = tables["overlap"].copy(), tables["overlap"]["step"] == 2048
    control = last & (overlap["model"] == "isolated-seed0") & (overlap["lang_a"] != "*")
    overlap["q_value"] = overlap["q_value"].mask(control, 0.5)
    cognates = control & (overlap["lang_a"] == "de") & (overlap["lang_b"] == "en")
    overlap.loc[cognates, "q_value"] = 0.01
    pairs = tables["pairs"].assign(shared_words=0.0)
    pairs.loc[(pairs["lang_a"] == "de") & (pairs["lang_b"] == "en"), "shared_words"] = 0.1
    findings, _ = evaluate_findings(tables | {"overlap": overlap, "pairs": pairs})
    text = next(f.text for f in findings if f.key == "expert_overlap" and f.role == "control")
    assert "1 of 10 pairs of languages share more than their null (q < 0.05): 1 of 3 of one script" in text
    assert "0 of 7 of different scripts, 1 of 1 with cognates, 0 of 9 without cognates" in text


def test_near_concepts_stand_beside_and_do_not_decide(tables):
    alike = tables["overlap"].assign(null_near=tables["overlap"]["overlap"], p_near=0.6)
    findings, _ = evaluate_findings(tables | {"overlap": alike})
    finding = next(f for f in findings if f.key == "expert_overlap" and f.role == "main")
    (asked,) = (c for c in finding.criteria if c.key == "more than near concepts")
    assert (asked.met, asked.part, finding.verdict) == (False, "shown", "holds")


def test_every_seed_may_have_an_inner_layer_of_its_own():
    tables = synthetic_tables(seeds=2, control=False, languages=("en", "es", "zh"))
    overlap = tables["overlap"].copy()
    best = {"bridged-seed0": 2, "bridged-seed1": 3}
    of_layer = (overlap["layer"] > 0) & (overlap["lang_a"] == "*")
    for run, layer in best.items():
        rows = of_layer & (overlap["model"] == run)
        way = np.where(overlap.loc[rows, "layer"] == layer, 0.6, 0.1)
        overlap.loc[rows, "way"], overlap.loc[rows, "way_low"] = way, way - 0.05
        overlap.loc[rows, "way_high"] = way + 0.05
    overlap["way"] = overlap["way"].where(overlap["variant"] == "disjoint_lines")
    (finding,) = (f for f in evaluate_findings(tables | {"overlap": overlap})[0] if f.key == "middle_layers")
    assert finding.verdict == "holds"
    assert len(finding.criteria) == 4
    for run, layer in best.items():
        assert (
            f"in {run} the share of the way from null to ceiling is largest in layer {layer} of 4"
            in finding.text
        )


def test_same_lines_alone_never_hold_fully(tables):
    overlap = tables["overlap"].query("variant == 'same_lines' or lang_a == lang_b == '='")
    overlap = pd.concat([overlap.query("variant == 'same_lines'")])
    assert verdicts(tables | {"overlap": overlap})["expert_overlap", "bridged"] == "holds in part"


def test_not_significant_is_not_above_the_null(tables):
    overlap = tables["overlap"].assign(q_value=0.2)
    assert verdicts(tables | {"overlap": overlap})["expert_overlap", "bridged"] == "does not hold"


def test_the_middle_can_win(tables):
    overlap = tables["overlap"].copy()
    for layer, value in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.1)):
        rows = (overlap.layer == layer) & (overlap.lang_a == "*")
        overlap.loc[rows, ["way", "way_low", "way_high"]] = value, value - 0.01, value + 0.01
    assert verdicts(tables | {"overlap": overlap})["middle_layers", "bridged"] == "holds"


def test_one_step_cannot_show_change():
    found = verdicts(synthetic_tables(steps=(2048,), languages=LANGUAGES))
    assert found["expert_overlap", "bridged"] == "cannot be tested"
    assert found["reliable_units", "bridged"] == "cannot be tested"
    assert found["forced_generation", "bridged"] == "cannot be tested"


def identity_of(tables, role="main"):
    findings, _ = evaluate_findings(tables)
    return next(f for f in findings if f.key == "language_identity" and f.role == role)


def with_probes(tables, change):
    """Tables in which `change(step, layer, role)` is added to all accuracies, with their resamples."""
    probes = with_roles(tables["probes"], tables["models"])
    add = np.array([change(row.step, row.layer, row.role) for row in probes.itertuples()])
    draws = [
        " ".join(f"{float(draw) + more:.5g}" for draw in text.split())
        for text, more in zip(probes["draws"], add, strict=True)
    ]
    moved = {column: probes[column] + add for column in ("value", "low", "high")}
    return tables | {"probes": tables["probes"].assign(**moved, draws=draws)}


@pytest.mark.parametrize("steps", [(2048,), (0, 2048)], ids=["alone", "beside a random baseline"])
def test_a_valley_within_one_step_is_tested_and_a_course_is_not(steps):
    """A random baseline is no ancestor: nothing dropped from it, or never dropped."""
    flat = synthetic_tables(steps=steps, sharing=False, languages=LANGUAGES)
    valley = with_probes(flat, lambda step, layer, role: -0.2 * (layer in (2, 3)) * (step > 0))
    for tables, met, verdict in ((flat, False, "does not hold"), (valley, True, "holds in part")):
        finding = identity_of(tables)
        assert finding.verdict == verdict
        by_key = {c.key: c for c in finding.criteria}
        assert by_key["middle drops"].met is None
        assert by_key["middle drops"].evidence == "one step after the random weights"
        assert by_key["valley"].met is met
        assert "cannot be told whether anything faded" in finding.text
        assert "dropped" not in finding.text
        assert "peaks" not in finding.text


def test_fading_as_in_the_control_does_not_hold_wholly(tables):
    """Planted: the control fades as much as the main model."""
    both = with_probes(tables, lambda step, layer, role: -0.15 * (
        role == "control" and layer in (1, 2) and step == 2048
    ))  # fmt: skip
    finding = identity_of(both)
    contrast = next(c for c in finding.criteria if c.key == "drops more than control" and c.part == "extra")
    assert contrast.given["label"] == "anchor tokens"
    assert contrast.met is False
    assert finding.verdict == "holds in part"
    assert "fading here does not show sharing" in finding.text
    assert identity_of(tables).verdict == "holds"


def test_steps_are_compared_by_the_same_sentences(tables):
    """The intervals of two steps overlap, and that of their difference is clear of 0."""
    small = with_probes(tables, lambda step, layer, role: 0.1175 * (layer in (1, 2) and step == 2048))
    drop = next(c for c in identity_of(small).criteria if c.key == "middle drops" and c.part == "core")
    before, after, difference = (drop.given[name] for name in ("before", "after", "drop"))
    assert after.high > before.low
    assert difference.low > 0.02
    assert difference.high - difference.low < 0.5 * (before.high - before.low)
    assert drop.met


def test_a_significant_overlap_whose_interval_reaches_the_null_says_so(tables):
    """Not met, with q = .003: else it would read like a mistake."""
    overlap = tables["overlap"].copy()
    at = (overlap["lang_a"] == "*") & (overlap["step"] == 2048) & (overlap["layer"] == -1)
    overlap.loc[at, "low"] = 0.0
    findings, _ = evaluate_findings(tables | {"overlap": overlap})
    finding = next(f for f in findings if f.key == "expert_overlap" and f.role == "main")
    criterion = next(c for c in finding.criteria if c.key == "above null")
    assert criterion.met is False
    assert criterion.evidence.endswith("q = 0.003: the test finds it, but the interval reaches the null")


@pytest.mark.parametrize(("shift", "why"), [
    (0.30, "the difference goes the other way"), (0.102, "smaller than 0.020")
])  # fmt: skip
def test_what_is_not_met_says_why(tables, shift, why):
    changed = with_probes(tables, lambda step, layer, role: shift * (layer in (1, 2, 3) and step == 2048))
    told = [c for c in identity_of(changed).criteria if c.key in ("middle drops", "end recovers")]
    assert any(c.met is False and c.evidence.endswith(why) for c in told)


def test_a_difference_exceeds():
    def of(value, low, high):
        return exceeds(Quantity("x", value, low, high), 0.02)

    assert of(0.1, 0.05, 0.15) == (True, "")
    assert of(0.01, 0.005, 0.015) == (False, "too small")
    assert of(0.01, -0.01, 0.03) == (False, "not apart")
    assert of(-0.1, -0.2, -0.05) == (False, "other way")
    assert of(0.1, np.nan, np.nan) == (None, "")


@pytest.mark.parametrize("n_runs", [1, 2, 3, 5])
def test_runs_of_a_model_are_summed_up_as_its_seeds_are(n_runs):
    """By draws, or by the intervals of the runs where all have the same draws about their value."""
    rng = np.random.default_rng(n_runs)
    values, shared = rng.normal(size=n_runs), rng.normal(size=100)
    draws = values[:, None] + shared
    table = pd.DataFrame({"model": [f"m-seed{i}" for i in range(n_runs)], "step": 4, "value": values})
    table["low"], table["high"] = zip(*map(interval, draws), strict=True)
    models = table[["model"]].assign(id="m", role="main")
    expected = over_seeds(table, models, ["step"]).iloc[0]
    found = over_runs(values, draws, "x", step=4, n=2)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected["value"], expected["low"], expected["high"])
    )


def test_runs_are_paired_by_seed():
    """Seeds of both models differ far more than the models do."""
    tables = synthetic_tables(seeds=3, languages=LANGUAGES)
    seeds = tables["models"].set_index("model")["seed"]
    probes = tables["probes"]
    moved = probes["model"].map(seeds).map({0: -0.05, 1: 0.0, 2: 0.05}) * (probes["step"] == 2048)
    draws = [
        " ".join(f"{float(draw) + more:.5g}" for draw in text.split())
        for text, more in zip(probes["draws"], moved, strict=True)
    ]
    finding = identity_of(tables | {"probes": probes.assign(value=probes["value"] + moved, draws=draws)})
    contrast = next(c for c in finding.criteria if c.key == "drops more than control")
    assert contrast.given["drop"].high - contrast.given["drop"].low > 0.2
    assert contrast.given["extra"].high - contrast.given["extra"].low < 0.05
    assert contrast.met


def test_a_layer_near_the_end_is_an_inner_one(tables):
    """Twelve blocks, most shared in layer 11."""
    overlap = tables["overlap"]
    layer = overlap[(overlap.layer == 1)]
    more = [layer.assign(layer=at, overlap=value, low=value - 0.01, high=value + 0.01, null=0.04,
                         way=value, way_low=value - 0.01, way_high=value + 0.01)
            for at in range(1, 13) for value in [0.4 if at == 11 else 0.1]]  # fmt: skip
    whole = pd.concat([overlap[overlap.layer == -1], *more])
    findings, _ = evaluate_findings(tables | {"overlap": whole})
    text = next(f.text for f in findings if f.key == "middle_layers")
    assert "layer 11 of 12, an inner layer" in text


@pytest.mark.parametrize("name", ["overlap", "probes", "reliability", "generation", "models"])
@pytest.mark.parametrize("empty", [True, False])
def test_any_table_may_be_missing(tables, name, empty):
    rest = dict(tables)
    rest[name] = tables[name].head(0) if empty else None
    findings, _ = evaluate_findings(rest)
    of = {"overlap": "expert_overlap", "probes": "language_identity",
          "reliability": "reliable_units", "generation": "forced_generation"}  # fmt: skip
    if name in of:
        assert {f.verdict for f in findings if f.key == of[name]} == {"cannot be tested"}
    assert evaluate_findings({})[0] == []


def test_forcing_without_effect_says_nothing_about_languages(tables):
    generation = tables["generation"].copy()
    generation.loc[generation.metric == "hit_rate", ["value", "low", "high"]] = 0.06, 0.05, 0.07
    generation.loc[generation.metric == "hit_gain", ["value", "low", "high"]] = 0.0, -0.01, 0.01
    findings, _ = evaluate_findings(tables | {"generation": generation})
    finding = next(f for f in findings if f.key == "forced_generation")
    assert finding.verdict == "does not hold"
    assert "At no step does forcing the experts raise" in finding.text


@pytest.mark.parametrize(("control", "told"), [("random_dose", "random units at the experts' dose"),
                                               ("other_concept", "experts of other concepts")])  # fmt: skip
def test_a_push_that_any_units_give_is_no_work_of_the_experts(tables, control, told):
    """Planted: forced texts have more words than unforced ones, and no more than a control."""
    generation = tables["generation"].copy()
    at = (generation.metric == "hit_gain") & (generation.condition == control)
    generation.loc[at, ["value", "low", "high"]] = 0.01, -0.01, 0.03
    findings, _ = evaluate_findings(tables | {"generation": generation})
    finding = next(f for f in findings if f.key == "forced_generation" and f.role == "main")
    assert finding.verdict == "does not hold"
    assert told in finding.text


def test_without_words_texts_are_judged_by_their_language(tables):
    wordless = tables["generation"][~tables["generation"]["metric"].str.startswith("hit_")]
    findings, _ = evaluate_findings(tables | {"generation": wordless})
    finding = next(f for f in findings if f.key == "forced_generation" and f.role == "main")
    assert finding.verdict == "holds in part"  # that texts are about the concept is not known
    assert "No words of the concepts are known" in finding.text
    assert "Of the texts, 0.42" in finding.text
    assert finding.effect.name == "share of forced texts in the source language"

    no_push = wordless.copy()
    at = (no_push["metric"] == "text_share") & (no_push["condition"] == "random_dose")
    no_push.loc[at, ["low", "high"]] = 0.0, 1.0
    findings, _ = evaluate_findings(tables | {"generation": no_push})
    finding = next(f for f in findings if f.key == "forced_generation" and f.role == "main")
    assert finding.verdict == "does not hold"

    neither = wordless.query("metric != 'text_share'")
    findings, _ = evaluate_findings(tables | {"generation": neither})
    finding = next(f for f in findings if f.key == "forced_generation" and f.role == "main")
    assert finding.verdict == "cannot be tested"
    assert "is not known" in finding.text


def test_the_pivot_is_english_by_whatever_code(tables):
    renamed = tables["generation"].replace({"target": {"en": "eng_Latn"}, "lang": {"en": "eng_Latn"}})
    (found, finding), = (
        [next(f for f in evaluate_findings(tables | {"generation": each})[0] if f.key == "forced_generation")
         for each in (tables["generation"], renamed)],
    )  # fmt: skip
    assert found.verdict == finding.verdict == "holds"
    assert "in eng_Latn" in finding.text


def test_without_the_dose_matched_control_forcing_cannot_be_judged(tables):
    rest = tables["generation"].query("condition != 'random_dose'")
    findings, _ = evaluate_findings(tables | {"generation": rest})
    finding = next(f for f in findings if f.key == "forced_generation" and f.role == "main")
    assert finding.verdict == "cannot be tested"
    assert "controls are missing" in finding.text


def test_three_seeds_give_an_interval_over_seeds():
    tables = synthetic_tables(seeds=3, languages=("en", "es", "zh"))
    values = over_seeds(
        tables["overlap"].query("layer == -1 and lang_a == '*' and variant == 'disjoint_lines'"),
        tables["models"], ["step"], "overlap",
    )  # fmt: skip
    assert set(values.n_seeds) == {3}
    runs = tables["overlap"].query(
        "layer == -1 and lang_a == '*' and variant == 'disjoint_lines' and step == 0"
    )
    runs = with_roles(runs, tables["models"]).query("id == 'bridged'").overlap
    row = values.query("id == 'bridged' and step == 0").iloc[0]
    assert row.overlap == pytest.approx(runs.mean())
    # The half widths over seeds and, of each seed, over concepts and languages.
    assert row.high - row.overlap == pytest.approx(np.hypot(4.302653 * runs.std() / np.sqrt(3), 0.012))
    assert verdicts(tables)["expert_overlap", "bridged"] == "holds"


def claims_of(tables):
    findings, _ = evaluate_findings(tables)
    return claims_table(findings).set_index(["finding", "model"])


def test_claims_have_the_number_of_every_finding_beside_its_control(tables):
    claims = claims_of(tables)
    assert len(claims) == 10
    found = verdicts(tables)
    assert claims["verdict"].to_dict() == found
    bridged = claims.xs("bridged", level="model")
    assert (bridged["low"] <= bridged["value"]).all()
    assert (bridged["value"] <= bridged["high"]).all()
    assert (bridged["control"] == "isolated").all()
    # Planted: forcing is alike in both models, all else is of the main model alone.
    assert (bridged["difference_low"].drop("forced_generation") > 0).all()
    forced = bridged.loc["forced_generation"]
    assert forced["difference_low"] <= 0 <= forced["difference_high"]
    assert (claims.xs("isolated", level="model")["control"] == "").all()
    overlap = tables["overlap"].query(
        "step == 2048 and layer == -1 and lang_a == '*' and scope == 'model' and variant == 'disjoint_lines'"
    ).set_index("model")  # fmt: skip
    excess = overlap["overlap"] - overlap["null"]
    planted = excess["bridged-seed0"] - excess["isolated-seed0"]
    assert bridged.loc["expert_overlap", "difference"] == pytest.approx(planted)
    assert bridged.loc["expert_overlap", "ceiling"] == pytest.approx(overlap.loc["bridged-seed0", "ceiling"])


def test_claims_without_a_control_or_with_two_of_them(tables):
    alone = claims_of(synthetic_tables(control=False, languages=LANGUAGES))
    assert len(alone) == 5
    assert alone["difference"].isna().all()
    renamed = {}
    for name, table in tables.items():
        columns = [column for column in ("model", "control", "id") if column in table]
        second = table[table[columns].apply(lambda c: c.astype(str).str.startswith("isolated")).any(axis=1)]
        second = second.assign(**{c: second[c].astype(str).str.replace("isolated", "other") for c in columns})
        renamed[name] = pd.concat([table, second]) if columns else table
    both = claims_of(renamed)
    for finding in TITLES:
        assert sorted(both.loc[finding, "bridged"]["control"]) == ["isolated", "other"]


def test_a_difference_that_goes_the_other_way_is_told(tables):
    contrasts = tables["overlap_contrasts"]
    turned = contrasts.assign(difference=-0.1, low=-0.12, high=-0.08)
    findings, _ = evaluate_findings(tables | {"overlap_contrasts": turned})
    finding = next(f for f in findings if f.key == "expert_overlap" and f.role == "main")
    criterion = next(c for c in finding.criteria if c.key == "more than in control")
    assert criterion.met is False
    assert criterion.evidence.endswith("the difference goes the other way")
    assert finding.verdict == verdicts(tables)["expert_overlap", "bridged"]  # no part of it


def test_forced_words_that_come_in_all_languages_are_told_from_those_of_the_control(tables):
    """Planted: with bridges .2 of the words are in the source language, without them .7."""
    contrasts, generation = tables["generation_contrasts"], tables["generation"].copy()
    at = (generation["metric"] == "hit_share") & (generation["target"] == "source")
    at &= (generation["step"] == 2048) & (generation["condition"] == "forced")
    for role, value in (("bridged", 0.2), ("isolated", 0.7)):
        here = at & generation["model"].str.startswith(role)
        generation.loc[here, ["value", "low", "high"]] = value, value - 0.08, value + 0.08
    of = (contrasts["metric"] == "hit_share") & (contrasts["target"] == "source")
    contrasts = contrasts.assign(
        **{name: contrasts[name].mask(of, value) for name, value in
           (("difference", -0.5), ("low", -0.6), ("high", -0.4))}
    )  # fmt: skip
    findings, _ = evaluate_findings(tables | {"generation": generation, "generation_contrasts": contrasts})
    finding = next(f for f in findings if f.key == "forced_generation" and f.role == "main")
    assert next(c for c in finding.criteria if c.key == "less than in control").met
    assert "in the source language is 0.700" in finding.text
    assert finding.contrasts[0].difference.value == -0.5


@pytest.mark.parametrize("column", ["null", "chance_ap"])
def test_the_best_unit_must_beat_permuted_concepts_and_random_scores(tables, column):
    """On parallel lines a unit that knows nothing is above permuted concepts, and not above random scores."""
    reliability = tables["reliability"]
    best = reliability["kind"] == "best_unit"
    level = reliability[column].mask(best & (reliability["step"] == 2048), reliability["value"] + 0.001)
    changed = tables | {"reliability": reliability.assign(**{column: level})}
    finding = next(f for f in evaluate_findings(changed)[0] if f.key == "reliable_units" and f.role == "main")
    assert finding.verdict == "does not hold"
    missed = {c.key for c in finding.criteria if c.met is False}
    asked = {"null": "above permuted concepts", "chance_ap": "above random scores"}[column]
    assert missed >= {asked, "reliability grows"}


@pytest.mark.parametrize("n_runs", [1, 2, 3])
def test_best_units_are_judged_over_runs_and_concepts(n_runs):
    """Coverage of a mean AP over runs and concepts, both of which are drawn."""
    rng, covered, trials = np.random.default_rng(n_runs), 0, 400
    for _ in range(trials):
        values_RC = rng.normal(0, 0.08, size=16) + rng.normal(0, 0.05, size=(n_runs, 16))
        if n_runs > 1:  # of one run its luck cannot be seen
            values_RC = values_RC + rng.normal(0, 0.04, size=(n_runs, 1))
        found = over_runs_and_concepts(values_RC, "x", step=4)
        covered += found.low <= 0 <= found.high
    assert covered / trials >= 0.93


@pytest.mark.parametrize("n_runs", [2, 3])
@pytest.mark.parametrize("sd_run", [0.0, 0.08])
def test_probes_are_judged_over_runs_and_sentences(n_runs, sd_run):
    """The same sentences are drawn in all runs, and runs differ."""
    rng, covered, trials = np.random.default_rng([n_runs, int(100 * sd_run)]), 0, 300
    weights_BN = np.random.default_rng(0).poisson(1, size=(200, 60))
    weights_BN = weights_BN / weights_BN.sum(axis=1, keepdims=True)
    for _ in range(trials):
        values_RN = rng.normal(0, 0.2, size=60) + rng.normal(0, 0.1, size=(n_runs, 60))
        values_RN += rng.normal(0, sd_run, size=(n_runs, 1))
        found = over_runs(values_RN.mean(axis=1), values_RN @ weights_BN.T, "x", step=4, n=1)
        covered += found.low <= 0 <= found.high
    assert covered / trials >= 0.93


def test_concepts_that_a_run_lacks_are_left_out():
    values_RC = np.array([[0.1, 0.2, 0.3, np.nan], [0.3, 0.4, 0.5, 0.6], [np.nan] * 4])
    found = over_runs_and_concepts(values_RC, "x", step=4)
    assert (found.value, found.n, found.runs) == (pytest.approx(0.3), 3, 2)
    few = over_runs_and_concepts(values_RC[:, :2], "x", step=4)
    assert few.value == pytest.approx(0.25)
    assert not few.has_interval


def test_verdicts():
    def of(*parts):
        return verdict_of([Criterion("", met, part=part) for met, part in parts])

    assert of((True, "core"), (True, "extra"), (False, "shown")) == "holds"
    assert of((True, "core"), (None, "extra")) == "holds in part"
    assert of((True, "core"), (False, "core")) == "holds in part"
    assert of((False, "core"), (True, "extra")) == "does not hold"
    assert of((None, "core"), (True, "extra")) == "cannot be tested"
    assert of((None, "core"), (False, "core")) == "does not hold"


def test_middle_layers():
    assert middle_layers(4) == [1, 2, 3]
    assert middle_layers(24) == list(range(6, 19))
    assert middle_layers(2) == [1]
    assert middle_layers(1) == []


def test_generation_series_keeps_summaries_over_all_sources(tables):
    rows = tables["generation"].query("model == 'bridged-seed0' and step == 2048")
    series = generation_series(rows)
    forced = series.query("condition == 'forced'")
    assert set(series["lang"]) == {"*"}
    assert forced["target"].tolist() == ["*", "*", "*", "source", "en", "source", "en"]
    assert set(series.query("metric == 'hit_gain'")["condition"]) == {
        "unforced", "random", "random_dose", "other_concept"
    }  # fmt: skip
    other = generation_series(rows.replace({"target": {"en": "ru"}}), pivot="ru")
    assert set(other["target"]) == {"*", "source", "ru"}


def test_quantity_as_text():
    assert str(Quantity("x", 0.5, 0.4, 0.61)) == "0.500\u00a0[0.400,\u00a00.610]"
    assert str(Quantity("x", float("nan"))) == "n/a"


def test_every_template_of_the_findings_has_a_use_and_every_record_its_words():
    """Of studies of all kinds; what no study brings up is dead."""
    said = {kind: set() for kind in ("sentences", "conditions", "lacking", "reasons")}

    def note(statement):
        said["sentences"].add(statement.key)
        for value in statement.given.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Statement):
                    note(part)

    for tables in every_kind_of_study():
        for finding in evaluate_findings(tables)[0]:
            assert "{" not in finding.text
            for statement in finding.statements:
                note(statement)
            for criterion in finding.criteria:
                assert criterion.text
                assert criterion.evidence
                said["conditions"].add(criterion.key)
                said["lacking"].add(criterion.lacks)
                said["reasons"].add(criterion.why)
    assert said["conditions"] == set(words()["conditions"])
    assert said["lacking"] - {""} == set(words()["lacking"])
    assert said["reasons"] - {""} == set(words()["reasons"])
    told = list(words()["sentences"])
    assert said["sentences"] == set(told[told.index("no probes") :])


def every_kind_of_study():
    plain = synthetic_tables(languages=("en", "es", "zh"))
    overlap, probes, generation = plain["overlap"], plain["probes"], plain["generation"]
    hits = generation["metric"].isin(["hit_rate", "hit_gain"])
    yield plain
    for shift in (0.3, 0.102):
        yield with_probes(plain, lambda step, layer, role, s=shift: s * (layer in (1, 2, 3) and step == 2048))
    yield plain | {"probes": probes.query("layer < 2")}
    yield plain | {"overlap": overlap.assign(low=0.0)}
    yield plain | {"overlap": overlap.assign(tied=0.2, lacking=0.5)}
    shares = generation["metric"].isin(["text_share", "hit_share"])
    yield plain | {"generation": generation.assign(low=generation["low"].mask(shares, 0.0),
                                                   high=generation["high"].mask(shares, 1.0))}  # fmt: skip
    yield {"models": plain["models"], "losses": plain["losses"], "overlap": overlap.head(0), "probes": probes}
    yield {"models": plain["models"], "overlap": overlap}
    yield synthetic_tables(steps=(64, 2048), flagged=(2048,), languages=("en", "es", "zh"))
    yield synthetic_tables(steps=(0, 2048), flagged=(0, 2048), languages=("en", "es", "zh"))
    yield synthetic_tables(steps=(2048,), languages=("en", "es", "zh"))
    one_step = synthetic_tables(steps=(2048,), languages=("en", "es", "zh"))
    yield one_step | {"overlap": one_step["overlap"].assign(p_value=0.5, q_value=0.5)}
    yield plain | {"overlap": overlap.query("variant == 'same_lines'").assign(p_value=np.nan, q_value=np.nan)}
    yield plain | {"overlap": overlap.query("lang_a != '*'"), "probes": probes.query("probe == 'full'")}
    yield plain | {"overlap": overlap.query("layer < 2"), "reliability": plain["reliability"].query("m == 2")}
    yield plain | {"overlap": overlap.assign(p_near=np.nan, way_words=np.nan), "pairs": None}
    yield plain | {
        "generation": generation.assign(value=generation["value"].mask(hits, 0.06), low=-1, high=1)
    }
    wordless = generation[~generation["metric"].str.startswith("hit_")]
    yield plain | {"generation": wordless}
    yield plain | {"generation": wordless.query("metric != 'text_share'")}
    yield plain | {"generation": generation.query("condition == 'unforced'")}
    yield plain | {"generation": generation.query("target != 'es'")}
    yield plain | {"generation": generation.query("condition != 'random_dose'")}
    yield plain | {"generation": generation.query("lang != '*'")}


def test_experts_by_lot_and_empty_places_are_told_where_there_are_any():
    tables = synthetic_tables(languages=("en", "es", "zh"))
    overlap = tables["overlap"]

    def told(of):
        findings, _ = evaluate_findings(tables | {"overlap": of})
        return next(each.text for each in findings if each.key == "expert_overlap" and each.role == "main")

    assert "by lot" not in told(overlap)
    assert "are empty" not in told(overlap)
    first = overlap["step"] == 0
    of = overlap.assign(tied=np.where(first, 0.25, 0.0), lacking=np.where(first, 1.0, 0.0))
    assert "At most 25.0% of the experts were drawn by lot among units of equal score, at step 0" in told(of)
    assert "At most 100.0% of the places for experts are empty, at step 0" in told(of)


def test_findings_say_which_of_their_steps_are_flagged():
    tables = synthetic_tables(flagged=(2048,))
    findings, _ = evaluate_findings(tables)
    main = next(f for f in findings if f.key == "expert_overlap" and f.role == "main")
    control = next(f for f in findings if f.key == "expert_overlap" and f.role == "control")
    assert main.text.endswith("Step 2048, on which this rests, is flagged by the audit.")
    assert "audit" not in control.text


def test_a_flag_on_a_step_that_decides_nothing_is_not_told():
    findings, _ = evaluate_findings(synthetic_tables(flagged=(128,), generation=False))
    assert not any("flagged" in f.text for f in findings if f.key in ("expert_overlap", "reliable_units"))


def test_two_flagged_steps_are_both_named():
    findings, _ = evaluate_findings(synthetic_tables(flagged=(0, 2048)))
    main = next(f for f in findings if f.key == "expert_overlap" and f.role == "main")
    assert main.text.endswith("Steps 0, 2048, on which this rests, are flagged by the audit.")


def test_excluded_steps_decide_nothing():
    tables = synthetic_tables(flagged=(2048,))
    overlap = tables["overlap"]
    bad = (overlap["step"] == 2048) & overlap["model"].str.startswith("bridged")
    wrong = tables | {"overlap": overlap.assign(overlap=overlap["overlap"].where(~bad, 0.9))}
    findings, table = evaluate_findings(wrong, exclude_flagged=True)
    main = next(f for f in findings if f.key == "expert_overlap" and f.role == "main")
    assert "at step 1024" in main.text
    assert "2048" not in main.text
    assert 2048 not in set(table.loc[table["role"] == "main", "step"])
    assert 2048 in set(table.loc[table["role"] == "control", "step"])


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (lambda rows: rows[rows["lang"] != "*"], "holds no means over source languages"),
        (lambda rows: rows[rows["target"] == "de"], "holds no means over source languages"),
        (lambda rows: rows[rows["target"] != "en"], "Forcing raises the rate"),
        (lambda rows: rows[rows["condition"] != "forced"], "no texts with forced experts"),
    ],
)
def test_a_table_of_texts_that_lacks_rows_is_told_of(tables, keep, says):
    """As in a results folder of others; without means, or English, it ended in an IndexError."""
    some = {"models": tables["models"], "generation": keep(tables["generation"])}
    told = [finding.text for finding in evaluate_findings(some)[0] if finding.key == "forced_generation"]
    assert told
    assert all(says in text for text in told)


def test_a_table_that_lacks_a_column_is_named(tables):
    some = {"models": tables["models"], "probes": tables["probes"].drop(columns="metric")}
    with pytest.raises(DataError, match="do not hold what the finding language_identity asks for: 'metric'"):
        evaluate_findings(some)
