"""Ablation against planted experts: what they do is known, and so is what is lost without them."""

import numpy as np
import pandas as pd
import pytest
import torch

from babelscope.analysis.ablation import LanguageTexts, Moves, ablate_step, moving
from babelscope.analysis.damage import CONDITIONS, damage_table
from babelscope.analysis.language_pairs import ACROSS, OWN
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import NumericsError, StudyError
from babelscope.models.hooks import site_modules, watching
from babelscope.planted.text import parallel_lines, words_of
from babelscope.planted.truth import LANGUAGES, LAYERS, MISSED, PIVOT, PRIVATE, SHARING
from babelscope.planted.weights import UNITS
from babelscope.units import UnitIndex
from planted_models import experts_of, loaded_of
from tiny_models import tiny_loaded

EXTRACTION = ExtractionSettings(sites=("mlp_act",), max_length=16, batch_size=64)
CONCEPTS = list(MISSED)[:3]
INDEX = UnitIndex.of((layer, "mlp_act", UNITS) for layer in range(1, LAYERS + 1))


def texts_of(lang):
    """Planted lines; of each concept sentences in which one of its words follows the other."""
    lines, read = [(f"line-{n}", line) for n, line in enumerate(parallel_lines(0)[lang])], {}
    for concept in CONCEPTS:
        first, second, _ = words_of(lang).concepts[concept]
        pair = [first, second]
        read[concept] = [
            (f"{concept}-{n}", " ".join([words_of(lang).opens, *(pair * 3)[n : n + 4]])) for n in range(2)
        ]
    return LanguageTexts(
        [*lines, *(pair for of in read.values() for pair in of)], positive(lines, read, lang), read
    )


def positive(lines, read, lang):
    return {
        c: [(n, t) for n, t in lines if set(t.split()) & set(words_of(lang).concepts[c])] + read[c]
        for c in read
    }


def ablated(series, **changes):
    return ablate_step(
        loaded_of(series),
        {lang: experts_of(series, lang, CONCEPTS) for lang in LANGUAGES},
        {lang: texts_of(lang) for lang in LANGUAGES},
        **{"model": series.name, "step": series.steps[-1], "concepts": CONCEPTS, "n_sentences": 2,
           "extraction": EXTRACTION, "seed": 0, **changes},
    )  # fmt: skip


@pytest.fixture(scope="module", params=[SHARING, PRIVATE], ids=lambda series: series.name)
def measured(request):
    return request.param, ablated(request.param)


def damage(losses, condition="experts"):
    """By source, target and concept."""
    rows = losses[losses["condition"] == condition]
    return rows.set_index(["source", "target", "concept"])["damage"]


def test_every_pair_concept_and_condition_is_there_once(measured):
    _, losses = measured
    cells = losses.groupby(["source", "target", "concept", "condition"]).size()
    assert len(cells) == len(LANGUAGES) ** 2 * len(CONCEPTS) * len(CONDITIONS)
    assert cells.eq(1).all()
    assert losses["n_units"].eq(24).all()
    assert losses["n_sentences"].eq(2).all()
    assert losses["n_tokens"].eq(10).all()


def test_in_its_own_language_a_concept_is_lost(measured):
    """The experts write the words of their concept, which is what follows in these sentences."""
    _, losses = measured
    at = damage(losses)
    assert all(at[lang, lang, c] > 0.5 for lang in LANGUAGES for c in CONCEPTS)


def test_private_experts_do_nothing_in_other_languages(measured):
    """They are silent there, so to hold them at their mean is to leave them alone; shared ones are missed."""
    series, losses = measured
    at = damage(losses)
    across = [abs(at[a, b, c]) for a in LANGUAGES for b in LANGUAGES if a != b for c in CONCEPTS]
    if series is PRIVATE:
        assert max(across) < 1e-5
    else:
        assert min(across) > 0.05


def test_shared_experts_do_the_same_whatever_language_they_were_found_in(measured):
    series, losses = measured
    at = damage(losses)
    for b in LANGUAGES:
        others = [a for a in LANGUAGES if a != b]
        for c in CONCEPTS:
            of_shared = [at[a, b, c] for a in others]
            assert np.ptp(of_shared) < 1e-5  # the private units among them are silent
    # They write the pivot, so that there both of what they write is missed.
    of_pivot = [at[a, PIVOT, c] / at[PIVOT, PIVOT, c] for a in LANGUAGES if a != PIVOT for c in CONCEPTS]
    if series is SHARING:
        assert min(of_pivot) > 0.05
        assert max(of_pivot) < 1


