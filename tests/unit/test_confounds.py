"""What could pass for expertise: traits by hand, and classifiers that see them alone."""

from __future__ import annotations

import logging
from itertools import product

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from babelscope.analysis.confounds import confound_table, measure_confounds, predicted_by
from babelscope.analysis.precision import random_ap
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.text_traits import (
    TextOfModel,
    Training,
    byte_premiums,
    cut,
    pair_traits,
    read_cuts,
    read_training,
    traits,
    word_frequencies,
)

SETTINGS = AlignmentSettings(bootstrap=50, permutations=20)


def word_tokenizer(*texts):
    words = sorted({word for text in texts for word in text.split()})
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(["?", *words])}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


TEXTS = {
    "de": [("a", "das Haus Nummer 7"), ("b", "ja")],
    "en": [("a", "the house number 7"), ("b", "yes no")],
    "ru": [("b", "да нет"), ("a", "дом номер 7")],
}


@pytest.fixture(scope="module")
def cuts():
    return cut(TEXTS, word_tokenizer(*(text for of in TEXTS.values() for _, text in of)))


def test_what_looks_like_a_special_token_is_cut_as_any_text(tmp_path):
    tokenizer = word_tokenizer("a house")
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = read_cuts({"m": TextOfModel(str(tmp_path))}, {"en": [("a", "a </s> house")]})
    assert found["m"]["en"].tokens == [[1, 0, 2]]


def test_traits_are_those_counted_by_hand(cuts):
    found = traits(cuts)
    assert found["de"].tolist() == [[17, 4, 0.25], [2, 1, 0]]  # of four words one, 7, is in all others
    assert found["ru"][0, :2].tolist() == [len("да нет".encode()), 2]


def test_premiums_are_over_what_both_languages_have(cuts):
    english = len(b"the house number 7") + len(b"yes no")
    found = byte_premiums(cuts)
    assert found["en"] == 1
    assert found["de"] == 19 / english
    assert found["ru"] == (len("да нет".encode()) + len("дом номер 7".encode())) / english
    assert byte_premiums({lang: of for lang, of in cuts.items() if lang != "en"}) == {}


def test_traits_of_pairs_are_those_counted_by_hand(cuts):
    found = pair_traits(cuts, {"de": 0.5, "en": 0.25}, parallel=True)
    assert found.index.tolist() == [("de", "en"), ("de", "ru"), ("en", "ru")]
    assert found["same_script"].tolist() == [1, 0, 0]
    assert found["shared_tokens"].tolist() == pytest.approx([1 / 6, 1 / 5, 1 / 6])  # the 7 of 5, 6, 5 words
    assert found.loc[("de", "en"), "byte_difference"] == pytest.approx(np.log(24 / 19))
    assert found.loc[("de", "en"), "corpus_share"] == pytest.approx(np.log(0.125) / 2)
    assert found["corpus_share"].isna().tolist() == [False, True, True]
    assert pair_traits(cuts, {}, parallel=False)["byte_difference"].isna().all()


def test_words_are_counted_in_training_text():
    documents = [("the house, the House", "train"), ("house", "heldout"), ("water", "train")]
    words = {"home": ["house"], "sea": ["water"], "none": []}
    n = len("the house, the House") + len("water")
    assert word_frequencies(documents, words, "en") == {"home": 2e6 / n, "sea": 1e6 / n}
    assert word_frequencies([], words, "en") == {}


def test_of_much_text_the_beginning_is_read(monkeypatch):
    monkeypatch.setattr("babelscope.analysis.text_traits.MOST_CHARACTERS", 10)
    found = word_frequencies([("house cat", "train")] * 2 + [("water", "train")], {"sea": ["water"]}, "en")
    assert found == {"sea": 0}


def test_a_model_without_a_readable_tokenizer_is_left_out(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "babelscope"):
        assert read_cuts({"m": TextOfModel(str(tmp_path))}, TEXTS) == {}
    assert "m: " in caplog.text
    assert "no tokenizer.json" in caplog.text


def test_models_of_one_tokenizer_are_cut_once_and_models_from_elsewhere_have_no_training_text(tmp_path):
    word_tokenizer("the house").save(str(tmp_path / "tokenizer.json"))
    both = {name: TextOfModel(str(tmp_path)) for name in ("m", "n")}
    found = read_cuts(both, TEXTS)
    assert found["m"] is found["n"]
    assert read_training(both, {"home": {"en": ["house"]}}, ["en"])["m"] == Training({}, {"en": {}})


