"""Patching against planted experts: what they write is known, and so is where it must be moved to."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from babelscope.analysis.continuations import Said, concept_texts, log_probabilities, make_prompts
from babelscope.analysis.language_pairs import ACROSS, OWN
from babelscope.analysis.movement import CONDITIONS, CONTROLS, PATCHES, movement_table
from babelscope.analysis.patching import patch_step
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import NumericsError, StudyError
from babelscope.ops.stages import all_jobs
from babelscope.planted.text import parallel_lines, words_of
from babelscope.planted.truth import CONCEPT_LOGIT, EXPERTS, LANGUAGE_LOGIT, MISSED, PIVOT, PRIVATE, SHARING
from babelscope.study.loading import load_study
from babelscope.text.clones import respell
from babelscope.text.words import WordFinder, in_text
from planted_models import experts_of, loaded_of
from tiny_models import tiny_loaded

ROOT = Path(__file__).resolve().parents[2]
EXTRACTION = ExtractionSettings(sites=("mlp_act",), max_length=16, batch_size=64)
CONCEPTS = list(MISSED)[:2]
LANGS = (PIVOT, "de", "tr")


def texts_of(lang):
    """Planted lines, and of each concept sentences in which its words follow one another."""
    lines, read = [(f"line-{n}", line) for n, line in enumerate(parallel_lines(0)[lang])], {}
    for concept in CONCEPTS:
        first, second, _ = words_of(lang).concepts[concept]
        pair = [first, second]
        read[concept] = [
            (f"{concept}-{n}", " ".join([words_of(lang).opens, *(pair * 3)[n : n + 4]])) for n in range(2)
        ]
    every = [*lines, *(sentence for of in read.values() for sentence in of)]
    words = {c: words_of(lang).concepts[c] for c in CONCEPTS}
    positive = {c: [(n, t) for n, t in every if set(t.split()) & set(words[c])] for c in CONCEPTS}
    return concept_texts(every, positive, read, words, lang=lang)


def patched(series, *, langs=LANGS, **changes):
    given = {
        "loaded": loaded_of(series),
        "experts": {lang: experts_of(series, lang, CONCEPTS) for lang in langs},
        "texts": {lang: texts_of(lang) for lang in langs},
    }
    return patch_step(
        **{**given, "model": series.name, "step": series.steps[-1], "concepts": CONCEPTS, "n_sentences": 2,
           "extraction": EXTRACTION, "seed": 0, **changes},
    )  # fmt: skip


@pytest.fixture(scope="module", params=[SHARING, PRIVATE], ids=lambda series: series.name)
def measured(request):
    return request.param, patched(request.param)


def gains(found, condition):
    """By source, target and concept: what moves beyond the control."""
    at = ["source", "target", "concept"]
    moved, control = (
        found[found["condition"] == name].set_index(at)["moved"] for name in (condition, CONTROLS[condition])
    )
    return moved - control


def across(values):
    return values[values.index.get_level_values("source") != values.index.get_level_values("target")]


def within(values):
    return values[values.index.get_level_values("source") == values.index.get_level_values("target")]


def left(found, condition):
    rows = found[(found["condition"] == condition) & (found["source"] != found["target"])]
    return rows.set_index(["source", "target", "concept"])["left"]


def shared_share(concept):
    return SHARING.n_shared(SHARING.steps[-1], concept) / EXPERTS


def test_every_pair_concept_and_condition_is_there_once(measured):
    _, found = measured
    cells = found.groupby(["source", "target", "concept", "condition"]).size()
    assert len(cells) == len(LANGS) ** 2 * len(CONCEPTS) * len(CONDITIONS)
    assert cells.eq(1).all()
    assert (found["concept"] != found["other"]).all()
    is_state = found["condition"].str.startswith("state")
    assert found.loc[~is_state, "n_units"].eq(2 * EXPERTS).all()
    assert found.loc[is_state, "n_units"].eq(0).all()
    assert found.groupby("condition")["layer"].first()[
        ["state_early", "state_middle", "state_late"]
    ].tolist() == [2, 3, 5]
    assert found["n_sentences"].eq(2).all()
    assert found["left"].isna().equals(found["source"] == found["target"])


def test_within_a_language_experts_bring_their_concept(measured):
    """Both sentences hold words of their concept, so that one is brought and the other taken away."""
    _, found = measured
    assert within(gains(found, "experts")).between(1.9 * CONCEPT_LOGIT, 2 * CONCEPT_LOGIT).all()
    assert (found["before"] < -0.95 * CONCEPT_LOGIT).all()


def test_only_shared_experts_bring_their_concept_from_another_language(measured):
    """As many of them as are shared; what the control has is silent in sentences of another language."""
    series, found = measured
    gained, own = across(gains(found, "experts")), within(gains(found, "experts"))
    if series is PRIVATE:
        assert gained.abs().max() < 1e-4
        moved = found[(found["condition"] == "experts") & (found["source"] != found["target"])]["moved"]
        assert (moved > 0.9 * CONCEPT_LOGIT).all()  # without a control silence looks like movement
    else:
        expected = np.mean([shared_share(concept) for concept in CONCEPTS])
        assert (gained / own.mean()).to_numpy() == pytest.approx(expected, abs=0.02)


def test_experts_of_the_source_bring_the_concept_and_take_private_language_along(measured):
    """What they write of the concept is read in all languages, and what they write of a language too."""
    series, found = measured
    assert across(gains(found, "source_experts")).min() > 1.8 * CONCEPT_LOGIT
    leaves = left(found, "source_experts")
    if series is PRIVATE:
        assert leaves.to_numpy() == pytest.approx(LANGUAGE_LOGIT, abs=0.2)
    else:  # shared ones write the pivot wherever they fire
        others = leaves.drop(index=PIVOT, level="source").drop(index=PIVOT, level="target")
        assert others.max() < 0.7 * LANGUAGE_LOGIT


def test_a_state_brings_its_language_where_that_was_not_taken_out_of_it(measured):
    series, found = measured
    middle, late = left(found, "state_middle"), left(found, "state_late")
    assert across(gains(found, "state_middle")).min() > 1.9 * CONCEPT_LOGIT
    assert late.min() > 2.5 * LANGUAGE_LOGIT
    if series is PRIVATE:
        assert middle.min() > 1.9 * LANGUAGE_LOGIT
    else:
        assert middle.max() < 0.9 * LANGUAGE_LOGIT


def test_random_units_and_controls_bring_little(measured):
    _, found = measured
    for condition in ("random", "random_dose"):
        assert gains(found, condition).abs().max() < 0.05 * CONCEPT_LOGIT
    for control in CONTROLS.values():  # within a language it is the target itself, or one like it
        own = found[(found["condition"] == control) & (found["source"] == found["target"])]["moved"]
        assert own.abs().max() < 0.05 * CONCEPT_LOGIT, control


def test_concepts_without_experts_or_sentences_have_no_rows():
    texts = {lang: texts_of(lang) for lang in ("de", "en")}
    silent = texts["en"]._replace(said={**texts["en"].said, CONCEPTS[1]: []})
    found = patched(PRIVATE, langs=("de", "en"), texts={**texts, "en": silent}, n_sentences=1)
    # A source of either concept is needed: the one is brought, the other is the control.
    there = set(found[["source", "target", "concept"]].itertuples(index=False, name=None))
    house, water = CONCEPTS
    assert there == {("de", "de", house), ("de", "de", water), ("de", "en", water)}
    some = experts_of(PRIVATE, "en", CONCEPTS)
    experts = {"de": experts_of(PRIVATE, "de", CONCEPTS), "en": some[some["concept"] != CONCEPTS[0]]}
    found = patched(PRIVATE, langs=("de", "en"), experts=experts, n_sentences=1)
    assert set(zip(found["source"], found["target"], strict=True)) == {("de", "de")}


def test_a_probability_that_is_not_finite_is_refused():
    loaded = loaded_of(PRIVATE)
    with torch.no_grad():
        loaded.model.lm_head.weight[10] = float("inf")
    with pytest.raises(
        NumericsError, match="step 800, house in sentences of de: a probability is not finite"
    ):
        patched(PRIVATE, langs=("de",), loaded=loaded, n_sentences=1)


# ------------------------------------------------------------------------------- words that may follow


def test_words_of_several_tokens_count_with_all_of_them():
    """Against whole sentences, one at a time."""
    loaded = tiny_loaded("llama")
    said = [Said("a", "the river is casa", 13), Said("b", "near the red house", 13)]
    words = [["agua", "dos tres"], ["casa roja", "water"], ["дом"]]
    prompts = make_prompts(loaded, said, words, EXTRACTION, where="x")
    found_S3 = log_probabilities(loaded, prompts, lambda _: torch.inference_mode())

    def log_probability(sentence, word):
        first, then = (
            [loaded.start_id, *loaded.tokenizer(text, add_special_tokens=False)["input_ids"]]
            for text in (sentence.before.strip(), sentence.before + word)
        )
        with torch.no_grad():
            log_TV = torch.log_softmax(loaded.model(torch.tensor([then])).logits[0], dim=-1)
        return sum(float(log_TV[at - 1, then[at]]) for at in range(len(first), len(then)))

    for sentence, found_3 in zip(said, found_S3, strict=True):
        for kind, found in enumerate(found_3):
            expected = np.logaddexp.reduce([log_probability(sentence, word) for word in words[kind]])
            assert found == pytest.approx(expected, abs=1e-5)
    assert len(prompts.inputs) == 2 * 2  # up to "dos" and up to "casa": one serves what is one token


def test_words_that_tell_nothing_apart_are_left_out():
    loaded = tiny_loaded("llama")

    def kinds(other, own, abroad):
        said = [Said("a", "the river is casa", 13)]
        prompts = make_prompts(loaded, said, [other, own, abroad], EXTRACTION, where="x")
        return prompts and np.bincount(prompts.kind_F, minlength=3).tolist()

    assert kinds(["agua", "water"], ["casa", "water"], ["дом"]) == [1, 1, 1]  # of both concepts
    assert kinds(["agua", "agua dos"], ["casa"], []) == [1, 1, 0]  # the one is part of the other
    assert kinds(["agua"], ["casa", "agua dos"], ["agua", "дом", "casa roja"]) == [1, 1, 1]
    assert kinds(["agua"], ["agua dos"], []) is None
    assert kinds(["agua"], ["casa"], ["agua"]) == [1, 1, 0]  # spelt alike in both languages
    short = EXTRACTION.model_copy(update={"max_length": 5})
    assert (
        make_prompts(loaded, [Said("a", "the river is casa", 13)], [["agua"], ["casa"], []], short, where="x")
        is None
    )


def test_words_are_found_as_sentences_spell_them():
    sentences = [
        ("a", "Ein Haus und noch ein Haus."),
        ("b", "Häuser stehen"),
        ("c", "die HÄUSER da"),
        ("d", "nichts"),
    ]
    texts = concept_texts(
        sentences, {"house": sentences}, {"house": sentences}, {"house": ["haus", "häuser"]}, lang="de"
    )
    assert texts.spellings == {"house": ["Haus", "HÄUSER", "Häuser"]}
    assert [(each.name, each.before) for each in texts.said["house"]] == [
        ("a", "Ein Haus und noch ein "), ("c", "die "),
    ]  # fmt: skip


def test_a_clone_keeps_its_letters():
    own = [("a", respell("the water", 1))]
    texts = concept_texts(own, {"w": own}, {"w": own}, {"w": ["water"]}, lang="en", letters=1)
    assert texts.spellings == {"w": [respell("water", 1)]}
    assert texts.said["w"][0].before == respell("the ", 1)


@pytest.mark.parametrize(
    ("text", "form", "lang", "spelt"),
    [
        ("ﬁne wa\u0301ter, ok", "wáter", "", "wa\u0301ter"),  # one sign folds into two, two into one
        ("İSTANBUL'da EV var", "ev", "tr", "EV"),
        ("soft\u00adly the straße", "strasse", "de", "straße"),
        ("我喝水了", "水", "zh", "水"),
    ],
)
def test_a_form_is_found_in_the_text_as_it_is_spelt(text, form, lang, spelt):
    (found,) = WordFinder({"c": [form]}, lang).find(text)
    assert text[in_text(found, text, lang)] == spelt


# ---------------------------------------------------------------------------------- what is made of it

NAMES = ["de", "en", "fr", "tr"]


def made_up(*, n_couples=6, own=4.0, other=1.0, control=0.2, leaves=0.5, spread=0.2, seed=0):
    """Movement whose means are known; couples of concepts differ, in all conditions alike."""
    rng, rows = np.random.default_rng(seed), []
    of_couple = rng.normal(size=n_couples) * spread
    of_couple -= of_couple.mean()
    for a in NAMES:
        for b in NAMES:
            for c in range(n_couples):
                for concepts, more in (((f"c{c}", f"d{c}"), 0.1), ((f"d{c}", f"c{c}"), -0.1)):
                    for condition in CONDITIONS:
                        level = control if condition in CONTROLS.values() else own if a == b else other
                        to = np.nan if a == b else leaves
                        moved = level + more + of_couple[c]
                        rows.append(("m", 8, a, b, *concepts, condition, 0, -3.0, moved, to, 4, 48))
    columns = [
        "model",
        "step",
        "source",
        "target",
        "concept",
        "other",
        "condition",
        "layer",
        "before",
        "moved",
    ]
    return pd.DataFrame(rows, columns=[*columns, "left", "n_sentences", "n_units"])


def tabled(found):
    return movement_table(found, langs=NAMES, bootstrap=200, seed=0).set_index(
        ["source", "target", "condition"]
    )


def test_means_and_their_ratio_are_those_put_in():
    table = tabled(made_up())
    for condition in PATCHES:
        own, other = table.loc[OWN, OWN, condition], table.loc[ACROSS, ACROSS, condition]
        assert (own["moved"], other["moved"]) == pytest.approx((4.0, 1.0))
        assert (own["gain"], other["gain"]) == pytest.approx((3.8, 0.8))
        assert other["relative"] == pytest.approx(0.8 / 3.8)
        assert np.isnan(own["relative"])
        assert other["left"] == pytest.approx(0.5)
        assert np.isnan(own["left"])
        # Concepts differ, in patches and controls alike: of the difference nothing of it is left.
        assert other["gain_high"] - other["gain_low"] < 1e-9 < other["high"] - other["low"]
    assert len(table) == (2 + len(NAMES) ** 2) * len(CONDITIONS)
    assert table["n_concepts"].eq(12).all()
    assert table.loc[(OWN, OWN, "experts"), "n_sentences"] == 4 * 12 * 4
    assert table["before"].eq(-3.0).all()
    assert table.loc[(slice(None), slice(None), [*CONTROLS.values()]), "gain"].isna().all()


def test_intervals_are_over_pairs_of_concepts():
    wide, narrow = (tabled(made_up(spread=spread)) for spread in (0.4, 0.1))
    for at in [("de", "tr", "experts"), (ACROSS, ACROSS, "experts")]:
        widths = [table.loc[at, "high"] - table.loc[at, "low"] for table in (wide, narrow)]
        assert widths[0] == pytest.approx(4 * widths[1])
        assert wide.loc[at, "low"] < wide.loc[at, "moved"] < wide.loc[at, "high"]


def test_no_ratio_where_nothing_moves_within_a_language():
    assert tabled(made_up(own=0.2, control=0.2)).loc[ACROSS, ACROSS, :]["relative"].isna().all()


def test_pairs_of_concepts_count_that_are_whole():
    found = made_up()
    lost = (found["concept"] == "c3") & (found["source"] == "tr") & (found["target"] == "de")
    assert tabled(found[~lost])["n_concepts"].eq(10).all()
    assert movement_table(found[found["source"] != "tr"], langs=NAMES, bootstrap=50, seed=0).empty
    some = found.assign(left=found["left"].where(found["concept"] != "c3"))
    assert tabled(some).loc[(ACROSS, ACROSS, "experts"), "left"] == pytest.approx(0.5)


def test_one_pair_of_concepts_has_no_intervals():
    table = tabled(made_up(n_couples=1))
    assert table["moved"].notna().all()
    assert table[["low", "high", "gain_low", "left_high", "relative"]].isna().all(axis=None)


# ------------------------------------------------------------------------------------------- the study


def asked_for(**views):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return {**config, "generation": {"enabled": False}, "views": {"patching": True, **views}}


def test_concepts_are_patched_two_and_two():
    concepts = load_study(asked_for(patched_concepts=5)).patched_concepts
    assert concepts == tuple(c for c in load_study(asked_for()).concept_ids if c in concepts)
    assert len(concepts) == 4
    with pytest.raises(StudyError, match="patched_concepts"):
        load_study(asked_for(patched_concepts=1))


def test_words_are_looked_for_where_a_study_patches():
    def stages(config):
        return {work.stage for work in all_jobs(load_study(config))}

    assert {"write_concept_words", "patch_experts", "collect_patching"} <= stages(asked_for())
    assert "write_concept_words" not in stages(asked_for(patching=False))


def test_a_study_without_words_in_a_language_is_refused(tmp_path):
    def words(of):
        (tmp_path / "words.yaml").write_text(yaml.safe_dump(of), encoding="utf-8")
        config = yaml.safe_load((ROOT / "config/studies/planted.yaml").read_text(encoding="utf-8"))
        config["concepts"]["lists"] = str(tmp_path / "words.yaml")
        run = {**asked_for()["models"]["bridged"], "steps": [0, 8]}
        demo = {name: asked_for()[name] for name in ("corpora", "tokenizers")}
        demo["corpora"] = {"bridged": asked_for()["corpora"]["bridged"]}
        return {**config, **demo, "languages": ["en", "de"], "models": {"bridged": run}, "generation": {"enabled": False},
                "experts": {"k": 5, "min_languages": 2}, "granularity": {}, "views": {"patching": True}}  # fmt: skip

    known = {c: {"en": [c], "de": [c]} for c in ("ship", "water")}
    assert load_study(words(known)).patched_concepts == ("ship", "water")
    with pytest.raises(StudyError) as raised:
        load_study(words({**known, "water": {"en": ["water"]}}))
    assert raised.value.key == "views.patching"
    assert "of water no words are known in de" in raised.value.hint


def test_concepts_of_form_have_no_words_to_follow():
    config = yaml.safe_load((ROOT / "config/studies/demo-syntax.yaml").read_text(encoding="utf-8"))
    assert load_study(config).has_pairs
    with pytest.raises(StudyError) as raised:
        load_study({**config, "views": {**config.get("views", {}), "patching": True}})
    assert raised.value.key == "views.patching"
    assert "have none of their own" in raised.value.hint