def test_controls_cost_little_beside_the_experts(measured):
    _, losses = measured
    own = damage(losses)
    for condition in CONDITIONS[1:]:
        control = damage(losses, condition)
        for c in CONCEPTS:
            for lang in LANGUAGES:
                assert abs(control[lang, lang, c]) < 0.2 * own[lang, lang, c], (condition, lang, c)


def test_a_concept_without_experts_or_sentences_has_no_rows():
    some = experts_of(PRIVATE, "de", CONCEPTS)
    texts = {lang: texts_of(lang) for lang in ("de", "en")}
    texts["en"] = texts["en"]._replace(read={c: texts["en"].read[c] for c in CONCEPTS[1:]})
    losses = ablate_step(
        loaded_of(PRIVATE),
        {"de": some[some["concept"] != CONCEPTS[2]], "en": some.iloc[:0]},
        texts,
        model="m", step=1, concepts=CONCEPTS, n_sentences=1, extraction=EXTRACTION, seed=0,
    )  # fmt: skip
    there = set(losses[["source", "target", "concept"]].itertuples(index=False, name=None))
    assert there == {("de", "de", CONCEPTS[0]), ("de", "de", CONCEPTS[1]), ("de", "en", CONCEPTS[1])}
    assert losses["n_sentences"].eq(1).all()


def made_of(units):
    """Experts of the first concept, in the first layer."""
    columns = {"scope": "model", "subset": "a", "concept": CONCEPTS[0], "layer": 1, "site": "mlp_act"}
    return pd.DataFrame({"rank": range(len(units)), "unit": units, "k": len(units), **columns})


def test_random_units_are_experts_in_no_language_or_at_least_not_in_this_one():
    def read(**experts):
        return ablate_step(
            loaded_of(PRIVATE), {lang: made_of(units) for lang, units in experts.items()}, {"de": texts_of("de")},
            model="m", step=1, concepts=CONCEPTS[:1], n_sentences=1, extraction=EXTRACTION, seed=0,
        ).groupby(["source", "condition"])["n_units"].first()  # fmt: skip

    n_units = read(de=range(94, 98), en=range(94), es=range(98, UNITS))  # together all there are
    assert n_units["de", "random"] == n_units["de", "experts"] == 4
    assert n_units["en", "random_dose"] == 94
    with pytest.raises(StudyError, match="so few that 100 units of layer 1, site mlp_act, are no experts"):
        read(de=range(100))


def test_a_loss_that_is_not_finite_is_refused():
    loaded = loaded_of(PRIVATE)
    with torch.no_grad():
        loaded.model.lm_head.weight[10] = float("inf")
    with pytest.raises(
        NumericsError, match=r"model m, step 1, sentences of de, house: the loss is not finite"
    ):
        ablate_step(
            loaded, {"de": experts_of(PRIVATE, "de", CONCEPTS)}, {"de": texts_of("de")},
            model="m", step=1, concepts=CONCEPTS, n_sentences=1, extraction=EXTRACTION, seed=0,
        )  # fmt: skip


# ------------------------------------------------------------------------------------ what is moved


@pytest.mark.parametrize(
    ("architecture", "site"), [("opt", "attn_qkv"), ("llama", "mlp_act"), ("bloom", "attn_out")]
)
def test_units_follow_their_leaders_but_for_the_start_token(architecture, site):
    loaded = tiny_loaded(architecture)
    places = site_modules(loaded.model, site, 2)
    width = sum(values.shape[-1] for values in _run(loaded, places))
    units = UnitIndex.of([(1, site, width), (2, site, width)])
    moves = Moves(
        np.array([width, width + 1]),
        np.array([width, width + 3]),
        np.array([0.5, -1.0]),
        np.array([1.0, 2.0]),
    )
    plain, *_ = _run(loaded, places)
    with moving(loaded.model, moves, units):
        moved, *_ = _run(loaded, places)
    assert (moved[:, 0] == plain[:, 0]).all()
    torch.testing.assert_close(moved[:, 1:, 0], torch.full_like(moved[:, 1:, 0], 0.5))
    follows = plain[:, 1:, 1] + 2 * (-1.0 - plain[:, 1:, 3])
    torch.testing.assert_close(moved[:, 1:, 1], follows)
    assert (moved[..., 2:] == plain[..., 2:]).all()
    assert all((a == b).all() for a, b in zip(_run(loaded, places), _run(loaded, places), strict=True))


