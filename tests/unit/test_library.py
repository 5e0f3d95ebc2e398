"""The public library on tiny models: labelled results, the same numbers as the functions beneath."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score

import babelscope as bs
from babelscope import notebook
from babelscope.analysis.scores import ScoreSettings
from babelscope.analysis.settings import AlignmentSettings, ProbeSettings
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import BabelscopeError, DataError
from tiny_models import record, tiny_loaded, tiny_model, tiny_tokenizer

WORDS = {
    "en": "house water river red blue big".split(),
    "es": "casa agua fluye roja cerca un".split(),
}
CONCEPTS = {"house": 0, "water": 1}


def sentences(n=48):
    """The same meanings in both languages; word 0 or 1 of a sentence is what it is about."""
    draw = np.random.default_rng(0).integers(0, 6, (n, 4))
    draw[:, 0] = np.arange(n) // 2 % 3
    draw[:, 1:][np.isin(draw[:, 1:], (0, 1))] = 5
    return {
        lang: {f"s{number}": " ".join(words[at] for at in row) for number, row in enumerate(draw)}
        for lang, words in WORDS.items()
    }


def labels():
    about = {name: text.split()[0] for name, text in sentences()["en"].items()}
    return {concept: [name for name, word in about.items() if word == concept] for concept in CONCEPTS}


@pytest.fixture(scope="module")
def model():
    return tiny_loaded("gpt2")


@pytest.fixture(scope="module")
def acts(model):
    return bs.activations(model, sentences(), sites=("mlp_act", "mlp_out"), batch_size=8)


@pytest.fixture(scope="module")
def scores(acts):
    return bs.score_units(acts, labels())


def test_activations_are_the_models_own(model, acts):
    frame = acts.frame("es")
    assert frame.shape == (48, len(acts.unit_index))
    text = sentences()["es"]["s7"]
    ids = torch.tensor([[model.start_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]])
    values = record(model.model, ids, ("mlp_out",))[2, "mlp_out"][1:].amax(dim=0)
    names = [f"L02.mlp_out.{unit}" for unit in range(len(values))]
    np.testing.assert_allclose(frame.loc["s7", names], values.numpy(), rtol=1e-5, atol=1e-6)


def test_scores_are_scikit_learns_average_precision(acts, scores):
    frame, values = scores.frame("en"), acts.frame("en")
    positive = values.index.isin(labels()["water"])
    for name in frame.columns[::17]:
        expected = average_precision_score(positive, values[name])
        assert frame.loc["water", name] == pytest.approx(expected, abs=1e-6)
    assert scores.concepts == ["house", "water"]
    assert scores.languages == ["en", "es"]


def test_experts_are_the_best_units_by_name(scores):
    table = bs.experts(scores, k=5)
    best = table[(table["scope"] == "model") & (table["subset"] == "all") & (table["concept"] == "water")]
    frame = scores.frame("es").loc["water"]
    assert set(best[best["lang"] == "es"]["name"]) <= set(frame[frame >= frame.nlargest(5).min()].index)
    assert len(best) == 2 * 5


def test_overlap_has_its_null_its_ceiling_and_its_interval(scores):
    table = bs.overlap(scores, k=5, bootstrap=50, permutations=50)
    (row,) = table[
        (table["scope"] == "model") & (table["lang_a"] == "*") & (table["variant"] == "disjoint_lines")
    ].to_dict("records")
    assert row["low"] <= row["overlap"] <= row["high"]
    assert 0 <= row["null"] <= 1
    again = bs.overlap(scores, k=5, bootstrap=50, permutations=50)
    pd.testing.assert_frame_equal(table, again)


def test_the_language_is_read_off_a_models_states(acts):
    found = bs.probe_language(acts, layers=[0], seeds=1, bootstrap=20, components=4)
    full = found[(found["probe"] == "full") & (found["metric"] == "accuracy") & (found["seed"] == -1)]
    assert float(full["value"].iloc[0]) > 0.9  # no word is one of both languages


def test_labels_may_be_a_table_or_a_table_per_language(acts, scores):
    rows = [
        (concept, name, int(name in names))
        for concept, names in labels().items()
        for name in sentences()["en"]
    ]
    table = pd.DataFrame(rows, columns=["concept", "sentence_id", "label"])
    for given in (table, {"en": table, "es": table}):
        pd.testing.assert_frame_equal(bs.score_units(acts, given).frame("en"), scores.frame("en"))


def test_ids_of_plain_lists_are_their_numbers(model):
    acts = bs.activations(model, {"en": ["house water", "river red"]}, parity_sentences=2)
    assert acts.units["en"].sentence_ids == ["0", "1"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, a, s: bs.activations(m, {"en": "house"}), "are no list of sentences"),
        (lambda m, a, s: bs.activations(m, sentences(), pooling="median"), "pooling"),
        (lambda m, a, s: bs.score_units(a, {"water": ["s999"]}), "name no sentence of en: s999"),
        (lambda m, a, s: bs.score_units(a, {"en": pd.DataFrame()}), "lack the column concept"),
        (lambda m, a, s: bs.experts(s, k=10_000), "10000"),
        (lambda m, a, s: bs.load_model("/nowhere/at all"), "no folder here"),
    ],
)
def test_what_cannot_be_is_said(model, acts, scores, call, said):
    with pytest.raises((BabelscopeError, KeyError), match=said):
        call(model, acts, scores)


def test_forced_units_have_their_value_whatever_the_batch(model):
    for rows in (1, 3):
        with bs.force(model, {"L01.mlp_act.3": 2.5, "L02.mlp_act.0": -1.0}):
            got = record_rows(model, rows)
        assert (got[1][..., 3] == 2.5).all()
        assert (got[2][..., 0] == -1.0).all()
    assert not (record_rows(model, 1)[1][..., 3] == 2.5).all()


def record_rows(model, rows):
    """Values at mlp_act by layer, in a batch of so many rows, as the block after the hook gets them."""
    found = {}
    blocks = model.model.transformer.h
    hooks = [
        block.mlp.c_proj.register_forward_pre_hook(
            lambda _, args, at=at: found.setdefault(at, args[0].clone())
        )
        for at, block in enumerate(blocks, 1)
    ]
    with torch.inference_mode():
        model.model(torch.arange(rows * 5).view(rows, 5) % 30)
    for hook in hooks:
        hook.remove()
    return found


def test_ablated_units_are_nothing(model, scores):
    rows = bs.experts(scores, k=3).query("scope == 'model' and subset == 'all' and lang == 'en'")
    with bs.ablate(model, rows):
        got = record_rows(model, 2)
    for row in rows[rows["site"] == "mlp_act"].itertuples():
        assert (got[row.layer][..., row.unit] == 0).all()


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ({"L09.mlp_act.0": 1.0}, "no unit L09.mlp_act.0"),
        ({"unit 4": 1.0}, "named as L03.mlp_act.117"),
        (["L01.mlp_act.0"], "a value each"),
        ({}, "no units"),
    ],
)
def test_units_that_cannot_be_held_are_refused(model, units, said):
    with pytest.raises(ValueError, match=said), bs.force(model, units):
        pass


def test_forcing_changes_what_a_model_writes(model):
    plain = bs.generate(model, 6, max_new_tokens=8)
    with bs.force(model, {f"L01.mlp_act.{unit}": 30.0 for unit in range(20)}):
        forced = bs.generate(model, 6, max_new_tokens=8)
    assert list(forced["text"]) != list(plain["text"])
    assert list(bs.generate(model, 6, max_new_tokens=8)["text"]) == list(plain["text"])


def test_a_folder_and_a_cached_repository_are_one_model(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    tiny_model("gpt2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    cache = tmp_path / "hub/models--someone--tiny"
    commit = "c" * 40
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text(commit)
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    loaded = bs.load_model("someone/tiny")
    assert (loaded.repo, loaded.commit) == ("someone/tiny", commit)
    with pytest.raises(DataError, match="no repository"):
        bs.load_model("someone/other")


# ---------------------------------------------------------------------------- the shape of the API

FUNCTIONS = [name for name in bs.__all__ if not name.startswith("_")]
FIRST = {"folder", "folders", "model", "activations", "scores"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_have_one_shape(name):
    function = inspect.unwrap(getattr(notebook, name, None) or getattr(bs, name))
    signature = inspect.signature(function)
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[0].name in FIRST
    assert len(positional) <= 3
    doc = inspect.getdoc(function)
    for parameter in signature.parameters:
        assert f"{parameter}:" in doc or f"{parameter}," in doc, parameter
    example = doc.partition("Example:")[2]
    code = "\n".join(line.strip()[4:] for line in example.splitlines() if line.strip()[:3] in (">>>", "..."))
    assert f"bs.{name}(" in code
    ast.parse(code)


def test_defaults_are_the_workflows():
    defaults = {
        name: {p.name: p.default for p in inspect.signature(getattr(notebook, name)).parameters.values()}
        for name in ("activations", "overlap", "score_units")
    }
    assert defaults["activations"]["sites"] == ExtractionSettings().sites
    for key in ("bootstrap", "permutations"):
        assert defaults["overlap"][key] == getattr(AlignmentSettings(), key)
    assert defaults["score_units"]["min_positive"] == ScoreSettings().min_positive
    assert defaults["score_units"]["threads"] == ScoreSettings().threads
    seeds = {inspect.signature(getattr(notebook, name)).parameters["seed"].default for name in defaults}
    assert seeds == {AlignmentSettings().seed} == {ProbeSettings().seed}


def test_the_package_is_light_until_it_is_used():
    code = (
        "import sys, babelscope;"
        "print('torch' in sys.modules or 'pandas' in sys.modules, sorted(dir(babelscope)) == sorted(babelscope.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(AttributeError, match="overlap"):
        importlib.import_module("babelscope").overlp  # noqa: B018