def test_a_concept_of_long_sentences_is_predicted_by_length_and_noise_is_not():
    rng = np.random.default_rng(0)
    label_N, half_N = np.arange(400) % 5 == 0, np.arange(400) // 5 % 2
    noise_NF = rng.normal(size=(400, 3))
    by_length_NF = noise_NF + np.outer(label_N, [0, 8, 0])
    *single, together = predicted_by(by_length_NF, label_N.astype(int), half_N)
    assert single[1] > 0.99
    assert together > 0.99
    assert max(single[0], single[2]) < 0.35
    chance = random_ap(40, 200)
    assert predicted_by(noise_NF, label_N.astype(int), half_N) == pytest.approx([chance] * 4, abs=0.1)


def test_short_sentences_are_told_as_well_as_long_ones():
    label_N, half_N = np.arange(80) % 4 == 0, np.arange(80) // 4 % 2
    shorter_NF = np.random.default_rng(0).normal(size=(80, 1)) - 9 * label_N[:, None]
    assert predicted_by(shorter_NF, label_N.astype(int), half_N)[0] > 0.99


def made_up(langs, concepts, n=40):
    """Sentences of two words, those of the first concept of eight; labels; and the AP of experts."""
    sentences, labels = {}, {}
    for lang in langs:
        ids = [(concept, at) for concept in concepts for at in range(n)]
        words = {name: 8 if name[0] == concepts[0] else 2 for name in ids}
        sentences[lang] = [(f"{c}-{at}", " ".join([lang] * words[c, at])) for c, at in ids]
        rows = [(k, f"{c}-{at}", "ab"[at % 2], int(c == k)) for k in concepts for c, at in ids]
        labels[lang] = pd.DataFrame(rows, columns=["concept", "sentence_id", "half", "label"])
    tokenizer = word_tokenizer(*langs)
    cells = list(product(langs, langs, concepts))
    transfer = pd.DataFrame(cells, columns=["source", "target", "concept"]).assign(
        model="m", step=4, ap=0.9, chance_ap=0.4, positive_rate=1 / 3
    )
    return cut(sentences, tokenizer), labels, transfer


def test_the_table_has_expertise_beside_what_length_gives():
    cuts, labels, transfer = made_up(["de", "en"], ["dog", "ice", "sea"])
    training = Training({"de": 0.7, "en": 0.3}, {"de": {"dog": 12.0}})
    found = confound_table(cuts, labels, transfer, training, SETTINGS, parallel=True)
    dog = found[(found["lang"] == "de") & (found["concept"] == "dog")].iloc[0]
    assert dog["ap_all"] == pytest.approx(1)
    assert dog["gain"] == pytest.approx(-0.1)
    assert dog[["tokens", "word_frequency", "corpus_share", "byte_premium", "n"]].tolist() == [
        8,
        12,
        0.7,
        1,
        40,
    ]
    sea = found[(found["lang"] == "de") & (found["concept"] == "sea")].iloc[0]
    assert sea["ap_all"] < 0.6  # as short as those of ice
    assert found[(found["lang"] == "de") & (found["concept"] == "*")].iloc[0]["tokens"] == 4
    mean = found.iloc[-1]
    cells = found[found["concept"] != "*"]
    assert (mean["lang"], mean["n"]) == ("*", 6)
    assert mean["gain"] == pytest.approx(cells["gain"].mean())
    assert mean["low"] <= mean["ap_all"] <= mean["high"]
    assert mean["gain_low"] <= mean["gain"] <= mean["gain_high"]


def experts_of(langs, concepts, step):
    """Two experts of each concept, on both halves the same, one of which all languages have."""
    rows = [
        ("m", step, lang, "model", half, concept, rank, 0, "mlp_act", 100 * c + 10 * a * rank + rank)
        for (a, lang), half, (c, concept), rank in product(
            enumerate(langs), "ab", enumerate(concepts), (0, 1)
        )
    ]
    columns = ["model", "step", "lang", "scope", "subset", "concept", "rank", "layer", "site", "unit"]
    return pd.DataFrame(rows, columns=columns)


def test_steps_that_transfer_leaves_out_are_left_out():
    langs, concepts = ["de", "en", "es", "ru"], ["dog", "ice", "sea"]
    cuts, labels, transfer = made_up(langs, concepts, n=12)
    experts = [experts_of(langs, concepts, step) for step in (4, 9)]
    found = measure_confounds(
        {"m": cuts}, labels, {"m": Training()}, experts, transfer, SETTINGS, parallel=True
    )
    assert set(found.pairs["step"]) == {4}
    shared = found.pairs.set_index("term").loc["all_pairs"]
    assert shared["value"] == pytest.approx(0.5)
    assert found.cells["step"].unique().tolist() == [4]
    nothing = measure_confounds({}, labels, {}, experts, transfer, SETTINGS, parallel=True)
    assert nothing.cells.empty
    assert nothing.pairs.empty
    numbers = found.pairs.select_dtypes("number")
    assert nothing.pairs[list(numbers)].dtypes.to_dict() == numbers.dtypes.to_dict()