def _run(loaded, places):
    """Values at some places over a sentence."""
    rows = encode_sentences(loaded, [("a", "water house")], max_length=8, where="x").rows
    seen = []
    with watching([(place, lambda values: seen.append(values.clone())) for place in places]), torch.no_grad():
        loaded.model(torch.tensor(rows))
    return seen


# ---------------------------------------------------------------------------------- what is made of it

LANGS = ["de", "en", "fr", "tr"]


def made_up(*, n_concepts=12, own=0.4, across=0.1, control=0.02, spread=0.2, seed=0):
    """Damage whose means are known; concepts differ, in all conditions alike."""
    rng, rows = np.random.default_rng(seed), []
    of_concept = rng.normal(size=n_concepts) * spread
    of_concept -= of_concept.mean()
    for a in LANGS:
        for b in LANGS:
            for c in range(n_concepts):
                for condition in CONDITIONS:
                    level = (own if a == b else across) if condition == "experts" else control
                    rows.append(("m", 8, a, b, f"c{c}", condition, 2.0, level + of_concept[c], 4, 40, 24))
    columns = ["model", "step", "source", "target", "concept", "condition", "loss", "damage", "n_sentences"]
    return pd.DataFrame(rows, columns=[*columns, "n_tokens", "n_units"])


def tabled(losses):
    return damage_table(losses, langs=LANGS, bootstrap=200, seed=0).set_index(
        ["source", "target", "condition"]
    )


def test_means_and_their_ratio_are_those_put_in():
    table = tabled(made_up())
    assert table.loc[(OWN, OWN, "experts"), "damage"] == pytest.approx(0.4)
    assert table.loc[(ACROSS, ACROSS, "experts"), "damage"] == pytest.approx(0.1)
    for condition in CONDITIONS[1:]:
        row = table.loc[ACROSS, ACROSS, condition]
        assert row["gain"] == pytest.approx(0.08)
        assert row["relative"] == pytest.approx(0.08 / 0.38)
        # Concepts differ, in experts and controls alike: of the difference nothing of it is left.
        assert row["gain_high"] - row["gain_low"] < 1e-9 < row["high"] - row["low"]
    assert table.loc["de", "tr", "experts"]["damage"] == pytest.approx(0.1)
    assert table.loc["de", "de", "random"]["gain"] == pytest.approx(0.38)
    assert len(table) == (2 + len(LANGS) ** 2) * len(CONDITIONS)
    assert table["n_concepts"].eq(12).all()
    assert table.loc[(OWN, OWN, "random"), "n_sentences"] == 4 * 12 * 4
    assert table.loc[(ACROSS, ACROSS, "random"), "n_sentences"] == 12 * 12 * 4
    assert table["loss"].eq(2.0).all()


def test_no_ratio_where_ablation_does_nothing_within_a_language():
    table = tabled(made_up(own=0.03, control=0.03))
    assert table.loc[ACROSS, ACROSS, :]["relative"].isna().all()
    assert np.isfinite(tabled(made_up()).loc[(ACROSS, ACROSS, "random_dose"), "relative_high"])
    assert tabled(made_up()).drop(index=ACROSS, level="source")["relative"].isna().all()


def test_intervals_of_pairs_are_over_concepts():
    wide, narrow = (tabled(made_up(spread=spread)) for spread in (0.4, 0.1))
    for at in [("de", "tr", "experts"), (ACROSS, ACROSS, "experts")]:
        widths = [table.loc[at, "high"] - table.loc[at, "low"] for table in (wide, narrow)]
        assert widths[0] == pytest.approx(4 * widths[1])
        assert wide.loc[at, "low"] < wide.loc[at, "damage"] < wide.loc[at, "high"]


def test_concepts_count_that_are_whole():
    losses = made_up()
    lost = (losses["concept"] == "c3") & (losses["source"] == "tr") & (losses["target"] == "de")
    assert tabled(losses[~lost])["n_concepts"].eq(11).all()
    assert damage_table(losses[losses["source"] != "tr"], langs=LANGS, bootstrap=50, seed=0).empty


def test_one_concept_has_no_intervals():
    table = tabled(made_up(n_concepts=1))
    assert table["damage"].notna().all()
    assert table[["low", "high", "gain_low", "gain_high", "relative"]].isna().all(axis=None)
