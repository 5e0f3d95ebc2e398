"""The planted checkpoints do what their declaration says, measured without the code that a study runs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from babelscope.planted.build import build
from babelscope.planted.compare import as_text, compare
from babelscope.planted.text import START, parallel_lines, vocabulary, words_of
from babelscope.planted.truth import (
    ALL_SERIES,
    EXPERTS,
    FADED_LAYERS,
    FORMS,
    LANGUAGES,
    LAYERS,
    LINES,
    MISSED,
    PRIVATE,
    SHARING,
    WORDS,
    expert_ap,
)
from babelscope.planted.weights import UNITS, PlantedWeights, model_config

STEPS = [(SHARING, 100), (SHARING, 400), (SHARING, 800), (PRIVATE, 800)]
IDS = [f"{series.name}-{step}" for series, step in STEPS]


def model_of(series, step):
    model = OPTForCausalLM(OPTConfig(**model_config())).eval()
    weights = PlantedWeights(series, 0).state_dict(step)
    model.load_state_dict(
        {name: torch.from_numpy(each).float() for name, each in weights.items()}, strict=False
    )
    return model


def token_ids(lang):
    number = {token: at for at, token in enumerate(vocabulary())}
    return torch.tensor([[number[w] for w in [START, *line.split()]] for line in parallel_lines(0)[lang]])


def concept_of_lines():
    forms = {form: concept for concept, forms in words_of("en").concepts.items() for form in forms}
    found = [[forms[w] for w in line.split() if w in forms] for line in parallel_lines(0)["en"]]
    assert all(len(concepts) == 1 for concepts in found)
    return np.array([concepts[0] for concepts in found])


# --------------------------------------------------------------------------------------------- text


def test_no_word_stands_for_two_things():
    words = [word.lower() for word in vocabulary()]
    assert len(set(words)) == len(words)
    assert not [word for word in words if " " in word]


def test_lines_are_parallel_distinct_and_balanced():
    lines = parallel_lines(0)
    assert {len(of_lang) for of_lang in lines.values()} == {LINES * len(MISSED)}
    for lang, of_lang in lines.items():
        assert len(set(of_lang)) == len(of_lang)
        assert {len(line.split()) for line in of_lang} == {WORDS}
        forms = {f: (c, n) for c, forms in words_of(lang).concepts.items() for n, f in enumerate(forms)}
        meant = [next(forms[w] for w in line.split() if w in forms) for line in of_lang]
        halves = Counter(meant[::2]), Counter(meant[1::2])
        assert halves[0] == halves[1]
        assert {c: 2 * halves[0][c, FORMS - 1] for c in MISSED} == MISSED
    assert parallel_lines(0) == lines != parallel_lines(1)


# ------------------------------------------------------------------------------------------ weights


def unit_values(model, ids):
    """Largest value of every unit over the words of each line, ``(layers, lines, units)``."""
    found = []
    hooks = [
        layer.fc2.register_forward_pre_hook(
            lambda _, args: found.append(args[0].reshape(*ids.shape, UNITS)[:, 1:].amax(1).numpy())
        )
        for layer in model.model.decoder.layers
    ]
    with torch.inference_mode():
        model(ids)
    for hook in hooks:
        hook.remove()
    return np.stack(found)


@pytest.mark.parametrize(("series", "step"), STEPS, ids=IDS)
def test_units_are_experts_as_declared(series, step):
    concepts, model = concept_of_lines(), model_of(series, step)
    known = {}
    for lang in LANGUAGES:
        values = unit_values(model, token_ids(lang)).transpose(0, 2, 1).reshape(LAYERS * UNITS, -1)
        for concept in MISSED:
            ap = average_precisions(values, concepts == concept)
            experts = set(np.flatnonzero(np.abs(ap - expert_ap(concept)) < 1e-9))
            assert len(experts) == EXPERTS
            # No other unit comes near them, so experts are found whatever the order of equals.
            assert np.delete(ap, list(experts)).max() < expert_ap(concept) - 0.05
            known[lang, concept] = experts
    for concept in MISSED:
        in_all = set.intersection(*(known[lang, concept] for lang in LANGUAGES))
        in_some = set.union(*(a & b for a, b in pairs_of([known[lang, concept] for lang in LANGUAGES])))
        assert in_all == in_some
        layers = Counter(unit // UNITS + 1 for unit in in_all)
        assert {layer: layers[layer] for layer in range(1, LAYERS + 1)} == {
            layer: series.n_shared(step, concept, layer) for layer in range(1, LAYERS + 1)
        }


def average_precisions(values, positive):
    """AP of every unit ``(U,)``, by its formula: of each positive the precision among lines as high or higher."""
    found = np.zeros(len(values))
    for own in values[:, positive].T[:, :, None]:
        higher = values >= own
        found += higher[:, positive].sum(axis=1) / higher.sum(axis=1)
    return found / positive.sum()


def pairs_of(sets):
    return [(a, b) for at, a in enumerate(sets) for b in sets[at + 1 :]]


@pytest.mark.parametrize(("series", "step"), STEPS, ids=IDS)
def test_the_language_is_in_the_state_where_it_is_declared(series, step):
    planted = PlantedWeights(series, 0)
    into = torch.from_numpy(np.stack([planted.directions[f"language {lang}"] for lang in LANGUAGES])).float()
    for number, lang in enumerate(LANGUAGES):
        with torch.inference_mode():
            states = model_of(series, step)(token_ids(lang), output_hidden_states=True).hidden_states
        for layer in range(LAYERS):  # the last one has passed the final LayerNorm
            found = states[layer][:, 1:] @ into.T
            assert (found[:, 0, number] > 0.9).all()  # the word that opens the line
            rest = found[:, 1:].flatten(0, 1)
            if step in series.faded and layer in FADED_LAYERS:
                # What is left is less than the noise, and does not tell the language.
                assert rest.mean(0).abs().max() < 0.01
                assert rest.std(0).min() > 0.01
            else:
                assert (rest.argmax(1) == number).float().mean() > 0.999


def test_weights_follow_from_the_seed():
    one, same, other = (PlantedWeights(SHARING, seed).state_dict(400) for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.allclose(one["lm_head.weight"], other["lm_head.weight"])


def test_series_begin_alike_and_every_step_differs():
    digests = {
        (series.name, step): hash(PlantedWeights(series, 0).state_dict(step)["lm_head.weight"].tobytes())
        for series in ALL_SERIES
        for step in series.steps
    }
    assert digests["sharing", 0] == digests["private", 0] != digests["sharing", 100]
    for series in ALL_SERIES:
        mixing = [PlantedWeights(series, 0).state_dict(step) for step in series.steps]
        name = "model.decoder.layers.0.self_attn.v_proj.weight"
        assert len({each[name].tobytes() for each in mixing}) == len(mixing)


@pytest.mark.parametrize("step", [100, 400, 800])
def test_forced_units_write_as_declared(step):
    """Language of the first word, with the experts of a concept held at their value on its words."""
    model, source, concept = model_of(SHARING, step), "de", "water"
    ids = token_ids(source)[concept_of_lines() == concept]
    others = token_ids(source)[concept_of_lines() != concept]
    held = np.median(unit_values(model, ids), axis=1)
    fires = (held > 0.3) & (np.median(unit_values(model, others), axis=1) == 0)
    assert fires.sum() == EXPERTS
    hooks = [
        layer.fc2.register_forward_pre_hook(
            lambda _, args, at=at: (
                torch.where(torch.from_numpy(fires[at]), torch.from_numpy(held[at]), args[0]),
            )
        )
        for at, layer in enumerate(model.model.decoder.layers)
    ]
    with torch.inference_mode():
        probabilities = model(ids[:1, :1]).logits[0, 0].softmax(-1)
    for hook in hooks:
        hook.remove()
    opens = [vocabulary().index(words_of(lang).opens) for lang in LANGUAGES]
    found = (probabilities[opens] / probabilities[opens].sum()).tolist()
    declared = SHARING.shares_of_texts(SHARING.n_shared(step, concept), source)
    assert found == pytest.approx(declared.tolist(), abs=0.03)


def test_all_files_are_there_and_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        build(tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*"))
    assert sum(path.name == "model.safetensors" for path in files) == sum(len(s.steps) for s in ALL_SERIES)
    for path in files:
        one, two = tmp_path / "one" / path, tmp_path / "two" / path
        assert one.is_dir() or one.read_bytes() == two.read_bytes(), path


# -------------------------------------------------------------------------------------- declaration


def test_what_the_control_lacks():
    last = PRIVATE.steps[-1]
    assert PRIVATE.overlap(last) == 0
    assert {PRIVATE.probe_accuracy(last, layer) for layer in range(1, LAYERS + 1)} == {1}
    assert PRIVATE.worst_ap(last, "house") == 1 / len(MISSED)
    assert PRIVATE.forced_texts(last, "de")["de"] > 0.99
    assert SHARING.best_layer == 4
    assert SHARING.overlap(800) == pytest.approx(10 / 24)  # the mean of 1 + 3 + 4 + 2 of 24
    for shares in (SHARING.forced_texts(800, "de"), SHARING.forced_hits(800, "de")):
        assert sum(shares.values()) == pytest.approx(1)


def made_up_tables(**wrong):
    """Tables that hold what was planted, but for the overlap of one series."""
    sources = [lang for lang in LANGUAGES if lang != "en"]
    probes, overlap, reliability, generation = [], [], [], []
    for series in ALL_SERIES:
        for step in series.shared:
            at, ends = {"model": series.name, "step": step}, {"low": 0.0, "high": 0.0}
            pairs = {"variant": "disjoint_lines", "lang_a": "*", "lang_b": "*"}
            whole = wrong.get(series.name, series.overlap(step))
            overlap.append({**at, **pairs, "scope": "model", "layer": -1, "overlap": whole, **ends})
            for layer in range(1, LAYERS + 1):
                value = series.overlap(step, layer)
                overlap.append({**at, **pairs, "scope": "layer", "layer": layer, "overlap": value, **ends})
                full = {"layer": layer, "probe": "full", "metric": "accuracy", "seed": -1}
                probes.append({**at, **full, "value": series.probe_accuracy(step, layer), **ends})
            worst = np.mean([series.worst_ap(step, concept) for concept in MISSED])
            unit = {"kind": "best_unit", "metric": "worst_ap", "concept": "*"}
            reliability.append({**at, **unit, "value": worst, **ends})
            texts, hits = series.forced_texts(step, sources[0]), series.forced_hits(step, sources[0])
            values = {("hit_rate", "*"): 0.9946}
            for metric, share in (("text_share", texts), ("hit_share", hits)):
                values |= {(metric, "source"): share[sources[0]], (metric, "en"): share["en"]}
            for (metric, target), value in values.items():
                all_sources = {"lang": "*", "condition": "forced", "metric": metric, "target": target}
                generation.append({**at, **all_sources, "value": value, **ends})
    tables = {"probes": probes, "overlap": overlap, "reliability": reliability, "generation": generation}
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    for frame in frames.values():
        value = frame["overlap" if "overlap" in frame else "value"]
        frame["low"] = frame["high"] = value
    return frames


def test_the_comparison_sees_what_is_wrong():
    assert compare(made_up_tables())["recovered"].all()
    compared = compare(made_up_tables(sharing=0.2))
    missed = compared[~compared["recovered"]]
    assert set(missed["model"]) == {"sharing"}
    assert set(missed["quantity"]) == {"overlap of experts"}
    assert as_text(compared).count("not recovered") == len(missed) == len(SHARING.shared)


def test_the_comparison_refuses_tables_without_a_value():
    tables = made_up_tables()
    tables["reliability"] = tables["reliability"].iloc[1:]
    with pytest.raises(ValueError, match="hold 0 values of worst AP of the best unit, sharing, step 100"):
        compare(tables)
